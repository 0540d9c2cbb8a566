// Latency and energy of a loaded model, measured by the monotonic clock around each run.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "core/profile.h"
#include "core/status.h"
#include "engine/worker_run.h"
#include "os/energy.h"

namespace verge::engine {

struct CellLimits {
  double seconds = 0.3;  // a cell ends here …
  int64_t runs = 1000;   // … or here, whichever comes first
  bool thorough = false;  // whichever comes last
  uint64_t deadline_ns = UINT64_MAX;  // monotonic; ends any cell
};

// Measures runs of `batch` samples, after a warm-up that is not counted. `counted` is called after each run that is.
Result<LatencyCell> measure_cell(Runnable& runner, SampleSet& samples, int64_t batch, int64_t cores, const CellLimits& limits,
                                 const std::function<void()>& counted = nullptr);

// Millijoules, of all that the meter sees, a run of `batch` samples, idle power included. Negative if the counters did not move.
Result<double> measure_energy(Runnable& runner, SampleSet& samples, int64_t batch, os::EnergyMeter& meter);

// The statistics of run times in nanoseconds (reordered). At least one.
LatencyCell latency_cell(int64_t batch, int64_t cores, std::vector<uint64_t>& times_ns);

}  // namespace verge::engine
