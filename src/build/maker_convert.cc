// The converting half of Maker: artifacts in, from the source, an older version or the tool chain.
#include <algorithm>

#include "build/golden.h"
#include "build/maker.h"
#include "build/measure.h"
#include "build/profile.h"
#include "engine/worker.h"
#include "os/files.h"
#include "os/process.h"

namespace verge::build {
namespace {

constexpr double kStepLimitS = 900;  // the longest a converter may be silent

}  // namespace

// Puts a folder's content under artifacts/DIGEST. Equal content is kept once.
Result<std::string> Maker::add_artifact(const std::string& dir, Artifact artifact, bool copy) {
  VERGE_ASSIGN(artifact.files, os::digest_tree(dir));
  if (artifact.files.empty()) return data_loss("the artifact is empty");
  if (!artifact.entry.empty() && std::none_of(artifact.files.begin(), artifact.files.end(), [&](const ManifestFile& f) { return f.path == artifact.entry; })) {
    return data_loss("the artifact does not hold its entry " + artifact.entry);
  }
  artifact.id = folder_digest(artifact.files);
  std::string root = os::join(package_dir_, "artifacts");
  VERGE_RETURN_IF_ERROR(os::make_dirs(root));
  std::string target = os::join(root, artifact.id);
  if (!os::exists(target)) VERGE_RETURN_IF_ERROR(copy ? os::copy_tree(dir, target) : os::rename_path(dir, target));
  std::lock_guard lock(mutex_);
  if (!package_.manifest.artifact(artifact.id)) package_.manifest.artifacts.push_back(artifact);
  return artifact.id;
}

void Maker::converted(size_t i, const std::vector<std::string>& artifacts, const std::map<std::string, std::string>& names) {
  VariantSpec& v = variant(i);
  if (chain()) {
    v.stages.push_back({artifacts, names});
    for (const std::string& id : artifacts)
      if (std::find(v.artifacts.begin(), v.artifacts.end(), id) == v.artifacts.end()) v.artifacts.push_back(id);
    if (v.stages.size() < stages_.size()) return;
  } else {
    v.artifacts = artifacts;
    v.names = names;
  }
  v.conversion = Conversion::kOk;
  v.reason.clear();
  {
    std::lock_guard lock(mutex_);
    profile_.variants[i].reason = why_not_here(v, c_.device, c_.catalog);
  }
  if (may_grow(i)) return held_.push_back(i);
  verify_later(i);
}

void Maker::mark(const std::string& conversion_id, Conversion conversion, const std::string& reason, const std::string& log) {
  if (growing_ == Growing::kBegun) return;
  for (size_t i = 0; i < targets_.size(); ++i) {
    if (targets_[i].from_source || targets_[i].conversion.id != conversion_id || !targets_[i].left_out.empty()) continue;
    variant(i).conversion = conversion;
    variant(i).reason = at_stage() + reason;
    variant(i).stages.clear();
    if (chain()) variant(i).artifacts.clear();
    variant(i).log = log;
    std::lock_guard lock(mutex_);
    profile_.variants[i].verdict = conversion == Conversion::kFailed ? Verdict::kFailed : Verdict::kNotMeasured;
    profile_.variants[i].reason = variant(i).reason;
  }
}

Status Maker::take_source_artifact() {
  std::vector<size_t> users;
  for (size_t i = 0; i < targets_.size(); ++i) {
    if (targets_[i].from_source && targets_[i].left_out.empty()) users.push_back(i);
  }
  if (users.empty()) return {};
  const Source& source = network_ == kWhole ? c_.source : stages_[network_].source;
  std::string dir = os::join(work_, "source");
  VERGE_RETURN_IF_ERROR(os::make_dirs(dir));
  for (const ManifestFile& f : source.files) {
    std::string target = os::join(dir, f.path);
    VERGE_RETURN_IF_ERROR(os::make_dirs(os::dir_name(target)));
    VERGE_RETURN_IF_ERROR(os::copy_tree(os::join(source.dir, f.path), target));
  }
  Artifact artifact;
  artifact.format = source_format(source.kind);
  artifact.entry = source.entry;
  artifact.batch = fixed_batch_;
  artifact.converter = "source file";
  VERGE_ASSIGN(std::string id, add_artifact(dir, artifact, false));
  if (id != source.sha256) return failed_precondition(source.path + ": was changed while it was read");
  if (os::exists(dir)) VERGE_RETURN_IF_ERROR(os::remove_tree(dir));  // an artifact that was there already
  for (size_t i : users) converted(i, {id}, {});
  return {};
}

// Artifacts of the latest version that equal keys say would come out the same.
void Maker::take_over_previous(std::vector<ConversionTarget>& wanted) {
  if (!c_.previous) return;
  const package::Package& old = *c_.previous;
  std::vector<ConversionTarget> left;
  for (const ConversionTarget& conversion : wanted) {
    std::vector<size_t> users;
    for (size_t i = 0; i < targets_.size(); ++i) {
      if (!targets_[i].from_source && targets_[i].left_out.empty() && targets_[i].conversion == conversion) users.push_back(i);
    }
    auto same = std::find_if(old.manifest.variants.begin(), old.manifest.variants.end(), [&](const VariantSpec& v) {
      return v.conversion == Conversion::kOk && !v.build_key.empty() && v.build_key == variant(users.at(0)).build_key;
    });
    bool taken = same != old.manifest.variants.end() && same->stages.size() == stages_.size() && package::verify_variant(old, *same).ok();
    for (size_t k = 0; taken && k < same->artifacts.size(); ++k) {
      const std::string& id = same->artifacts[k];
      auto added = add_artifact(os::join(os::join(old.dir, "artifacts"), id), *old.manifest.artifact(id), true);
      taken = added.ok() && *added == id;
    }
    if (!taken) {
      left.push_back(conversion);
      continue;
    }
    c_.progress.line("unchanged since version " + std::to_string(old.manifest.version) + ": " + conversion.id);
    for (size_t i : users) {
      for (const VariantStage& stage : same->stages) converted(i, stage.artifacts, stage.names);
      if (same->stages.empty()) converted(i, same->artifacts, same->names);
    }
  }
  wanted = std::move(left);
}

Status Maker::set_reference(std::map<std::string, Tensor> golden, std::map<std::string, Tensor> evaluation) {
  if (chain()) return set_exit_references(std::move(golden), std::move(evaluation));
  Manifest& m = package_.manifest;
  for (const TensorSpec& o : m.network.outputs) {
    if (!golden.count(o.name)) return data_loss("the reference did not answer the output '" + o.name + "'");
    if (reference_.evaluation && !evaluation.count(o.name)) return data_loss("the reference did not answer the output '" + o.name + "' on the evaluation data");
  }
  VERGE_ASSIGN(m.golden, write_golden(golden_, golden, m.network, golden_source_, package_dir_));
  reference_.network = m.network;
  reference_.outputs = reference_.evaluation ? std::move(evaluation) : std::move(golden);
  reference_.real_samples = real_samples_;
  reference_.metric = m.metric;
  if (reference_.evaluation) {
    auto accuracy = accuracy_of(reference_, reference_.outputs);
    if (!accuracy.ok()) return c_.recipe.error("metric", accuracy.status().message());
    reference_.accuracy = m.reference_accuracy = *accuracy;
    if (m.limits.max_accuracy_loss < 0) m.limits.max_accuracy_loss = default_accuracy_loss(reference_);
    c_.progress.line("reference (" + m.reference + "): " + std::string(metric_name(m.metric.kind)) + " " + short_number(*accuracy) + " on " +
                     m.evaluation_description);
  }
  reference_.limits = m.limits;
  have_reference_ = true;
  return {};
}

Status Maker::on_reference(const ConvertEvent& event) {
  answered_ = true;
  if (network_ != kWhole) return on_stage_reference(event);
  if (have_reference_) return {};  // from a tool chain that was started again
  std::map<std::string, Tensor> golden, evaluation;
  for (const auto& [name, path] : event.golden) {
    VERGE_ASSIGN(golden[name], read_npy(path));
  }
  for (const auto& [name, path] : event.evaluation) {
    VERGE_ASSIGN(evaluation[name], read_npy(path));
  }
  return set_reference(std::move(golden), std::move(evaluation));
}

// Without the tool chain the source's own engine answers for it.
Status Maker::reference_from_engine() {
  for (size_t i = 0; i < targets_.size(); ++i) {
    if (!targets_[i].from_source || variant(i).conversion != Conversion::kOk || !why_not_here(variant(i), c_.device, c_.catalog).empty()) continue;
    if (inspected_.reference.rfind(targets_[i].engine + " ", 0) != 0) continue;
    std::map<std::string, Tensor> answers[2];
    for (int part = 0; part < 2; ++part) {
      const auto& inputs = part == 0 ? files_.golden : files_.evaluation;
      if (inputs.empty()) continue;
      std::string outputs = os::join(work_, "reference" + std::to_string(part));
      VERGE_RETURN_IF_ERROR(os::make_dirs(outputs));
      engine::WorkerJob job = verify_job(package_, variant(i), inputs, outputs, os::join(logs_, "reference.log"));
      VERGE_ASSIGN(engine::WorkerResult result, engine::run_worker(job, nullptr));
      if (result.profile.verdict == Verdict::kFailed) return failed_precondition("the source cannot be run by " + targets_[i].engine + ": " + result.profile.reason);
      VERGE_ASSIGN(answers[part], read_outputs(result, variant(i), inspected_.signature));
    }
    return set_reference(std::move(answers[0]), std::move(answers[1]));
  }
  return unavailable("nothing here can run the source, so there is no reference to compare variants with");
}

Status Maker::on_artifact(const ConvertEvent& event) {
  std::string log;
  if (!event.log.empty()) {
    log = "logs/" + event.target + (network_ == kWhole ? "" : "." + package_.manifest.stages[network_].exit) + ".log";
    if (!valid_relative_path(log) || !os::copy_tree(event.log, os::join(package_dir_, log)).ok()) log.clear();
  }
  if (event.conversion != Conversion::kOk) {
    c_.progress.line(at_stage() + (event.conversion == Conversion::kFailed ? "failed " : "left out ") + event.target + ": " + event.reason);
    mark(event.target, event.conversion, event.reason, log);
    return {};
  }
  std::vector<std::string> ids;
  for (const ArtifactFile& file : event.files) {
    Artifact artifact;
    artifact.format = event.format;
    artifact.entry = file.entry;
    artifact.batch = file.batch;
    artifact.converter = event.converter;
    artifact.generate_seconds = event.seconds / static_cast<double>(event.files.size());
    auto id = add_artifact(file.dir, artifact, false);
    if (!id.ok()) {
      if (id.status().code() == Code::kResourceExhausted) return id.status();  // the disk is full: nothing that follows can succeed
      mark(event.target, Conversion::kFailed, id.status().message(), log);
      return {};
    }
    ids.push_back(*id);
  }
  c_.progress.line(at_stage() + "converted " + event.target + " in " + short_number(event.seconds) + " s (" + event.converter + ")");
  for (size_t i = 0; i < targets_.size(); ++i) {
    if (targets_[i].from_source || targets_[i].conversion.id != event.target || !targets_[i].left_out.empty()) continue;
    if (growing_ == Growing::kBegun) {
      // What has other names for its tensors cannot stand beside the rest.
      if (event.names != variant(i).names || ids.size() != 1) continue;
      variant(i).artifacts.push_back(ids[0]);
      grown_.push_back(i);
      continue;
    }
    variant(i).log = log;
    converted(i, ids, event.names);
  }
  return {};
}

Status Maker::read_events(std::vector<ConversionTarget>& remaining, std::string& current) {
  for (;;) {
    VERGE_ASSIGN(ConvertEvent e, toolchain_->next(kStepLimitS));
    switch (e.kind) {
      case ConvertEvent::Kind::kDone: return {};
      case ConvertEvent::Kind::kReference: {
        if (Status s = on_reference(e); !s.ok()) return s.code() == Code::kUnavailable ? internal_error(s.message()) : s;
        break;
      }
      case ConvertEvent::Kind::kNativePath: package_.manifest.native_paths.push_back(e.native_path); break;
      case ConvertEvent::Kind::kProgress:
        current = e.target;
        if (!e.target.empty()) begin_verifying();
        c_.progress.live(at_stage() + (e.target.empty() ? e.step : "converting " + e.target + ": " + e.step));
        break;
      case ConvertEvent::Kind::kArtifact: {
        auto it = std::find_if(remaining.begin(), remaining.end(), [&](const ConversionTarget& t) { return t.id == e.target; });
        if (it == remaining.end()) return data_loss("the tool chain answered for the unknown target '" + e.target + "'");
        remaining.erase(it);
        current.clear();
        begin_verifying();
        VERGE_RETURN_IF_ERROR(on_artifact(e));
        break;
      }
    }
  }
}

// A tool chain that dies or hangs costs the target it was at; it is started again for the others.
Status Maker::convert(std::vector<ConversionTarget> remaining, const std::vector<int64_t>& batches) {
  answered_ = false;
  // Of the whole of a multi-exit model only the answers are wanted; its stages take what the earlier ones have made.
  SampleFiles samples = files_;
  if (chain() && network_ == kWhole) samples.calibration.clear();
  if (growing_ == Growing::kBegun) samples.evaluation.clear();  // the reference has answered
  if (network_ != kWhole) samples = stage_samples();
  const bool more = network_ != kWhole && network_ + 1 < stages_.size();
  for (bool first = true; first || !remaining.empty(); first = false) {
    std::string current;
    Status s = start_toolchain();
    std::vector<ConversionTarget> asked = remaining;
    // Forms are for stages with a loop; what has none is the same in all of them.
    if (network_ != kWhole && !stages_[network_].has_loop)
      for (ConversionTarget& t : asked) t.form.clear();
    if (s.ok()) s = toolchain_->begin_convert(asked, batches, samples, {first && network_ == kWhole && !have_reference_, more && !samples.calibration.empty()});
    if (s.ok()) s = read_events(remaining, current);
    if (s.ok()) {
      for (const ConversionTarget& t : remaining) mark(t.id, Conversion::kFailed, "the tool chain gave no answer", "");
      break;
    }
    if (toolchain_) toolchain_->kill();
    toolchain_.reset();
    if (s.code() != Code::kUnavailable && s.code() != Code::kDeadlineExceeded) return s;
    cut_short_ = true;
    std::string reason = s.code() == Code::kDeadlineExceeded ? "the tool chain was silent for " + short_number(kStepLimitS) + " s and was stopped" : s.message();
    if (!answered_) return internal_error(reason + " before it had answered for the source");
    c_.progress.warning(reason);
    auto culprit = std::find_if(remaining.begin(), remaining.end(), [&](const ConversionTarget& t) { return t.id == current; });
    if (culprit == remaining.end()) {
      for (const ConversionTarget& t : remaining) mark(t.id, Conversion::kFailed, reason, "logs/toolchain.log");
      break;
    }
    mark(culprit->id, Conversion::kFailed, reason, "logs/toolchain.log");
    remaining.erase(culprit);
  }
  return {};
}

Status Maker::make_variants() {
  pool_ = std::make_unique<TaskPool>(c_.options.jobs);
  std::vector<ConversionTarget> wanted = conversions(targets_);
  auto make = [&]() -> Status {
    if (!chain()) VERGE_RETURN_IF_ERROR(take_source_artifact());
    if (c_.toolchain.argv.empty()) return reference_from_engine();
    if (!chain()) growing_ = Growing::kMayBegin;
    take_over_previous(wanted);
    if (chain()) return make_stages(wanted);
    return grow_batches(convert(wanted, wanted_batches()));
  };
  Status s = make();
  if (toolchain_) toolchain_->finish(10);
  toolchain_.reset();
  if (s.ok()) begin_verifying();
  pool_->finish();
  doubt_large_batches();
  drop_unused_artifacts();
  if (!s.ok()) {
    for (size_t i = 0; i < targets_.size(); ++i) {
      if (variant(i).conversion == Conversion::kLeftOut && variant(i).reason.empty()) {
        variant(i).reason = profile_.variants[i].reason = s.code() == Code::kCancelled ? "the build was interrupted" : s.message();
      }
    }
    return s;
  }
  if (!have_reference_) return failed_precondition("the tool chain gave no reference answers; its log says why");
  if (os::interrupted()) return {Code::kCancelled, "interrupted"};
  return {};
}

}  // namespace verge::build
