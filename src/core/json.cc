#include "core/json.h"

namespace verge {
namespace {

constexpr int kMaxDepth = 64;
const Json kEmptyObject = Json::object();
const Json kEmptyArray = Json::array();

}  // namespace

Result<Json> parse_json(std::string_view text, std::string_view what, size_t max_bytes) {
  if (text.size() > max_bytes)
    return invalid_argument(std::string(what) + ": " + std::to_string(text.size()) + " bytes of JSON, at most " +
                            std::to_string(max_bytes) + " are read");
  bool too_deep = false;
  auto guard = [&](int depth, Json::parse_event_t event, Json&) {
    if (depth > kMaxDepth && (event == Json::parse_event_t::object_start || event == Json::parse_event_t::array_start)) {
      too_deep = true;
      return false;
    }
    return true;
  };
  try {
    Json j = Json::parse(text, guard);
    if (too_deep) return invalid_argument(std::string(what) + ": nested deeper than " + std::to_string(kMaxDepth) + " levels");
    return j;
  } catch (const Json::parse_error& e) {
    // The library's own text quotes the input, which may be any bytes.
    return invalid_argument(std::string(what) + ": not valid JSON at byte " + std::to_string(e.byte));
  } catch (const Json::exception& e) {
    return invalid_argument(std::string(what) + ": not valid JSON: " + e.what());
  }
}

std::string print_json(const Json& j) { return j.dump(2, ' ', false, Json::error_handler_t::replace) + "\n"; }

JsonReader::JsonReader(const Json& object, std::string where) : json_(object.is_object() ? object : kEmptyObject), where_(std::move(where)) {
  if (!object.is_object()) fail("must be an object");
}

void JsonReader::fail(const std::string& what) {
  if (status_.ok()) status_ = invalid_argument(where_ + ": " + what);
}

const Json* JsonReader::find(const char* key) const {
  auto it = json_.find(key);
  return it == json_.end() || it->is_null() ? nullptr : &*it;
}

bool JsonReader::has(const char* key) const { return find(key) != nullptr; }

const Json* JsonReader::get(const char* key, bool required) {
  const Json* j = find(key);
  if (!j && required) fail(std::string("field '") + key + "' is missing");
  return j;
}

std::string JsonReader::str(const char* key) {
  const Json* j = get(key, true);
  if (!j) return {};
  if (!j->is_string()) return fail(std::string("field '") + key + "' must be a string"), std::string();
  return j->get<std::string>();
}
int64_t JsonReader::integer(const char* key) {
  const Json* j = get(key, true);
  if (!j) return 0;
  if (!j->is_number_integer() || (j->is_number_unsigned() && j->get<uint64_t>() > INT64_MAX))
    return fail(std::string("field '") + key + "' must be an integer"), 0;
  return j->get<int64_t>();
}
double JsonReader::number(const char* key) {
  const Json* j = get(key, true);
  if (!j) return 0;
  if (!j->is_number()) return fail(std::string("field '") + key + "' must be a number"), 0.0;
  return j->get<double>();
}
bool JsonReader::boolean(const char* key) {
  const Json* j = get(key, true);
  if (!j) return false;
  if (!j->is_boolean()) return fail(std::string("field '") + key + "' must be true or false"), false;
  return j->get<bool>();
}
const Json& JsonReader::object(const char* key) {
  const Json* j = get(key, true);
  if (!j) return kEmptyObject;
  if (!j->is_object()) return fail(std::string("field '") + key + "' must be an object"), kEmptyObject;
  return *j;
}
const Json& JsonReader::array(const char* key) {
  const Json* j = get(key, true);
  if (!j) return kEmptyArray;
  if (!j->is_array()) return fail(std::string("field '") + key + "' must be an array"), kEmptyArray;
  return *j;
}

std::string JsonReader::str(const char* key, std::string fallback) { return has(key) ? str(key) : fallback; }
int64_t JsonReader::integer(const char* key, int64_t fallback) { return has(key) ? integer(key) : fallback; }
double JsonReader::number(const char* key, double fallback) { return has(key) ? number(key) : fallback; }
bool JsonReader::boolean(const char* key, bool fallback) { return has(key) ? boolean(key) : fallback; }

std::vector<std::string> JsonReader::strings(const char* key) {
  std::vector<std::string> out;
  if (!has(key)) return out;
  for (const Json& e : array(key)) {
    if (!e.is_string()) {
      fail(std::string("field '") + key + "' must hold strings");
      break;
    }
    out.push_back(e.get<std::string>());
  }
  return out;
}

}  // namespace verge
