// What a worker loads and runs as one: a model, or the stages of a chain, each of which takes its features where the stage before has left them.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/status.h"
#include "engine/catalog.h"
#include "engine/worker.h"
#include "engine/worker_run.h"

namespace verge::engine {

// The models of a job on some cores. Of a chain the signature is the network's inputs and, as outputs, those of the exits in order.
struct Loaded {
  std::vector<std::shared_ptr<Model>> stages;  // one, where the job has none
  Signature signature;
  std::vector<int64_t> fixed_batches;
  std::string executed_precision, executed_precision_source;
};

// A stage of the job alone; 0 where it has none.
Result<std::shared_ptr<Model>> load_stage(Engine& engine, const WorkerJob& job, size_t stage, const std::vector<int>& cores, int threads, const std::string& cache_dir);
Result<Loaded> load_all(Engine& engine, const WorkerJob& job, const std::vector<int>& cores, int threads, const std::string& cache_dir);

// Runs stage after stage; a stage's input is the very buffer that the earlier stage's output lies in. Its outputs are those of the exits.
class ChainRunner : public Runnable {
 public:
  static Result<std::unique_ptr<ChainRunner>> create(const Loaded& loaded, const std::vector<StageJob>& jobs, const std::vector<int>& cores, int threads);
  Status run(std::span<const verge_tensor> inputs) override;
  std::span<const verge_tensor> outputs() const override { return exits_; }

  size_t stages() const { return stages_.size(); }
  uint64_t stage_ns(size_t stage) const { return stages_[stage].ns; }  // of the last run
  std::span<const verge_tensor> inputs_of(size_t stage) const { return stages_[stage].inputs; }

 private:
  // Where an input comes from: the network's input `index`, or output `index` of an earlier stage.
  struct Wire {
    int stage = -1;
    size_t index = 0;
  };
  struct Stage {
    Runner runner;
    std::vector<Wire> wires;
    std::vector<verge_tensor> inputs;
    size_t exit = 0;  // index of the exit's output
    uint64_t ns = 0;
  };
  std::vector<Stage> stages_;
  std::vector<verge_tensor> exits_;
};

}  // namespace verge::engine
