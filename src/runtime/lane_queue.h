// A lane's memory, and the queue of runs that wait for it, which is the policies' (policy/lane_queue.h).
#pragma once

#include <atomic>
#include <cstdint>
#include <span>
#include <vector>

#include "policy/lane_queue.h"
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
struct alignas(64) LaneGroup : policy::WaitingGroup<Run> {
  LaneWork work;
  std::vector<EngineBuffers> stages;  // of a multi-exit model: features lie at the same place each time, and requests that wait hold none
  // Of a run of one sample, for fronts to read; 0: unknown. The second is what it takes with the mean deviation.
  std::atomic<uint64_t> predicted_ns{0}, cautious_ns{0};
  void tell_predictions() {
    predicted_ns.store(curve.predict(1), std::memory_order_relaxed);
    cautious_ns.store(curve.predict(1) + curve.deviation(), std::memory_order_relaxed);
  }
};

using LanePlaces = policy::LanePlaces;
using LaneQueue = policy::LaneQueue<Run>;
std::vector<double> weights_of(const std::vector<TenantOptions>& tenants);
// What a batch that was taken is expected to hold its lane; 0: unknown.
uint64_t expected_ns(std::span<Run* const> batch);

}  // namespace verge::runtime
