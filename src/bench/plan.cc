#include "bench/plan.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "core/manifest.h"
#include "core/yaml.h"

namespace verge::bench {
namespace {

constexpr size_t kMostTenants = 64;
constexpr double kMostSeconds = 86400.0 * 7;

// Bounds that are written without their "verge.".
constexpr std::string_view kNumbers[] = {"min_accuracy", "max_energy_mj", "confidence", "max_accuracy_loss"};
constexpr std::string_view kTexts[] = {"objective", "rule", "exit", "conditions", "variant"};

bool to_number(std::string_view s, double* out) {
  const auto [end, error] = std::from_chars(s.data(), s.data() + s.size(), *out);
  return error == std::errc() && end == s.data() + s.size() && std::isfinite(*out);
}

template <size_t N>
bool one_of(const std::string_view (&list)[N], std::string_view s) {
  return std::find(std::begin(list), std::end(list), s) != std::end(list);
}

Parameter parameter_of(std::string_view name, std::string_view value) {
  Parameter p;
  p.name = name;
  p.text = value;
  int64_t whole = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), whole);
  if (error == std::errc() && end == value.data() + value.size()) {
    p.kind = Parameter::Kind::kInteger;
    p.integer = whole;
    p.number = static_cast<double>(whole);
  } else if (to_number(value, &p.number)) {
    p.kind = Parameter::Kind::kNumber;
  } else if (value == "true" || value == "false") {
    p.kind = Parameter::Kind::kBoolean;
    p.flag = value == "true";
  }
  return p;
}

void set_parameter(TenantSpec& t, Parameter p) {
  std::erase_if(t.parameters, [&](const Parameter& o) { return o.name == p.name; });
  t.parameters.push_back(std::move(p));
}

Status set(TenantSpec& t, const ArrivalSpec& common, const std::string& key, const std::string& value, bool* own) {
  double v = 0;
  const bool number = to_number(value, &v);
  auto wrong = [&](const char* what) { return invalid_argument("tenant " + t.name + ": " + key + " '" + value.substr(0, 60) + "' must be " + what); };
  auto arrive = [&]() -> ArrivalSpec& {
    if (!*own) t.arrivals = common;
    *own = true;
    return t.arrivals;
  };
  if (key == "name") {
    if (!valid_name(value)) return wrong("a name of letters, digits, '.', '_' and '-'");
    t.name = value;
  } else if (key == "model") {
    t.model = value;
  } else if (key == "version") {
    t.version = value;
  } else if (key == "token_file") {
    t.token_file = value;
  } else if (key == "share") {
    if (!number || v <= 0 || v > 1e6) return wrong("a number above 0");
    t.share = v;
  } else if (key == "batch") {
    if (!number || v < 1 || v > 65536 || v != std::floor(v)) return wrong("a whole number of samples");
    t.batch = static_cast<int64_t>(v);
  } else if (key == "deadline_ms") {
    if (!number || v < 0 || v > 3.6e6) return wrong("milliseconds, 0 for none");
    t.deadline_ms = v;
  } else if (key == "rate") {
    if (!number || v <= 0) return wrong("requests a second, above 0");
    ArrivalSpec& a = arrive();
    a.rate = v;
    if (a.kind == ArrivalKind::kClosed) a.kind = a.trace ? ArrivalKind::kReplay : ArrivalKind::kPoisson;
  } else if (key == "in_flight") {
    if (!number || v < 1 || v > 65536 || v != std::floor(v)) return wrong("a whole number from 1 to 65536");
    ArrivalSpec& a = arrive();
    a.kind = ArrivalKind::kClosed;
    a.in_flight = static_cast<int>(v);
  } else if (key == "arrivals") {
    const auto kind = arrival_from_name(value);
    if (!kind.ok()) return kind.status().prefixed("tenant " + t.name);
    arrive().kind = *kind;
  } else if (key == "burst_factor" || key == "burst_seconds" || key == "pause_seconds") {
    if (!number || v <= 0) return wrong("a number above 0");
    ArrivalSpec& a = arrive();
    (key == "burst_factor" ? a.burst_factor : key == "burst_seconds" ? a.burst_seconds : a.pause_seconds) = v;
  } else if (one_of(kNumbers, key)) {
    if (!number) return wrong("a number");
    Parameter p = parameter_of("verge." + key, value);
    p.kind = Parameter::Kind::kNumber;
    set_parameter(t, std::move(p));
  } else if (one_of(kTexts, key)) {
    Parameter p = parameter_of("verge." + key, value);
    p.kind = Parameter::Kind::kString;
    set_parameter(t, std::move(p));
  } else if (key == "priority") {
    if (!number || v < 0 || v != std::floor(v)) return wrong("a whole number");
    set_parameter(t, parameter_of(key, value));
  } else if (key.find('.') != std::string::npos && key.size() <= 128) {
    set_parameter(t, parameter_of(key, value));
  } else {
    return invalid_argument("tenant " + t.name + ": unknown key '" + key.substr(0, 60) + "'; there are " + kTenantKeys);
  }
  return {};
}

}  // namespace

const char* const kTenantKeys =
    "name, model, version, share, rate, in_flight, arrivals, burst_factor, burst_seconds, pause_seconds, batch, deadline_ms, min_accuracy, max_energy_mj, "
    "objective, rule, confidence, max_accuracy_loss, exit, conditions, variant, priority, token_file; and request parameters, whose names have a dot";

