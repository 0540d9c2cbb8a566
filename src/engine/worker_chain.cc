#include "engine/worker_chain.h"

#include <algorithm>

#include "os/process.h"

namespace verge::engine {
namespace {

// The index in an artifact's signature of what the network calls `name`; -1 where it has none.
int64_t find_tensor(const std::vector<TensorSpec>& specs, const std::string& name, size_t named, const std::map<std::string, std::string>& names) {
  const auto renamed = names.find(name);
  const std::string& own = renamed == names.end() ? name : renamed->second;
  const auto it = std::find_if(specs.begin(), specs.end(), [&](const TensorSpec& t) { return t.name == own; });
  if (it != specs.end()) return it - specs.begin();
  // Engines name a lone tensor as they like.
  return specs.size() == 1 && named == 1 ? 0 : -1;
}

Status not_there(size_t stage, const char* side, const std::string& name) {
  return failed_precondition("stage " + std::to_string(stage + 1) + ": the artifact has no " + side + " '" + name + "'");
}

// Network inputs as the first stage that takes each has them, and the exits' outputs, under the network's names.
Status chain_signature(const std::vector<StageJob>& jobs, Loaded& loaded) {
  std::vector<std::string> made;
  for (size_t k = 0; k < jobs.size(); ++k) {
    const Signature& own = loaded.stages[k]->signature();
    for (const std::string& name : jobs[k].inputs) {
      const int64_t at = find_tensor(own.inputs, name, jobs[k].inputs.size(), jobs[k].names);
      if (at < 0) return not_there(k, "input", name);
      if (std::find(made.begin(), made.end(), name) != made.end() || loaded.signature.input(name)) continue;
      loaded.signature.inputs.push_back(own.inputs[static_cast<size_t>(at)]);
      loaded.signature.inputs.back().name = name;
    }
    if (own.inputs.size() != jobs[k].inputs.size())
      return failed_precondition("stage " + std::to_string(k + 1) + ": the artifact has " + std::to_string(own.inputs.size()) + " inputs, the stage " + std::to_string(jobs[k].inputs.size()));
    made.insert(made.end(), jobs[k].outputs.begin(), jobs[k].outputs.end());
    const int64_t exit = find_tensor(own.outputs, jobs[k].exit, jobs[k].outputs.size(), jobs[k].names);
    if (exit < 0) return not_there(k, "output", jobs[k].exit);
    loaded.signature.outputs.push_back(own.outputs[static_cast<size_t>(exit)]);
    loaded.signature.outputs.back().name = jobs[k].exit;
  }
  return {};
}

}  // namespace

Result<std::shared_ptr<Model>> load_stage(Engine& engine, const WorkerJob& job, size_t stage, const std::vector<int>& cores, int threads, const std::string& cache_dir) {
  LoadSpec spec = job.stages.empty() ? job.load : job.stages.at(stage).load;
  spec.cores = cores;
  spec.threads = threads;
  spec.cache_dir = cache_dir;
  auto model = engine.load(spec);
  if (!model.ok() && !job.stages.empty()) return model.status().prefixed("stage " + std::to_string(stage + 1));
  return model;
}

Result<Loaded> load_all(Engine& engine, const WorkerJob& job, const std::vector<int>& cores, int threads, const std::string& cache_dir) {
  Loaded loaded;
  for (size_t k = 0; k < std::max<size_t>(1, job.stages.size()); ++k) {
    VERGE_ASSIGN(std::shared_ptr<Model> model, load_stage(engine, job, k, cores, threads, cache_dir));
    loaded.stages.push_back(std::move(model));
  }
  const Model& first = *loaded.stages[0];
  loaded.fixed_batches = first.fixed_batches();
  loaded.executed_precision = first.executed_precision();
  loaded.executed_precision_source = first.executed_precision_source();
  if (job.stages.empty()) {
    loaded.signature = first.signature();
    return loaded;
  }
  for (const auto& model : loaded.stages) {
    if (model->fixed_batches() != loaded.fixed_batches) return failed_precondition("the stages are made for different batch sizes");
    if (model->executed_precision() != loaded.executed_precision) loaded.executed_precision = "mixed";
  }
  VERGE_RETURN_IF_ERROR(chain_signature(job.stages, loaded));
  return loaded;
}

Result<std::unique_ptr<ChainRunner>> ChainRunner::create(const Loaded& loaded, const std::vector<StageJob>& jobs, const std::vector<int>& cores, int threads) {
  auto chain = std::make_unique<ChainRunner>();
  struct Source {
    std::string name;
    Wire wire;
  };
  std::vector<Source> sources;
  for (size_t i = 0; i < loaded.signature.inputs.size(); ++i) sources.push_back({loaded.signature.inputs[i].name, {-1, i}});
  for (size_t k = 0; k < jobs.size(); ++k) {
    VERGE_ASSIGN(Runner runner, Runner::create(loaded.stages[k], cores, threads));
    Stage stage{std::move(runner), {}, {}, 0, 0};
    const Signature& own = loaded.stages[k]->signature();
    stage.wires.resize(own.inputs.size());
    for (const std::string& name : jobs[k].inputs) {
      const auto source = std::find_if(sources.begin(), sources.end(), [&](const Source& s) { return s.name == name; });
      const int64_t at = find_tensor(own.inputs, name, jobs[k].inputs.size(), jobs[k].names);
      if (source == sources.end() || at < 0) return not_there(k, "source for its input", name);
      stage.wires[static_cast<size_t>(at)] = source->wire;
    }
    for (const std::string& name : jobs[k].outputs) {
      const int64_t at = find_tensor(own.outputs, name, jobs[k].outputs.size(), jobs[k].names);
      if (at < 0) return not_there(k, "output", name);
      sources.push_back({name, {static_cast<int>(k), static_cast<size_t>(at)}});
      if (name == jobs[k].exit) stage.exit = static_cast<size_t>(at);
    }
    stage.inputs.resize(own.inputs.size());
    chain->stages_.push_back(std::move(stage));
  }
  chain->exits_.resize(jobs.size());
  return chain;
}

Status ChainRunner::run(std::span<const verge_tensor> inputs) {
  for (size_t k = 0; k < stages_.size(); ++k) {
    Stage& stage = stages_[k];
    for (size_t i = 0; i < stage.wires.size(); ++i) {
      const Wire& w = stage.wires[i];
      verge_tensor& t = stage.inputs[i];
      t = w.stage < 0 ? inputs[w.index] : stages_[static_cast<size_t>(w.stage)].runner.outputs()[w.index];
      // Only its maker gives it back.
      t.owner = nullptr;
      t.release = nullptr;
    }
    const uint64_t start = os::monotonic_ns();
    Status s = stage.runner.run(stage.inputs);
    stage.ns = os::monotonic_ns() - start;
    if (!s.ok()) return s.prefixed("stage " + std::to_string(k + 1));
    exits_[k] = stage.runner.outputs()[stage.exit];
  }
  return {};
}

}  // namespace verge::engine
