// The server's settings: one table of fields gives the parser of the YAML file, its errors and the published schema.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"
#include "net/auth.h"
#include "net/listener.h"
#include "net/tls_options.h"
#include "os/energy.h"
#include "runtime/runtime.h"
#include "serve/serve.h"
#include "serve/versions.h"

namespace verge::serve {

struct ModelConfig {
  std::string default_variant = {};         // empty: the fastest that keeps the accuracy limit
  std::vector<std::string> resident = {};   // loaded from the start, beside the default
  std::optional<VersionPolicy> versions = {};  // else the server's
  bool decoupled = false;                      // answers once an exit, in streams only
  int64_t threads = -1;                        // as the server's; -1: as that says
};

struct TokenConfig {
  net::Token token;
  std::string tenant = "default";
};

struct ListenerConfig {
  net::ListenOptions options;
  bool has_role = false;
};

struct Config {
  std::string zoo;
  std::string server_name = "verge";
  net::ListenOptions listen;              // the simple form
  bool has_listen = false;
  std::vector<ListenerConfig> listeners;  // the long one, which counts where it is not empty
  net::TlsOptions tls;
  bool auth = false;  // whether tokens are asked for
  bool open_health = true;
  std::vector<TokenConfig> tokens;
  std::vector<runtime::TenantOptions> tenants = {{}};  // the first is the default one
  int64_t fronts = 0;       // 0: chosen
  int64_t lanes = -1;       // -1: chosen; 0: the fronts run the models
  int64_t threads = -1;     // of one engine instance; 0: one a core of its lane; -1: chosen from the profile
  std::vector<int> cores;   // empty: those of the process
  uint64_t memory = 0;      // bytes, 0: no limit
  int64_t queue_limit = 4096;
  std::string state_dir, cache_dir;
  std::string log_level = "info";
  std::string log_format = "text";
  bool access_log = false;
  bool shared_memory = false;
  int64_t max_connections = 10'000;
  int64_t max_peer_connections = 0;  // 0: no limit
  uint64_t max_message = uint64_t{512} << 20;
  uint64_t receive_budget = uint64_t{640} << 20;
  double drain_timeout_s = 30;
  std::string energy_meter = "auto";  // "auto", "rapl", "hwmon", "nvml", "model"
  os::EnergyModel energy_model = os::default_energy_model();
  VersionPolicy versions;
  std::string assist_model;  // empty: the only one
  std::map<std::string, ModelConfig> models;
  // Settings of the engines themselves, by engine.
  std::map<std::string, std::map<std::string, std::string>> engines;
  // Every field of the file as it stands there, "limits.message" -> "1GiB": to tell what another reading of it changes.
  std::map<std::string, std::string> given;
};
// Whether a server that was started with `config` takes a change of that field of the file without a new start.
bool changes_while_running(const std::string& field, const Config& config);

// `file` names the text in errors: "FILE:LINE: field: what is wrong". Relative paths are relative to the file's folder.
Result<Config> parse_config(std::string_view text, const std::string& file);

// The file, if there is one, then the command line over it; then what has to hold of the whole.
Result<Config> load_config(const ServeOptions& options);

Status parse_listen(std::string_view text, std::string& address, int& port);  // "HOST:PORT", "[::1]:PORT", "unix:/path" (port 0)
Result<uint64_t> parse_bytes(std::string_view text);                            // "512MiB", "2GB", "1000"
Result<std::vector<int>> parse_cores(std::string_view text);                    // "0-3,6"

// Who runs where.
struct Placement {
  uint32_t fronts = 1;
  std::vector<int> front_cores;          // front i is bound to front_cores[i % size]; empty: anywhere
  std::vector<std::vector<int>> lanes;   // empty: the fronts run the models
};
// One core: it does everything. More: a lane on each, and a front that shares them. `usable`: the process's cores.
// `planned`: how many lanes are to share the cores where the configuration does not say; 0: one a core.
Result<Placement> place(const Config& config, const std::vector<int>& usable, uint32_t planned = 0);

}  // namespace verge::serve
