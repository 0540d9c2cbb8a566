#include "serve/config.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <functional>

#include "core/json.h"
#include "core/manifest.h"
#include "core/yaml.h"
#include "os/files.h"
#include "serve/config_models.h"
#include "serve/config_security.h"

namespace verge::serve {
namespace {

using Kind = YamlNode::Kind;
using Setter = std::function<Status(Config&, const YamlNode&)>;

struct Field {
  const char* path;  // "log.level"
  Json schema;       // type, range, and "description" with unit and default
  Setter set;
};

Status wrong(const std::string& what) { return invalid_argument(what); }

Setter integer(int64_t Config::*member, int64_t least, int64_t most) {
  return [=](Config& c, const YamlNode& n) {
    int64_t v = 0;
    if (!yaml_integer(n, v) || v < least || v > most) {
      return wrong("a whole number from " + std::to_string(least) + " to " + std::to_string(most) + " is expected");
    }
    c.*member = v;
    return Status();
  };
}

Setter text(std::string Config::*member, std::vector<std::string> allowed = {}) {
  return [=](Config& c, const YamlNode& n) {
    if (n.kind != Kind::kScalar || n.text.empty()) return wrong("a text is expected");
    if (!allowed.empty() && std::find(allowed.begin(), allowed.end(), n.text) == allowed.end()) {
      std::string all;
      for (const auto& a : allowed) all += (all.empty() ? "" : ", ") + a;
      return wrong("'" + n.text + "' is none of " + all);
    }
    c.*member = n.text;
    return Status();
  };
}

Setter bytes(uint64_t Config::*member) {
  return [=](Config& c, const YamlNode& n) {
    if (n.kind != Kind::kScalar) return wrong("a size such as 512MiB is expected");
    VERGE_ASSIGN(c.*member, parse_bytes(n.text));
    return Status();
  };
}

Json described(const char* type, const char* description) { return Json{{"type", type}, {"description", description}}; }

Json ranged(const char* description, int64_t least, int64_t most) {
  Json j = described("integer", description);
  j["minimum"] = least;
  j["maximum"] = most;
  return j;
}

Json one_of(std::vector<std::string> values, const char* description) { return Json{{"enum", std::move(values)}, {"description", description}}; }

Json size(const char* description) { return Json{{"type", Json::array({"string", "integer"})}, {"description", description}}; }

Json watts(const char* description) { return Json{{"type", "number"}, {"minimum", 0}, {"maximum", 100'000}, {"description", description}}; }

Status read_watts(const YamlNode& n, double* out) {
  return yaml_number(n, *out) && *out >= 0 && *out <= 100'000 ? Status() : wrong("watts from 0 to 100000 are expected");
}

const std::vector<Field>& fields() {
  static const std::vector<Field> table = {
      {"zoo", described("string", "folder of packages, a package, or a model file; relative to this file"), text(&Config::zoo)},
      {"listen", described("string", "HOST:PORT or unix:/path; port 0 takes a free one; default 127.0.0.1:8000"),
       [](Config& c, const YamlNode& n) {
         if (n.kind != Kind::kScalar) return wrong("HOST:PORT is expected");
         c.has_listen = true;
         return parse_listen(n.text, c.listen.address, c.listen.port);
       }},
      {"server_name", described("string", "what server metadata tells as the server's name; default verge"), text(&Config::server_name)},
      {"fronts", ranged("threads that serve connections; default: one for every eight cores", 1, 64), integer(&Config::fronts, 1, 64)},
      {"lanes", ranged("lanes that run models, the cores dealt out among them; 0: the fronts run them; default: one a core unless the profiles say that fewer are better, 0 on a single core", 0, 256),
       integer(&Config::lanes, 0, 256)},
      {"threads", threads_schema("threads of one engine instance, at most the cores of its lane; 0: one for each of them; default auto: chosen for each variant from its profile"),
       [](Config& c, const YamlNode& n) { return read_threads(n, c.threads); }},
      {"cores", Json{{"type", Json::array({"string", "integer"})}, {"description", "the cores to use, such as 0-3,6; default: those of the process"}},
       [](Config& c, const YamlNode& n) {
         if (n.kind != Kind::kScalar) return wrong("cores such as 0-3,6 are expected");
         VERGE_ASSIGN(c.cores, parse_cores(n.text));
         return Status();
       }},
      {"memory", size("limit on the resident memory of the server and its variants, such as 2GiB; default: none"), bytes(&Config::memory)},
      {"queue_limit", ranged("requests that may wait for a lane, and for variants to be loaded; default 4096", 1, 1 << 20),
       integer(&Config::queue_limit, 1, 1 << 20)},
      {"state_dir", described("string", "where profiles measured by the server are kept; default $XDG_STATE_HOME/verge or ~/.local/state/verge"),
       text(&Config::state_dir)},
      {"cache_dir", described("string", "where engines keep compiled models; default $XDG_CACHE_HOME/verge or ~/.cache/verge"), text(&Config::cache_dir)},
      {"log.level", one_of({"debug", "info", "warning", "error"}, "default info"),
       text(&Config::log_level, {"debug", "info", "warning", "error"})},
      {"log.format", one_of({"text", "json"}, "default text"), text(&Config::log_format, {"text", "json"})},
      {"log.access", described("boolean", "one JSON line a request on standard error; default false"),
       [](Config& c, const YamlNode& n) { return yaml_boolean(n, c.access_log) ? Status() : wrong("true or false is expected"); }},
      {"shared_memory", described("boolean", "whether clients may pass tensors in shared memory objects of this machine; default false"),
       [](Config& c, const YamlNode& n) { return yaml_boolean(n, c.shared_memory) ? Status() : wrong("true or false is expected"); }},
      {"limits.connections", ranged("open connections; default 10000", 1, 1'000'000), integer(&Config::max_connections, 1, 1'000'000)},
      {"limits.connections_per_peer", ranged("open connections of one address (IPv6: of one /64), not over Unix sockets; 0, the default: no limit", 0, 1'000'000),
       integer(&Config::max_peer_connections, 0, 1'000'000)},
      {"limits.message", size("largest request message; default 512MiB"), bytes(&Config::max_message)},
      {"limits.receive_budget", size("memory for all requests being received or waiting; default 640MiB"), bytes(&Config::receive_budget)},
      {"limits.drain_seconds", described("number", "after a stop signal, connections are closed at the latest after this time; default 30"),
       [](Config& c, const YamlNode& n) {
         return yaml_number(n, c.drain_timeout_s) && c.drain_timeout_s >= 0 && c.drain_timeout_s <= 86'400 ? Status() : wrong("seconds from 0 to 86400 are expected");
       }},
      {"energy.meter", one_of({"auto", "rapl", "hwmon", "nvml", "model"}, "what counts energy; default auto: rapl or hwmon, where one can be read, else the model"),
       text(&Config::energy_meter, {"auto", "rapl", "hwmon", "nvml", "model"})},
      {"energy.idle_watts", watts("of the model: the machine, whatever it does"), [](Config& c, const YamlNode& n) { return read_watts(n, &c.energy_model.idle_watts); }},
      {"energy.active_watts_per_core", watts("of the model: on top of that, a core that works"),
       [](Config& c, const YamlNode& n) { return read_watts(n, &c.energy_model.active_watts_per_core); }},
      {"assist.model", described("string", "the model that extended_inference.ExtendedInferenceService asks where a call names none; default: the only one"),
       text(&Config::assist_model)},
  };
  return table;
}

std::string at(const std::string& file, const YamlNode& node, const std::string& field) { return file + ":" + std::to_string(node.line) + ": " + field; }

std::vector<const Section*> sections() {
  std::vector<const Section*> all;
  for (const auto part : {security_sections(), model_sections()}) {
    for (const Section& s : part) all.push_back(&s);
  }
  return all;
}

std::string known(const std::string& prefix) {
  std::string all;
  for (const Field& f : fields()) {
    const std::string path = f.path;
    if (!path.starts_with(prefix)) continue;
    const std::string name = path.substr(prefix.size(), path.find('.', prefix.size()) - prefix.size());
    if (all.find(name + ",") == std::string::npos) all += name + ", ";
  }
  if (prefix.empty()) {
    for (const Section* s : sections()) all.append(s->name).append(", ");
  }
  return all.substr(0, all.size() - 2);
}

Status read_fields(Config& config, const YamlNode& node, const std::string& prefix, const std::string& file) {
  for (const auto& [key, value] : node.fields) {
    const std::string path = prefix + key;
    const auto all = sections();
    const auto section = std::find_if(all.begin(), all.end(), [&](const Section* s) { return path == s->name; });
    if (section != all.end()) {
      VERGE_RETURN_IF_ERROR((*section)->read(config, value, file));
      continue;
    }
    const auto field = std::find_if(fields().begin(), fields().end(), [&](const Field& f) { return path == f.path; });
    if (field != fields().end()) {
      if (Status s = field->set(config, value); !s.ok()) return s.prefixed(at(file, value, path));
      continue;
    }
    const bool group = prefix.empty() && (key == "log" || key == "limits" || key == "energy" || key == "assist");
    if (!group) return wrong("unknown field; known are " + known(prefix)).prefixed(at(file, value, path));
    if (value.kind != Kind::kMap) return wrong("a map is expected, with " + known(path + ".")).prefixed(at(file, value, path));
    VERGE_RETURN_IF_ERROR(read_fields(config, value, path + ".", file));
  }
  return {};
}

void remember(const YamlNode& node, const std::string& path, std::map<std::string, std::string>& given) {
  if (node.kind != Kind::kMap) {
    given[path] = yaml_to_json(node).dump(-1, ' ', false, Json::error_handler_t::replace);  // a text may be no UTF-8
    return;
  }
  for (const auto& [key, value] : node.fields) remember(value, path.empty() ? key : path + "." + key, given);
}

std::string under_home(const char* variable, const char* fallback) {
  if (const char* base = std::getenv(variable); base != nullptr && base[0] == '/') return os::join(base, "verge");
  if (const char* home = std::getenv("HOME"); home != nullptr && home[0] == '/') return os::join(os::join(home, fallback), "verge");
  return "";
}

std::string relative_to(const std::string& dir, const std::string& path) { return path.empty() || path[0] == '/' ? path : os::join(dir, path); }

}  // namespace

bool changes_while_running(const std::string& field, const Config& config) {
  for (const runtime::TenantOptions& t : config.tenants)
    if (const std::string bounds = "tenants." + t.name + ".bounds"; field == bounds || field.starts_with(bounds + ".")) return true;
  return field.starts_with("models.") || field == "versions" || field == "log.level";
}

Result<uint64_t> parse_bytes(std::string_view given) {
  static constexpr std::pair<std::string_view, uint64_t> kUnits[] = {
      {"KiB", 1ull << 10}, {"MiB", 1ull << 20}, {"GiB", 1ull << 30}, {"TiB", 1ull << 40}, {"KB", 1000}, {"MB", 1000'000}, {"GB", 1000'000'000},
      {"K", 1ull << 10},   {"M", 1ull << 20},   {"G", 1ull << 30},   {"B", 1},            {"", 1}};
  uint64_t n = 0;
  const auto [end, error] = std::from_chars(given.data(), given.data() + given.size(), n);
  std::string_view unit(end, static_cast<size_t>(given.data() + given.size() - end));
  while (!unit.empty() && unit.front() == ' ') unit.remove_prefix(1);
  if (error == std::errc() && end != given.data()) {
    for (const auto& [name, factor] : kUnits) {
      if (name == unit && n <= (uint64_t{1} << 60) / factor) return n * factor;
    }
  }
  return invalid_argument("'" + std::string(given.substr(0, 64)) + "' is no size; write 512MiB, 2GiB or a number of bytes");
}

Result<std::vector<int>> parse_cores(std::string_view given) {
  const Status bad = invalid_argument("'" + std::string(given.substr(0, 64)) + "' names no cores; write 0-3,6");
  std::vector<int> out;
  const char* p = given.data();
  const char* const end = p + given.size();
  while (true) {
    int first = 0, last = 0;
    auto r = std::from_chars(p, end, first);
    if (r.ec != std::errc() || first < 0) return bad;
    last = first;
    p = r.ptr;
    if (p != end && *p == '-') {
      r = std::from_chars(p + 1, end, last);
      if (r.ec != std::errc()) return bad;
      p = r.ptr;
    }
    if (last < first || last > 4095) return bad;
    for (int c = first; c <= last; ++c) out.push_back(c);
    if (p == end) break;
    if (*p++ != ',') return bad;
  }
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

Status parse_listen(std::string_view given, std::string& address, int& port) {
  if (given.starts_with("unix:")) {
    if (given.size() < 7 || given[5] != '/') return invalid_argument("'" + std::string(given.substr(0, 64)) + "' is no Unix socket; write unix:/absolute/path");
    address = given;
    port = 0;
    return {};
  }
  const Status bad =
      invalid_argument("'" + std::string(given.substr(0, 64)) + "' is no address; write HOST:PORT, such as 127.0.0.1:8000 or [::1]:8000, or unix:/path");
  const size_t colon = given.rfind(':');
  if (colon == std::string_view::npos || colon == 0) return bad;
  std::string_view name = given.substr(0, colon);
  const std::string_view digits = given.substr(colon + 1);
  if (name.front() == '[' && name.back() == ']') {
    name = name.substr(1, name.size() - 2);
  } else if (name.find(':') != std::string_view::npos) {
    return bad;
  }
  int n = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), n);
  if (error != std::errc() || end != digits.data() + digits.size() || n < 0 || n > 65535 || name.empty()) return bad;
  address = name;
  port = n;
  return {};
}

Result<Config> parse_config(std::string_view given, const std::string& file) {
  VERGE_ASSIGN(const YamlNode root, parse_yaml(given, file));
  Config config;
  if (root.kind == Kind::kNull) return config;
  if (root.kind != Kind::kMap) return invalid_argument(file + ":" + std::to_string(root.line) + ": a map of settings is expected");
  VERGE_RETURN_IF_ERROR(read_fields(config, root, "", file));
  remember(root, "", config.given);
  const std::string dir = os::dir_name(file);
  if (Status s = check_security(config); !s.ok()) return s.prefixed(file);
  config.zoo = relative_to(dir, config.zoo);
  config.state_dir = relative_to(dir, config.state_dir);
  config.cache_dir = relative_to(dir, config.cache_dir);
  return config;
}

Result<Config> load_config(const ServeOptions& o) {
  Config c;
  if (!o.config.empty()) {
    VERGE_ASSIGN(const std::string content, os::read_file(o.config, kMaxYamlBytes));
    VERGE_ASSIGN(c, parse_config(content, o.config));
  }
  if (!o.path.empty()) c.zoo = o.path;
  if (c.zoo.empty()) return invalid_argument("nothing to serve: name a zoo, a package or a model file, or set 'zoo' in the configuration");
  if (o.listen) {
    VERGE_RETURN_IF_ERROR(parse_listen(*o.listen, c.listen.address, c.listen.port).prefixed("--listen"));
    c.listeners.clear();
  }
  if (o.fronts) c.fronts = *o.fronts;
  if (o.lanes) c.lanes = *o.lanes;
  if (c.fronts < 0 || c.fronts > 64) return invalid_argument("--fronts: " + std::to_string(c.fronts) + " is not between 1 and 64");
  if (c.lanes < -1 || c.lanes > 256) return invalid_argument("--lanes: " + std::to_string(c.lanes) + " is not between 0 and 256");
  if (o.cores) {
    auto cores = parse_cores(*o.cores);
    if (!cores.ok()) return cores.status().prefixed("--cores");
    c.cores = std::move(cores).value();
  }
  if (o.memory) {
    auto memory = parse_bytes(*o.memory);
    if (!memory.ok()) return memory.status().prefixed("--memory");
    c.memory = *memory;
  }
  if (o.state_dir) c.state_dir = *o.state_dir;
  if (o.cache_dir) c.cache_dir = *o.cache_dir;
  if (o.log_level) c.log_level = *o.log_level;
  if (o.log_format) c.log_format = *o.log_format;
  if (o.access_log) c.access_log = *o.access_log;
  if (c.state_dir.empty()) c.state_dir = under_home("XDG_STATE_HOME", ".local/state");
  if (c.cache_dir.empty()) c.cache_dir = under_home("XDG_CACHE_HOME", ".cache");
  return c;
}

Result<Placement> place(const Config& config, const std::vector<int>& usable, uint32_t planned) {
  std::vector<int> cores = config.cores.empty() ? usable : config.cores;
  for (const int c : cores) {
    if (std::find(usable.begin(), usable.end(), c) == usable.end()) {
      return invalid_argument("cores: core " + std::to_string(c) + " is not one of this process's (taskset, cgroup)");
    }
  }
  Placement p;
  p.fronts = config.fronts > 0 ? static_cast<uint32_t>(config.fronts) : static_cast<uint32_t>(std::max<size_t>(1, cores.size() / 8));
  const size_t most = planned == 0 ? cores.size() : std::min<size_t>(planned, cores.size());
  const size_t lanes = config.lanes >= 0 ? static_cast<size_t>(config.lanes) : (cores.size() <= 1 ? 0 : most);
  if (lanes == 0) {
    if (!config.cores.empty() || cores.size() == 1) p.front_cores = cores;
    return p;
  }
  // Fronts go where there is room: bound only to the set that was asked for, the kernel shares it out.
  if (lanes > cores.size()) {
    return invalid_argument("lanes: " + std::to_string(lanes) + " lanes need as many cores, there are " + std::to_string(cores.size()));
  }
  p.lanes.resize(lanes);
  for (size_t i = 0; i < cores.size(); ++i) p.lanes[i * lanes / cores.size()].push_back(cores[i]);
  return p;
}

std::string config_schema_json() {
  Json properties = Json::object();
  for (const Field& f : fields()) {
    const std::string path = f.path;
    const size_t dot = path.find('.');
    if (dot == std::string::npos) {
      properties[path] = f.schema;
      continue;
    }
    Json& group = properties[path.substr(0, dot)];
    if (group.is_null()) group = Json{{"type", "object"}, {"additionalProperties", false}, {"properties", Json::object()}};
    group["properties"][path.substr(dot + 1)] = f.schema;
  }
  for (const Section* s : sections()) properties[s->name] = s->schema;
  const Json schema = {{"$schema", "https://json-schema.org/draft/2020-12/schema"},
                       {"title", "Configuration of verge serve"},
                       {"type", "object"},
                       {"additionalProperties", false},
                       {"properties", std::move(properties)}};
  return print_json(schema);
}

}  // namespace verge::serve
