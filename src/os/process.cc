#include "os/process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

extern char** environ;

namespace verge::os {
namespace {

constexpr size_t kMaxLine = size_t{64} << 20;
constexpr int kEventsFd = 3;

volatile sig_atomic_t g_interrupted = 0;
uint64_t g_interrupted_at = 0;  // written and read by the handler alone
// timeout(1) and some supervisors signal a process and then its group: what comes this close is the same wish.
constexpr uint64_t kSameSignalNs = 500'000'000;
int g_interrupt_pipe[2] = {-1, -1};

int g_hangup_pipe[2] = {-1, -1};

void on_hangup(int) {
  const int error = errno;
  [[maybe_unused]] const ssize_t n = ::write(g_hangup_pipe[1], "h", 1);
  errno = error;
}

void on_interrupt(int sig) {
  if (g_interrupted) {
    if (monotonic_ns() - g_interrupted_at < kSameSignalNs) return;
    ::signal(sig, SIG_DFL);
    ::raise(sig);
    return;
  }
  g_interrupted_at = monotonic_ns();
  g_interrupted = 1;
  ssize_t ignored = ::write(g_interrupt_pipe[1], "i", 1);
  (void)ignored;
}

struct Pipe {
  int fd[2] = {-1, -1};
  bool open() { return ::pipe2(fd, O_CLOEXEC) == 0; }
  ~Pipe() {
    for (int f : fd)
      if (f >= 0) ::close(f);
  }
  int take(int i) { return std::exchange(fd[i], -1); }
};

void limit(int resource, uint64_t bytes) {
  if (!bytes) return;
  rlimit r{bytes, bytes};
  ::setrlimit(static_cast<__rlimit_resource>(resource), &r);
}

// Everything the child needs, made before fork: after it only async-signal-safe calls are allowed.
struct ChildPlan {
  std::vector<char*> argv, envp;
  int stdin_fd, events_fd, log_fd;
  cpu_set_t cores;
  bool pin;
};

[[noreturn]] void run_child(const SpawnOptions& o, const ChildPlan& plan) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (o.new_group) ::setpgid(0, 0);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  for (int s : {SIGINT, SIGTERM, SIGPIPE}) ::signal(s, SIG_DFL);
  if (plan.pin) ::sched_setaffinity(0, sizeof plan.cores, &plan.cores);
  limit(RLIMIT_DATA, o.memory_limit);
  limit(RLIMIT_FSIZE, o.file_limit);
  rlimit no_core{0, 0};
  ::setrlimit(RLIMIT_CORE, &no_core);
  // Move the three away from the low numbers first, so that no dup2 overwrites one still needed.
  int in = ::fcntl(plan.stdin_fd, F_DUPFD, 10), events = ::fcntl(plan.events_fd, F_DUPFD, 10), log = ::fcntl(plan.log_fd, F_DUPFD, 10);
  ::dup2(in, 0);
  ::dup2(log, 1);
  ::dup2(log, 2);
  ::dup2(events, kEventsFd);
  for (int f : {in, events, log}) ::close(f);
  if (!o.cwd.empty() && ::chdir(o.cwd.c_str()) != 0) ::_exit(127);
  ::execve(plan.argv[0], plan.argv.data(), plan.envp.data());
  ::_exit(127);
}

// Milliseconds for poll(); the remaining time of a deadline, never negative.
int remaining_ms(uint64_t deadline_ns) {
  uint64_t now = monotonic_ns();
  if (now >= deadline_ns) return 0;
  return static_cast<int>(std::min<uint64_t>((deadline_ns - now) / 1000000 + 1, 1 << 30));
}

uint64_t deadline_after(double seconds) { return monotonic_ns() + static_cast<uint64_t>(std::clamp(seconds, 0.0, 1e9) * 1e9); }

}  // namespace

std::string Exit::to_string() const {
  if (timed_out) return "stopped because it ran past its time limit";
  if (!signalled) return "ended with exit code " + std::to_string(code);
  const char* name = ::sigabbrev_np(code);
  return "killed by signal " + std::to_string(code) + (name ? std::string(" (SIG") + name + ")" : "");
}

