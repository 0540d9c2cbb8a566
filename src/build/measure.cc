#include "build/measure.h"

#include <algorithm>

#include "core/npy.h"
#include "core/version.h"
#include "data/metric.h"
#include "os/files.h"
#include "os/process.h"

namespace verge::build {
namespace {

constexpr uint64_t kMaxNpyBytes = uint64_t{8} << 30;
constexpr double kVerifyLimitS = 180;
constexpr double kProfileLimitS = 180;
constexpr double kThoroughLimitS = 1800;

engine::WorkerJob job_of(const package::Package& package, const VariantSpec& variant, const std::string& log_path) {
  engine::WorkerJob job;
  job.variant_id = variant.id;
  job.engine = variant.engine;
  if (variant.stages.empty()) job.load = package::load_spec(package, variant);
  job.names = variant.names;
  for (size_t k = 0; k < variant.stages.size(); ++k) {
    const StageSpec& stage = package.manifest.stages.at(k);
    engine::StageJob s{package::load_spec(package, variant, k), variant.stages[k].names, {}, {}, stage.output};
    for (const TensorSpec& t : stage.network.inputs) s.inputs.push_back(t.name);
    for (const TensorSpec& t : stage.network.outputs) s.outputs.push_back(t.name);
    job.stages.push_back(std::move(s));
  }
  job.log_path = log_path;
  return job;
}

// 1, 2, 3, 4, then doubling, and all of them.
std::vector<int64_t> core_grid(int64_t cores) {
  std::vector<int64_t> grid;
  for (int64_t n = 1; n <= cores; n = n < 4 ? n + 1 : n * 2) grid.push_back(n);
  if (!grid.empty() && grid.back() != cores) grid.push_back(cores);
  return grid;
}

NpyFiles in_golden(const package::Package& package, const std::map<std::string, std::string>& files) {
  NpyFiles out;
  for (const auto& [name, file] : files) out[name] = os::join(os::join(package.dir, "golden"), file);
  return out;
}

}  // namespace

engine::WorkerJob verify_job(const package::Package& package, const VariantSpec& variant, const NpyFiles& inputs, const std::string& outputs_dir,
                             const std::string& log_path) {
  engine::WorkerJob job = job_of(package, variant, log_path);
  job.golden_inputs = inputs;  // what it is warmed with
  job.evaluation_inputs = inputs;
  job.evaluation_outputs_dir = outputs_dir;
  job.measure_cached_load = false;
  job.time_limit_s = kVerifyLimitS;
  return job;
}

engine::WorkerJob profile_job(const package::Package& package, const VariantSpec& variant, const NpyFiles& inputs, bool thorough,
                              const std::string& cache_dir, const std::string& log_path) {
  engine::WorkerJob job = job_of(package, variant, log_path);
  job.golden_inputs = inputs;
  job.load.cache_dir = cache_dir;
  job.batches = {1, 2, 4, 8, 16, 32};
  job.core_counts = core_grid(static_cast<int64_t>(os::usable_cores().size()));
  job.thorough = thorough;
  job.time_limit_s = thorough ? kThoroughLimitS : kProfileLimitS;
  return job;
}

Result<Tensor> read_npy(const std::string& path) {
  VERGE_ASSIGN(os::MappedFile file, os::MappedFile::open(path, kMaxNpyBytes));
  auto bytes = file.bytes();
  return parse_npy({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, path);
}

Result<std::map<std::string, Tensor>> read_outputs(const engine::WorkerResult& result, const VariantSpec& variant, const Signature& network) {
  std::map<std::string, Tensor> out;
  const auto& artifact = result.signature.outputs;
  for (const TensorSpec& o : network.outputs) {
    auto renamed = variant.names.find(o.name);
    const std::string& name = renamed == variant.names.end() ? o.name : renamed->second;
    auto it = std::find_if(artifact.begin(), artifact.end(), [&](const TensorSpec& t) { return t.name == name; });
    // Engines name a lone tensor as they like.
    if (it == artifact.end() && artifact.size() == 1 && network.outputs.size() == 1) it = artifact.begin();
    auto index = static_cast<size_t>(it - artifact.begin());
    if (it == artifact.end() || index >= result.evaluation_outputs.size()) return not_found("the artifact has no output '" + name + "'");
    VERGE_ASSIGN(out[o.name], read_npy(result.evaluation_outputs[index]));
  }
  return out;
}

void take_measurements(VariantProfile& into, const VariantProfile& m) {
  if (!m.executed_precision.empty()) {
    into.executed_precision = m.executed_precision;
    into.executed_precision_source = m.executed_precision_source;
  }
  into.load_ms_cold = m.load_ms_cold;
  into.load_ms_cached = m.load_ms_cached;
  into.first_run_ms = m.first_run_ms;
  into.resident_bytes = m.resident_bytes;
  into.engine_fixed_bytes = m.engine_fixed_bytes;
  into.energy_mj = m.energy_mj;
  into.energy_source = m.energy_source;
  into.latency = m.latency;
  into.stages = m.stages;
}

Signature exits_signature(const Manifest& m) {
  Signature s{m.network.inputs, {}};
  for (const StageSpec& stage : m.stages)
    if (const TensorSpec* output = stage.network.output(stage.output)) s.outputs.push_back(*output);
  return s;
}

std::vector<std::string> exit_names(const Manifest& m) {
  std::vector<std::string> names;
  for (const StageSpec& stage : m.stages) names.push_back(stage.exit);
  return names;
}

Result<std::vector<Reference>> exit_references(const Manifest& m, const Reference& whole, const std::map<std::string, Tensor>& outputs) {
  const Signature exits = exits_signature(m);
  std::vector<Reference> out;
  for (const TensorSpec& exit : exits.outputs) {
    const auto answer = outputs.find(exit.name);
    if (answer == outputs.end()) return data_loss("there are no reference answers of the exit's output '" + exit.name + "'");
    Reference r = whole;
    r.network = {m.network.inputs, {exit}};
    r.outputs = {{exit.name, answer->second}};
    r.metric.output.clear();
    const Tensor& last = outputs.at(m.stages.back().output);
    if (r.evaluation && r.metric.kind == MetricKind::kAgreement && last.shape.rank() == 2 && last.shape[1] > 1) {
      VERGE_ASSIGN(std::vector<int64_t> classes, data::top1_classes(last.view()));
      r.metric.kind = MetricKind::kTop1;
      r.labels = Tensor(DType::kInt64, Shape{static_cast<int64_t>(classes.size())});
      std::copy(classes.begin(), classes.end(), r.labels.as<int64_t>());
    }
    if (r.evaluation) {
      VERGE_ASSIGN(r.accuracy, accuracy_of(r, r.outputs));
    }
    out.push_back(std::move(r));
  }
  return out;
}

NpyFiles golden_inputs(const package::Package& package) { return in_golden(package, package.manifest.golden.inputs); }
NpyFiles golden_outputs(const package::Package& package) { return in_golden(package, package.manifest.golden.outputs); }

Profile new_profile(const package::Package& package) {
  Profile p;
  p.device = os::this_device();
  p.manifest_sha256 = package.manifest_sha256;
  p.measured_at = os::utc_now();
  p.verge_version = kVersion;
  return p;
}

}  // namespace verge::build
