// A lane: a set of cores that runs one thing at a time, with the thread that does so.
//
// One atomic word holds the lane's queue and who has the lane: work pushed by fronts, or one of three marks. Asleep: the lane's thread waits in
// the kernel and nothing is queued. Borrowed: a front has the lane and nothing is queued. None: the thread is awake. A push onto the asleep
// mark wakes the thread; a push onto the borrowed mark wakes nobody, because the borrower does so when it gives the lane back.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "core/status.h"
#include "runtime/lane_queue.h"
#include "runtime/mailbox.h"
#include "runtime/run.h"

namespace verge::runtime {

class Lane {
 public:
  // What a lane calls on its thread: `serve` with a claimed batch, which it runs and hands on; `end` with runs that end without having run.
  struct Work {
    std::function<void(std::vector<Run*>& batch)> serve;
    std::function<void(Run* run)> end;
  };
  Lane(uint32_t index, std::vector<int> cores, const std::vector<TenantOptions>& tenants, Work work);
  ~Lane();
  Lane(const Lane&) = delete;
  Lane& operator=(const Lane&) = delete;

  // `lanes`: all of them, this one included. A lane with nothing to do takes over what waits in front of a busy one.
  void start(const std::vector<std::unique_ptr<Lane>>& lanes);

  // Ends the thread; nothing may be queued. All lanes are to be stopped before the first is destroyed.
  void stop();

  // Any thread. `limit` bounds what waits; false when it is reached.
  bool submit(Run* run, uint32_t limit);
  // Any thread, once a run that waits here was given up.
  void left(const Run& run) { places_.goes(run.cost_ns); }

  // Takes the lane if its thread is asleep and nothing waits. The caller may then enter the lane's instances until it gives the lane back.
  bool try_borrow();
  void give_back();

  uint32_t index() const { return index_; }
  const std::vector<int>& cores() const { return cores_; }
  uint32_t waiting() const { return places_.waiting.load(std::memory_order_relaxed); }
  uint64_t ahead_ns(uint64_t now) const { return places_.ahead_ns(now); }
  // By whoever has the lane.
  void begins(uint64_t now, uint64_t cost_ns) { places_.busy_until_ns.store(now + cost_ns, std::memory_order_relaxed); }
  void ends() { places_.busy_until_ns.store(0, std::memory_order_relaxed); }
  bool busy() const { return head_.load(std::memory_order_relaxed) != kAsleep; }

 private:
  static constexpr uintptr_t kNone = 0, kAsleep = 1, kBorrowed = 2;
  static bool is_mark(uintptr_t v) { return v <= kBorrowed; }

  void loop();
  void sleep(uint64_t until_ns);
  void wake();
  void push(Run* run);
  Run* take_all();
  bool take_over();

  const uint32_t index_;
  const std::vector<int> cores_;
  const Work work_;
  std::vector<Lane*> others_;
  alignas(64) std::atomic<uintptr_t> head_{kNone};
  std::atomic<uint32_t> wakes_{0};  // the futex word: changes at each wake-up
  std::atomic<uint32_t> pinned_{0};  // pinned runs that were pushed and not looked at
  alignas(64) LanePlaces places_;
  std::atomic<bool> stopping_{false};
  LaneQueue queue_;  // the thread's own
  std::thread thread_;
};

}  // namespace verge::runtime
