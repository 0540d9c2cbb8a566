// A lane: a set of cores that runs one thing at a time, with the thread that does so.
//
// One atomic word holds the lane's queue and who has the lane: work pushed by fronts, or one of three marks. Asleep: the lane's thread waits in
// the kernel and nothing is queued. Borrowed: a front has the lane and nothing is queued. None: the thread is awake. A push onto the asleep
// mark wakes the thread; a push onto the borrowed mark wakes nobody, because the borrower does so when it gives the lane back.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <thread>
#include <vector>

#include "core/status.h"
#include "runtime/mailbox.h"
#include "runtime/run.h"

namespace verge::runtime {

class Lane {
 public:
  // `serve` is called on the lane's thread for each run, one at a time; it hands the run on.
  Lane(uint32_t index, std::vector<int> cores, std::function<void(Run*)> serve);
  ~Lane();  // ends the thread; nothing may be queued
  Lane(const Lane&) = delete;
  Lane& operator=(const Lane&) = delete;

  void start();

  // Any thread. `limit` bounds what waits; false when it is reached.
  bool submit(Run* run, uint32_t limit);

  // Takes the lane if its thread is asleep and nothing waits. The caller may then enter the lane's instances until it gives the lane back.
  bool try_borrow();
  void give_back();

  uint32_t index() const { return index_; }
  const std::vector<int>& cores() const { return cores_; }
  uint32_t waiting() const { return waiting_.load(std::memory_order_relaxed); }
  bool busy() const { return head_.load(std::memory_order_relaxed) != kAsleep; }

 private:
  static constexpr uintptr_t kNone = 0, kAsleep = 1, kBorrowed = 2;
  static bool is_mark(uintptr_t v) { return v <= kBorrowed; }

  void loop();
  void sleep();
  void wake();
  Run* take_all();

  const uint32_t index_;
  const std::vector<int> cores_;
  const std::function<void(Run*)> serve_;
  alignas(64) std::atomic<uintptr_t> head_{kNone};
  std::atomic<uint32_t> wakes_{0};  // the futex word: changes at each wake-up
  alignas(64) std::atomic<uint32_t> waiting_{0};
  std::atomic<bool> stopping_{false};
  Fifo<Run> pending_;  // the thread's own
  std::thread thread_;
};

}  // namespace verge::runtime
