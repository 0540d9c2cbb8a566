// One request on its way through a variant, with all the memory that it needs on the way. Pooled by the front that made it, so that in the
// steady state a request makes no heap call.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "core/status.h"
#include "core/tensor.h"
#include "runtime/api.h"
#include "runtime/metrics.h"
#include "runtime/plan.h"
#include "runtime/sequences.h"
#include "transform/chain.h"
#include "verge/engine.h"

namespace verge::runtime {

class FrontImpl;
struct Resident;
struct ServedVersion;
struct TableHold;
struct LaneGroup;

// Aligned memory that only grows.
class Buffer {
 public:
  Buffer() = default;
  ~Buffer();
  Buffer(Buffer&& o) noexcept : data_(o.data_), capacity_(o.capacity_), alignment_(o.alignment_) { o.data_ = nullptr, o.capacity_ = 0; }
  Buffer& operator=(Buffer&&) = delete;
  // At least `bytes` at a multiple of `alignment` (a power of two); the content is not kept. nullptr when memory is short.
  std::byte* ensure(size_t bytes, size_t alignment);
  const std::byte* data() const { return data_; }
  size_t capacity() const { return capacity_; }

 private:
  std::byte* data_ = nullptr;
  size_t capacity_ = 0;
  size_t alignment_ = 0;
};

// What one engine run needs: the network's tensors, the artifact's, and the memory that these lie in. A multi-exit model has one for each stage
// and lane.
struct EngineBuffers {
  std::vector<TensorView> network_inputs, network_outputs;

  std::vector<verge_tensor> engine_inputs, engine_outputs;  // in the artifact's order
  std::vector<Buffer> lent;                      // artifact outputs: lent to the engine, or assembled
  std::vector<std::vector<std::byte>> wire;      // of BYTES outputs
  uint64_t padded = 0;                           // samples of padding that the engine computed

  // Gives back tensors that the engine owns. Idempotent.
  void release_engine_outputs();
  size_t kept_bytes() const;
};

// An earlier exit's answer, with the memory that it lies in.
struct ExitAnswer : EarlyAnswer {
  uint32_t exit = 0;
  std::vector<Buffer> lent;
  std::vector<transform::Chain::Scratch> after;
};

uint64_t sequence_hash(const Sequence& s);

struct Run : EngineBuffers {
  Run* next = nullptr;
  Request* request = nullptr;  // nullptr: it has been answered, and only the run is still on its way
  FrontImpl* front = nullptr;
  TableHold* hold = nullptr;  // keeps `version` and `resident` alive until the answer is written
  const ServedVersion* version = nullptr;
  const Resident* resident = nullptr;
  ModelStats* stats = nullptr;
  uint32_t variant = 0;       // index in the version's manifest
  uint64_t load_attempts = 0; // of a run that waits for its variant: how many loads had failed when it began to wait
  SequenceTurn turn;          // of a stateful model's request
  std::vector<TensorView> fed;  // what the sequence feeds the network
  int64_t batch = 1;          // samples; 1 where the model has no batch axis

  // --- while it waits for a lane ---
  uint32_t priority = 0;      // of policy::FairOrder
  uint32_t tenant = 0, flow = 0;
  uint64_t due_ns = 0;        // when its answer has to be on its way, policy::due_ns(); 0: never
  uint64_t place = 0;
  uint64_t ahead_ns = 0;      // of work before it, where it was turned away for that
  bool joins = false;         // may go through the engine together with others of the same shape_key
  bool pinned = false;        // to its lane
  uint64_t shape_key = 0;     // of the input shapes without the batch
  static constexpr uint32_t kNoTimer = UINT32_MAX;
  uint32_t timer = kNoTimer;  // its place among the front's deadlines
  uint64_t timer_ns = 0;      // when the front looks at it again
  bool overran = false;       // its deadline passed while it ran, and its client was told
  bool stood = false;         // the same, and it was given the answer of an exit before
  bool probes = false;        // runs though it seems hopeless
  uint64_t cost_ns = 0;       // that it is expected to hold the lane
  uint32_t lane_wish = UINT32_MAX;  // the lane that the choice reckoned with
  bool waits_for_load = false;
  bool has_tenant_place = false;

