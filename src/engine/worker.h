// Loads and measures one variant in a fresh worker process: clean resident memory, limits on time and memory, and a crash is a verdict.
// Used by build, profile and serve. The worker is this same binary, started as `verge worker`, speaking JSON lines (see
// worker_protocol.h).
//
// How it is measured: cold load is Engine::load in the fresh process, without a compiled blob, the engine created before. Resident bytes
// are what a second copy of the model adds to the process by load and two batch-1 runs (the first also brings in the engine's fixed
// cost, which is the rest). A cached load is timed in a second fresh process, after the first has left a blob in the cache
// folder. Energy is that of the whole processor, where the machine shows it.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "core/profile.h"
#include "core/status.h"
#include "engine/catalog.h"
#include "os/process.h"

namespace verge::engine {

// A stage of a multi-exit model: its inputs are network inputs or outputs of earlier stages, by the network's tensor names.
struct StageJob {
  LoadSpec load;
  std::map<std::string, std::string> names;  // network tensor name -> the artifact's, where they differ
  std::vector<std::string> inputs, outputs;
  std::string exit;  // the output that answers after this stage
};

struct WorkerJob {
  std::string variant_id;
  std::string engine;
  std::string plugin_dir;  // empty: the install's
  std::map<std::string, std::string> settings;  // of the engine, see Catalog::configure()
  LoadSpec load;
  std::map<std::string, std::string> names;  // network tensor name -> the artifact's, where they differ
  // Of a multi-exit model: run one after the other in place of `load`, of which only the cores, the threads and the cache folder then count, and of
  // `names`. The outputs are those of the exits, by the network's names.
  std::vector<StageJob> stages;
  // npy files, batch first, by network tensor name. Empty: that part is not done.
  std::map<std::string, std::string> golden_inputs, golden_outputs;  // compared: max_abs_diff
  std::map<std::string, std::string> evaluation_inputs;
  std::string evaluation_outputs_dir;  // an existing folder for the outputs on the evaluation inputs: 0.npy, 1.npy, … in signature order
  std::map<std::string, std::string> calibration_inputs;  // the same for the calibration samples, to choose exits' thresholds on
  std::string calibration_outputs_dir;
  int evaluation_batch = 64;
  // Latency grid; empty: not measured. Cells whose batch the variant cannot run are left out.
  std::vector<int64_t> batches;
  std::vector<int64_t> core_counts;
  double cell_seconds = 0.3;  // a cell ends at this time …
  int64_t cell_runs = 1000;   // … or at this many runs, whichever comes first (thorough: whichever comes last)
  bool thorough = false;
  bool measure_cached_load = true;  // where load.cache_dir is set, which must be a folder of this variant's own
  double time_limit_s = 120;             // for the whole job
  uint64_t memory_limit = uint64_t{4} << 30;
  std::string log_path;
};

struct WorkerResult {
  // Verdict ok, failed with the reason (the engine's error, the signal, the limit), or rejected where outputs are NaN or infinite and the
  // reference's are not, or strings differ: max_abs_diff is then the largest double. Accuracy is not filled in. What was measured
  // before a failure is kept.
  VariantProfile profile;
  Signature signature;     // of the artifact, in its engine; of a chain: the network's inputs and the exits' outputs
  std::vector<std::string> evaluation_outputs;  // npy files, in the order of signature.outputs
  std::vector<std::string> calibration_outputs;
  std::string engine_version;
};

// Runs the job. A Status only for what is not the variant's fault (cannot start processes, interrupted); all else is a verdict.
// `progress` receives "loading", "verifying", "evaluating", "profiling 3/8".
Result<WorkerResult> run_worker(const WorkerJob& job, const std::function<void(const std::string&)>& progress);

// main of the `verge worker` subcommand: one job from standard input, answers on file descriptor 3.
int worker_main();

}  // namespace verge::engine
