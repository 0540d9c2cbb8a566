// What a profile says to the lanes: how many threads an instance gets, and what its runs take.
#pragma once

#include <cstdint>
#include <vector>

#include "core/profile.h"
#include "policy/lane_plan.h"

namespace verge::runtime {

struct Resident;

policy::ThreadCurve thread_curve(const std::vector<LatencyCell>& cells);
// Of a multi-exit variant up to one of its exits; empty where a stage before it was not measured.
policy::ThreadCurve thread_curve_to_exit(const VariantProfile& profile, size_t exit);

// Tells the curves and predictors of a lane the times that were measured on as many cores as the lane uses; where there are none, on the next fewer.
void seed(Resident& resident, const VariantProfile& profile, uint32_t lane, int64_t cores);

}  // namespace verge::runtime
