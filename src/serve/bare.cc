#include <algorithm>

#include "engine/worker.h"
#include "os/files.h"
#include "os/process.h"
#include "serve/sources.h"

namespace verge::serve {
namespace {

constexpr double kCellSeconds = 0.1;
constexpr int64_t kCellRuns = 300;
constexpr double kLimitS = 120;

struct Candidate {
  VariantSpec spec;
  VariantProfile profile;
  Signature signature;
};

bool same_tensors(const std::vector<TensorSpec>& a, const std::vector<TensorSpec>& b) {
  if (a.size() != b.size()) return false;
  for (const TensorSpec& t : a) {
    const auto other = std::find_if(b.begin(), b.end(), [&](const TensorSpec& o) { return o.name == t.name; });
    if (other == b.end() || other->dtype != t.dtype || other->shape.rank() != t.shape.rank()) return false;
  }
  return true;
}

// Engines that do not know which axis is the batch leave a free first dimension everywhere: that is one.
void infer_batch_axis(Signature& s) {
  const auto free_first = [](const TensorSpec& t) { return t.batch_axis >= 0 || (t.shape.rank() > 0 && t.shape[0] < 0); };
  if (!std::all_of(s.inputs.begin(), s.inputs.end(), free_first) || !std::all_of(s.outputs.begin(), s.outputs.end(), free_first)) return;
  for (auto* side : {&s.inputs, &s.outputs}) {
    for (TensorSpec& t : *side) {
      if (t.batch_axis < 0) t.batch_axis = 0;
    }
  }
}

double p50_us(const VariantProfile& v) {
  const LatencyCell* c = v.cell(1, 1);
  return c == nullptr ? 1e18 : c->p50_us >= 0 ? c->p50_us : c->mean_us;
}

}  // namespace

Result<std::shared_ptr<runtime::ModelSource>> open_bare(const Environment& env, const Found& found) {
  const std::string format = bare_format(found.model_path);
  std::string refusals;
  const auto refuse = [&](const std::string& engine, const std::string& why) { refusals += (refusals.empty() ? "" : "; ") + engine + ": " + why; };
  std::vector<Candidate> candidates;
  for (const engine::Descriptor& d : env.catalog->descriptors()) {
    if (std::find(d.formats.begin(), d.formats.end(), format) == d.formats.end()) continue;
    if (!d.unavailable.empty()) {
      refuse(d.name, d.unavailable);
      continue;
    }
    Candidate c;
    c.spec.id = d.name + "-" + format;
    c.spec.engine = d.name;
    c.spec.device = "cpu";
    engine::WorkerJob job;
    job.variant_id = c.spec.id;
    job.engine = d.name;
    job.settings = env.catalog->settings(d.name);
    job.load.files = {{found.model_path, 0}};
    job.load.format = format;
    job.batches = {1};
    job.core_counts = {1};
    job.cell_seconds = kCellSeconds;
    job.cell_runs = kCellRuns;
    job.measure_cached_load = false;
    job.time_limit_s = kLimitS;
    job.log_path = env.worker_log_dir.empty() ? "" : os::join(env.worker_log_dir, found.name + "-" + c.spec.id + ".log");
    VERGE_ASSIGN(engine::WorkerResult result, engine::run_worker(job, [](const std::string&) {}));
    c.profile = std::move(result.profile);
    c.profile.id = c.spec.id;
    c.signature = std::move(result.signature);
    Json fields = {{"model", found.name}, {"variant", c.spec.id}, {"verdict", verdict_name(c.profile.verdict)}};
    if (!c.profile.reason.empty()) fields["reason"] = c.profile.reason;
    if (c.profile.verdict == Verdict::kOk) {
      fields["p50_us"] = p50_us(c.profile);
    } else {
      refuse(d.name, c.profile.reason);
    }
    env.log->info("candidate_measured", fields);
    candidates.push_back(std::move(c));
  }
  const auto best = std::min_element(candidates.begin(), candidates.end(), [](const Candidate& a, const Candidate& b) {
    const bool a_ok = a.profile.verdict == Verdict::kOk, b_ok = b.profile.verdict == Verdict::kOk;
    return a_ok != b_ok ? a_ok : p50_us(a.profile) < p50_us(b.profile);
  });
  if (best == candidates.end() || best->profile.verdict != Verdict::kOk) {
    return failed_precondition(found.model_path + ": no engine here can serve it (" + (refusals.empty() ? "none reads the format " + format : refusals) +
                               "); `verge build` on its source converts it for the engines that can");
  }

  auto s = std::make_shared<runtime::ModelSource>();
  s->name = found.name;
  Manifest& m = s->manifest;
  m.name = found.name;
  m.source_kind = format;
  m.source_name = os::base_name(found.model_path);
  m.network = best->signature;
  infer_batch_axis(m.network);
  for (const TensorSpec& t : m.network.inputs) m.inputs.push_back({t, t.name, {}});
  for (const TensorSpec& t : m.network.outputs) m.outputs.push_back({t, t.name, {}});
  uint64_t size = 0;
  if (os::is_dir(found.model_path)) {
    VERGE_ASSIGN(const std::vector<ManifestFile> files, os::digest_tree(found.model_path));
    for (const ManifestFile& f : files) size += f.size;
  } else {
    VERGE_ASSIGN(size, os::file_size(found.model_path));
  }
  Artifact a;
  a.id = format;
  a.format = format;
  a.files.push_back({m.source_name, size, ""});
  m.artifacts.push_back(std::move(a));
  for (Candidate& c : candidates) {
    c.spec.artifacts = {format};
    c.spec.precision = c.profile.executed_precision;
    if (c.profile.verdict == Verdict::kOk && (!same_tensors(c.signature.inputs, m.network.inputs) || !same_tensors(c.signature.outputs, m.network.outputs))) {
      c.profile.verdict = Verdict::kFailed;
      c.profile.reason = "this engine sees other inputs or outputs than " + best->spec.engine;
    }
    m.variants.push_back(c.spec);
    s->profile.variants.push_back(c.profile);
  }
  s->default_variant = best->spec.id;
  if (const auto c = env.config.models.find(found.name); c != env.config.models.end()) {
    if (m.variant(c->second.default_variant) != nullptr) s->default_variant = c->second.default_variant;
    s->resident = c->second.resident;
  }
  // Every engine that may serve it has run it in a worker; the file must still be the one that it ran.
  VERGE_ASSIGN(const std::string digest, os::is_dir(found.model_path) ? Result<std::string>(std::string()) : os::sha256_file(found.model_path));
  s->prepare = [&env, path = found.model_path, format, digest](const VariantSpec& v) -> Result<engine::LoadSpec> {
    if (!digest.empty()) {
      VERGE_ASSIGN(const std::string now, os::sha256_file(path));
      if (now != digest) return data_loss(path + ": the file was changed after the server checked it");
    }
    engine::LoadSpec load;
    load.files = {{path, 0}};
    load.format = format;
    if (!digest.empty()) load.cache_dir = variant_cache_dir(env, digest, v.id);
    return load;
  };
  return s;
}

}  // namespace verge::serve
