#include "transform/params.h"

#include <cmath>

#include "transform/chain.h"

namespace verge::transform {
namespace {

constexpr size_t kMaxList = 65536;

bool is_list_of(const Json& j, bool (*item)(const Json&)) {
  if (!j.is_array() || j.empty() || j.size() > kMaxList) return false;
  for (const Json& x : j)
    if (!item(x)) return false;
  return true;
}
bool is_int(const Json& j) {
  return j.is_number_integer() && (!j.is_number_unsigned() || j.get<uint64_t>() <= static_cast<uint64_t>(INT64_MAX));
}
bool is_number(const Json& j) { return j.is_number() && std::isfinite(j.get<double>()); }

bool has_type(const Json& j, std::string_view type) {
  if (type == "int") return is_int(j);
  if (type == "number") return is_number(j);
  if (type == "numbers") return is_number(j) || is_list_of(j, is_number);
  if (type == "ints") return is_int(j) || (j.is_array() && j.empty()) || is_list_of(j, is_int);
  if (type == "bool") return j.is_boolean();
  if (type == "dtype") return j.is_string() && dtype_from_name(j.get_ref<const std::string&>()) != DType::kInvalid;
  return j.is_string();
}

std::string_view wanted(std::string_view type) {
  if (type == "int") return "a whole number";
  if (type == "number") return "a number";
  if (type == "numbers") return "a number or a list of numbers";
  if (type == "ints") return "a list of whole numbers";
  if (type == "bool") return "true or false";
  if (type == "dtype") return "a data type such as FP32, UINT8 or INT64";
  return "a string";
}

std::string shown(const Json& j) {
  std::string s = j.dump(-1, ' ', false, Json::error_handler_t::replace);
  return s.size() <= 60 ? s : s.substr(0, 60) + "…";
}

std::string known(const OpDoc& doc) {
  if (doc.params.empty()) return std::string(doc.op) + " takes no parameters";
  std::string s = std::string(doc.op) + " takes ";
  for (size_t i = 0; i < doc.params.size(); ++i) s += (i ? ", " : "") + std::string(doc.params[i].name);
  return s;
}

const Json& empty_object() {
  static const Json empty = Json::object();
  return empty;
}

}  // namespace

Params::Params(const OpDoc& doc, const Json& params) : params_(params.is_object() ? params : empty_object()) {
  if (!params.is_object() && !params.is_null()) {
    fail("its parameters are " + shown(params) + ", not a map; " + known(doc));
    return;
  }
  for (const auto& [name, value] : params_.items()) {
    const ParamDoc* p = nullptr;
    for (const ParamDoc& d : doc.params)
      if (d.name == name) p = &d;
    if (!p)
      fail("unknown parameter '" + name + "'; " + known(doc));
    else if (!has_type(value, p->type))
      fail("parameter '" + name + "' is " + shown(value) + "; it must be " + std::string(wanted(p->type)));
  }
  for (const ParamDoc& d : doc.params)
    if (d.required && !find(d.name)) fail("parameter '" + std::string(d.name) + "' is missing (" + std::string(d.doc) + ")");
}

const Json* Params::find(std::string_view name) const {
  auto it = params_.find(name);
  return it == params_.end() ? nullptr : &*it;
}

void Params::fail(std::string message) {
  if (status_.ok()) status_ = invalid_argument(std::move(message));
}

int64_t Params::integer(std::string_view name, int64_t lo, int64_t hi, int64_t fallback) {
  const Json* j = status_.ok() ? find(name) : nullptr;
  if (!j) return fallback;
  auto v = j->get<int64_t>();
  if (v < lo || v > hi) {
    fail("parameter '" + std::string(name) + "' is " + std::to_string(v) + "; it must lie in " + std::to_string(lo) + " … " +
         std::to_string(hi));
    return fallback;
  }
  return v;
}

double Params::number(std::string_view name, double fallback) {
  const Json* j = status_.ok() ? find(name) : nullptr;
  return j ? j->get<double>() : fallback;
}

bool Params::boolean(std::string_view name, bool fallback) {
  const Json* j = status_.ok() ? find(name) : nullptr;
  return j ? j->get<bool>() : fallback;
}

std::vector<double> Params::numbers(std::string_view name, std::vector<double> fallback) {
  const Json* j = status_.ok() ? find(name) : nullptr;
  if (!j) return fallback;
  if (j->is_array()) return j->get<std::vector<double>>();
  return {j->get<double>()};
}

std::vector<int64_t> Params::ints(std::string_view name, std::vector<int64_t> fallback) {
  const Json* j = status_.ok() ? find(name) : nullptr;
  if (!j) return fallback;
  if (j->is_array()) return j->get<std::vector<int64_t>>();
  return {j->get<int64_t>()};
}

DType Params::dtype(std::string_view name, DType fallback) {
  const Json* j = status_.ok() ? find(name) : nullptr;
  return j ? dtype_from_name(j->get_ref<const std::string&>()) : fallback;
}

std::string_view Params::choice(std::string_view name, std::initializer_list<std::string_view> choices) {
  const Json* j = status_.ok() ? find(name) : nullptr;
  if (!j) return *choices.begin();
  const auto& given = j->get_ref<const std::string&>();
  std::string all;
  for (std::string_view c : choices) {
    if (c == given) return c;
    all += (all.empty() ? "" : ", ") + std::string(c);
  }
  fail("parameter '" + std::string(name) + "' is " + shown(*j) + "; it must be one of " + all);
  return *choices.begin();
}

}  // namespace verge::transform
