// The report for programs. Its fields are kept stable; what was not measured is null.
#include "core/json.h"
#include "report/exits.h"
#include "report/tables.h"

namespace verge::report {
namespace {

Json known(double v) { return v < 0 ? Json() : Json(v); }
Json known(int64_t v) { return v < 0 ? Json() : Json(v); }
Json known(const std::string& s) { return s.empty() ? Json() : Json(s); }

Json variant_json(const Summary& s, const Row& row) {
  const VariantProfile none;
  const VariantProfile& p = row.profile ? *row.profile : none;
  const VariantSpec& v = *row.spec;
  Json j;
  j["id"] = v.id;
  j["engine"] = v.engine;
  j["precision"] = v.precision;
  j["executed_precision"] = known(p.executed_precision);
  j["executed_precision_source"] = known(p.executed_precision_source);
  j["form"] = known(v.form);
  j["device"] = v.device;
  j["verdict"] = verdict_name(row.verdict);
  j["reason"] = known(row.reason);
  j["log"] = known(v.log);
  j["accuracy"] = known(p.accuracy);
  j["accuracy_delta"] = row.has_delta ? Json(row.accuracy_delta) : Json();
  j["accuracy_samples"] = p.accuracy_samples;
  j["max_abs_diff"] = known(p.max_abs_diff);
  j["compared_samples"] = p.compared_samples;
  j["size_bytes"] = row.size_bytes ? Json(row.size_bytes) : Json();
  j["resident_bytes"] = known(p.resident_bytes);
  j["engine_fixed_bytes"] = known(p.engine_fixed_bytes);
  j["load_ms"] = known(p.load_ms_cold);
  j["load_ms_cached"] = known(p.load_ms_cached);
  j["first_run_ms"] = known(p.first_run_ms);
  j["energy_mj"] = known(p.energy_mj);
  j["energy_source"] = known(p.energy_source);
  j["generate_seconds"] = known(row.generate_seconds);
  j["artifacts"] = v.artifacts;
  Json converters = Json::array();
  for (const auto& id : v.artifacts)
    if (const Artifact* a = s.manifest->artifact(id)) converters.push_back(a->converter);
  j["converters"] = converters;
  j["latency"] = Json::array();
  for (const auto& c : p.latency)
    j["latency"].push_back({{"batch", c.batch},
                            {"cores", c.cores},
                            {"n", c.n},
                            {"mean_us", c.mean_us},
                            {"p50_us", known(c.p50_us)},
                            {"p90_us", known(c.p90_us)},
                            {"p99_us", known(c.p99_us)}});
  j["best_throughput"] =
      row.best ? Json{{"per_second", row.throughput()}, {"batch", row.best->batch}, {"cores", row.best->cores}} : Json();
  j["default"] = row.is_default;
  j["pareto"] = row.on_front;
  add_exits(j, s, row);
  return j;
}

}  // namespace

std::string json_report(const Summary& s) {
  const Manifest& m = *s.manifest;
  Json j;
  j["name"] = m.name;
  j["version"] = m.version;
  j["description"] = known(m.description);
  j["source"] = {{"kind", m.source_kind}, {"name", m.source_name}, {"sha256", m.source_sha256}};
  j["reference"] = m.reference;
  j["metric"] = {{"name", metric_name(m.metric.kind)}, {"larger_is_better", metric_larger_is_better(m.metric.kind)}};
  if (m.metric.kind == MetricKind::kTopK) j["metric"]["k"] = m.metric.k;
  j["limits"] = {{"max_accuracy_loss", known(m.limits.max_accuracy_loss)}, {"max_abs_diff", known(m.limits.max_abs_diff)}};
  j["reference_accuracy"] = known(m.reference_accuracy);
  j["evaluation"] = {{"samples", m.evaluation_samples}, {"description", known(m.evaluation_description)}};
  j["golden_samples"] = m.golden.samples;
  j["manifest_sha256"] = s.package->manifest_sha256;
  if (s.profile) {
    const Device& d = s.profile->device;
    j["device"] = {{"fingerprint", d.fingerprint}, {"cpu_model", d.cpu_model}, {"architecture", d.architecture},
                   {"cores", d.cores},             {"cpu_flags", d.cpu_flags}, {"memory_bytes", d.memory_bytes}};
    j["measured_at"] = s.profile->measured_at;
    j["verge_version"] = s.profile->verge_version;
    j["engine_versions"] = s.profile->engine_versions;
    j["build_seconds"] = known(s.profile->build_seconds);
  } else {
    j["device"] = Json();
  }
  Json profiles = Json::array();
  for (const auto& p : s.package->profiles) profiles.push_back(p.device.fingerprint);
  j["profiles"] = profiles;
  const Row* chosen = s.default_row();
  j["default_variant"] = chosen ? Json(chosen->spec->id) : Json();
  add_exits(j, s);
  j["native_paths"] = Json::array();
  for (const auto& n : m.native_paths)
    j["native_paths"].push_back({{"path", n.path}, {"batch", n.batch}, {"n", n.n}, {"p50_us", n.p50_us}});
  j["variants"] = Json::array();
  for (const Row& row : s.rows) j["variants"].push_back(variant_json(s, row));
  j["warnings"] = s.package->warnings;
  return print_json(j);
}

}  // namespace verge::report
