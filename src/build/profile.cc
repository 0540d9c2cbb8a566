#include "build/profile.h"

#include <algorithm>

#include "build/build.h"
#include "build/exits.h"
#include "build/measure.h"
#include "build/recipe.h"
#include "build/verify.h"
#include "os/files.h"
#include "os/process.h"

namespace verge::build {
namespace {

int exit_code_of(const Status& s) {
  switch (s.code()) {
    case Code::kCancelled: return kExitInterrupted;
    case Code::kInvalidArgument:
    case Code::kNotFound: return kExitUsage;
    default: return kExitEnvironment;
  }
}

// One; of a multi-exit model one an exit.
Result<std::vector<Reference>> golden_references(const package::Package& package) {
  Reference r;
  r.network = package.manifest.network;
  r.real_samples = package.manifest.golden.source != "seeded noise";
  r.metric = package.manifest.metric;
  r.limits = package.manifest.limits;
  for (const auto& [name, path] : golden_outputs(package)) {
    VERGE_ASSIGN(r.outputs[name], read_npy(path));
  }
  if (package.manifest.stages.empty()) return std::vector<Reference>{std::move(r)};
  const std::map<std::string, Tensor> outputs = std::move(r.outputs);
  return exit_references(package.manifest, r, outputs);
}

// One variant against the golden samples, in a worker of its own.
Result<VariantProfile> verify_golden_samples(const package::Package& package, const VariantSpec& variant, const std::vector<Reference>& references,
                                             const std::string& scratch, const std::string& log_dir, std::string& engine_version, Progress& progress) {
  std::string outputs = os::join(scratch, "outputs-" + variant.id);
  VERGE_RETURN_IF_ERROR(os::make_dirs(outputs));
  engine::WorkerJob job = verify_job(package, variant, golden_inputs(package), outputs, os::join(log_dir, variant.id + ".verify.log"));
  VERGE_ASSIGN(engine::WorkerResult result, engine::run_worker(job, [&](const std::string& phase) { progress.live(variant.id + ": " + phase); }));
  engine_version = result.engine_version;
  VariantProfile p = std::move(result.profile);
  p.id = variant.id;
  if (p.verdict == Verdict::kFailed) return p;
  const bool exits = !variant.stages.empty();
  auto answers = read_outputs(result, variant, exits ? exits_signature(package.manifest) : package.manifest.network);
  if (!answers.ok()) {
    p.verdict = Verdict::kFailed;
    p.reason = answers.status().message();
    return p;
  }
  if (exits)
    judge_exits(references, exit_names(package.manifest), variant.precision, *answers, p);
  else
    judge(references[0], variant.precision, *answers, p);
  (void)os::remove_tree(outputs);
  return p;
}

Status profile_package(const ProfileOptions& options, const package::Package& package, const std::string& scratch, Profile& profile, Progress& progress) {
  auto wanted = [&](const std::string& id) {
    return options.variants.empty() ||
           std::any_of(options.variants.begin(), options.variants.end(), [&](const std::string& p) { return matches_pattern(p, id); });
  };
  VERGE_RETURN_IF_ERROR(package::verify_golden(package));
  VERGE_ASSIGN(std::vector<Reference> references, golden_references(package));
  VERGE_ASSIGN(std::shared_ptr<engine::Catalog> catalog, engine::Catalog::scan(os::install().plugin_dir));
  const Profile* before = package.profile_for(profile.device.fingerprint);
  for (const VariantSpec& v : package.manifest.variants) {
    const VariantProfile* known = before ? before->variant(v.id) : nullptr;
    VariantProfile p;
    p.id = v.id;
    if (!wanted(v.id)) {
      if (known) p = *known;
      profile.variants.push_back(std::move(p));
      continue;
    }
    std::string why = why_not_here(v, profile.device, *catalog);
    if (v.conversion != Conversion::kOk) {
      p.verdict = v.conversion == Conversion::kFailed ? Verdict::kFailed : Verdict::kNotMeasured;
      p.reason = v.reason;
    } else if (!why.empty()) {
      p.reason = why;
    } else if (Status s = package::verify_variant(package, v); !s.ok()) {
      p.verdict = Verdict::kFailed;
      p.reason = s.message();
    } else {
      std::string version;
      VERGE_ASSIGN(p, verify_golden_samples(package, v, references, scratch, scratch, version, progress));
      if (!version.empty()) profile.engine_versions[v.engine] = version;
      // The evaluation data are not in the package: what was found with them on this very device still holds.
      if (known && known->accuracy >= 0) {
        p.accuracy = known->accuracy;
        p.accuracy_samples = known->accuracy_samples;
        for (size_t k = 0; k < p.exits.size() && k < known->exits.size(); ++k) p.exits[k].accuracy = known->exits[k].accuracy;
        p.confidence = known->confidence;
        p.entropy = known->entropy;
        if (known->verdict == Verdict::kRejected && p.verdict == Verdict::kOk) {
          p.verdict = known->verdict;
          p.reason = known->reason;
        }
      }
      progress.line(v.id + ": " + std::string(verdict_name(p.verdict)) + (p.reason.empty() ? "" : " (" + p.reason + ")"));
    }
    profile.variants.push_back(std::move(p));
  }
  return measure_variants(package, wanted, options.thorough, scratch, scratch, profile, progress);
}

Result<int> run_profile(const ProfileOptions& options, Progress& progress) {
  VERGE_ASSIGN(std::string dir, package::resolve_package(options.package));
  VERGE_ASSIGN(package::Package package, package::open_package(dir));
  if (package.manifest.golden.samples == 0) return failed_precondition(dir + ": the package has no golden samples to verify with; build it again");
  VERGE_ASSIGN(std::string scratch, os::make_temp_dir(dir, ".measure-"));
  Profile profile = new_profile(package);
  if (const Profile* before = package.profile_for(profile.device.fingerprint)) {
    profile.build_seconds = before->build_seconds;
    profile.engine_versions = before->engine_versions;
  }
  Status s = profile_package(options, package, scratch, profile, progress);
  (void)os::remove_tree(scratch);
  // An interrupted measurement leaves the older profile as it was.
  VERGE_RETURN_IF_ERROR(s);
  VERGE_RETURN_IF_ERROR(write_profile(dir, profile));
  if (options.report) options.report(dir);
  bool any = std::any_of(profile.variants.begin(), profile.variants.end(), [](const VariantProfile& p) { return p.verdict == Verdict::kOk; });
  return any ? kExitOk : kExitNothingOk;
}

}  // namespace

std::string why_not_here(const VariantSpec& v, const Device& device, const engine::Catalog& catalog) {
  bool here = v.device == "cpu" || v.device.empty() || (v.device == "arm64" && device.architecture == "aarch64");
  if (!here) return "not measured here: it needs " + v.device + ", this device is " + device.architecture;
  const engine::Descriptor* engine = catalog.find(v.engine);
  if (!engine) return "the engine " + v.engine + " is not part of this installation";
  if (!engine->unavailable.empty()) return "the engine " + v.engine + " is disabled: " + engine->unavailable;
  return {};
}

Status measure_variants(const package::Package& package, const std::function<bool(const std::string& id)>& wanted, bool thorough,
                        const std::string& scratch, const std::string& log_dir, Profile& profile, Progress& progress) {
  size_t total = 0, done = 0;
  auto measured = [&](const VariantProfile& p) { return p.verdict == Verdict::kOk && wanted(p.id); };
  for (const VariantProfile& p : profile.variants) total += measured(p);
  for (VariantProfile& p : profile.variants) {
    const VariantSpec* v = package.manifest.variant(p.id);
    if (!v || !measured(p)) continue;
    std::string count = std::to_string(++done) + "/" + std::to_string(total) + " ";
    std::string cache = os::join(scratch, "cache-" + v->id);
    VERGE_RETURN_IF_ERROR(os::make_dirs(cache));
    engine::WorkerJob job = profile_job(package, *v, golden_inputs(package), thorough, cache, os::join(log_dir, v->id + ".profile.log"));
    auto result = engine::run_worker(job, [&](const std::string& phase) { progress.live("measuring " + count + v->id + ": " + phase); });
    (void)os::remove_tree(cache);
    if (!result.ok()) return result.status();
    if (!result->engine_version.empty()) profile.engine_versions[v->engine] = result->engine_version;
    take_measurements(p, result->profile);
    const std::vector<double> costs = exit_costs(p);
    cost_again(p.confidence, costs);
    cost_again(p.entropy, costs);
    if (result->profile.verdict == Verdict::kFailed) {
      p.verdict = Verdict::kFailed;
      p.reason = "while it was measured: " + result->profile.reason;
    }
    const LatencyCell* cell = p.latency.empty() ? nullptr : &p.latency.front();
    progress.line("measured " + count + v->id +
                  (p.verdict != Verdict::kOk ? ": " + p.reason : cell ? ": " + short_number(cell->p50_us) + " us at batch " + std::to_string(cell->batch) : ""));
  }
  return {};
}

Status write_profile(const std::string& package_dir, const Profile& profile) {
  std::string dir = os::join(package_dir, "profiles");
  VERGE_RETURN_IF_ERROR(os::make_dirs(dir));
  return os::write_file_atomic(os::join(dir, profile.device.fingerprint + ".json"), print_profile(profile));
}

int profile_main(const ProfileOptions& options) {
  os::catch_interrupt();
  Progress progress(options.quiet);
  auto code = run_profile(options, progress);
  if (code.ok()) return *code;
  progress.error(code.status().message());
  return exit_code_of(code.status());
}

}  // namespace verge::build
