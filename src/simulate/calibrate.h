// What requests take beside the engine, out of live runs.
#pragma once

#include <string>
#include <vector>

#include "bench/plan.h"
#include "core/status.h"
#include "simulate/model.h"
#include "simulate/server.h"

namespace verge::simulate {

// `paths`: results of `verge bench`. `plan`: what is to be simulated; `measured`: service times are those that the server counted, so that what else spreads is not theirs.
Status calibrate(const std::vector<std::string>& paths, const bench::Plan& plan, bool measured, std::vector<SimModel>& models, ServerOptions& o);

}  // namespace verge::simulate
