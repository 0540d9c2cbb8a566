// `verge serve`: a zoo, a package or a model file, answered over gRPC and REST until SIGTERM or SIGINT.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace verge::serve {

// What stands on the command line. Unset fields leave what the configuration file says, or the default.
struct ServeOptions {
  std::string path;    // zoo, package (ZOO/NAME or ZOO/NAME/VERSION), or a bare model; empty: `zoo` of the configuration
  std::string config;  // YAML file, see docs/configuration.md
  std::optional<std::string> listen;      // HOST:PORT
  std::optional<int64_t> fronts;          // front threads
  std::optional<int64_t> lanes;           // lanes; 0: the fronts run the models
  std::optional<std::string> cores;       // "0-3,6": the cores to use
  std::optional<std::string> memory;      // "2GiB": limit on resident memory
  std::optional<std::string> state_dir;
  std::optional<std::string> cache_dir;
  std::optional<std::string> log_level;   // debug, info, warning, error
  std::optional<std::string> log_format;  // text, json
  std::optional<bool> access_log;
};

// Returns the process's exit code: 0 after a graceful stop, 2 for a bad configuration or path, 3 where something is missing (port, engine).
int serve_main(const ServeOptions& options);

// JSON Schema of the configuration file.
std::string config_schema_json();

}  // namespace verge::serve
