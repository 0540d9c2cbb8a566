#include "runtime/long_runs.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <string>
#include <system_error>

#include "os/process.h"
#include "runtime/execute.h"

namespace verge::runtime {
namespace {

// Longer than what the kernel gives by itself (Linux: 0.7 to 3 ms), so that a front that wakes up on the core of a run goes first. A short slice for the front would do the same, but where
// others want the core too it would have to wait for them after each.
constexpr uint64_t kSliceNs = 4'000'000;

}  // namespace

LongRuns::~LongRuns() { stop(); }

void LongRuns::stop() {
  if (!thread_.joinable()) return;
  stopping_.store(true, std::memory_order_relaxed);
  begun_.fetch_add(1, std::memory_order_release);
  syscall(SYS_futex, reinterpret_cast<uint32_t*>(&begun_), FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
  thread_.join();
}

bool LongRuns::begin(std::span<Run* const> batch, uint32_t front) {
  if (!thread_.joinable()) {
    try {
      thread_ = std::thread([this, name = "long-" + std::to_string(front)] {
        pthread_setname_np(pthread_self(), name.c_str());
        os::set_time_slice(kSliceNs);
        loop();
      });
    } catch (const std::system_error&) {
      return false;
    }
  }
  batch_ = batch;
  running_ = true;
  begun_.fetch_add(1, std::memory_order_release);
  syscall(SYS_futex, reinterpret_cast<uint32_t*>(&begun_), FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
  return true;
}

bool LongRuns::take_ended() {
  if (!running_ || ended_.load(std::memory_order_acquire) != begun_.load(std::memory_order_relaxed)) return false;
  running_ = false;
  return true;
}

void LongRuns::loop() {
  for (uint32_t run = 0;;) {
    while (begun_.load(std::memory_order_acquire) == run) syscall(SYS_futex, reinterpret_cast<uint32_t*>(&begun_), FUTEX_WAIT_PRIVATE, run, nullptr, nullptr, 0);
    if (stopping_.load(std::memory_order_relaxed)) return;
    ++run;
    execute(batch_);
    // From here on the front may begin the next.
    ended_.store(run, std::memory_order_release);
    wake_();
  }
}

}  // namespace verge::runtime
