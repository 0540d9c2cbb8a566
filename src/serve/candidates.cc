#include "serve/candidates.h"

#include <algorithm>
#include <cmath>

#include "core/npy.h"
#include "core/version.h"
#include "engine/worker.h"
#include "os/files.h"
#include "os/process.h"

namespace verge::serve {
namespace {

constexpr uint64_t kMaxGoldenBytes = uint64_t{64} << 20;
constexpr double kCellSeconds = 0.1;
constexpr int64_t kCellRuns = 300;
constexpr double kMeasureLimitS = 60;
constexpr double kTryLimitS = 120;
// The rules of docs/package-format.md for what was never evaluated here: f32 is exact, the rest follows the reference.
constexpr double kExactTolerance = 1e-4;
constexpr double kFollowsRatio = 0.5;

std::map<std::string, std::string> golden_paths(const package::Package& p, const std::map<std::string, std::string>& files) {
  std::map<std::string, std::string> out;
  for (const auto& [name, file] : files) out[name] = os::join(os::join(p.dir, "golden"), file);
  return out;
}

// Largest magnitude and span of the reference's golden answers.
struct Extent {
  double largest = 0, span = 0;
};
Extent reference_extent(const package::Package& p) {
  Extent e;
  for (const auto& [name, path] : golden_paths(p, p.manifest.golden.outputs)) {
    auto bytes = os::read_file(path, kMaxGoldenBytes);
    if (!bytes.ok()) continue;
    auto t = parse_npy(*bytes, path);
    if (!t.ok() || t->dtype == DType::kBytes) continue;
    double low = INFINITY, high = -INFINITY;
    const TensorView v = t->view();
    const size_t n = v.data.size() / std::max<size_t>(dtype_size(v.dtype), 1);
    for (size_t i = 0; i < n; ++i) {
      const double x = element_as_double(v, i);
      if (!std::isfinite(x)) continue;
      low = std::min(low, x);
      high = std::max(high, x);
    }
    if (low > high) continue;
    e.largest = std::max({e.largest, std::fabs(low), std::fabs(high)});
    e.span = std::max(e.span, high - low);
  }
  return e;
}

std::string number(double v) {
  char text[32];
  std::snprintf(text, sizeof text, "%.4g", v);
  return text;
}

void judge(const package::Package& p, const VariantSpec& spec, const Extent& reference, VariantProfile& v) {
  if (v.verdict != Verdict::kOk || v.max_abs_diff < 0) return;
  double limit = p.manifest.limits.max_abs_diff;
  std::string source = "the model's limit";
  if (limit < 0 && spec.precision == "f32") {
    limit = kExactTolerance * std::max(1.0, reference.largest);
    source = "the limit for f32";
  } else if (limit < 0) {
    limit = kFollowsRatio * reference.span;
    source = "half the span of the reference's answers";
  }
  if (v.max_abs_diff <= limit) return;
  v.verdict = Verdict::kRejected;
  v.reason = "differs from the reference by " + number(v.max_abs_diff) + ", " + source + " is " + number(limit);
}

// What another device's profile says of a variant, as far as it holds everywhere.
const VariantProfile* elsewhere(const package::Package& p, const std::string& id) {
  for (const Profile& profile : p.profiles) {
    if (const VariantProfile* v = profile.variant(id); v != nullptr && v->verdict != Verdict::kNotMeasured) return v;
  }
  return nullptr;
}

VariantProfile skipped(const std::string& id, Verdict verdict, std::string reason) {
  VariantProfile v;
  v.id = id;
  v.verdict = verdict;
  v.reason = std::move(reason);
  return v;
}

Result<VariantProfile> measure(const package::Package& p, const VariantSpec& spec, const engine::Catalog& catalog, const Extent& reference,
                               const std::string& log_dir, Profile& profile) {
  if (spec.conversion != Conversion::kOk) return skipped(spec.id, Verdict::kNotMeasured, spec.reason);
  if (spec.device != "cpu" && !spec.device.empty() && spec.device != profile.device.architecture && !(spec.device == "arm64" && profile.device.architecture == "aarch64")) {
    return skipped(spec.id, Verdict::kNotMeasured, "not measured here: it needs " + spec.device + ", this device is " + profile.device.architecture);
  }
  if (std::string why = not_installed(p.manifest, spec, catalog); !why.empty()) return skipped(spec.id, Verdict::kNotMeasured, std::move(why));
  const VariantProfile* other = elsewhere(p, spec.id);
  if (other != nullptr && other->verdict == Verdict::kRejected) return skipped(spec.id, Verdict::kRejected, "on another device: " + other->reason);
  if (Status s = package::verify_variant(p, spec); !s.ok()) return skipped(spec.id, Verdict::kFailed, s.message());
  engine::WorkerJob job;
  job.variant_id = spec.id;
  job.engine = spec.engine;
  job.settings = catalog.settings(spec.engine);
  job.load = package::load_spec(p, spec);
  job.names = spec.names;
  job.golden_inputs = golden_paths(p, p.manifest.golden.inputs);
  job.golden_outputs = golden_paths(p, p.manifest.golden.outputs);
  job.batches = {1};
  job.core_counts = {1};
  job.cell_seconds = kCellSeconds;
  job.cell_runs = kCellRuns;
  job.measure_cached_load = false;
  job.time_limit_s = kMeasureLimitS;
  job.log_path = log_dir.empty() ? "" : os::join(log_dir, p.manifest.name + "-" + spec.id + ".log");
  VERGE_ASSIGN(engine::WorkerResult result, engine::run_worker(job, [](const std::string&) {}));
  profile.engine_versions[spec.engine] = result.engine_version;
  VariantProfile v = std::move(result.profile);
  v.id = spec.id;
  judge(p, spec, reference, v);
  if (other != nullptr && other->accuracy >= 0 && other->executed_precision == v.executed_precision) {
    v.accuracy = other->accuracy;
    v.accuracy_samples = other->accuracy_samples;
  }
  return v;
}

std::string kept_path(const std::string& state_dir, const std::string& manifest_sha256, const std::string& fingerprint) {
  return os::join(os::join(state_dir, "profiles"), manifest_sha256 + "." + fingerprint + ".json");
}

}  // namespace

std::string not_installed(const Manifest& manifest, const VariantSpec& variant, const engine::Catalog& catalog) {
  const engine::Descriptor* d = catalog.find(variant.engine);
  if (d == nullptr) return "engine " + variant.engine + " is not installed";
  if (!d->unavailable.empty()) return "engine " + variant.engine + ": " + d->unavailable;
  for (const std::string& id : variant.artifacts) {
    const Artifact* a = manifest.artifact(id);
    if (a != nullptr && std::find(d->formats.begin(), d->formats.end(), a->format) == d->formats.end()) {
      return "engine " + variant.engine + " does not read " + a->format + " in this install";
    }
  }
  return "";
}

void leave_out_not_installed(const Manifest& manifest, const engine::Catalog& catalog, Profile& profile) {
  for (VariantProfile& v : profile.variants) {
    const VariantSpec* spec = manifest.variant(v.id);
    if (v.verdict != Verdict::kOk || spec == nullptr) continue;
    if (std::string why = not_installed(manifest, *spec, catalog); !why.empty()) v = skipped(v.id, Verdict::kNotMeasured, std::move(why));
  }
}

Result<Profile> measure_candidates(const package::Package& p, const engine::Catalog& catalog, const std::string& log_dir,
                                   const std::function<void(const VariantProfile&)>& measured) {
  VERGE_RETURN_IF_ERROR(package::verify_golden(p));
  Profile profile;
  profile.device = os::this_device();
  profile.manifest_sha256 = p.manifest_sha256;
  profile.measured_at = os::utc_now();
  profile.verge_version = std::string(kVersion);
  const Extent reference = reference_extent(p);
  for (const VariantSpec& spec : p.manifest.variants) {
    VERGE_ASSIGN(VariantProfile v, measure(p, spec, catalog, reference, log_dir, profile));
    measured(v);
    profile.variants.push_back(std::move(v));
  }
  return profile;
}

Result<Profile> read_kept_profile(const std::string& state_dir, const std::string& manifest_sha256, const std::string& fingerprint) {
  const std::string path = kept_path(state_dir, manifest_sha256, fingerprint);
  if (state_dir.empty() || !os::exists(path)) return not_found("no profile of this device is kept");
  VERGE_ASSIGN(const std::string text, os::read_file(path, kMaxGoldenBytes));
  auto profile = parse_profile(text);
  if (!profile.ok()) return profile.status().prefixed(path);
  if (profile->manifest_sha256 != manifest_sha256 || profile->device.fingerprint != fingerprint) return data_loss(path + ": it is of another package or device");
  return profile;
}

Status keep_profile(const std::string& state_dir, const Profile& profile) {
  if (state_dir.empty()) return failed_precondition("there is no state folder: set --state-dir, XDG_STATE_HOME or HOME");
  VERGE_RETURN_IF_ERROR(os::make_dirs(os::join(state_dir, "profiles")));
  return os::write_file_atomic(kept_path(state_dir, profile.manifest_sha256, profile.device.fingerprint), print_profile(profile));
}

Status try_in_worker(const std::string& variant_id, const std::string& engine, const std::map<std::string, std::string>& settings, const engine::LoadSpec& load, const std::map<std::string, std::string>& names,
                     const std::map<std::string, std::string>& golden_inputs, const std::string& log_dir) {
  engine::WorkerJob job;
  job.variant_id = variant_id;
  job.engine = engine;
  job.settings = settings;
  job.load = load;
  job.load.cache_dir.clear();
  job.names = names;
  job.golden_inputs = golden_inputs;
  job.measure_cached_load = false;
  job.time_limit_s = kTryLimitS;
  job.log_path = log_dir.empty() ? "" : os::join(log_dir, variant_id + ".log");
  VERGE_ASSIGN(const engine::WorkerResult result, engine::run_worker(job, [](const std::string&) {}));
  if (result.profile.verdict == Verdict::kOk) return {};
  return failed_precondition("tried in a process of its own, it failed: " + result.profile.reason);
}

}  // namespace verge::serve