Result<LineProcess> LineProcess::start(const SpawnOptions& o) {
  if (o.argv.empty()) return invalid_argument("no program to start");
  if (::access(o.argv[0].c_str(), X_OK) != 0) return not_found(o.argv[0] + ": cannot be started: " + std::strerror(errno));
  Pipe in, out;
  if (!in.open() || !out.open()) return internal_error(std::string("no pipe: ") + std::strerror(errno));
  const std::string log = o.log_path.empty() ? "/dev/null" : o.log_path;
  int log_fd = ::open(log.c_str(), o.log_path.empty() ? O_WRONLY | O_CLOEXEC : O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  // A bare root folder has no /dev.
  if (log_fd < 0 && o.log_path.empty()) log_fd = ::memfd_create("log", MFD_CLOEXEC);
  if (log_fd < 0) return internal_error(log + ": cannot be written: " + std::strerror(errno));

  ChildPlan plan{};
  std::vector<std::string> argv = o.argv, env = o.extra_env;
  for (auto& a : argv) plan.argv.push_back(a.data());
  plan.argv.push_back(nullptr);
  for (char** e = environ; *e; ++e) {
    std::string_view entry(*e);
    std::string_view key = entry.substr(0, entry.find('=') + 1);
    if (std::none_of(env.begin(), env.end(), [&](const std::string& x) { return x.compare(0, key.size(), key) == 0; }))
      plan.envp.push_back(*e);
  }
  for (auto& e : env) plan.envp.push_back(e.data());
  plan.envp.push_back(nullptr);
  plan.stdin_fd = in.fd[0];
  plan.events_fd = out.fd[1];
  plan.log_fd = log_fd;
  CPU_ZERO(&plan.cores);
  for (int c : o.cores)
    if (c >= 0 && c < CPU_SETSIZE) CPU_SET(static_cast<size_t>(c), &plan.cores);
  plan.pin = !o.cores.empty();

  pid_t pid = ::fork();
  if (pid == 0) run_child(o, plan);
  const int e = errno;
  ::close(log_fd);
  if (pid < 0) return internal_error(std::string("no process can be started: ") + std::strerror(e));
  if (o.new_group) ::setpgid(pid, pid);
  LineProcess p;
  p.pid_ = pid;
  p.in_ = in.take(1);
  p.out_ = out.take(0);
  return p;
}

LineProcess::LineProcess(LineProcess&& o) noexcept
    : pid_(std::exchange(o.pid_, -1)),
      in_(std::exchange(o.in_, -1)),
      out_(std::exchange(o.out_, -1)),
      buffer_(std::move(o.buffer_)),
      reaped_(o.reaped_),
      exit_(o.exit_) {}

LineProcess::~LineProcess() {
  if (pid_ > 0) {
    kill_group();
    wait(5);
  }
  if (in_ >= 0) ::close(in_);
  if (out_ >= 0) ::close(out_);
}

void LineProcess::kill_group() {
  if (pid_ > 0 && !reaped_) {
    ::kill(-pid_, SIGKILL);
    ::kill(pid_, SIGKILL);
  }
}

Status LineProcess::write_line(std::string_view line) {
  std::string text(line);
  text += '\n';
  // SIGPIPE must not end the caller when the child is gone: block it for this thread and take it off the queue.
  sigset_t pipe, old;
  sigemptyset(&pipe);
  sigaddset(&pipe, SIGPIPE);
  ::pthread_sigmask(SIG_BLOCK, &pipe, &old);
  Status status;
  size_t at = 0;
  while (at < text.size()) {
    ssize_t n = ::write(in_, text.data() + at, text.size() - at);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      status = unavailable(std::string("the child process does not read: ") + std::strerror(errno));
      timespec zero{};
      ::sigtimedwait(&pipe, nullptr, &zero);
      break;
    }
    at += static_cast<size_t>(n);
  }
  ::pthread_sigmask(SIG_SETMASK, &old, nullptr);
  return status;
}

