// Bounded JSON: parsing of outside text with limits on size and depth, and typed access whose errors name the field.
#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"

namespace verge {

using Json = nlohmann::ordered_json;

// Parses `text`; `what` names it in errors. Depth is bounded by 64.
Result<Json> parse_json(std::string_view text, std::string_view what, size_t max_bytes = size_t{64} << 20);

// Two-space indentation and a newline at the end: the form of every JSON file Verge writes.
std::string print_json(const Json& j);

// Reads typed fields of one object and remembers the first error, so that a reader is a list of get() calls and one status().
// Unknown fields are ignored: a newer writer may add some.
class JsonReader {
 public:
  JsonReader(const Json& object, std::string where);

  // Required fields: the value, or a default and an error.
  std::string str(const char* key);
  int64_t integer(const char* key);
  double number(const char* key);
  bool boolean(const char* key);
  const Json& object(const char* key);
  const Json& array(const char* key);
  // Optional ones.
  std::string str(const char* key, std::string fallback);
  int64_t integer(const char* key, int64_t fallback);
  double number(const char* key, double fallback);
  bool boolean(const char* key, bool fallback);
  bool has(const char* key) const;  // present and not null
  const Json* find(const char* key) const;  // nullptr if absent or null
  std::vector<std::string> strings(const char* key);  // optional; empty if absent

  void fail(const std::string& what);  // records an error unless there is one
  const Status& status() const { return status_; }
  const std::string& where() const { return where_; }

 private:
  const Json* get(const char* key, bool required);
  const Json& json_;
  std::string where_;
  Status status_;
};

}  // namespace verge
