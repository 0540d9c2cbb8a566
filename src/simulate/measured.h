// Service times as a running server counted them (verge_run_seconds in its /metrics), in place of a profile's: the machine of today, with whatever else it does, is not that of the day of the build.
#pragma once

#include <string>
#include <vector>

#include "core/status.h"
#include "simulate/model.h"

namespace verge::simulate {

// `file`: the saved /metrics of a server; `since`, if not empty: earlier ones of the same server, whose counts are taken off.
Status apply_measured(const std::string& file, const std::string& since, std::vector<SimModel>& models);

}  // namespace verge::simulate
