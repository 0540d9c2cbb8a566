// The runtime's part of a front thread: finds what a request asks for, places it, and brings it back.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "runtime/alarm.h"
#include "runtime/lane.h"
#include "runtime/mailbox.h"
#include "runtime/run.h"
#include "runtime/table.h"

namespace verge::runtime {

// What all fronts and the loader share.
struct Shared {
  explicit Shared(RuntimeOptions o) : options(std::move(o)), metrics(options.fronts) {}
  const RuntimeOptions options;
  Metrics metrics;
  std::vector<std::unique_ptr<Lane>> lanes;  // empty: each front is its own lane
  Alarm alarm;
  std::function<void(std::shared_ptr<const ServedVersion>, uint32_t variant)> request_load;
  uint32_t lane_count() const { return lanes.empty() ? options.fronts : static_cast<uint32_t>(lanes.size()); }
};

// A table that runs of this front may still point into. Counted without atomics: runs begin and end on their front.
struct TableHold {
  std::shared_ptr<const Table> table;
  uint64_t uses = 0;
};

class FrontImpl final : public Front, public Alarm::Target {
 public:
  FrontImpl(Shared& shared, uint32_t index, std::function<void()> wake, std::shared_ptr<const Table> table);
  ~FrontImpl() override;

  // On the front's thread.
  void drain() override;
  uint64_t next_timer_ns() const override { return UINT64_MAX; }
  void infer(Request& request);
  void cancel(Request& request);
  void set_table(std::shared_ptr<const Table> table);
  const Table& table() const { return *hold_->table; }
  void begin_drain(std::function<void()> drained);
  void recycle(Run* run);

  // Any thread.
  void post(std::function<void()> fn) override;
  void finished(Run* run);  // from a lane
  void on_alarm() override { wake_(); }

  // Runs it on the lane that the caller has; then it is to be handed to finished().
  static void serve(Run& run);

 private:
  Run* acquire();
  void fail(Request& request, ModelStats& stats, Status status, Reason reason);
  void end(Request& request);
  void complete(Run* run);
  void fail_run(Run* run, Status status, Reason reason);
  void dispatch(Run* run);
  void hold_back(Run* run, const VariantEntry& entry);
  void fail_load(Run* run, const Status& error);
  void recheck_waiting();
  void run_queued();
  void drop(TableHold* hold);

  Shared& shared_;
  const uint32_t index_;
  const std::function<void()> wake_;
  TableHold* hold_;
  ModelStats& unknown_;
  Run* free_ = nullptr;
  size_t free_bytes_ = 0;
  uint64_t in_flight_ = 0;
  bool draining_ = false;
  std::function<void()> drained_;

  Fifo<Run> waiting_;  // for their variant to be loaded
  uint32_t waiting_count_ = 0;
  Fifo<Run> queued_;  // without lane threads: for this front to run them
  uint32_t queued_count_ = 0;
  bool in_turn_ = false;

  Mailbox<Run> finished_;
  std::mutex posts_mutex_;
  std::vector<std::function<void()>> posts_;
  std::atomic<bool> has_posts_{false};
  std::atomic<uint32_t> inside_{0};  // other threads between a hand-over to this front and the end of their wake-up
};

}  // namespace verge::runtime
