// The data plane over EchoRuntime as a program, for clients of other languages: prints its address as one JSON line, ends at SIGTERM or
// when its standard input is closed.
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <mutex>

#include "echo_runtime.h"
#include "net/server.h"

int main(int argc, char** argv) {
  verge::net::ServerOptions options;
  options.listeners[0].port = 0;
  bool log = false, with_repository = true, watch_stdin = true;
  for (int i = 1; i < argc; ++i) {
    const std::string arg = argv[i];
    auto value = [&] { return i + 1 < argc ? argv[++i] : ""; };
    if (arg == "--port") options.listeners[0].port = std::atoi(value());
    else if (arg == "--fronts") options.fronts = std::atoi(value());
    else if (arg == "--core") options.front_cores.push_back(std::atoi(value()));
    else if (arg == "--max-message") options.max_message_bytes = std::strtoull(value(), nullptr, 10);
    else if (arg == "--header-timeout") options.header_timeout_s = std::atof(value());
    else if (arg == "--log") log = true;
    else if (arg == "--no-repository") with_repository = false;
    else if (arg == "--no-stdin") watch_stdin = false;
    else return fprintf(stderr, "unknown argument %s\n", arg.c_str()), 2;
  }
  if (log)
    options.access_log = [](const verge::net::AccessRecord& r) {
      std::string line;
      verge::net::print_access_record(r, &line);
      [[maybe_unused]] ssize_t n = write(2, line.data(), line.size());
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
  printf("{\"address\":\"%s\"}\n", (*server)->address().c_str());
  fflush(stdout);

  pollfd fds[2] = {{signal_fd, POLLIN, 0}, {0, POLLIN, 0}};
  char byte;
  while (poll(fds, watch_stdin ? 2 : 1, -1) > 0) {
    if (fds[0].revents) break;
    if (fds[1].revents && read(0, &byte, 1) <= 0) break;
  }
  (*server)->begin_stop([] {});
  (*server)->join();
  return 0;
}
