// Child processes with limits, and what the kernel says of this one and of the device.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "core/profile.h"
#include "core/status.h"

namespace verge::os {

struct SpawnOptions {
  std::vector<std::string> argv;
  std::vector<std::string> extra_env;  // "KEY=value", added to this process's environment
  std::string log_path;                // stdout and stderr go there (appended); empty: /dev/null
  std::string cwd;
  uint64_t memory_limit = 0;  // bytes of private data (RLIMIT_DATA); 0: none
  uint64_t file_limit = 0;    // largest file it may write (RLIMIT_FSIZE); 0: none
  std::vector<int> cores;     // affinity; empty: inherited
  bool new_group = true;      // its own process group, so that Ctrl-C reaches only the parent, which then decides
};

struct Exit {
  bool signalled = false;
  int code = 0;    // exit code, or the signal's number
  bool timed_out = false;
  std::string to_string() const;  // "ended with exit code 1", "killed by signal 11 (SIGSEGV)", "stopped after 60 s"
};

// A child that talks in lines: we write lines to its standard input, it writes lines to file descriptor 3.
class LineProcess {
 public:
  static Result<LineProcess> start(const SpawnOptions& options);
  LineProcess(LineProcess&& o) noexcept;
  LineProcess& operator=(LineProcess&&) = delete;
  ~LineProcess();  // kills the whole group and reaps

  pid_t pid() const { return pid_; }
  Status write_line(std::string_view line);
  void close_input();
  // The next line without its newline; kDeadlineExceeded after timeout_s, kUnavailable when the child has closed its end (its exit is
  // then in wait()), kCancelled when interrupted(). Lines are bounded by 64 MiB.
  Result<std::string> read_line(double timeout_s);
  Exit wait(double timeout_s);  // closes the input; kills the group at the timeout
  void kill_group();

 private:
  LineProcess() = default;
  pid_t pid_ = -1;
  int in_ = -1;
  int out_ = -1;
  std::string buffer_;
  bool reaped_ = false;
  Exit exit_;
};

// Set by SIGINT or SIGTERM after catch_interrupt(). A second signal ends the process at once.
void catch_interrupt();
bool interrupted();
int interrupt_fd();  // becomes readable when interrupted; -1 before catch_interrupt()
// SIGHUP: ask for a look at everything again. Readable once it came, until taken; -1 where it could not be had.
int catch_hangup();
bool take_hangup();

uint64_t resident_bytes();               // RSS of this process, bytes
uint64_t resident_bytes_of(pid_t pid);   // 0 if gone
std::vector<int> usable_cores();         // this thread's affinity
Status pin_thread(const std::vector<int>& cores);
// How long this thread runs at a stretch where others want its core, 0.1 to 100 ms: one with a shorter stretch that wakes up goes before it, and gets no more in all. Without effect before
// Linux 6.12, and on threads of a real-time policy.
void set_time_slice(uint64_t ns);
uint64_t available_memory_bytes();       // smallest of MemAvailable and what the cgroup leaves
uint64_t monotonic_ns();
std::string utc_now();                   // RFC 3339
Device this_device();                    // fingerprint filled in

}  // namespace verge::os
