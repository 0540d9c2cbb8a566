#include "core/profile.h"

#include <algorithm>

namespace verge {
namespace {

constexpr size_t kMaxProfileBytes = 64u << 20;
constexpr size_t kMaxStages = 64;
constexpr size_t kMaxPoints = 64;

struct VerdictRow {
  Verdict verdict;
  std::string_view name;
};
constexpr VerdictRow kVerdicts[] = {
    {Verdict::kOk, "ok"}, {Verdict::kRejected, "rejected"}, {Verdict::kFailed, "failed"}, {Verdict::kNotMeasured, "not measured"}};

// A negative number means "not known" in these structs and null in the file.
Json known(double v) { return v < 0 ? Json() : Json(v); }
Json known(int64_t v) { return v < 0 ? Json() : Json(v); }

Json cell_json(const LatencyCell& c) {
  Json sketch = Json::array();
  for (const auto& [bucket, count] : c.sketch) sketch.push_back({bucket, count});
  return {{"batch", c.batch},         {"cores", c.cores},         {"n", c.n},
          {"mean_us", c.mean_us},     {"min_us", c.min_us},       {"p50_us", known(c.p50_us)},
          {"p90_us", known(c.p90_us)}, {"p99_us", known(c.p99_us)}, {"max_us", c.max_us},
          {"sketch", sketch}};
}

Result<LatencyCell> parse_cell(const Json& j, const std::string& where) {
  JsonReader r(j, where);
  LatencyCell c;
  c.batch = r.integer("batch");
  c.cores = r.integer("cores");
  c.n = r.integer("n");
  c.mean_us = r.number("mean_us");
  c.min_us = r.number("min_us", 0);
  c.p50_us = r.number("p50_us", -1);
  c.p90_us = r.number("p90_us", -1);
  c.p99_us = r.number("p99_us", -1);
  c.max_us = r.number("max_us", 0);
  if (r.has("sketch"))
    for (const Json& pair : r.array("sketch")) {
      if (!pair.is_array() || pair.size() != 2 || !pair[0].is_number_integer() || !pair[1].is_number_integer()) {
        r.fail("sketch must hold pairs of integers");
        break;
      }
      c.sketch.emplace_back(pair[0].get<int>(), pair[1].get<int64_t>());
    }
  VERGE_RETURN_IF_ERROR(r.status());
  return c;
}

Json cells_json(const std::vector<LatencyCell>& cells) {
  Json list = Json::array();
  for (const auto& c : cells) list.push_back(cell_json(c));
  return list;
}

Result<std::vector<LatencyCell>> parse_cells(const Json& array, const std::string& where) {
  std::vector<LatencyCell> cells;
  for (size_t i = 0; i < array.size(); ++i) {
    VERGE_ASSIGN(LatencyCell c, parse_cell(array[i], where + "[" + std::to_string(i) + "]"));
    cells.push_back(std::move(c));
  }
  return cells;
}

Json points_json(const std::vector<ExitPoint>& points) {
  Json list = Json::array();
  for (const auto& p : points)
    list.push_back({{"thresholds", p.thresholds}, {"shares", p.shares}, {"accuracy", known(p.accuracy)}, {"cost", known(p.cost)}, {"calibration_loss", p.calibration_loss}});
  return list;
}

std::vector<double> read_numbers(JsonReader& r, const char* key, size_t count) {
  std::vector<double> out;
  const Json& list = r.array(key);
  if (list.size() != count) return r.fail(std::string(key) + " must hold " + std::to_string(count) + " numbers"), out;
  for (const Json& v : list) {
    if (!v.is_number()) return r.fail(std::string(key) + " must hold numbers"), out;
    out.push_back(v.get<double>());
  }
  return out;
}

Status read_points(JsonReader& r, const char* key, size_t exits, std::vector<ExitPoint>& out) {
  if (!r.has(key)) return {};
  const Json& list = r.array(key);
  VERGE_RETURN_IF_ERROR(r.status());
  if (list.size() > kMaxPoints) return invalid_argument(r.where() + "." + key + ": more than " + std::to_string(kMaxPoints) + " points");
  for (size_t i = 0; i < list.size(); ++i) {
    JsonReader e(list[i], r.where() + "." + key + "[" + std::to_string(i) + "]");
    ExitPoint p;
    p.thresholds = read_numbers(e, "thresholds", exits - 1);
    p.shares = read_numbers(e, "shares", exits);
    p.accuracy = e.number("accuracy", -1);
    p.cost = e.number("cost", -1);
    p.calibration_loss = e.number("calibration_loss", 0);
    if (std::any_of(p.shares.begin(), p.shares.end(), [](double s) { return s < 0 || s > 1; })) e.fail("shares must be 0 … 1");
    VERGE_RETURN_IF_ERROR(e.status());
    if (!out.empty() && p.cost < out.back().cost) return invalid_argument(e.where() + ": costs less than the point before");
    out.push_back(std::move(p));
  }
  return {};
}

Status read_exits(JsonReader& r, VariantProfile& v) {
  for (const char* key : {"stages", "exits"}) {
    if (!r.has(key)) continue;
    if (r.array(key).size() > kMaxStages) return invalid_argument(r.where() + "." + key + ": more than " + std::to_string(kMaxStages));
  }
  VERGE_RETURN_IF_ERROR(r.status());
  if (r.has("stages"))
    for (const Json& j : r.array("stages")) {
      JsonReader e(j, r.where() + ".stages[" + std::to_string(v.stages.size()) + "]");
      StageProfile s;
      s.resident_bytes = e.integer("resident_bytes", -1);
      const Json& cells = e.array("latency");
      VERGE_RETURN_IF_ERROR(e.status());
      VERGE_ASSIGN(s.latency, parse_cells(cells, e.where() + ".latency"));
      v.stages.push_back(std::move(s));
    }
  if (r.has("exits"))
    for (const Json& j : r.array("exits")) {
      JsonReader e(j, r.where() + ".exits[" + std::to_string(v.exits.size()) + "]");
      v.exits.push_back({e.number("accuracy", -1), e.number("max_abs_diff", -1)});
      VERGE_RETURN_IF_ERROR(e.status());
    }
  if (v.exits.empty() && (r.has("confidence") || r.has("entropy"))) return invalid_argument(r.where() + ": has curves but no exits");
  VERGE_RETURN_IF_ERROR(read_points(r, "confidence", v.exits.size(), v.confidence));
  return read_points(r, "entropy", v.exits.size(), v.entropy);
}

Json device_json(const Device& d) {
  Json flags = Json::array();
  for (const auto& f : d.cpu_flags) flags.push_back(f);
  return {{"fingerprint", d.fingerprint}, {"cpu_model", d.cpu_model}, {"architecture", d.architecture},
          {"cores", d.cores},             {"cpu_flags", flags},       {"memory_bytes", d.memory_bytes}};
}

Status read_device(const Json& j, Device& d) {
  JsonReader r(j, "profile: device");
  d.fingerprint = r.str("fingerprint");
  d.cpu_model = r.str("cpu_model", std::string());
  d.architecture = r.str("architecture", std::string());
  d.cores = r.integer("cores", 0);
  d.cpu_flags = r.strings("cpu_flags");
  d.memory_bytes = r.integer("memory_bytes", 0);
  return r.status();
}

}  // namespace

std::string_view verdict_name(Verdict v) {
  for (const auto& row : kVerdicts)
    if (row.verdict == v) return row.name;
  return "not measured";
}

static const LatencyCell* find_cell(const std::vector<LatencyCell>& cells, int64_t batch, int64_t cores) {
  for (const auto& c : cells)
    if (c.batch == batch && c.cores == cores) return &c;
  return nullptr;
}
const LatencyCell* VariantProfile::cell(int64_t batch, int64_t cores) const { return find_cell(latency, batch, cores); }
const LatencyCell* StageProfile::cell(int64_t batch, int64_t cores) const { return find_cell(latency, batch, cores); }

const VariantProfile* Profile::variant(std::string_view id) const {
  for (const auto& v : variants)
    if (v.id == id) return &v;
  return nullptr;
}

VariantProfile* Profile::variant(std::string_view id) {
  for (auto& v : variants)
    if (v.id == id) return &v;
  return nullptr;
}

Json variant_profile_json(const VariantProfile& v) {
  Json j = {{"id", v.id}, {"verdict", verdict_name(v.verdict)}};
  if (!v.reason.empty()) j["reason"] = v.reason;
  j["accuracy"] = known(v.accuracy);
  j["accuracy_samples"] = v.accuracy_samples;
  j["max_abs_diff"] = known(v.max_abs_diff);
  j["compared_samples"] = v.compared_samples;
  j["executed_precision"] = v.executed_precision.empty() ? Json() : Json(v.executed_precision);
  j["executed_precision_source"] = v.executed_precision_source.empty() ? Json() : Json(v.executed_precision_source);
  j["load_ms_cold"] = known(v.load_ms_cold);
  j["load_ms_cached"] = known(v.load_ms_cached);
  j["first_run_ms"] = known(v.first_run_ms);
  j["resident_bytes"] = known(v.resident_bytes);
  j["engine_fixed_bytes"] = known(v.engine_fixed_bytes);
  j["energy_mj"] = known(v.energy_mj);
  j["energy_source"] = v.energy_source;
  j["latency"] = cells_json(v.latency);
  if (!v.stages.empty()) {
    j["stages"] = Json::array();
    for (const auto& s : v.stages) j["stages"].push_back({{"resident_bytes", known(s.resident_bytes)}, {"latency", cells_json(s.latency)}});
  }
  if (!v.exits.empty()) {
    j["exits"] = Json::array();
    for (const auto& e : v.exits) j["exits"].push_back({{"accuracy", known(e.accuracy)}, {"max_abs_diff", known(e.max_abs_diff)}});
  }
  if (!v.confidence.empty()) j["confidence"] = points_json(v.confidence);
  if (!v.entropy.empty()) j["entropy"] = points_json(v.entropy);
  return j;
}

Result<VariantProfile> parse_variant_profile(const Json& j, const std::string& where) {
  JsonReader r(j, where);
  VariantProfile v;
  v.id = r.str("id");
  const std::string verdict = r.str("verdict");
  auto row = std::find_if(std::begin(kVerdicts), std::end(kVerdicts), [&](const auto& x) { return x.name == verdict; });
  if (row == std::end(kVerdicts))
    r.fail("unknown verdict '" + verdict + "'");
  else
    v.verdict = row->verdict;
  v.reason = r.str("reason", std::string());
  v.accuracy = r.number("accuracy", -1);
  v.accuracy_samples = r.integer("accuracy_samples", 0);
  v.max_abs_diff = r.number("max_abs_diff", -1);
  v.compared_samples = r.integer("compared_samples", 0);
  v.executed_precision = r.str("executed_precision", std::string());
  v.executed_precision_source = r.str("executed_precision_source", std::string());
  v.load_ms_cold = r.number("load_ms_cold", -1);
  v.load_ms_cached = r.number("load_ms_cached", -1);
  v.first_run_ms = r.number("first_run_ms", -1);
  v.resident_bytes = r.integer("resident_bytes", -1);
  v.engine_fixed_bytes = r.integer("engine_fixed_bytes", -1);
  v.energy_mj = r.number("energy_mj", -1);
  v.energy_source = r.str("energy_source", std::string());
  if (r.has("latency")) {
    const Json& cells = r.array("latency");
    VERGE_RETURN_IF_ERROR(r.status());
    VERGE_ASSIGN(v.latency, parse_cells(cells, where + ".latency"));
  }
  VERGE_RETURN_IF_ERROR(r.status());
  VERGE_RETURN_IF_ERROR(read_exits(r, v));
  return v;
}

Result<Profile> parse_profile(std::string_view text) {
  VERGE_ASSIGN(Json j, parse_json(text, "profile", kMaxProfileBytes));
  JsonReader r(j, "profile");
  Profile p;
  int64_t format = r.integer("format");
  VERGE_RETURN_IF_ERROR(r.status());
  if (format != Profile::kFormat)
    return failed_precondition("profile: format " + std::to_string(format) + ", this build of Verge reads format " +
                               std::to_string(Profile::kFormat) + "; measure again with `verge profile`");
  p.manifest_sha256 = r.str("manifest_sha256");
  p.measured_at = r.str("measured_at", std::string());
  p.verge_version = r.str("verge_version", std::string());
  p.build_seconds = r.number("build_seconds", -1);
  const Json& device = r.object("device");
  const Json& variants = r.array("variants");
  VERGE_RETURN_IF_ERROR(r.status());
  VERGE_RETURN_IF_ERROR(read_device(device, p.device));
  if (r.has("engine_versions"))
    for (const auto& [k, v] : r.object("engine_versions").items()) {
      if (!v.is_string()) return invalid_argument("profile: engine_versions." + k + " must be a string");
      p.engine_versions[k] = v.get<std::string>();
    }
  for (size_t i = 0; i < variants.size(); ++i) {
    VERGE_ASSIGN(VariantProfile v, parse_variant_profile(variants[i], "profile: variants[" + std::to_string(i) + "]"));
    p.variants.push_back(std::move(v));
  }
  VERGE_RETURN_IF_ERROR(r.status());
  return p;
}

std::string print_profile(const Profile& p) {
  Json j;
  j["format"] = Profile::kFormat;
  j["device"] = device_json(p.device);
  j["manifest_sha256"] = p.manifest_sha256;
  j["measured_at"] = p.measured_at;
  j["verge_version"] = p.verge_version;
  j["build_seconds"] = known(p.build_seconds);
  j["engine_versions"] = Json::object();
  for (const auto& [k, v] : p.engine_versions) j["engine_versions"][k] = v;
  j["variants"] = Json::array();
  for (const auto& v : p.variants) j["variants"].push_back(variant_profile_json(v));
  return print_json(j);
}

}  // namespace verge
