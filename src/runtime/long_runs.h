// The second thread of a front that is its own lane, for what takes long: meanwhile the front reads, refuses, answers what waits for no lane, and keeps deadlines.
// One run at a time, as on any lane. The thread is made when it is first needed.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <span>
#include <thread>

#include "runtime/run.h"

namespace verge::runtime {

class LongRuns {
 public:
  // `wake` is called on the thread when a run has ended.
  explicit LongRuns(std::function<void()> wake) : wake_(std::move(wake)) {}
  ~LongRuns();
  LongRuns(const LongRuns&) = delete;
  LongRuns& operator=(const LongRuns&) = delete;

  // All by the front. `batch`, with what it points to, is the thread's until take_ended() has said true. False: the machine has no thread for it.
  bool begin(std::span<Run* const> batch, uint32_t front);
  bool running() const { return running_; }
  bool take_ended();
  // Waits for what runs, and ends the thread. Nothing begins after this.
  void stop();

 private:
  void loop();

  const std::function<void()> wake_;
  std::span<Run* const> batch_;
  bool running_ = false;
  std::atomic<uint32_t> begun_{0};  // the futex word: runs that were handed over
  std::atomic<uint32_t> ended_{0};
  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

}  // namespace verge::runtime