Json Parameter::json() const {
  switch (kind) {
    case Kind::kString: return text;
    case Kind::kInteger: return integer;
    case Kind::kNumber: return number;
    case Kind::kBoolean: return flag;
  }
  return {};
}

const Parameter* TenantSpec::parameter(std::string_view wanted) const {
  for (const Parameter& p : parameters)
    if (p.name == wanted) return &p;
  return nullptr;
}

Result<TenantSpec> parse_tenant(std::string_view text, const TenantSpec& base, const ArrivalSpec& common) {
  TenantSpec t = base;
  while (!text.empty()) {
    const size_t comma = text.find(',');
    const std::string_view part = text.substr(0, comma);
    text.remove_prefix(comma == std::string_view::npos ? text.size() : comma + 1);
    const size_t equals = part.find('=');
    if (equals == 0 || equals == std::string_view::npos) return invalid_argument("tenant: '" + std::string(part.substr(0, 60)) + "' must be KEY=VALUE");
    VERGE_RETURN_IF_ERROR(set(t, common, std::string(part.substr(0, equals)), std::string(part.substr(equals + 1)), &t.own_arrivals));
  }
  return t;
}

Result<std::vector<TenantSpec>> parse_plan_file(std::string_view yaml, const std::string& file, const TenantSpec& base, const ArrivalSpec& common) {
  VERGE_ASSIGN(const YamlNode root, parse_yaml(yaml, file));
  const YamlNode* list = root.find("tenants");
  if (!list || list->kind != YamlNode::Kind::kList || list->items.empty()) return invalid_argument(file + ": wants a list `tenants:` of maps");
  std::vector<TenantSpec> out;
  for (const YamlNode& item : list->items) {
    const std::string where = file + ":" + std::to_string(item.line);
    if (item.kind != YamlNode::Kind::kMap) return invalid_argument(where + ": a tenant is a map of keys and values");
    TenantSpec t = base;
    for (const YamlField& f : item.fields) {
      if (f.value.kind != YamlNode::Kind::kScalar) return invalid_argument(where + ": " + f.key + " must be one value");
      if (const Status s = set(t, common, f.key, f.value.text, &t.own_arrivals); !s.ok()) return s.prefixed(where);
    }
    out.push_back(std::move(t));
  }
  return out;
}

Status check_plan(const Plan& p) {
  if (p.tenants.empty()) return invalid_argument("there must be a tenant");
  if (p.tenants.size() > kMostTenants) return invalid_argument("more than " + std::to_string(kMostTenants) + " tenants");
  if (!(p.seconds > 0 && p.seconds <= kMostSeconds) || !(p.warm_up >= 0 && p.warm_up <= kMostSeconds)) return invalid_argument("seconds: must be above 0 and at most a week");
  bool shared = false;
  for (const TenantSpec& t : p.tenants) {
    for (const TenantSpec& o : p.tenants)
      if (&o != &t && o.name == t.name) return invalid_argument("two tenants are called '" + t.name + "'");
    if (t.own_arrivals) VERGE_RETURN_IF_ERROR(check_arrivals(t.arrivals).prefixed("tenant " + t.name));
    else shared = true;
  }
  if (shared) VERGE_RETURN_IF_ERROR(check_arrivals(p.arrivals));
  return {};
}

Json tenant_json(const TenantSpec& t) {
  Json j = {{"name", t.name}, {"model", t.model}};
  if (!t.version.empty()) j["version"] = t.version;
  if (t.own_arrivals) j["arrivals"] = t.arrivals.text();
  else j["share"] = t.share;
  if (t.batch != 1) j["batch"] = t.batch;
  if (t.deadline_ms > 0) j["deadline_ms"] = t.deadline_ms;
  for (const Parameter& p : t.parameters) j["parameters"][p.name] = p.json();
  return j;
}

Json plan_json(const Plan& p) {
  Json j = {{"arrivals", p.arrivals.text()}, {"seconds", p.seconds}, {"warm_up_seconds", p.warm_up}, {"seed", p.seed}};
  if (p.requests) j["requests"] = p.requests;
  if (p.arrivals.kind == ArrivalKind::kClosed) j["in_flight"] = p.arrivals.in_flight;
  if (!p.trace_file.empty()) j["trace"] = p.trace_file;
  return j;
}

std::vector<Source> make_sources(const Plan& p) {
  std::vector<Source> out;
  std::vector<uint32_t> shared;
  std::vector<double> weights;
  for (uint32_t i = 0; i < p.tenants.size(); ++i) {
    if (p.tenants[i].own_arrivals) continue;
    shared.push_back(i);
    weights.push_back(p.tenants[i].share);
  }
  if (!shared.empty()) out.emplace_back(p.arrivals, shared, weights, p.seed);
  for (uint32_t i = 0; i < p.tenants.size(); ++i)
    if (p.tenants[i].own_arrivals) out.emplace_back(p.tenants[i].arrivals, std::vector<uint32_t>{i}, std::vector<double>{1.0}, p.seed + 1000003 * (i + 1));
  return out;
}

std::vector<int> closed_loops(const Plan& p) {
  std::vector<int> out;
  auto of = [](const ArrivalSpec& a) { return a.kind == ArrivalKind::kClosed ? a.in_flight : 0; };
  if (std::any_of(p.tenants.begin(), p.tenants.end(), [](const TenantSpec& t) { return !t.own_arrivals; })) out.push_back(of(p.arrivals));
  for (const TenantSpec& t : p.tenants)
    if (t.own_arrivals) out.push_back(of(t.arrivals));
  return out;
}

}  // namespace verge::bench
