// Structured lines on standard error: an event's name and its fields, as text or JSON.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "core/json.h"
#include "core/status.h"
#include "runtime/runtime.h"

namespace verge::serve {

class Log {
 public:
  // `level` and `format` as in the configuration.
  Log(const std::string& level, const std::string& format);
  ~Log();

  // Any thread.
  void set_level(const std::string& level);
  void write(runtime::LogLevel level, std::string_view event, const Json& fields = Json::object()) const;
  void info(std::string_view event, const Json& fields = Json::object()) const { write(runtime::LogLevel::kInfo, event, fields); }
  void warning(std::string_view event, const Json& fields = Json::object()) const { write(runtime::LogLevel::kWarning, event, fields); }
  void error(std::string_view event, const Json& fields = Json::object()) const { write(runtime::LogLevel::kError, event, fields); }
  // A line, or several, that are JSON already, whatever level and format say.
  void raw(std::string_view line) const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

// The line without its newline. `when` is RFC 3339.
std::string format_line(bool json, std::string_view when, runtime::LogLevel level, std::string_view event, const Json& fields);

}  // namespace verge::serve
