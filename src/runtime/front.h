// The runtime's part of a front thread: finds what a request asks for, places it, and brings it back.
#pragma once

#include <algorithm>
#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "os/process.h"
#include "policy/answering.h"
#include "policy/dispatch.h"
#include "runtime/bounds.h"
#include "runtime/deadlines.h"
#include "runtime/lane.h"
#include "runtime/long_runs.h"
#include "runtime/mailbox.h"
#include "runtime/power.h"
#include "runtime/run.h"
#include "runtime/table.h"

namespace verge::runtime {

// What all fronts and the loader share.
struct Shared {
  explicit Shared(RuntimeOptions o)
      : options(std::move(o)), metrics(options.fronts, options.tenants), tenant_waiting(std::make_unique<std::atomic<uint32_t>[]>(options.tenants.size())) {}
  const RuntimeOptions options;
  Metrics metrics;
  std::vector<std::unique_ptr<Lane>> lanes;  // empty: each front is its own lane
  // Requests that wait for lanes, of tenants that have a limit.
  std::unique_ptr<std::atomic<uint32_t>[]> tenant_waiting;
  std::function<void(std::shared_ptr<const ServedVersion>, uint32_t variant)> request_load;
  std::unique_ptr<MeasuredPower> power;  // nullptr: energy is modelled
  // What a lane draws while it works, measured or by the declared model; 0: unknown.
  double lane_watts(uint32_t lane) const {
    if (const double measured = measured_watts(); measured > 0) return measured;
    const os::EnergyModel& e = options.energy;
    if (!e.declared()) return 0;
    const double cores = options.lanes.empty() ? 1 : static_cast<double>(std::max<size_t>(options.lanes[lane].size(), 1));
    return e.idle_watts / lane_count() + e.active_watts_per_core * cores;
  }
  // 0: not measured.
  double measured_watts() const { return power ? power->lane_watts() : 0; }
  // Of each tenant, for fronts that are made later; the fronts have their own.
  mutable std::mutex bounds_mutex;
  std::vector<std::shared_ptr<const TenantBounds>> bounds;
  uint32_t lane_count() const { return lanes.empty() ? options.fronts : static_cast<uint32_t>(lanes.size()); }
};

// A table that runs of this front may still point into. Counted without atomics: runs begin and end on their front.
struct TableHold {
  std::shared_ptr<const Table> table;
  uint64_t uses = 0;
};

class FrontImpl final : public Front {
 public:
  FrontImpl(Shared& shared, uint32_t index, std::function<void()> wake, std::shared_ptr<const Table> table);
  ~FrontImpl() override;

  // On the front's thread.
  void drain() override;
  uint64_t next_timer_ns() const override { return std::min(deadlines_.next_ns(), look_again_ns_); }
  void infer(Request& request);
  Status refuse(const Request& request);  // in front_refuse.cc
  bool crowded() const { return crowded_ && (!queue_.empty() || long_runs_.running()); }
  void cancel(Request& request);
  void set_table(std::shared_ptr<const Table> table);
  void on_change(std::function<void()> fn) { on_change_ = std::move(fn); }
  void changed() {
    if (on_change_) on_change_();
  }
  const Table& table() const { return *hold_->table; }
  void set_bounds(uint32_t tenant, std::shared_ptr<const TenantBounds> bounds) { bounds_[tenant] = std::move(bounds); }
  void begin_drain(std::function<void()> drained);
  void recycle(Run* run);
  void count_encoding(const Run& run, uint64_t ns);

  // Any thread.
  void post(std::function<void()> fn) override;
  void finished(Run* run);  // from a lane
  void early(EarlyAnswer* answer);  // from whoever has the lane, before the run comes back
  // For the lane that runs it.
  bool others_wait(const Run& run) const { return (shared_.lanes.empty() ? places_.waiting.load(std::memory_order_relaxed) : shared_.lanes[run.lane()]->waiting()) != 0; }

