// Latency and energy of a loaded model, measured by the monotonic clock around each run.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "core/profile.h"
#include "core/status.h"
#include "engine/worker_run.h"

namespace verge::engine {

struct CellLimits {
  double seconds = 0.3;  // a cell ends here …
  int64_t runs = 1000;   // … or here, whichever comes first
  bool thorough = false;  // whichever comes last
  uint64_t deadline_ns = UINT64_MAX;  // monotonic; ends any cell
};

// Counters of the processor's energy, where this process may read them.
class EnergyMeter {
 public:
  static EnergyMeter open();
  bool available() const { return unavailable_.empty(); }
  const std::string& unavailable() const { return unavailable_; }  // why there is none
  // Microjoules since some start, over all processor packages; differences count. Negative if it cannot be read any more.
  double microjoules();

 private:
  struct Zone {
    std::string path;
    double range = 0;  // where the counter wraps
    double last = -1;
    double total = 0;
  };
  std::vector<Zone> zones_;
  std::string unavailable_;
};

// Measures runs of `batch` samples, after a warm-up that is not counted. `counted` is called after each run that is.
Result<LatencyCell> measure_cell(Runnable& runner, SampleSet& samples, int64_t batch, int64_t cores, const CellLimits& limits,
                                 const std::function<void()>& counted = nullptr);

// Millijoules of the whole processor a run of `batch` samples, idle power included. Negative if the counters did not move.
Result<double> measure_energy(Runnable& runner, SampleSet& samples, int64_t batch, EnergyMeter& meter);

// The statistics of run times in nanoseconds (reordered). At least one.
LatencyCell latency_cell(int64_t batch, int64_t cores, std::vector<uint64_t>& times_ns);

}  // namespace verge::engine
