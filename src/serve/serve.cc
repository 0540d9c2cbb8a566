#include "serve/serve.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cstdio>
#include <functional>
#include <iostream>

#include "core/version.h"
#include "net/server.h"
#include "os/energy.h"
#include "os/files.h"
#include "os/process.h"
#include "serve/certificate_watch.h"
#include "serve/config.h"
#include "serve/config_security.h"
#include "serve/lanes.h"
#include "serve/log.h"
#include "serve/repository.h"
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

// For people and the page: how many lanes there are, and why.
Json describe_lanes(const Placement& placement, const std::string& why) {
  size_t cores = 0;
  for (const auto& lane : placement.lanes) cores = cores == 0 ? lane.size() : std::min(cores, lane.size());
  return {{"count", placement.lanes.size()}, {"cores", cores}, {"reason", why}};
}

net::ServerOptions net_options(const Config& config, const Placement& placement, const Json& lanes, const Log& log, runtime::Repository& repository) {
  net::ServerOptions o;
  o.listeners = listeners_of(config);
  o.tls = config.tls;
  o.auth = auth_of(config);
  o.tenants = tenant_names(config);
  o.fronts = static_cast<int>(placement.fronts);
  o.front_cores = placement.front_cores;
  o.name = config.server_name;
  o.version = std::string(kVersion);
  o.max_connections = static_cast<int>(config.max_connections);
  o.max_peer_connections = static_cast<uint32_t>(config.max_peer_connections);
  o.max_message_bytes = config.max_message;
  o.receive_budget_bytes = config.receive_budget;
  o.drain_timeout_s = config.drain_timeout_s;
  o.repository = &repository;
  o.shared_memory = config.shared_memory;
  o.log_level = config.log_level;
  o.assist_model = config.assist_model;
  o.lanes = lanes;
  if (config.access_log) {
    o.access_log = [&log](std::string_view lines) {
      if (lines.ends_with('\n')) lines.remove_suffix(1);
      log.raw(lines);
    };
  }
  return o;
}

// The meter that the configuration wants; nullptr: energy is modelled. An error where it names one that is not here.
Result<std::shared_ptr<os::EnergyMeter>> find_energy_meter(const Config& config, const Log& log) {
  std::shared_ptr<os::EnergyMeter> meter;
  std::string why = "energy.meter is model";
  if (config.energy_meter != "model") {
    auto opened = os::open_energy_meter(config.energy_meter);
    if (!opened.ok() && config.energy_meter != "auto") return opened.status().prefixed("energy.meter: " + config.energy_meter);
    if (opened.ok())
      meter = std::move(opened).value();
    else
      why = opened.status().message();
  }
  if (meter)
    log.info("energy_measured", {{"source", meter->source()}, {"meter", meter->about()}});
  else
    log.info("energy_modelled", {{"idle_watts", config.energy_model.idle_watts}, {"active_watts_per_core", config.energy_model.active_watts_per_core}, {"reason", why}});
  return meter;
}

runtime::RuntimeOptions runtime_options(const Config& config, const Placement& placement, const Environment& env, std::shared_ptr<os::EnergyMeter> energy) {
  runtime::RuntimeOptions o;
  o.catalog = env.catalog;
  o.fronts = placement.fronts;
  o.lanes = placement.lanes;
  o.threads = static_cast<int>(config.threads);
  o.queue_limit = static_cast<uint32_t>(config.queue_limit);
  o.tenants = config.tenants;
  o.memory_limit = config.memory;
  o.energy = config.energy_model;
  o.energy_meter = std::move(energy);
  o.log = [log = env.log](runtime::LogLevel level, std::string_view event, Json fields) { log->write(level, event, fields); };
  return o;
}

