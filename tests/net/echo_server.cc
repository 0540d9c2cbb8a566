// The data plane over EchoRuntime as a program, for clients of other languages: prints its address as one JSON line, ends at SIGTERM or
// when its standard input is closed. The line "reload" there reads the certificates again, and is answered with a JSON line.
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <cstdlib>
#include <mutex>

#include "echo_runtime.h"
#include "net/server.h"

namespace {

// "127.0.0.1:0", "unix:/path", and after commas "tls" or a role.
verge::net::ListenOptions listen_options(std::string spec) {
  verge::net::ListenOptions out;
  std::string address = spec.substr(0, spec.find(','));
  spec.erase(0, address.size());
  out.tls = spec.find(",tls") != std::string::npos;
  for (auto role : {verge::net::Role::kInference, verge::net::Role::kManagement})
    if (spec.find("," + std::string(verge::net::role_name(role))) != std::string::npos) out.role = role;
  out.port = 0;
  if (!address.starts_with("unix:")) {
    const size_t colon = address.rfind(':');
    out.port = std::atoi(address.c_str() + colon + 1);
    address.resize(colon);
  }
  out.address = address;
  return out;
}

}  // namespace

int main(int argc, char** argv) {
  verge::net::ServerOptions options;
  options.listeners[0].port = 0;
  bool log = false, listens = false, with_repository = true, watch_stdin = true;
  for (int i = 1; i < argc; ++i) {
    const std::string arg = argv[i];
    auto value = [&] { return i + 1 < argc ? argv[++i] : ""; };
    if (arg == "--port") options.listeners[0].port = std::atoi(value());
    else if (arg == "--listen") {
      if (!std::exchange(listens, true)) options.listeners.clear();
      options.listeners.push_back(listen_options(value()));
    }
    else if (arg == "--certificate") options.tls.certificate = value();
    else if (arg == "--key") options.tls.key = value();
    else if (arg == "--client-ca") options.tls.client_ca = value(), options.tls.clients = verge::net::ClientCertificates::kRequire;
    else if (arg == "--client-optional") options.tls.clients = verge::net::ClientCertificates::kOptional;
    else if (arg == "--body-timeout") options.body_timeout_s = std::atof(value());
    else if (arg == "--write-timeout") options.write_timeout_s = std::atof(value());
    else if (arg == "--handshake-timeout") options.handshake_timeout_s = std::atof(value());
    else if (arg == "--max-handshakes") options.max_handshakes = static_cast<uint32_t>(std::atoi(value()));
    else if (arg == "--fronts") options.fronts = std::atoi(value());
    else if (arg == "--core") options.front_cores.push_back(std::atoi(value()));
    else if (arg == "--max-connections") options.max_connections = std::atoi(value());
    else if (arg == "--max-message") options.max_message_bytes = std::strtoull(value(), nullptr, 10);
    else if (arg == "--header-timeout") options.header_timeout_s = std::atof(value());
    else if (arg == "--tenant") options.tenants.push_back(value());
    else if (arg == "--log") log = true;
    else if (arg == "--shared-memory") options.shared_memory = true;
    else if (arg == "--no-repository") with_repository = false;
    else if (arg == "--no-stdin") watch_stdin = false;
    else return fprintf(stderr, "unknown argument %s\n", arg.c_str()), 2;
  }
  if (log)
    options.access_log = [](std::string_view lines) {
      [[maybe_unused]] ssize_t n = write(2, lines.data(), lines.size());
    };
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  sigprocmask(SIG_BLOCK, &signals, nullptr);
  const int signal_fd = signalfd(-1, &signals, SFD_CLOEXEC);

  verge::test::EchoRuntime runtime;
  verge::test::EchoRepository repository;
  if (with_repository) options.repository = &repository;
  auto server = verge::net::Server::start(options, runtime);
  if (!server.ok()) return fprintf(stderr, "%s\n", server.status().to_string().c_str()), 1;
  std::string addresses;
  for (const std::string& a : (*server)->addresses()) addresses += (addresses.empty() ? "\"" : ",\"") + a + "\"";
  printf("{\"address\":\"%s\",\"listeners\":[%s]}\n", (*server)->address().c_str(), addresses.c_str());
  fflush(stdout);

  pollfd fds[2] = {{signal_fd, POLLIN, 0}, {0, POLLIN, 0}};
  char byte;
  std::string line;
  while (true) {
    if (poll(fds, watch_stdin ? 2 : 1, -1) < 0 && errno == EINTR) continue;
    if (fds[0].revents) break;
    if (!fds[1].revents) continue;
    const ssize_t n = read(0, &byte, 1);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    if (byte != '\n') {
      line += byte;
      continue;
    }
    if (std::exchange(line, {}) == "reload") {
      const verge::Status s = (*server)->reload_tls();
      printf("{\"ok\":%s,\"error\":\"%s\"}\n", s.ok() ? "true" : "false", s.message().c_str());
      fflush(stdout);
    }
  }
  (*server)->begin_stop([] {});
  (*server)->join();
  return 0;
}
