#include "package/package.h"

#include <algorithm>
#include <cstdlib>

#include "os/files.h"

namespace verge::package {
namespace {

constexpr uint64_t kMaxManifestBytes = 16u << 20;
constexpr uint64_t kMaxProfileBytes = 64u << 20;
constexpr uint64_t kMaxLabelsBytes = 16u << 20;
constexpr size_t kMaxProfiles = 256;
// Accuracies of a few hundred samples move in steps of 1/n: a variant exactly at its limit must not fall to rounding.
constexpr double kAccuracySlack = 1e-9;

// A version folder's name: digits only, positive, without a leading zero; 0 if it is none.
int64_t version_of(const std::string& name) {
  if (name.empty() || name.size() > 18 || name[0] == '0') return 0;
  for (char c : name)
    if (c < '0' || c > '9') return 0;
  return std::strtoll(name.c_str(), nullptr, 10);
}

std::vector<std::string> split_lines(const std::string& text) {
  std::vector<std::string> lines;
  size_t at = 0;
  while (at < text.size()) {
    size_t end = text.find('\n', at);
    if (end == std::string::npos) end = text.size();
    size_t stop = end > at && text[end - 1] == '\r' ? end - 1 : end;
    lines.push_back(text.substr(at, stop - at));
    at = end + 1;
  }
  return lines;
}

Status read_labels(Package& p) {
  if (p.manifest.labels_file.empty()) return {};
  VERGE_ASSIGN(std::string text, os::read_file(os::join(p.dir, p.manifest.labels_file), kMaxLabelsBytes));
  if (os::sha256_hex(text) != p.manifest.labels_sha256)
    return data_loss(os::join(p.dir, p.manifest.labels_file) + ": its sha256 is not the manifest's; it was changed after the build");
  p.labels = split_lines(text);
  return {};
}

// A profile that cannot be used is a warning: the package can be served without it, after measuring again.
void read_profiles(Package& p) {
  const std::string dir = os::join(p.dir, "profiles");
  auto names = os::list_dir(dir);
  if (!names.ok()) return;
  for (const auto& name : *names) {
    if (!name.ends_with(".json")) continue;
    const std::string path = os::join(dir, name);
    if (p.profiles.size() >= kMaxProfiles) {
      p.warnings.push_back(dir + ": more than " + std::to_string(kMaxProfiles) + " profiles; the rest is not read");
      return;
    }
    auto text = os::read_file(path, kMaxProfileBytes);
    if (!text.ok()) {
      p.warnings.push_back(text.status().message());
      continue;
    }
    auto profile = parse_profile(*text);
    if (!profile.ok())
      p.warnings.push_back(path + ": " + profile.status().message());
    else if (profile->manifest_sha256 != p.manifest_sha256)
      p.warnings.push_back(path + ": measured for another manifest; not used");
    else
      p.profiles.push_back(std::move(*profile));
  }
}

}  // namespace

const Profile* Package::profile_for(std::string_view fingerprint) const {
  for (const auto& p : profiles)
    if (p.device.fingerprint == fingerprint) return &p;
  return nullptr;
}

Result<Package> open_package(const std::string& dir) {
  Package p;
  VERGE_ASSIGN(p.dir, os::absolute(dir));
  const std::string path = os::join(p.dir, "manifest.json");
  VERGE_ASSIGN(std::string text, os::read_file(path, kMaxManifestBytes));
  p.manifest_sha256 = os::sha256_hex(text);
  auto manifest = parse_manifest(text);
  if (!manifest.ok()) return manifest.status().prefixed(path);
  p.manifest = std::move(*manifest);
  VERGE_RETURN_IF_ERROR(read_labels(p));
  read_profiles(p);
  return p;
}

Status verify_variant(const Package& package, const VariantSpec& variant) {
  for (const auto& id : variant.artifacts) {
    const Artifact* a = package.manifest.artifact(id);
    if (!a) return not_found("variant '" + variant.id + "' names the unknown artifact " + id);
    VERGE_RETURN_IF_ERROR(os::verify_tree(os::join(os::join(package.dir, "artifacts"), id), a->files));
  }
  return {};
}

Status verify_golden(const Package& package) {
  if (package.manifest.golden.samples == 0) return {};
  return os::verify_tree(os::join(package.dir, "golden"), package.manifest.golden.files);
}

namespace {

engine::LoadSpec spec_of(const Package& package, const VariantSpec& variant, const std::vector<std::string>& artifacts) {
  engine::LoadSpec spec;
  for (const auto& id : artifacts) {
    const Artifact* a = package.manifest.artifact(id);
    if (!a) continue;
    std::string dir = os::join(os::join(package.dir, "artifacts"), id);
    spec.files.emplace_back(a->entry.empty() ? dir : os::join(dir, a->entry), a->batch);
    spec.format = a->format;
  }
  spec.signature = variant.signature;
  spec.options = variant.options;
  const auto unbatched = [](const TensorSpec& t) { return t.batch_axis < 0; };
  const Signature& network = package.manifest.network;
  spec.no_batch = std::all_of(network.inputs.begin(), network.inputs.end(), unbatched) && std::all_of(network.outputs.begin(), network.outputs.end(), unbatched);
  return spec;
}

}  // namespace

engine::LoadSpec load_spec(const Package& package, const VariantSpec& variant) { return spec_of(package, variant, variant.artifacts); }

engine::LoadSpec load_spec(const Package& package, const VariantSpec& variant, size_t stage) {
  return spec_of(package, variant, variant.stages.at(stage).artifacts);
}

Result<std::vector<ZooEntry>> list_zoo(const std::string& zoo) {
  VERGE_ASSIGN(std::vector<std::string> names, os::list_dir(zoo));
  std::vector<ZooEntry> entries;
  for (const auto& name : names) {
    if (!valid_name(name)) continue;
    auto versions = os::list_dir(os::join(zoo, name));
    if (!versions.ok()) continue;
    ZooEntry e{name, {}};
    for (const auto& v : *versions)
      if (int64_t n = version_of(v); n > 0 && os::exists(os::join(os::join(os::join(zoo, name), v), "manifest.json"))) e.versions.push_back(n);
    if (e.versions.empty()) continue;
    std::sort(e.versions.begin(), e.versions.end());
    entries.push_back(std::move(e));
  }
  return entries;
}

Result<std::string> resolve_package(const std::string& path) {
  VERGE_ASSIGN(std::string dir, os::absolute(path));
  if (os::exists(os::join(dir, "manifest.json"))) return dir;
  int64_t latest = 0;
  VERGE_ASSIGN(std::vector<std::string> names, os::list_dir(dir));
  for (const auto& name : names)
    if (os::exists(os::join(os::join(dir, name), "manifest.json"))) latest = std::max(latest, version_of(name));
  if (latest > 0) return os::join(dir, std::to_string(latest));
  VERGE_ASSIGN(std::vector<ZooEntry> entries, list_zoo(dir));
  if (entries.size() == 1) return os::join(os::join(dir, entries[0].name), std::to_string(entries[0].versions.back()));
  if (entries.empty()) return not_found(path + ": holds no package (a folder NAME/VERSION with a manifest.json); make one with `verge build`");
  std::string all;
  for (const auto& e : entries) all += (all.empty() ? "" : ", ") + e.name;
  return invalid_argument(path + ": holds several models; name one of them: " + all);
}

const VariantSpec* default_variant(const Manifest& manifest, const Profile& profile) {
  const VariantSpec* best = nullptr;
  double best_us = 0;
  for (const auto& v : manifest.variants) {
    const VariantProfile* p = profile.variant(v.id);
    if (!p || p->verdict != Verdict::kOk || v.conversion != Conversion::kOk) continue;
    if (manifest.limits.max_accuracy_loss >= 0 && manifest.reference_accuracy >= 0 && p->accuracy >= 0) {
      double loss = manifest.reference_accuracy - p->accuracy;
      if (!metric_larger_is_better(manifest.metric.kind)) loss = -loss;
      if (loss > manifest.limits.max_accuracy_loss + kAccuracySlack) continue;
    }
    const LatencyCell* cell = p->cell(1, 1);
    if (!cell && !p->latency.empty()) cell = &p->latency.front();
    const double us = cell ? (cell->p50_us >= 0 ? cell->p50_us : cell->mean_us) : 1e18;
    if (!best || us < best_us) {
      best = &v;
      best_us = us;
    }
  }
  return best;
}

}  // namespace verge::package