Json ready_event(const net::Server& server, const std::vector<net::ListenOptions>& listeners, const Json& lanes, Json models) {
  Json listening = Json::array();
  const std::vector<std::string> addresses = server.addresses();
  for (size_t i = 0; i < listeners.size(); ++i)
    listening.push_back({{"address", addresses[i]}, {"role", net::role_name(listeners[i].role)}, {"tls", listeners[i].tls}});
  return {{"event", "ready"}, {"address", server.address()}, {"listeners", std::move(listening)}, {"pid", ::getpid()}, {"lanes", lanes}, {"models", std::move(models)}};
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

// Until a signal says stop. `started` is called once, when `fd` becomes readable; false ends the wait.
void wait_for_signal(int fd, const std::function<bool()>& started, Repository& repository, const Log& log) {
  pollfd fds[3] = {{os::interrupt_fd(), POLLIN, 0}, {os::catch_hangup(), POLLIN, 0}, {fd, POLLIN, 0}};
  while (!os::interrupted()) {
    if (::poll(fds, 3, -1) <= 0) continue;
    if (fds[2].revents != 0) {
      fds[2].fd = -1;
      if (!started()) return;
    }
    if (fds[1].revents != 0 && os::take_hangup()) repository.reload([&log](Json report) { log.info("reloaded", report); });
  }
}

int run(const ServeOptions& options, const Config& config) {
  Log log(config.log_level, config.log_format);
  Environment env;
  env.config = config;
  env.log = &log;
  auto place_to_serve = find_place(config.zoo);
  if (!place_to_serve.ok()) return refuse(place_to_serve.status());
  auto placement = place(config, os::usable_cores());
  if (!placement.ok()) return refuse(placement.status());
  const size_t cores = config.cores.empty() ? os::usable_cores().size() : config.cores.size();
  auto catalog = engine::Catalog::scan(os::install().plugin_dir);
  if (!catalog.ok()) return refuse(catalog.status());
  env.catalog = std::move(catalog).value();
  env.catalog->configure(config.engines);
  env.device = os::this_device();
  if (!config.state_dir.empty()) {
    env.worker_log_dir = os::join(config.state_dir, "logs");
    if (Status s = os::make_dirs(env.worker_log_dir); !s.ok()) {
      log.warning("no_state_dir", {{"reason", s.message()}});
      env.worker_log_dir.clear();
    }
  }

  std::string why_lanes = config.lanes >= 0 ? "the configuration says so" : "there is one core: the fronts run the models";
  if (config.lanes < 0 && cores > 1) {
    const policy::LanePlan plan = policy::plan_lanes(lane_models(env, *place_to_serve), static_cast<int>(cores));
    why_lanes = policy::explain(plan, static_cast<int>(cores));
    placement = place(config, os::usable_cores(), plan.lanes);
    if (!placement.ok()) return refuse(placement.status());
  }
  const Json lanes = describe_lanes(*placement, why_lanes);

  auto energy = find_energy_meter(config, log);
  if (!energy.ok()) return refuse(energy.status());
  auto runtime = runtime::make_runtime(runtime_options(config, *placement, env, std::move(energy).value()));
  if (!runtime.ok()) return refuse(runtime.status());
  (*runtime)->set_preparing(true);
  Repository::Options repository_options;
  if (!options.config.empty()) repository_options.read_config = [&options] { return load_config(options); };
  net::Server* running = nullptr;
  repository_options.reload_tls = [&running] { return running->reload_tls(); };
  repository_options.apply = [&log](const Config& changed) { log.set_level(changed.log_level); };
  Repository repository(env, **runtime, *place_to_serve, std::move(repository_options));
  auto server = net::Server::start(net_options(config, *placement, lanes, log, repository), **runtime);
  if (!server.ok()) return refuse(server.status());
  running = server->get();
  for (const net::ListenOptions& l : listeners_of(config)) {
    const bool open = !l.tls && !l.address.starts_with("unix:") && l.address != "localhost" && l.address != "::1" && !l.address.starts_with("127.");
    if (config.auth && open) log.warning("tokens_without_tls", {{"address", l.address}});
  }
  auto certificates = watch_certificates(config, **server, log);
  log.info("listening", {{"address", (*server)->address()},
                         {"fronts", placement->fronts},
                         {"lanes", placement->lanes.size()},
                         {"lane_cores", lanes["cores"]},
                         {"lanes_reason", why_lanes},
                         {"memory_limit", config.memory},
                         {"version", kVersion}});

  const int complete = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  repository.start([complete] { ::eventfd_write(complete, 1); });
  // A server of one bare model that cannot be served is of no use; one of a zoo serves the rest.
  Status hopeless;
  wait_for_signal(complete, [&] {
    Json models = repository.served();
    if (place_to_serve->kind == Place::Kind::kBare) hopeless = repository.refusal(find_single(*place_to_serve).name);
    if (!hopeless.ok()) return false;
    (*runtime)->set_preparing(false);
    log.info("ready", {{"models", models.size()}, {"resident_bytes", os::resident_bytes()}});
    std::cout << ready_event(**server, listeners_of(config), lanes, std::move(models)).dump(-1, ' ', false, Json::error_handler_t::replace) << std::endl;
    return true;
  }, repository, log);
  if (hopeless.ok()) log.info("stopping", {{"drain_seconds", config.drain_timeout_s}});
  certificates.reset();
  repository.stop();
  (*server)->begin_stop([] {});
  (*server)->join();
  repository.join();
  server->reset();
  runtime->reset();
  ::close(complete);
  if (!hopeless.ok()) return refuse(hopeless);
  log.info("stopped");
  return 0;
}

}  // namespace

int serve_main(const ServeOptions& options) {
  auto config = load_config(options);
  if (!config.ok()) return refuse(config.status());
  os::catch_interrupt();
  return run(options, *config);
}

}  // namespace verge::serve
