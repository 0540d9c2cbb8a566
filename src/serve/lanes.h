// What the models that are about to be served say of the lanes.
#pragma once

#include <vector>

#include "policy/lane_plan.h"
#include "serve/sources.h"

namespace verge::serve {

// The latest version of each model at the place, by what is known of this device without measuring anything. What cannot be opened, or has no variant to answer
// with, is left out: it says nothing about lanes.
std::vector<policy::LaneModel> lane_models(const Environment& env, const Place& place);

}  // namespace verge::serve
