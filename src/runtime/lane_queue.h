// What waits for one lane, and which of it runs next. Belongs to whoever has the lane (its thread, or a front that is a lane of its own); what the
// order and the sizes are is the policies' (policy/fair_order.h, policy/batching.h).
#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

#include "policy/batching.h"
#include "policy/fair_order.h"
#include "runtime/mailbox.h"
#include "runtime/run.h"
#include "runtime/runtime.h"

namespace verge::runtime {

// Memory that inputs need on their way into the engine, and small outputs behind it. The lane's own, and used again by its next run: it stays in the core's caches, and requests
// that wait hold none of it.
struct LaneWork {
  std::vector<transform::Chain::Scratch> before;  // of the chains of served inputs
  std::vector<Buffer> aligned;                    // served inputs that had to be copied to an aligned place
  // Network inputs of several requests, put together.
  std::vector<Buffer> joined;
  std::vector<TensorView> joined_inputs;
  // Artifact inputs: padded or aligned; of BYTES inputs, offsets and bytes.
  std::vector<Buffer> gathered;
  std::vector<std::vector<uint64_t>> offsets;
  std::vector<std::vector<std::byte>> blobs;
  std::vector<Buffer> lent;  // artifact outputs
  void make_room(size_t artifact_inputs, size_t artifact_outputs) {
    if (lent.size() < artifact_outputs) lent.resize(artifact_outputs);
    if (gathered.size() >= artifact_inputs) return;
    gathered.resize(artifact_inputs);
    offsets.resize(artifact_inputs);
    blobs.resize(artifact_inputs);
  }
  // Between runs: gives memory back where unusual requests have made it much.
  void trim();
};

// One variant's part of a lane's queue. Lives in the variant's Resident, one for each lane.
struct alignas(64) LaneGroup {
  struct Entry {
    uint64_t place;  // of policy::FairOrder
    uint64_t order;  // of arrival, among equal places
    uint64_t cost;   // ns of the lane
    Run* run;
  };
  std::vector<Entry> heap;  // the least first
  policy::BatchCurve curve;
  int64_t rows_waiting = 0;
  uint64_t last_arrival_ns = 0, gap_ns = 0;  // mean time between arrivals
  uint64_t hold_until_ns = 0;                // 0: nothing is held
  uint64_t decisions = 0;
  LaneWork work;
  std::vector<EngineBuffers> stages;  // of a multi-exit model: features lie at the same place each time, and requests that wait hold none
  // Of a run of one sample, for fronts to read; 0: unknown. The second is what it takes with the mean deviation.
  std::atomic<uint64_t> predicted_ns{0}, cautious_ns{0};
  void tell_predictions() {
    predicted_ns.store(curve.predict(1), std::memory_order_relaxed);
    cautious_ns.store(curve.predict(1) + curve.deviation(), std::memory_order_relaxed);
  }
};

// How many requests wait in a lane, seen from all threads.
struct LanePlaces {
  std::atomic<uint32_t> waiting{0};  // not begun
  std::atomic<uint32_t> held{0};     // those, and requests that have ended but whose runs the lane has not come across yet
  std::atomic<uint64_t> backlog_ns{0};  // what those not begun are expected to take
  std::atomic<uint64_t> busy_until_ns{0};  // when what runs now is expected to end; 0: nothing runs

  // How many waited before it.
  uint32_t comes(const Run& run) {
    backlog_ns.fetch_add(run.cost_ns, std::memory_order_relaxed);
    return waiting.fetch_add(1, std::memory_order_relaxed);
  }
  // It begins, or has ended before that.
  void goes(const Run& run) {
    waiting.fetch_sub(1, std::memory_order_relaxed);
    backlog_ns.fetch_sub(run.cost_ns, std::memory_order_relaxed);
  }
  uint64_t ahead_ns(uint64_t now) const {
    const uint64_t until = busy_until_ns.load(std::memory_order_relaxed);
    return backlog_ns.load(std::memory_order_relaxed) + (until > now ? until - now : 0);
  }
};

class LaneQueue {
 public:
  LaneQueue(LanePlaces& places, const std::vector<TenantOptions>& tenants);

  void push(Run* run, uint64_t now);
  // Whether what goes before it will keep the lane busy beyond its deadline; run->ahead_ns says how long. Asked before push(): turned away at once
  // it costs a fraction of what it would cost to keep it until it expires, most of which is memory that the caches have forgotten.
  bool comes_too_late(Run& run, uint64_t now) const;
  // push(), or `ended` where it comes too late.
  void push_or_end(Run* run, uint64_t now, Fifo<Run>& ended);
  bool empty() const { return size_ == 0; }
  uint64_t work_ns() const { return work_ns_; }  // time of the lane that all that waits will take

  struct Next {
    bool any = false;         // `batch` holds what to run now
    uint64_t wait_until = 0;  // else: look again then, or when more arrives; 0: nothing waits
  };
  // Claims the next batch: runs of one variant that may go through the engine together. What has ended meanwhile, or cannot be done by its
  // deadline, goes to `ended`, the latter with its status. `batch` is emptied first.
  Next take(uint64_t now, std::vector<Run*>& batch, Fifo<Run>& ended);

 private:
  LaneGroup& group_of(const Run& run) const;
  static uint64_t cost_of(const LaneGroup& group, const Run& run);
  Run* pop(LaneGroup& group);
  void end_hopeless(Run* run, uint64_t now);
  LaneGroup* first_group(uint64_t now, uint64_t* wait_until);
  bool drop_ended(LaneGroup& group, uint64_t now, Fifo<Run>& ended);
  void fill(LaneGroup& group, uint64_t now, std::vector<Run*>& batch, Fifo<Run>& ended);
  uint64_t hold(LaneGroup& group, uint64_t now) const;

  LanePlaces& places_;
  policy::FairOrder order_;
  policy::Demand demand_;
  std::vector<LaneGroup*> active_;  // groups with entries
  size_t size_ = 0;
  uint64_t pushed_ = 0;
  uint64_t work_ns_ = 0;  // cost of all entries
  // What a lane really takes for what it was said to cost, while work waits: a front that is its own lane also reads and answers.
  double stretch_ = 1;
  uint64_t took_at_ns_ = 0, took_cost_ = 0;  // of the last batch, if more waited then
};

}  // namespace verge::runtime
