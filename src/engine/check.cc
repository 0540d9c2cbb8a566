#include "engine/check.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <exception>

#include "engine/check_fixture.h"
#include "os/files.h"
#include "os/process.h"

namespace verge::engine {
namespace {

constexpr int kClauseSeconds = 120;

// The child's word: 'o' ok, 's' skipped, 'f' failed, then the detail.
std::string run_clause(const check::Clause& clause, const Descriptor& d, const std::string& artifact, const std::string& format) {
  try {
    clause.run(d, artifact, format);
    return "o";
  } catch (const check::Failed& f) {
    return "f" + f.what;
  } catch (const check::Skipped& s) {
    return "s" + s.why;
  } catch (const std::exception& e) {
    return std::string("fa C++ exception crossed the border: ") + e.what();
  } catch (...) {
    return "fsomething thrown crossed the border";
  }
}

ClauseResult in_child(const check::Clause& clause, const Descriptor& d, const std::string& artifact, const std::string& format) {
  ClauseResult result;
  result.clause = clause.text;
  int pipe_fds[2];
  if (pipe2(pipe_fds, O_CLOEXEC) != 0) {
    result.detail = "no pipe to a child process";
    return result;
  }
  std::fflush(nullptr);
  pid_t child = fork();
  if (child < 0) {
    ::close(pipe_fds[0]);
    ::close(pipe_fds[1]);
    result.detail = "no child process";
    return result;
  }
  if (child == 0) {
    ::close(pipe_fds[0]);
    std::string word = run_clause(clause, d, artifact, format);
    size_t done = 0;
    while (done < word.size()) {
      ssize_t n = ::write(pipe_fds[1], word.data() + done, word.size() - done);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) break;
      done += static_cast<size_t>(n);
    }
    _exit(0);
  }
  ::close(pipe_fds[1]);
  std::string word;
  const uint64_t end = os::monotonic_ns() + uint64_t{kClauseSeconds} * 1'000'000'000;
  bool timed_out = false;
  while (word.size() < 65536) {
    const uint64_t now = os::monotonic_ns();
    pollfd p{pipe_fds[0], POLLIN, 0};
    const int ready = now >= end ? 0 : poll(&p, 1, static_cast<int>((end - now) / 1'000'000) + 1);
    if (ready < 0 && errno == EINTR) continue;  // read() would wait without a limit
    if (ready == 0) {
      timed_out = true;
      kill(child, SIGKILL);
      break;
    }
    char chunk[4096];
    ssize_t n = ::read(pipe_fds[0], chunk, sizeof chunk);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    word.append(chunk, static_cast<size_t>(n));
  }
  ::close(pipe_fds[0]);
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  os::Exit exit;
  exit.timed_out = timed_out;
  exit.signalled = WIFSIGNALED(status);
  exit.code = exit.signalled ? WTERMSIG(status) : WEXITSTATUS(status);
  if (timed_out) {
    result.detail = "did not end within " + std::to_string(kClauseSeconds) + " s";
  } else if (exit.signalled || exit.code != 0 || word.empty()) {
    result.detail = "the process " + exit.to_string() + (word.size() > 1 ? ", after: " + word.substr(1) : "");
  } else {
    result.ok = word[0] == 'o';
    result.skipped = word[0] == 's';
    result.detail = word.substr(1);
  }
  return result;
}

}  // namespace

Result<std::vector<ClauseResult>> engine_check(const std::string& plugin_or_descriptor, const std::string& artifact, const std::string& format,
                                               const std::function<void(const ClauseResult&)>& report) {
  VERGE_ASSIGN(std::shared_ptr<Catalog> catalog, scan_one(plugin_or_descriptor));
  const Descriptor& d = catalog->descriptors().front();
  if (artifact.empty() != format.empty()) return invalid_argument("an artifact and its format are needed, or neither");
  std::vector<std::pair<std::string, std::string>> artifacts = d.check;
  if (!artifact.empty()) {
    VERGE_ASSIGN(std::string path, os::absolute(artifact));
    artifacts = {{path, format}};
  }
  std::vector<ClauseResult> results;
  auto add = [&](ClauseResult r) {
    if (report) report(r);
    results.push_back(std::move(r));
  };
  ClauseResult described{"the descriptor is sound and all that it needs is there", d.unavailable.empty(), false, d.unavailable};
  add(described);
  if (!described.ok) return results;
  for (const check::Clause& clause : check::clauses()) {
    if (!clause.needs_artifact) add(in_child(clause, d, "", ""));
  }
  if (artifacts.empty()) {
    add({"a model loads and runs", false, true, "no artifact: name one with --artifact and --format, or in the descriptor under \"check\""});
  }
  for (const auto& [path, kind] : artifacts) {
    for (const check::Clause& clause : check::clauses()) {
      if (!clause.needs_artifact) continue;
      ClauseResult r = in_child(clause, d, path, kind);
      if (artifacts.size() > 1) r.clause += " [" + os::base_name(path) + "]";
      add(std::move(r));
    }
  }
  return results;
}

int engine_check_main(const std::string& plugin_or_descriptor, const std::string& artifact, const std::string& format) {
  int failed = 0, skipped = 0, ok = 0;
  auto results = engine_check(plugin_or_descriptor, artifact, format, [&](const ClauseResult& r) {
    (r.ok ? ok : r.skipped ? skipped : failed)++;
    std::printf("%-8s%s%s%s\n", r.ok ? "ok" : r.skipped ? "skipped" : "FAILED", r.clause.c_str(), r.ok || r.detail.empty() ? "" : ": ",
                r.ok ? "" : r.detail.c_str());
    std::fflush(stdout);
  });
  if (!results.ok()) {
    std::fprintf(stderr, "verge engine check: %s\n", results.status().message().c_str());
    return 2;
  }
  std::printf("%d ok, %d failed, %d skipped\n", ok, failed, skipped);
  return failed == 0 ? 0 : 1;
}

}  // namespace verge::engine