 private:
  Run* acquire();
  Run* begin(Request& request, const VersionEntry& version, ModelStats& stats, bool bounded);
  void infer_plain(Request& request, const VersionEntry& version);
  int choose_variant(Request& request, const VersionEntry& version);
  // In admission.cc: requests that have bounds, or whose model has exits or is a family.
  bool is_bounded(const Request& request, const VersionEntry& version) const;
  void admit(Request& request, const VersionEntry* version, const FamilyEntry* family);
  struct Offer;
  void make_room_to_choose() {
    candidates_.reserve(table().most_options);
    considered_.reserve(table().most_options);
    reasons_.reserve(table().most_options);
  }
  void gather(const Offer& offer, const Request& request, const Run& run);
  void refuse_bounds(Run* run, const Offer& offer, const policy::Choice& choice, const policy::Demands& demands);
  Status plan_exits(const Offer& offer, Run& run, const policy::Demands& demands, const Option& chosen, const policy::Candidate& best) const;
  void tell_trace(const Offer& offer, Run& run, int32_t chosen) const;
  void tell_chosen(Run& run, Request& request, uint64_t until) const;
  Status bound_status(const Run& run) const;
  uint32_t lane_for(const Run& run, const Request& request, uint64_t now, uint64_t* wait_ns) const;
  Status begin_turn(Run* run);
  void end_turn(Run* run);
  bool take_tenant_place(Run* run);
  void leave_tenant_place(Run* run);
  void take_back(Run* run);
  void give_up(Run* run, Status status, Reason reason);
  void expire(uint64_t now);
  void overrun(Run* run, uint64_t now);
  void stand(Run* run, const ExitAnswer& kept, uint64_t now);
  Status too_late_status(uint64_t ahead_ns);
  void begin_waiting(Run* run);
  void end_waiting(Run* run);
  void fail(Request& request, ModelStats& stats, Status status, Reason reason);
  void end(Request& request);
  void complete(Run* run);
  void complete_all(Fifo<Run>& done);
  void answer(Run* run);
  void tell(Run* run, uint64_t until);
  void count(Run* run);
  void fail_run(Run* run, Status status, Reason reason);
  void dispatch(Run* run, uint64_t now);
  void hold_back(Run* run, const VariantEntry& entry, const VersionEntry& version);
  void stop_waiting_for_load(Run* run);
  void fail_load(Run* run, const Status& error);
  void recheck_waiting();
  void run_queued();
  void drop(TableHold* hold);
  // With each request: the first one after a turn that left work tells that the sockets are looked at again, and all answers have been sent.
  void look_back() {
    if (turn_ended_ns_ == 0) return;
    if (const uint64_t now = os::monotonic_ns(); now > turn_ended_ns_) {
      answering_.learn(now - turn_ended_ns_, turn_answers_);
      turn_ns_ += now - turn_ended_ns_;
    }
    turn_ended_ns_ = 0;
  }
  // When the answer has to be on its way. What has waited in a socket, unseen, is known of requests whose arrival was noted.
  uint64_t due_ns(const Request& r, uint64_t now) const { return policy::due_ns(now, r.bounds.deadline_ns, r.arrival_noted ? 0 : turn_ns_); }

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
  std::function<void()> on_change_;

  std::string too_late_text_;  // of what is refused, for the number in it
  uint64_t too_late_number_ = 0;

  Fifo<Run> waiting_;  // for their variant to be loaded
  uint32_t waiting_count_ = 0;
  Deadlines deadlines_;  // of runs that wait for a load or a lane, or that a lane runs
  uint64_t runs_out_ = 0;  // runs that lanes or queues still have, their requests answered or not
  policy::Probes hopeless_;
  bool in_turn_ = false;
  bool crowded_ = false, refused_in_turn_ = false;  // requests are, or were in this turn, turned away for what is ahead of them
  uint64_t turn_ns_ = 0;  // how long the last turn ran what waited, and answered; 0: nothing was left then
  uint64_t turn_ended_ns_ = 0, turn_answers_ = 0;  // of a turn that left work, until look_back(): when its last run ended, and its answers
  policy::Answering answering_;
  policy::ShortestTime shortest_time_;

  std::vector<std::shared_ptr<const TenantBounds>> bounds_;  // by tenant
  // Of the choice that is being made, reused.
  std::vector<policy::Candidate> candidates_;
  std::vector<uint32_t> considered_;      // candidate -> option
  std::vector<policy::Passed> reasons_;

  // Without lane threads: this front is the lane.
  LanePlaces places_;
  LaneQueue queue_;
  std::vector<Run*> batch_;  // that runs
  LongRuns long_runs_;
  uint64_t look_again_ns_ = UINT64_MAX;  // what is held back for company goes then

  Mailbox<Run> finished_;
  Mailbox<EarlyAnswer> early_;
  std::mutex posts_mutex_;
  std::vector<std::function<void()>> posts_;
  std::atomic<bool> has_posts_{false};
  std::atomic<uint32_t> inside_{0};  // other threads between a hand-over to this front and the end of their wake-up
};

}  // namespace verge::runtime
