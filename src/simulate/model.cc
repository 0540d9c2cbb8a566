#include "simulate/model.h"

#include <algorithm>

#include "os/files.h"
#include "os/process.h"
#include "package/package.h"

namespace verge::simulate {
namespace {

bool matches(std::string_view pattern, std::string_view text) {
  if (pattern.empty()) return text.empty();
  if (pattern[0] == '*') return matches(pattern.substr(1), text) || (!text.empty() && matches(pattern, text.substr(1)));
  return !text.empty() && pattern[0] == text[0] && matches(pattern.substr(1), text.substr(1));
}

Result<SimModel> model_of(const package::Package& p, const ModelOptions& o) {
  const Manifest& m = p.manifest;
  const Profile* profile = o.device.empty() ? p.profile_for(os::this_device().fingerprint) : p.profile_for(o.device);
  if (!profile && o.device.empty() && !p.profiles.empty())
    profile = &*std::max_element(p.profiles.begin(), p.profiles.end(), [](const Profile& a, const Profile& b) { return a.measured_at < b.measured_at; });
  if (!profile) return failed_precondition(p.dir + ": was measured on no device" + (o.device.empty() ? "" : " " + o.device) + "; run `verge profile` on it first");
  SimModel out;
  out.name = m.name;
  out.metric = m.metric.kind;
  for (const ServedInput& in : m.inputs)
    if (in.spec.batch_axis < 0) out.most_rows = 1;
  const VariantSpec* chosen = package::default_variant(m, *profile);
  for (const VariantSpec& spec : m.variants) {
    const VariantProfile* v = profile->variant(spec.id);
    const bool wanted = o.variants.empty() ? &spec == chosen : std::any_of(o.variants.begin(), o.variants.end(), [&](const std::string& w) { return matches(w, spec.id); });
    if (!v || v->verdict != Verdict::kOk || !wanted) continue;
    SimVariant s;
    s.id = spec.id;
    s.model = m.name;
    s.is_default = &spec == chosen;
    s.accuracy = v->accuracy;
    s.confidence = v->confidence;
    s.entropy = v->entropy;
    if (m.stages.empty()) {
      s.stages.emplace_back(v->latency, o.stretch);
    } else {
      for (size_t k = 0; k < m.stages.size() && k < v->stages.size(); ++k) {
        s.exits.push_back({m.stages[k].exit, k < v->exits.size() ? v->exits[k].accuracy : -1});
        s.stages.emplace_back(v->stages[k].latency, o.stretch);
      }
      out.most_rows = 1;
    }
    if (!s.stages.empty() && std::all_of(s.stages.begin(), s.stages.end(), [](const ServiceCurve& c) { return c.known(); })) out.variants.push_back(std::move(s));
  }
  if (out.variants.empty())
    return failed_precondition(p.dir + ": no " + (o.variants.empty() ? "default variant" : "variant that was asked for") + " is ok and was timed on this device; see `verge report " + p.dir + "`");
  if (std::none_of(out.variants.begin(), out.variants.end(), [](const SimVariant& v) { return v.is_default; })) out.variants[0].is_default = true;
  return out;
}

}  // namespace

Result<std::vector<SimModel>> load_models(const std::vector<std::string>& paths, const ModelOptions& o) {
  std::vector<SimModel> out;
  std::vector<std::pair<std::string, SimModel>> families;
  auto add = [&](const std::string& dir) -> Status {
    VERGE_ASSIGN(const package::Package p, package::open_package(dir));
    VERGE_ASSIGN(SimModel m, model_of(p, o));
    if (!p.manifest.family.empty()) {
      auto at = std::find_if(families.begin(), families.end(), [&](const auto& f) { return f.first == p.manifest.family; });
      if (at == families.end()) {
        families.emplace_back(p.manifest.family, m);
        families.back().second.name = p.manifest.family;
      } else {
        at->second.variants.insert(at->second.variants.end(), m.variants.begin(), m.variants.end());
        at->second.most_rows = std::min(at->second.most_rows, m.most_rows);
      }
    }
    out.push_back(std::move(m));
    return {};
  };
  for (const std::string& path : paths) {
    if (const auto one = package::resolve_package(path); one.ok()) {
      VERGE_RETURN_IF_ERROR(add(*one));
      continue;
    }
    VERGE_ASSIGN(const auto zoo, package::list_zoo(path));
    if (zoo.empty()) return not_found(path + ": is no package and no zoo with packages");
    Status first;
    size_t loaded = 0;
    for (const auto& entry : zoo) {
      const Status s = add(os::join(os::join(path, entry.name), std::to_string(entry.versions.back())));
      loaded += s.ok();
      if (!s.ok() && first.ok()) first = s;
    }
    if (!loaded) return first;
  }
  for (auto& [name, m] : families)
    if (m.variants.size() > 0 && std::none_of(out.begin(), out.end(), [&](const SimModel& x) { return x.name == name; })) out.push_back(std::move(m));
  return out;
}

SimModel plain_model(const std::string& name, const LatencyCell& cell, double accuracy) {
  SimVariant v;
  v.id = "variant";
  v.model = name;
  v.is_default = true;
  v.accuracy = accuracy;
  v.stages.emplace_back(std::vector<LatencyCell>{cell}, 1);
  SimModel m;
  m.name = name;
  m.most_rows = 1;
  m.variants.push_back(std::move(v));
  return m;
}

}  // namespace verge::simulate
