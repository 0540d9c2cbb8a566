#include "serve/lanes.h"

#include <algorithm>
#include <map>

#include "runtime/profiled.h"
#include "serve/candidates.h"

namespace verge::serve {
namespace {

// The strictest of what tenants ask where a request says nothing, in accuracy too.
struct Defaults {
  double deadline_ms = 0;  // 0: none
  double min_accuracy = -1;
};

Defaults strictest(const std::vector<runtime::TenantOptions>& tenants) {
  Defaults d;
  for (const runtime::TenantOptions& t : tenants) {
    if (t.bounds.deadline_ms <= 0) continue;
    if (d.deadline_ms == 0 || t.bounds.deadline_ms < d.deadline_ms) d.deadline_ms = t.bounds.deadline_ms;
    d.min_accuracy = std::max(d.min_accuracy, t.bounds.min_accuracy);
  }
  return d;
}

bool accurate(double accuracy, const Defaults& defaults) { return defaults.min_accuracy < 0 || accuracy >= defaults.min_accuracy; }

// What may answer a request in time in place of the default variant: another one, or an earlier exit.
void add_answers(const VariantProfile& p, const Defaults& defaults, std::vector<policy::ThreadCurve>& out) {
  if (p.exits.empty()) {
    if (accurate(p.accuracy, defaults)) out.push_back(runtime::thread_curve(p.latency));
    return;
  }
  for (size_t k = 0; k < p.exits.size(); ++k) {
    if (!accurate(p.exits[k].accuracy, defaults)) continue;
    out.push_back(runtime::thread_curve_to_exit(p, k));
    return;
  }
}

void add_model(const Environment& env, const Found& found, const Defaults& defaults, std::vector<policy::LaneModel>& out) {
  policy::LaneModel m;
  m.name = found.name;
  if (found.package_dir.empty()) {
    out.push_back(std::move(m));
    return;
  }
  auto package = package::open_package(found.package_dir);
  if (!package.ok()) return;
  auto profile = known_profile(env, *package);
  if (!profile.ok()) {
    out.push_back(std::move(m));
    return;
  }
  leave_out_not_installed(package->manifest, *env.catalog, *profile);
  const auto configured = env.config.models.find(found.name);
  std::vector<std::string> resident;
  std::string id;
  if (configured != env.config.models.end()) {
    id = configured->second.default_variant;
    resident = configured->second.resident;
  }
  if (const VariantSpec* v = package::default_variant(package->manifest, *profile); id.empty() && v != nullptr) id = v->id;
  const VariantProfile* p = profile->variant(id);
  if (p == nullptr) return;
  m.curve = runtime::thread_curve(p->latency);
  if (defaults.deadline_ms > 0) m.deadline_ns = static_cast<uint64_t>(std::min(defaults.deadline_ms, 1e9) * 1e6);
  resident.push_back(id);
  for (const std::string& r : resident) {
    const VariantProfile* other = profile->variant(r);
    if (other != nullptr && other->verdict == Verdict::kOk) add_answers(*other, defaults, m.in_time);
  }
  out.push_back(std::move(m));
}

}  // namespace

std::vector<policy::LaneModel> lane_models(const Environment& env, const Place& place) {
  std::vector<policy::LaneModel> out;
  auto found = find_models(place.dir);
  if (!found.ok()) return out;
  std::map<std::string, const Found*> latest;
  for (const Found& f : *found) {
    const Found*& known = latest[f.name];
    if (known == nullptr || known->version <= f.version) known = &f;
  }
  const Defaults defaults = strictest(env.config.tenants);
  for (const auto& [name, f] : latest) add_model(env, *f, defaults, out);
  return out;
}

}  // namespace verge::serve
