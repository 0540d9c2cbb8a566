// What happens on a lane: transforms, one or several engine runs, transforms.
#pragma once

#include <span>
#include <string_view>

#include "core/status.h"
#include "runtime/lane_queue.h"
#include "runtime/metrics.h"
#include "runtime/run.h"
#include "runtime/table.h"

namespace verge::runtime {

// Checks the request against the served signature and notes in `run` which tensor is which and the batch size. Front thread. On failure
// `reason` says of which kind.
Status validate(const ServedVersion& version, const Request& request, Run& run, Reason& reason);

// Runs a claimed batch, all of one variant and lane, on the lane's instance, which the caller has to itself. Several requests go through the
// engine as one. Fills in each run's status and times, and the outputs of its request. Afterwards whoever looks after the lane's queue calls learn(), before anything else is
// taken from it: the queue decides by the curve that this changes.
void execute(std::span<Run* const> batch);
void learn(std::span<Run* const> batch);

// What the exit of a stage that has just run answers, into memory of its own: the stages go on while it is sent.
Status take_exit(Run& run, uint32_t exit, ExitAnswer& into);

// Where small outputs go: into the given buffers, or into the lane's memory, good until its next run.
enum class Outputs { kOwn, kLane };

// The engine's part alone: buffers.network_inputs to buffers.network_outputs, with the lane's memory for inputs that have to be copied. `curve`, where there
// is one, says how to cut what fits no fixed batch size.
Status run_network(const Signature& network, const LoadedNetwork& loaded, uint32_t lane, EngineBuffers& buffers, LaneWork& work, Outputs outputs,
                   const policy::BatchCurve* curve = nullptr);

}  // namespace verge::runtime
