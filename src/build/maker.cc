#include "build/maker.h"

#include <algorithm>
#include <utility>

#include "build/golden.h"
#include "build/measure.h"
#include "build/profile.h"
#include "core/stages.h"
#include "engine/worker.h"
#include "os/files.h"
#include "os/process.h"

namespace verge::build {
namespace {

constexpr double kInspectLimitS = 300;
constexpr int64_t kConversionSamples = 500;  // of a multi-exit model's calibration data that converters are given

// A file exported for single samples has 1 where the batch axis is: that dimension is the batch, and the file is bound to it. Another size is
// the batch only where the recipe says so. (The tool chain does the same for the sources that it inspects.) Returns the size, 0 for a free one or none.
int64_t bind_fixed_batch(Signature& s, bool said) {
  if (s.inputs.empty() || s.inputs[0].shape.rank() == 0) return 0;
  const int64_t size = s.inputs[0].shape[0];
  const auto leads = [&](const TensorSpec& t) { return t.batch_axis < 0 && t.shape.rank() >= 1 && t.shape[0] == size; };
  const bool all = size >= 1 && std::all_of(s.inputs.begin(), s.inputs.end(), leads) && std::all_of(s.outputs.begin(), s.outputs.end(), leads);
  const bool single = size == 1 && std::any_of(s.inputs.begin(), s.inputs.end(), [](const TensorSpec& t) { return t.shape.rank() > 1; });
  if (!all || !(said || single)) return 0;
  for (auto* specs : {&s.inputs, &s.outputs}) {
    for (TensorSpec& t : *specs) {
      t.shape[0] = -1;
      t.batch_axis = 0;
    }
  }
  return size;
}

bool is_quantized(const Signature& s) {
  auto quantized = [](const TensorSpec& t) { return !t.quantization.empty(); };
  return std::any_of(s.inputs.begin(), s.inputs.end(), quantized) || std::any_of(s.outputs.begin(), s.outputs.end(), quantized);
}

// The engine at home with a format; empty where only the tool chain can load the source.
std::string home_engine(const std::string& kind) {
  if (kind == "onnx") return "onnxruntime";
  if (kind == "tflite") return "litert";
  if (kind == "openvino-ir") return "openvino";
  return {};
}

}  // namespace

Maker::Maker(const MakeContext& context, const Staging& staging)
    : c_(context), package_dir_(staging.package_dir()), work_(staging.work_dir()), logs_(os::join(package_dir_, "logs")) {
  package_.dir = package_dir_;
}

// Leaves it with what is to be converted inspected.
Status Maker::start_toolchain() {
  if (!toolchain_) {
    VERGE_ASSIGN(Toolchain toolchain, Toolchain::start(c_.toolchain));
    toolchain_ = std::make_unique<Toolchain>(std::move(toolchain));
    open_ = kNothing;
  }
  if (network_ != kWhole) return open_stage(network_);
  if (open_ == kWhole) return {};
  // Of a multi-exit model the outputs stay those of the stages.
  VERGE_ASSIGN(Inspected found, toolchain_->inspect(c_.source.path, c_.source.kind, c_.recipe.signature, c_.toolchain.work, kInspectLimitS, c_.recipe.batch));
  if (stages_.empty()) inspected_ = std::move(found);
  open_ = kWhole;
  return {};
}

Status Maker::inspect() {
  VERGE_RETURN_IF_ERROR(os::make_dirs(logs_));
  VERGE_RETURN_IF_ERROR(os::make_dirs(os::join(work_, "toolchain")));
  c_.progress.live("inspecting " + os::base_name(c_.source.path));
  if (!c_.toolchain.argv.empty()) {
    if (c_.stage_sources.empty()) VERGE_RETURN_IF_ERROR(start_toolchain());
    if (chain()) VERGE_RETURN_IF_ERROR(c_.stage_sources.empty() ? cut_into_stages() : take_stages());
    for (const std::string& note : inspected_.notes) c_.progress.line(note);
    fixed_batch_ = inspected_.fixed_batch;
  } else if (chain()) {
    return unavailable("the conversion tool chain is not installed, and a model with exits needs it: make toolchain");
  } else {
    VERGE_RETURN_IF_ERROR(inspect_with_engine());
  }
  if (inspected_.precision.empty()) inspected_.precision = is_quantized(inspected_.signature) ? "int8" : "f32";
  VERGE_ASSIGN(served_, resolve_served(c_.recipe, inspected_.signature, c_.labels));

  Manifest& m = package_.manifest;
  m.name = c_.key.name;
  m.description = c_.recipe.description;
  m.family = c_.recipe.family;
  m.source_kind = c_.source.kind;
  m.source_name = os::base_name(c_.source.path);
  m.source_sha256 = c_.source.sha256;
  m.reference = inspected_.reference;
  m.network = inspected_.signature;
  m.inputs = served_.inputs;
  m.outputs = served_.outputs;
  m.sequence = c_.recipe.sequence;
  package_.labels = c_.labels;
  m.metric = c_.recipe.metric;
  m.limits.max_abs_diff = c_.recipe.max_abs_diff.value_or(-1);
  m.limits.max_accuracy_loss = c_.recipe.max_accuracy_loss.value_or(-1);
  if (chain()) VERGE_RETURN_IF_ERROR(check_stages(m.stages, m.network));
  if (!m.metric.output.empty() && !m.network.output(m.metric.output)) {
    return c_.recipe.error("metric.output", "the network has no output '" + m.metric.output + "'");
  }

  TargetFacts facts;
  facts.source_kind = chain() ? "saved_model" : c_.source.kind;  // what stages are
  facts.source_precision = inspected_.precision;
  facts.has_loop = inspected_.has_loop;
  facts.calibration = c_.recipe.calibration.has_value();
  facts.toolchain = !c_.toolchain.argv.empty();
  facts.cpu_bf16 = cpu_has_bf16(c_.device.cpu_flags);
  targets_ = choose_targets(facts, c_.recipe.targets);
  if (targets_.empty()) return c_.recipe.error("targets", "no target is left for a " + c_.source.kind + " source");
  for (const Target& t : targets_) {
    VariantSpec v;
    v.id = t.id;
    v.engine = t.engine;
    v.precision = t.precision;
    v.form = t.form;
    v.device = t.device;
    v.options = t.options;
    v.conversion = Conversion::kLeftOut;
    v.reason = t.left_out;
    if (t.from_source && t.conversion.format == "saved_model") v.signature = chain() ? stages_[0].signature : inspected_.signature_name;
    if (!t.from_source) v.build_key = conversion_key(c_.key, t.conversion, inspected_.signature_name, c_.recipe.targets.batches);
    m.variants.push_back(std::move(v));
    VariantProfile p;
    p.id = t.id;
    p.reason = t.left_out;
    profile_.variants.push_back(std::move(p));
  }
  return {};
}

Status Maker::inspect_with_engine() {
  std::string engine = home_engine(c_.source.kind);
  if (engine.empty()) {
    return unavailable("the conversion tool chain is not installed, and a " + c_.source.kind + " source needs it: make toolchain");
  }
  const engine::Descriptor* found = c_.catalog.find(engine);
  if (!found || !found->unavailable.empty()) {
    return unavailable("neither the conversion tool chain (make toolchain) nor the engine " + engine + " is installed" +
                       (found ? ": " + found->unavailable : ""));
  }
  engine::WorkerJob job;
  job.variant_id = "source";
  job.engine = engine;
  job.load.files = {{c_.source.path, 0}};
  job.load.format = source_format(c_.source.kind);
  job.load.no_batch = c_.recipe.batch == "none";
  job.measure_cached_load = false;
  job.log_path = os::join(logs_, "inspect.log");
  VERGE_ASSIGN(engine::WorkerResult result, engine::run_worker(job, nullptr));
  if (result.signature.inputs.empty()) return failed_precondition(c_.source.path + ": " + engine + " cannot load it: " + result.profile.reason);
  inspected_.signature = result.signature;
  inspected_.reference = engine + " " + result.engine_version;
  const std::string& executed = result.profile.executed_precision;
  if (executed == "int8") inspected_.precision = "int8";
  if (executed == "mixed") inspected_.precision = is_quantized(inspected_.signature) ? "int8" : "dynamic";
  if (c_.recipe.batch != "none") fixed_batch_ = bind_fixed_batch(inspected_.signature, c_.recipe.batch == "first");
  const auto batched = [](const TensorSpec& t) { return t.batch_axis == 0; };
  const Signature& network = inspected_.signature;
  if (c_.recipe.batch == "first" && !(std::any_of(network.inputs.begin(), network.inputs.end(), batched) && std::any_of(network.outputs.begin(), network.outputs.end(), batched))) {
    return c_.recipe.error("batch", "the first dimension is not the same in all inputs and outputs of the network");
  }
  c_.progress.line("the conversion tool chain is not installed (make toolchain): only what the engines load as it is can be made");
  return {};
}

Result<std::optional<data::Dataset>> Maker::load(const std::optional<data::DatasetSpec>& spec, const char* field) {
  if (!spec) return std::optional<data::Dataset>();
  std::vector<TensorSpec> specs;
  for (const ServedInput& in : served_.inputs) specs.push_back(in.spec);
  auto set = data::load_dataset(*spec, specs, c_.labels, -1);
  if (!set.ok()) {
    Status s = c_.recipe.error(field, set.status().message());
    return Status{set.status().code(), s.message()};
  }
  if (set->samples == 0) return c_.recipe.error(field, "holds no samples");
  return std::optional<data::Dataset>(std::move(*set));
}

// Without a stated metric: class ids mean top-1, real targets the mean absolute error, no labels agreement with the reference.
Status Maker::settle_metric(const data::Dataset& evaluation) {
  Manifest& m = package_.manifest;
  bool labels = evaluation.labels.dtype != DType::kInvalid && !evaluation.labels.data.empty();
  if (m.metric.kind == MetricKind::kNone) {
    m.metric.kind = !labels ? MetricKind::kAgreement : evaluation.labels.dtype == DType::kInt64 ? MetricKind::kTop1 : MetricKind::kMae;
  }
  if (!labels && m.metric.kind != MetricKind::kAgreement) {
    return c_.recipe.error("data.evaluation.labels", "required by metric " + std::string(metric_name(m.metric.kind)));
  }
  m.evaluation_samples = evaluation.samples;
  m.evaluation_description = evaluation.description;
  reference_.labels = evaluation.labels;
  reference_.evaluation = true;
  return {};
}

Status Maker::prepare_samples() {
  c_.progress.live("loading samples");
  VERGE_ASSIGN(auto calibration, load(c_.recipe.calibration, "data.calibration"));
  VERGE_ASSIGN(auto evaluation, load(c_.recipe.evaluation, "data.evaluation"));
  if (calibration && evaluation) {
    if (Status s = prove_apart(*calibration, *evaluation); !s.ok()) return c_.recipe.error("data", s.message());
  }
  std::string dir = os::join(work_, "samples");
  if (calibration) {
    VERGE_ASSIGN(NetworkSamples samples, run_chains(served_, *calibration));
    VERGE_ASSIGN(files_.calibration, write_samples(samples, dir, "calibration"));
    if (!evaluation) {
      golden_ = choose_golden(samples);
      golden_source_ = "calibration data";
    }
    if (chain()) {
      calibration_labels_ = class_labels(calibration->labels);
      // Converters need fewer samples than thresholds do.
      VERGE_ASSIGN(made_.calibration, write_samples(head(samples, kConversionSamples), dir, "conversion"));
    }
  }
  if (evaluation) {
    VERGE_RETURN_IF_ERROR(settle_metric(*evaluation));
    VERGE_ASSIGN(NetworkSamples samples, run_chains(served_, *evaluation));
    VERGE_ASSIGN(files_.evaluation, write_samples(samples, dir, "evaluation"));
    golden_ = choose_golden(samples);
    golden_source_ = "evaluation data";
  }
  real_samples_ = !golden_source_.empty();
  if (!real_samples_) {
    VERGE_ASSIGN(NetworkSamples noise, noise_samples(inspected_.signature, kNoiseSamples));
    golden_ = choose_golden(noise);
    golden_source_ = "seeded noise";
    c_.progress.line("no data sets: variants are compared with the reference on seeded noise, and no accuracy is stated");
  }
  VERGE_ASSIGN(files_.golden, write_samples(golden_, dir, "golden"));
  return {};
}

Status Maker::measure() {
  pool_.reset();
  c_.progress.line("measuring on " + c_.device.cpu_model + ", " + std::to_string(c_.device.cores) + " cores");
  std::string scratch = os::join(work_, "measure");
  return measure_variants(package_, [](const std::string&) { return true; }, c_.options.thorough, scratch, logs_, profile_, c_.progress);
}

void Maker::verify_later(size_t target) {
  if (!verifying_) {
    waiting_.push_back(target);
    return;
  }
  if (!why_not_here(variant(target), c_.device, c_.catalog).empty()) return;
  pool_->submit([this, target] { verify(target); });
}

void Maker::begin_verifying() {
  if (verifying_ || !have_reference_) return;
  verifying_ = true;
  for (size_t target : std::exchange(waiting_, {})) verify_later(target);
}

// In the pool: reads only what is settled before the task was submitted, and writes its own entry of the profile.
void Maker::verify(size_t target) {
  const std::string id = targets_[target].id;
  package::Package view;
  {
    std::lock_guard lock(mutex_);
    view.dir = package_dir_;
    view.manifest.variants = {variant(target)};
    view.manifest.network = package_.manifest.network;
    view.manifest.stages = package_.manifest.stages;
    view.manifest.artifacts = package_.manifest.artifacts;
  }
  const VariantSpec& v = view.manifest.variants[0];
  VariantProfile p;
  p.id = id;
  std::string engine_version;
  auto fail = [&](Verdict verdict, std::string reason) {
    p.verdict = verdict;
    p.reason = std::move(reason);
  };
  std::string outputs = os::join(work_, "outputs-" + id);
  if (os::interrupted()) {
    fail(Verdict::kNotMeasured, "the build was interrupted");
  } else if (Status s = os::make_dirs(outputs); !s.ok()) {
    fail(Verdict::kFailed, s.message());
  } else {
    engine::WorkerJob job = verify_job(view, v, reference_.evaluation ? files_.evaluation : files_.golden, outputs, os::join(logs_, id + ".verify.log"));
    if (chain() && reference_.evaluation && !files_.calibration.empty()) {
      job.calibration_inputs = files_.calibration;
      job.calibration_outputs_dir = os::join(outputs, "calibration");
      (void)os::make_dirs(job.calibration_outputs_dir);  // where it is missing, the worker says so
    }
    auto result = engine::run_worker(job, nullptr);
    if (!result.ok()) {
      fail(result.status().code() == Code::kCancelled ? Verdict::kNotMeasured : Verdict::kFailed,
           result.status().code() == Code::kCancelled ? "the build was interrupted" : result.status().message());
    } else {
      engine_version = result->engine_version;
      p = std::move(result->profile);
      p.id = id;
      if (p.verdict != Verdict::kFailed && chain()) {
        if (Status judged = judge_chain(target, *result, p); !judged.ok()) fail(Verdict::kFailed, judged.message());
      } else if (p.verdict != Verdict::kFailed) {
        auto answers = read_outputs(*result, v, reference_.network);
        if (answers.ok()) {
          judge(reference_, v.precision, *answers, p);
        } else {
          fail(Verdict::kFailed, answers.status().message());
        }
      }
    }
    (void)os::remove_tree(outputs);
  }
  std::string shown = p.accuracy >= 0 ? ", " + std::string(metric_name(reference_.metric.kind)) + " " + short_number(p.accuracy) : "";
  c_.progress.line("verified " + id + ": " + std::string(verdict_name(p.verdict)) + shown + (p.reason.empty() ? "" : " (" + p.reason + ")"));
  std::lock_guard lock(mutex_);
  if (!engine_version.empty()) profile_.engine_versions[v.engine] = engine_version;
  profile_.variants[target] = std::move(p);
}

}  // namespace verge::build
