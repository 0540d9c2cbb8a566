// The multi-exit half of Maker: a network becomes stages, each converted like a network of its own; what the stages before have made of the samples is
// what the later ones are calibrated with.
#include <algorithm>

#include "build/golden.h"
#include "build/maker.h"
#include "build/measure.h"
#include "build/recipe_fields.h"
#include "core/stages.h"
#include "engine/worker.h"
#include "os/files.h"
#include "os/process.h"

namespace verge::build {
namespace {

constexpr double kInspectLimitS = 300;
constexpr double kCutLimitS = 900;

std::string index_of(size_t i) { return "exits[" + std::to_string(i) + "]"; }

std::string names_of(const std::vector<TensorSpec>& specs) {
  std::string out;
  for (const TensorSpec& s : specs) out += (out.empty() ? "'" : ", '") + s.name + "'";
  return out;
}

}  // namespace

std::string Maker::at_stage() const { return network_ == kWhole ? std::string() : "exit '" + package_.manifest.stages[network_].exit + "': "; }

// One network with several outputs.
Status Maker::cut_into_stages() {
  Manifest& m = package_.manifest;
  std::vector<std::string> outputs;
  for (size_t i = 0; i < c_.recipe.exits.size(); ++i) {
    const std::string& output = c_.recipe.exits[i].output;
    if (!inspected_.signature.output(output)) {
      std::vector<std::string_view> names;
      for (const TensorSpec& t : inspected_.signature.outputs) names.push_back(t.name);
      return c_.recipe.error(index_of(i) + ".output", "the network has no output '" + output + "'" + did_you_mean(output, names) + " (it has " + names_of(inspected_.signature.outputs) + ")");
    }
    outputs.push_back(output);
  }
  c_.progress.live("cutting the network at its " + std::to_string(outputs.size()) + " exits");
  auto cut = toolchain_->cut(c_.source.path, c_.source.kind, c_.recipe.signature, outputs, kCutLimitS);
  if (!cut.ok()) return cut.status().code() == Code::kFailedPrecondition ? Status(Code::kFailedPrecondition, c_.recipe.error("exits", cut.status().message()).message()) : cut.status();
  for (size_t k = 0; k < cut->size(); ++k) {
    VERGE_ASSIGN(Source source, inspect_source((*cut)[k].dir, "saved_model"));
    stages_.push_back({std::move(source), "serving_default", os::join(c_.toolchain.work, "stage" + std::to_string(k + 1)), false});
    m.stages.push_back({std::move((*cut)[k].network), c_.recipe.exits[k].name, outputs[k]});
  }
  return settle_stages();
}

// One network a stage.
Status Maker::take_stages() {
  Manifest& m = package_.manifest;
  VERGE_ASSIGN(Toolchain toolchain, Toolchain::start(c_.toolchain));
  toolchain_ = std::make_unique<Toolchain>(std::move(toolchain));
  for (size_t k = 0; k < c_.stage_sources.size(); ++k) {
    const RecipeExit& exit = c_.recipe.exits[k];
    stages_.push_back({c_.stage_sources[k], c_.recipe.signature, os::join(c_.toolchain.work, "stage" + std::to_string(k + 1)), false});
    auto found = toolchain_->inspect(stages_[k].source.path, "saved_model", c_.recipe.signature, stages_[k].work, kInspectLimitS);
    if (!found.ok()) return {found.status().code(), c_.recipe.error(index_of(k) + ".model", found.status().message()).message()};
    open_ = k;
    stages_[k].signature = found->signature_name;
    stages_[k].has_loop = found->has_loop;
    if (stages_[k].signature != stages_[0].signature)
      return c_.recipe.error("signature", "the stages have different signatures ('" + stages_[0].signature + "' and '" + stages_[k].signature + "'); export them under one name");
    std::string output = exit.output;
    if (output.empty() && found->signature.outputs.size() == 1) output = found->signature.outputs[0].name;
    if (!found->signature.output(output))
      return c_.recipe.error(index_of(k) + (exit.output.empty() ? "" : ".output"), (exit.output.empty() ? "`output` is needed: the stage has several outputs (" : "the stage has no output '" + output + "' (it has ") +
                                                                                      names_of(found->signature.outputs) + ")");
    m.stages.push_back({found->signature, exit.name, output});
    if (k == 0) {
      inspected_ = *found;
      inspected_.signature.inputs.clear();
    }
    inspected_.has_loop |= found->has_loop;
    // What no earlier stage makes, clients bring.
    for (const TensorSpec& t : found->signature.inputs) {
      const bool made = std::any_of(m.stages.begin(), m.stages.end() - 1, [&](const StageSpec& s) { return s.network.output(t.name) != nullptr; });
      if (!made && !inspected_.signature.input(t.name)) inspected_.signature.inputs.push_back(t);
    }
  }
  return settle_stages();
}

// The exits stand for one output: the last exit's.
Status Maker::settle_stages() {
  const StageSpec& last = package_.manifest.stages.back();
  inspected_.signature.outputs = {*last.network.output(last.output)};
  Status s = check_stages(package_.manifest.stages, inspected_.signature);
  return s.ok() ? s : Status{Code::kFailedPrecondition, c_.recipe.error("exits", s.message()).message()};
}

Status Maker::open_stage(size_t k) {
  if (open_ == k) return {};
  VERGE_ASSIGN(Inspected found, toolchain_->inspect(stages_[k].source.path, "saved_model", stages_[k].signature, stages_[k].work, kInspectLimitS));
  const StageSpec& spec = package_.manifest.stages[k];
  for (const auto& [mine, theirs] : {std::pair{&spec.network.inputs, &found.signature.inputs}, std::pair{&spec.network.outputs, &found.signature.outputs}})
    for (const TensorSpec& t : *mine)
      if (std::none_of(theirs->begin(), theirs->end(), [&](const TensorSpec& other) { return other.name == t.name; }))
        return data_loss(at_stage() + "the stage does not show the tensor '" + t.name + "' it was cut with");
  stages_[k].has_loop = found.has_loop;
  open_ = k;
  return {};
}

// What this stage takes: the samples' own parts, and what earlier stages have made of them.
SampleFiles Maker::stage_samples() const {
  SampleFiles out;
  for (const TensorSpec& t : package_.manifest.stages[network_].network.inputs)
    for (const auto& [from, to] : {std::pair{&made_.calibration, &out.calibration}, std::pair{&made_.golden, &out.golden}, std::pair{&made_.evaluation, &out.evaluation}}) {
      const auto it = from->find(t.name);
      if (it != from->end()) (*to)[t.name] = it->second;
    }
  return out;
}

Status Maker::on_stage_reference(const ConvertEvent& event) {
  const StageSpec& stage = package_.manifest.stages[network_];
  for (const auto& [from, to] : {std::pair{&event.calibration, &made_.calibration}, std::pair{&event.golden, &made_.golden}, std::pair{&event.evaluation, &made_.evaluation}})
    for (const TensorSpec& t : stage.network.outputs) {
      const auto it = from->find(t.name);
      if (it != from->end()) (*to)[t.name] = it->second;
    }
  // Where the stages are all there is, the last of them completes the reference.
  if (c_.stage_sources.empty() || network_ + 1 < stages_.size() || have_reference_) return {};
  std::map<std::string, Tensor> golden, evaluation;
  for (const StageSpec& s : package_.manifest.stages) {
    for (const auto& [from, to] : {std::pair{&made_.golden, &golden}, std::pair{&made_.evaluation, &evaluation}}) {
      const auto it = from->find(s.output);
      if (it == from->end()) continue;
      VERGE_ASSIGN((*to)[s.output], read_npy(it->second));
    }
  }
  return set_reference(std::move(golden), std::move(evaluation));
}

Status Maker::set_exit_references(std::map<std::string, Tensor> golden, std::map<std::string, Tensor> evaluation) {
  Manifest& m = package_.manifest;
  const Signature exits = exits_signature(m);
  for (const TensorSpec& o : exits.outputs) {
    if (!golden.count(o.name)) return data_loss("the reference did not answer the exit's output '" + o.name + "'");
    if (reference_.evaluation && !evaluation.count(o.name)) return data_loss("the reference did not answer the exit's output '" + o.name + "' on the evaluation data");
  }
  VERGE_ASSIGN(m.golden, write_golden(golden_, golden, exits, golden_source_, package_dir_));
  reference_.real_samples = real_samples_;
  reference_.metric = m.metric;
  reference_.limits = m.limits;
  auto references = exit_references(m, reference_, reference_.evaluation ? evaluation : golden);
  if (!references.ok()) return c_.recipe.error("metric", references.status().message());
  exit_references_ = std::move(*references);
  const Reference& last = exit_references_.back();
  if (reference_.evaluation) {
    reference_.accuracy = m.reference_accuracy = last.accuracy;
    if (m.limits.max_accuracy_loss < 0) m.limits.max_accuracy_loss = default_accuracy_loss(last);
    for (Reference& r : exit_references_) r.limits = m.limits;
    std::string each;
    for (size_t k = 0; k < exit_references_.size(); ++k) each += (k ? ", " : "") + m.stages[k].exit + " " + short_number(exit_references_[k].accuracy);
    c_.progress.line("reference (" + m.reference + "): " + std::string(metric_name(m.metric.kind)) + " " + each + " on " + m.evaluation_description);
  }
  have_reference_ = true;
  return {};
}

Status Maker::make_stages(std::vector<ConversionTarget> wanted) {
  made_.golden = files_.golden;
  if (c_.stage_sources.empty()) {
    network_ = kWhole;
    VERGE_RETURN_IF_ERROR(convert({}, wanted_batches()));
  } else {
    made_.evaluation = files_.evaluation;
  }
  auto lost = [&](const ConversionTarget& conversion) {
    for (size_t i = 0; i < targets_.size(); ++i)
      if (!targets_[i].from_source && targets_[i].left_out.empty() && targets_[i].conversion == conversion) return !variant(i).reason.empty();
    return true;
  };
  for (size_t k = 0; k < stages_.size(); ++k) {
    network_ = k;
    VERGE_RETURN_IF_ERROR(os::make_dirs(stages_[k].work));
    VERGE_RETURN_IF_ERROR(take_source_artifact());
    wanted.erase(std::remove_if(wanted.begin(), wanted.end(), lost), wanted.end());
    Status s = convert(wanted, wanted_batches());
    if (!s.ok()) return s;
  }
  network_ = kWhole;
  return {};
}

// Of variants that lost a later stage, and files that joined none.
void Maker::drop_unused_artifacts() {
  Manifest& m = package_.manifest;
  for (VariantSpec& v : m.variants) {
    if (v.conversion == Conversion::kOk) continue;
    v.stages.clear();
    v.artifacts.clear();
  }
  auto unused = [&](const Artifact& a) {
    return std::none_of(m.variants.begin(), m.variants.end(), [&](const VariantSpec& v) { return std::find(v.artifacts.begin(), v.artifacts.end(), a.id) != v.artifacts.end(); });
  };
  for (const Artifact& a : m.artifacts)
    if (unused(a)) (void)os::remove_tree(os::join(os::join(package_dir_, "artifacts"), a.id));
  m.artifacts.erase(std::remove_if(m.artifacts.begin(), m.artifacts.end(), unused), m.artifacts.end());
}

// In the pool, as verify(). What the exits answered is kept as far as thresholds need it.
Status Maker::judge_chain(size_t target, const engine::WorkerResult& result, VariantProfile& p) {
  const Manifest& m = package_.manifest;
  const Signature exits = exits_signature(m);
  VERGE_ASSIGN(auto answers, read_outputs(result, VariantSpec(), exits));
  judge_exits(exit_references_, exit_names(m), targets_[target].precision, answers, p);
  if (p.verdict != Verdict::kOk || result.calibration_outputs.size() != exits.outputs.size()) return {};
  const std::vector<int64_t> labels = class_labels(exit_references_.back().labels);
  std::vector<Tensor> calibration;
  for (const std::string& path : result.calibration_outputs) {
    VERGE_ASSIGN(Tensor scores, read_npy(path));
    calibration.push_back(std::move(scores));
  }
  // Without labels of its own a calibration sample counts as right where the exit agrees with the last.
  std::vector<int64_t> calibration_labels = calibration_labels_;
  Metric metric = exit_references_.back().metric, calibration_metric = metric;
  if (calibration_labels.empty() || m.metric.kind == MetricKind::kAgreement) {
    calibration_labels = class_labels(calibration.back());
    calibration_metric.kind = MetricKind::kAgreement;
  }
  ExitSamples samples;
  for (size_t k = 0; k < exits.outputs.size(); ++k) {
    auto here = exit_answers(calibration[k], calibration_metric, calibration_labels);
    auto there = exit_answers(answers.at(exits.outputs[k].name), metric, labels);
    if (!here.ok() || !there.ok()) {
      c_.progress.line(p.id + ": no thresholds for its exits: " + (here.ok() ? there.status() : here.status()).message());
      return {};
    }
    samples.calibration.push_back(std::move(*here));
    samples.evaluation.push_back(std::move(*there));
  }
  std::lock_guard lock(mutex_);
  exit_samples_[target] = std::move(samples);
  return {};
}

void Maker::calibrate_exits() {
  for (const auto& [target, samples] : exit_samples_) {
    VariantProfile& p = profile_.variants[target];
    if (p.verdict != Verdict::kOk) continue;
    std::vector<double> costs = exit_costs(p);
    // Not measured yet: as if every stage took as long. The profile that is measured later counts their cost again.
    for (size_t k = costs.size(); k < samples.evaluation.size(); ++k) costs.push_back(static_cast<double>(k + 1));
    p.confidence = exit_curve(samples.calibration, samples.evaluation, costs, Sureness::kConfidence);
    p.entropy = exit_curve(samples.calibration, samples.evaluation, costs, Sureness::kEntropy);
  }
  if (chain() && exit_samples_.empty() && reference_.evaluation && files_.calibration.empty())
    c_.progress.line("no calibration data: exits have no thresholds, so the rules confidence and entropy have nothing to go by (data.calibration in model.yaml)");
}

}  // namespace verge::build
