#include "serve/serve.h"

#include <poll.h>
#include <unistd.h>

#include <cstdio>
#include <iostream>

#include "core/version.h"
#include "net/server.h"
#include "os/files.h"
#include "os/process.h"
#include "serve/certificate_watch.h"
#include "serve/config.h"
#include "serve/config_security.h"
#include "serve/log.h"
#include "serve/sources.h"

namespace verge::serve {
namespace {

constexpr int kExitUsage = 2;
constexpr int kExitEnvironment = 3;

int exit_code_of(const Status& s) {
  return s.code() == Code::kInvalidArgument || s.code() == Code::kNotFound ? kExitUsage : kExitEnvironment;
}

int refuse(const Status& s) {
  std::fprintf(stderr, "verge serve: %s\n", s.message().c_str());
  return exit_code_of(s);
}

net::ServerOptions net_options(const Config& config, const Placement& placement, const Log& log) {
  net::ServerOptions o;
  o.listeners = listeners_of(config);
  o.tls = config.tls;
  o.auth = auth_of(config);
  o.tenants = tenant_names(config);
  o.fronts = static_cast<int>(placement.fronts);
  o.front_cores = placement.front_cores;
  o.version = std::string(kVersion);
  o.max_connections = static_cast<int>(config.max_connections);
  o.max_message_bytes = config.max_message;
  o.receive_budget_bytes = config.receive_budget;
  o.drain_timeout_s = config.drain_timeout_s;
  if (config.access_log) {
    o.access_log = [&log](const net::AccessRecord& record) {
      std::string line;
      net::print_access_record(record, &line);
      if (!line.empty() && line.back() == '\n') line.pop_back();
      log.raw(line);
    };
  }
  return o;
}

runtime::RuntimeOptions runtime_options(const Config& config, const Placement& placement, const Environment& env) {
  runtime::RuntimeOptions o;
  o.catalog = env.catalog;
  o.fronts = placement.fronts;
  o.lanes = placement.lanes;
  o.threads = static_cast<int>(config.threads);
  o.queue_limit = static_cast<uint32_t>(config.queue_limit);
  o.tenants = config.tenants;
  o.memory_limit = config.memory;
  o.log = [log = env.log](runtime::LogLevel level, std::string_view event, Json fields) { log->write(level, event, fields); };
  return o;
}

// Opens everything found and gives it to the runtime: first what this device has a profile of, then what has to be measured. False where a
// signal came first.
bool open_all(const Environment& env, const std::vector<Found>& found, runtime::ServerRuntime& runtime, std::vector<std::shared_ptr<runtime::ModelSource>>& sources) {
  sources.resize(found.size());
  for (const bool may_measure : {false, true}) {
    for (size_t i = 0; i < found.size(); ++i) {
      if (os::interrupted()) return false;
      if (sources[i] != nullptr) continue;
      sources[i] = open_source(env, found[i], may_measure);
      if (sources[i] != nullptr) runtime.serve(sources[i]);
    }
  }
  runtime.settle();
  return !os::interrupted();
}

Json ready_event(const net::Server& server, const std::vector<net::ListenOptions>& listeners, const std::vector<std::shared_ptr<runtime::ModelSource>>& sources, const std::vector<runtime::VariantReport>& variants) {
  Json models = Json::array();
  for (const auto& s : sources) {
    Json m = {{"name", s->name}, {"version", s->version}};
    if (!s->broken.ok()) {
      m["reason"] = s->broken.message();
    } else if (s->default_variant.empty()) {
      m["reason"] = s->no_default;
    } else {
      m["variant"] = s->default_variant;
      for (const auto& v : variants) {
        if (v.model == s->name && v.version == s->version && v.variant == s->default_variant && !v.error.empty()) m["reason"] = v.error;
      }
    }
    models.push_back(std::move(m));
  }
  Json listening = Json::array();
  const std::vector<std::string> addresses = server.addresses();
  for (size_t i = 0; i < listeners.size(); ++i)
    listening.push_back({{"address", addresses[i]}, {"role", net::role_name(listeners[i].role)}, {"tls", listeners[i].tls}});
  return {{"event", "ready"}, {"address", server.address()}, {"listeners", std::move(listening)}, {"pid", ::getpid()}, {"models", std::move(models)}};
}

// Certificates that are replaced come into use by themselves. Nothing where there is no TLS.
std::unique_ptr<CertificateWatch> watch_certificates(const Config& config, net::Server& server, const Log& log) {
  if (config.tls.certificate.empty()) return nullptr;
  std::vector<std::string> files = {config.tls.certificate, config.tls.key};
  if (!config.tls.client_ca.empty()) files.push_back(config.tls.client_ca);
  auto watch = CertificateWatch::start(files, [&server, &log] {
    if (Status s = server.reload_tls(); !s.ok())
      log.warning("certificates_kept", {{"reason", s.message()}});
    else
      log.info("certificates_loaded", {{"valid_until", server.tls_valid_until()}});
  });
  if (watch.ok()) return std::move(watch).value();
  log.warning("certificates_not_watched", {{"reason", watch.status().message()}});
  return nullptr;
}

void wait_for_signal() {
  pollfd fd{os::interrupt_fd(), POLLIN, 0};
  while (!os::interrupted()) ::poll(&fd, 1, -1);
}

int run(const Config& config) {
  Log log(config.log_level, config.log_format);
  Environment env;
  env.config = config;
  env.log = &log;
  auto found = find_models(config.zoo);
  if (!found.ok()) return refuse(found.status());
  auto placement = place(config, os::usable_cores());
  if (!placement.ok()) return refuse(placement.status());
  auto catalog = engine::Catalog::scan(os::install().plugin_dir);
  if (!catalog.ok()) return refuse(catalog.status());
  env.catalog = std::move(catalog).value();
  env.device = os::this_device();
  if (!config.state_dir.empty()) {
    env.worker_log_dir = os::join(config.state_dir, "logs");
    if (Status s = os::make_dirs(env.worker_log_dir); !s.ok()) {
      log.warning("no_state_dir", {{"reason", s.message()}});
      env.worker_log_dir.clear();
    }
  }

  auto runtime = runtime::make_runtime(runtime_options(config, *placement, env));
  if (!runtime.ok()) return refuse(runtime.status());
  (*runtime)->set_preparing(true);
  auto server = net::Server::start(net_options(config, *placement, log), **runtime);
  if (!server.ok()) return refuse(server.status());
  for (const net::ListenOptions& l : listeners_of(config)) {
    const bool open = !l.tls && !l.address.starts_with("unix:") && l.address != "localhost" && l.address != "::1" && !l.address.starts_with("127.");
    if (config.auth && open) log.warning("tokens_without_tls", {{"address", l.address}});
  }
  auto certificates = watch_certificates(config, **server, log);
  log.info("listening", {{"address", (*server)->address()},
                         {"fronts", placement->fronts},
                         {"lanes", placement->lanes.size()},
                         {"memory_limit", config.memory},
                         {"version", kVersion}});

  std::vector<std::shared_ptr<runtime::ModelSource>> sources;
  const bool complete = open_all(env, *found, **runtime, sources);
  // A server of one bare model that cannot be served is of no use; one of a zoo serves the rest.
  const bool hopeless = complete && sources.size() == 1 && !found->front().model_path.empty() && !sources.front()->broken.ok();
  if (complete && !hopeless) {
    (*runtime)->set_preparing(false);
    std::cout << ready_event(**server, listeners_of(config), sources, (*runtime)->variants()).dump(-1, ' ', false, Json::error_handler_t::replace) << std::endl;
    log.info("ready", {{"models", sources.size()}, {"resident_bytes", os::resident_bytes()}});
    wait_for_signal();
    log.info("stopping", {{"drain_seconds", config.drain_timeout_s}});
  }
  certificates.reset();
  (*server)->begin_stop([] {});
  (*server)->join();
  server->reset();
  runtime->reset();
  if (hopeless) return refuse(sources.front()->broken);
  log.info("stopped");
  return 0;
}

}  // namespace

int serve_main(const ServeOptions& options) {
  auto config = load_config(options);
  if (!config.ok()) return refuse(config.status());
  os::catch_interrupt();
  return run(*config);
}

}  // namespace verge::serve
