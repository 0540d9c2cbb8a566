// A multi-exit model on a lane: stage by stage, each taking the features of the earlier ones where they lie, until an exit answers.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/manifest.h"
#include "core/status.h"
#include "policy/exit_rule.h"
#include "runtime/run.h"

namespace verge::runtime {

struct Resident;

// Where a stage's inputs come from, and which of its outputs is its exit's answer.
struct ServedStage {
  struct Input {
    int32_t stage = -1;   // an earlier one, of whose outputs `index` is one; -1: of the inputs of the model's network
    uint32_t index = 0;
  };
  std::vector<Input> inputs;  // as the stage's network has them
  uint32_t output = 0;
};
Result<std::vector<ServedStage>> link_stages(const Manifest& manifest);

// What is known of each stage of a variant, for `rows` samples on `lane`. `out` has room for all stages; static parts come from the profile.
void known_stages(const ServedVersion& version, uint32_t variant, const Resident& resident, uint32_t lane, int64_t rows, double watts, std::span<policy::StageKnown> out);

// Runs the stages of a request whose network inputs are prepared, until its exit rule (run.plan) says to leave. The answer is then the output
// `version.stages[run.plan.left_at].output` of the lane's buffers of that stage (LaneGroup::stages).
Status run_chain(Run& run);

// All stages with the inputs in `inputs`, for warming up; tells each stage's time to `took`.
Status run_all_stages(const ServedVersion& version, const Resident& resident, uint32_t lane, Run& run, std::span<uint64_t> took);

}  // namespace verge::runtime