  Status status;
  Reason reason = Reason::kEngine;  // where status is not ok
  uint64_t queued_ns = 0, started_ns = 0, assembled_ns = 0, finished_ns = 0;
  int64_t run_rows = 0;       // samples of the engine run that answered, all requests together
  bool counts_run = false;    // the one of its batch that stands for the engine run in counters

  // --- what policy::LaneQueue asks ---
  LaneGroup& group() const;     // of its variant and lane
  int64_t most_rows() const;
  uint64_t needs_ns() const { return plan.needs_ns; }
  bool goes_alone() const { return plan.exit != kNoExit; }
  void end_hopeless(uint64_t now);

  // Who has it: it waits in a lane, a lane (or a front in its place) has claimed it, or its request has ended before that.
  void enter(uint32_t lane) { state_.store(lane << 2 | kWaiting, std::memory_order_relaxed); }
  uint32_t lane() const { return state_.load(std::memory_order_relaxed) >> 2; }
  bool is_waiting() const { return (state_.load(std::memory_order_relaxed) & 3) == kWaiting; }
  // Exactly one of claim() and give_up() is true for a run that waits.
  bool claim() { return leave(kClaimed); }
  bool give_up() { return leave(kGone); }
  // To another lane; false where it does not wait any more.
  bool move_to(uint32_t lane) {
    uint32_t old = state_.load(std::memory_order_relaxed);
    return (old & 3) == kWaiting && state_.compare_exchange_strong(old, lane << 2 | kWaiting, std::memory_order_acq_rel);
  }

  std::vector<uint32_t> inputs;    // served input -> index in request->inputs
  std::vector<uint32_t> wanted;    // served outputs, in the order of the answer
  std::vector<transform::Chain::Scratch> after;  // of the chains of served outputs
  Plan plan;
  std::vector<std::unique_ptr<ExitAnswer>> early;  // by exit, where every exit's answer is asked for or kept

  std::atomic<uint32_t> exits_done{0};  // of a chain that runs

  // The answer that is kept for the deadline while the lane goes on. Either the lane comes to its end (end_keeping()), or the front has given out what was kept (take_kept()): never both.
  void begin_keeping() { kept_.store(nullptr, std::memory_order_relaxed); }
  // By the lane. False: one has been given out.
  bool keep(ExitAnswer* a) {
    ExitAnswer* old = kept_.load(std::memory_order_relaxed);
    return old != gone() && kept_.compare_exchange_strong(old, a, std::memory_order_acq_rel);
  }
  bool end_keeping() { return kept_.exchange(gone(), std::memory_order_acq_rel) != gone(); }
  // By the front. nullptr: there is none, or the lane has come to its end.
  ExitAnswer* take_kept() {
    ExitAnswer* a = kept_.load(std::memory_order_acquire);
    while (a != nullptr && a != gone() && !kept_.compare_exchange_weak(a, gone(), std::memory_order_acq_rel)) continue;
    return a == gone() ? nullptr : a;
  }

  size_t kept = 0;  // kept_bytes() while it is pooled

  // Bytes of memory that this run keeps for the next request.
  size_t kept_bytes() const;

 private:
  static constexpr uint32_t kWaiting = 0, kClaimed = 1, kGone = 2;
  static ExitAnswer* gone() {
    static ExitAnswer mark;
    return &mark;
  }
  bool leave(uint32_t to) {
    uint32_t old = state_.load(std::memory_order_relaxed);
    while ((old & 3) == kWaiting) {
      if (state_.compare_exchange_weak(old, (old & ~3u) | to, std::memory_order_acq_rel, std::memory_order_relaxed)) return true;
    }
    return false;
  }
  std::atomic<uint32_t> state_{kClaimed};
  std::atomic<ExitAnswer*> kept_{nullptr};
};

}  // namespace verge::runtime
