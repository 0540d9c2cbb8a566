// A variant that was just loaded runs before there is a request: what engines do once is done then, and shows what a run takes.
#include <map>
#include <string>
#include <vector>

#include "os/process.h"
#include "runtime/chain.h"
#include "runtime/execute.h"
#include "runtime/loader.h"

namespace verge::runtime {
namespace {

// Of one sample: batches of runs that take longer are not worth their time.
constexpr uint64_t kShortRunNs = 5'000'000;

// A sample of nothing: zeros, and empty strings.
Tensor zero_sample(const TensorSpec& spec) {
  Shape shape = spec.shape;
  for (int i = 0; i < shape.rank(); ++i) {
    if (shape[i] < 0) shape[i] = 1;
  }
  if (spec.dtype != DType::kBytes) return Tensor(spec.dtype, shape);
  Tensor t;
  t.dtype = DType::kBytes;
  t.shape = shape;
  t.data.resize(4 * static_cast<size_t>(std::max<int64_t>(shape.elements(), 0)));
  return t;
}

}  // namespace

Status Loader::warm(const ServedVersion& served, Resident& resident, const VariantSpec& spec) {
  const ModelSource& source = *served.source;
  std::map<std::string, Tensor> samples;
  if (source.warm_up) {
    VERGE_ASSIGN(samples, source.warm_up());
  }
  const bool real = !samples.empty();
  Run run;
  for (const TensorSpec& input : source.manifest.network.inputs) {
    Tensor& t = samples[input.name];
    if (t.dtype == DType::kInvalid) t = zero_sample(input);
    run.network_inputs.push_back(t.view());
  }
  std::vector<uint64_t> took(resident.parts);
  for (uint32_t lane = 0; lane < shared_.lane_count(); ++lane) {
    // The first run pays for what the engine does once; the second one is what requests will see.
    for (int k = 0; k < 2; ++k) {
      const uint64_t begun = os::monotonic_ns();
      LaneWork& work = resident.groups[lane].work;
      Status s = served.stages.empty() ? run_network(source.manifest.network, resident, lane, run, work, Outputs::kOwn)
                                       : run_all_stages(served, resident, lane, run, took);
      run.release_engine_outputs();
      if (!s.ok()) {
        if (real) return s.prefixed("warming up");
        log(LogLevel::kWarning, "warm_up_refused", {{"model", source.name}, {"variant", spec.id}, {"reason", s.message()}});
        return {};
      }
      LaneGroup& group = resident.groups[lane];
      if (k == 1) {
        const uint64_t all = os::monotonic_ns() - begun;
        group.curve.learn(1, all);
        if (served.stages.empty()) took[0] = all;
        // Where the profile says nothing.
        for (uint32_t part = 0; part < resident.parts; ++part) {
          if (resident.predictor(lane, part).predict(1).typical_ns == 0) resident.predictor(lane, part).seed(1, took[part], 0);
        }
      }
      group.tell_predictions();
    }
    if (took[0] < kShortRunNs) warm_batches(source.manifest.network, resident, lane, run.network_inputs);
  }
  return {};
}

// Batches that come often: what an engine does once for a size is done before there is a request. One that fails here will say so to its requests.
void Loader::warm_batches(const Signature& network, Resident& resident, uint32_t lane, const std::vector<TensorView>& sample) {
  for (const int64_t rows : {2, 4}) {
    if (resident.max_rows < rows) return;
    std::vector<Tensor> batch(sample.size());
    Run run;
    for (size_t i = 0; i < sample.size(); ++i) {
      const TensorView& one = sample[i];
      if (network.inputs[i].batch_axis != 0 || one.shape.rank() == 0 || one.shape[0] != 1) return;
      batch[i].dtype = one.dtype;
      batch[i].shape = one.shape;
      batch[i].shape[0] = rows;
      for (int64_t r = 0; r < rows; ++r) batch[i].data.insert(batch[i].data.end(), one.data.begin(), one.data.end());
      run.network_inputs.push_back(batch[i].view());
    }
    const Status s = run_network(network, resident, lane, run, resident.groups[lane].work, Outputs::kOwn);
    run.release_engine_outputs();
    if (!s.ok()) return;
  }
}

}  // namespace verge::runtime
