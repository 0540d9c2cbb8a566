#include "serve/log.h"

#include <atomic>

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include "os/process.h"

namespace verge::serve {
namespace {

const char* level_name(runtime::LogLevel level) {
  switch (level) {
    case runtime::LogLevel::kDebug: return "debug";
    case runtime::LogLevel::kInfo: return "info";
    case runtime::LogLevel::kWarning: return "warning";
    case runtime::LogLevel::kError: return "error";
  }
  return "info";
}

// Text from outside must not end the line or steer a terminal.
std::string printable(const std::string& text) {
  std::string out;
  for (const char c : text) {
    const unsigned char u = static_cast<unsigned char>(c);
    out += u < 0x20 || u == 0x7f ? ' ' : c;
  }
  return out;
}

}  // namespace

std::string format_line(bool json, std::string_view when, runtime::LogLevel level, std::string_view event, const Json& fields) {
  if (json) {
    Json line = {{"time", when}, {"level", level_name(level)}, {"event", event}};
    line.update(fields);
    return line.dump(-1, ' ', false, Json::error_handler_t::replace);
  }
  std::string line(when);
  line.append(" ").append(level_name(level)).append(" ").append(event);
  for (const auto& [key, value] : fields.items()) {
    line.append(" ").append(key).append("=");
    line += value.is_string() ? printable(value.get<std::string>()) : value.dump(-1, ' ', false, Json::error_handler_t::replace);
  }
  return line;
}

class Log::Impl {
 public:
  Impl(const std::string& level, const std::string& format) : json(format == "json"), sink("verge", std::make_shared<spdlog::sinks::stderr_sink_mt>()) {
    set_level(level);
    sink.set_pattern("%v");
    sink.set_level(spdlog::level::trace);
    sink.flush_on(spdlog::level::trace);
  }
  void set_level(const std::string& level) {
    for (const auto l : {runtime::LogLevel::kDebug, runtime::LogLevel::kInfo, runtime::LogLevel::kWarning, runtime::LogLevel::kError}) {
      if (level == level_name(l)) least.store(l, std::memory_order_relaxed);
    }
  }
  const bool json;
  std::atomic<runtime::LogLevel> least{runtime::LogLevel::kInfo};
  spdlog::logger sink;
};

Log::Log(const std::string& level, const std::string& format) : impl_(std::make_unique<Impl>(level, format)) {}
Log::~Log() = default;

void Log::set_level(const std::string& level) { impl_->set_level(level); }

void Log::write(runtime::LogLevel level, std::string_view event, const Json& fields) const {
  if (level < impl_->least.load(std::memory_order_relaxed)) return;
  impl_->sink.log(spdlog::level::info, "{}", format_line(impl_->json, os::utc_now(), level, event, fields));
}

void Log::raw(std::string_view line) const { impl_->sink.log(spdlog::level::info, "{}", line); }

}  // namespace verge::serve