void LineProcess::close_input() {
  if (in_ >= 0) ::close(std::exchange(in_, -1));
}

Result<std::string> LineProcess::read_line(double timeout_s) {
  const uint64_t deadline = deadline_after(timeout_s);
  size_t searched = 0;
  for (;;) {
    size_t end = buffer_.find('\n', searched);
    if (end != std::string::npos) {
      std::string line = buffer_.substr(0, end);
      buffer_.erase(0, end + 1);
      return line;
    }
    searched = buffer_.size();
    if (buffer_.size() > kMaxLine) return resource_exhausted("the child process sent a line of more than 64 MiB");
    if (interrupted()) return Status{Code::kCancelled, "interrupted"};
    pollfd fds[2] = {{out_, POLLIN, 0}, {g_interrupt_pipe[0], POLLIN, 0}};
    int r = ::poll(fds, g_interrupt_pipe[0] >= 0 ? 2 : 1, remaining_ms(deadline));
    if (r < 0 && errno != EINTR) return internal_error(std::string("poll: ") + std::strerror(errno));
    if (r == 0) return Status{Code::kDeadlineExceeded, "no answer from the child process in time"};
    if (r < 0 || !(fds[0].revents & (POLLIN | POLLHUP | POLLERR))) continue;
    char chunk[65536];
    ssize_t n = ::read(out_, chunk, sizeof chunk);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return unavailable("the child process closed its end");
    buffer_.append(chunk, static_cast<size_t>(n));
  }
}

Exit LineProcess::wait(double timeout_s) {
  close_input();
  if (reaped_ || pid_ <= 0) return exit_;
  // A pidfd turns the child's end into something poll() can wait for.
  int pidfd = static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0));
  if (pidfd >= 0) {
    const uint64_t deadline = deadline_after(timeout_s);
    pollfd p{pidfd, POLLIN, 0};
    int r;
    do r = ::poll(&p, 1, remaining_ms(deadline));
    while (r < 0 && errno == EINTR);
    if (r == 0) {
      exit_.timed_out = true;
      kill_group();
    }
    ::close(pidfd);
  }
  int status = 0;
  pid_t got;
  do got = ::waitpid(pid_, &status, 0);
  while (got < 0 && errno == EINTR);
  // What the child itself started must not outlive it.
  ::kill(-pid_, SIGKILL);
  reaped_ = true;
  if (got == pid_) {
    exit_.signalled = WIFSIGNALED(status);
    exit_.code = exit_.signalled ? WTERMSIG(status) : WEXITSTATUS(status);
  }
  return exit_;
}

void catch_interrupt() {
  if (g_interrupt_pipe[0] >= 0) return;
  if (::pipe2(g_interrupt_pipe, O_CLOEXEC | O_NONBLOCK) != 0) return;
  struct sigaction sa {};
  sa.sa_handler = on_interrupt;
  sigemptyset(&sa.sa_mask);
  ::sigaction(SIGINT, &sa, nullptr);
  ::sigaction(SIGTERM, &sa, nullptr);
}

int catch_hangup() {
  if (g_hangup_pipe[0] >= 0) return g_hangup_pipe[0];
  if (::pipe2(g_hangup_pipe, O_CLOEXEC | O_NONBLOCK) != 0) return -1;
  struct sigaction sa {};
  sa.sa_handler = on_hangup;
  sa.sa_flags = SA_RESTART;
  sigemptyset(&sa.sa_mask);
  ::sigaction(SIGHUP, &sa, nullptr);
  return g_hangup_pipe[0];
}

bool take_hangup() {
  char bytes[64];
  bool any = false;
  while (::read(g_hangup_pipe[0], bytes, sizeof bytes) > 0) any = true;
  return any;
}

bool interrupted() { return g_interrupted != 0; }
int interrupt_fd() { return g_interrupt_pipe[0]; }

}  // namespace verge::os
