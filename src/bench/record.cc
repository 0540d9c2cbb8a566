#include "bench/record.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>

#include "core/version.h"
#include "os/files.h"
#include "os/process.h"
#include "report/text.h"

namespace verge::bench {
namespace {

constexpr size_t kMostRecordBytes = size_t{64} << 20;
constexpr size_t kMostParts = 256, kMostBuckets = 100'000;

Latency latency_of(const Histogram& h, bool buckets) {
  auto us = [](uint64_t ns) { return static_cast<double>(ns) * 1e-3; };
  Latency l;
  l.n = h.count();
  l.mean = h.mean() * 1e-3;
  l.p50 = us(h.quantile(0.5));
  l.p90 = us(h.quantile(0.9));
  l.p95 = us(h.quantile(0.95));
  l.p99 = us(h.quantile(0.99));
  l.p999 = us(h.quantile(0.999));
  l.max = us(h.max());
  if (buckets)
    for (const auto& [ns, n] : h.buckets()) l.buckets.emplace_back(us(ns), n);
  return l;
}

Json latency_json(const Latency& l) {
  Json j = {{"n", l.n}, {"mean", l.mean}, {"p50", l.p50}, {"p90", l.p90}, {"p95", l.p95}, {"p99", l.p99}, {"p999", l.p999}, {"max", l.max}};
  if (l.buckets.empty()) return j;
  std::string text;
  for (const auto& [us, n] : l.buckets) {
    char one[64];
    text.append(one, static_cast<size_t>(std::snprintf(one, sizeof one, "%s%.3f:%llu", text.empty() ? "" : " ", us, static_cast<unsigned long long>(n))));
  }
  j["histogram"] = text;
  return j;
}

Latency parse_latency(JsonReader& parent, const char* key) {
  Latency l;
  if (!parent.has(key)) return l;
  const Json& j = parent.object(key);
  JsonReader r(j, parent.where() + "." + key);
  l.n = static_cast<uint64_t>(std::max<int64_t>(0, r.integer("n")));
  l.mean = r.number("mean");
  l.p50 = r.number("p50");
  l.p90 = r.number("p90");
  l.p95 = r.number("p95");
  l.p99 = r.number("p99");
  l.p999 = r.number("p999");
  l.max = r.number("max");
  const std::string text = r.str("histogram", "");
  const char *p = text.data(), *end = p + text.size();
  while (p < end && l.buckets.size() < kMostBuckets) {
    double us = 0;
    uint64_t n = 0;
    const auto first = std::from_chars(p, end, us);
    if (first.ec != std::errc() || first.ptr == end || *first.ptr != ':' || !std::isfinite(us)) break;
    const auto second = std::from_chars(first.ptr + 1, end, n);
    if (second.ec != std::errc()) break;
    l.buckets.emplace_back(us, n);
    p = second.ptr + (second.ptr < end);
  }
  if (!r.status().ok()) parent.fail(r.status().message());
  return l;
}

Json counts_json(const std::vector<std::pair<std::string, uint64_t>>& c) {
  Json j = Json::object();
  for (const auto& [name, n] : c) j[name] = n;
  return j;
}

std::vector<std::pair<std::string, uint64_t>> parse_counts(JsonReader& r, const char* key) {
  std::vector<std::pair<std::string, uint64_t>> out;
  if (!r.has(key)) return out;
  for (const auto& [name, n] : r.object(key).items())
    if (n.is_number_unsigned() && out.size() < kMostParts * 2) out.emplace_back(name, n.get<uint64_t>());
  return out;
}

struct CountField {
  const char* key;
  uint64_t Part::*field;
};
constexpr CountField kCounts[] = {{"offered", &Part::offered},   {"sent", &Part::sent},         {"answered", &Part::answered}, {"in_time", &Part::in_time},
                                  {"within_1.1_deadlines", &Part::nearly_in_time},              {"refused", &Part::refused},   {"unsent", &Part::unsent},
                                  {"unanswered", &Part::unanswered}, {"labelled", &Part::samples}, {"right", &Part::right},    {"right_in_time", &Part::right_in_time}};
struct MeanField {
  const char* key;
  double Part::*field;
};
constexpr MeanField kMeans[] = {{"expected_accuracy", &Part::expected_accuracy}, {"predicted_ms", &Part::predicted_ms}, {"measured_ms", &Part::measured_ms}, {"energy_mj", &Part::energy_mj}};

Json part_json(const Part& p, double seconds) {
  Json j = {{"name", p.name}, {"settings", p.settings}};
  for (const CountField& f : kCounts) j[f.key] = p.*f.field;
  j["offered_rate"] = seconds > 0 ? static_cast<double>(p.offered) / seconds : 0;
  j["rate"] = p.rate(seconds);
  if (p.has_deadline) {
    if (p.deadline_ms > 0) j["deadline_ms"] = p.deadline_ms;
    j["deadline_miss_rate"] = p.miss_rate();
  }
  j["has_deadline"] = p.has_deadline;
  if (p.accuracy() >= 0) j["accuracy"] = p.accuracy();
  if (p.samples) j["accuracy_of_offered_in_time"] = p.offered ? static_cast<double>(p.right_in_time) / static_cast<double>(p.samples) * static_cast<double>(p.answered) / static_cast<double>(p.offered) : 0;
  for (const MeanField& f : kMeans)
    if (p.*f.field >= 0) j[f.key] = p.*f.field;
  if (p.energy_mj >= 0) j["energy_source"] = p.energy_measured ? "measured" : "modelled";
  j["latency_us"] = {{"from_intended", latency_json(p.from_intended)}, {"from_sending", latency_json(p.from_sending)}, {"client_wait", latency_json(p.client_wait)}, {"refusals", latency_json(p.refusals)}};
  j["refusals"] = counts_json(p.codes);
  if (!p.variants.empty()) j["variants"] = counts_json(p.variants);
  if (!p.exits.empty()) j["exits"] = counts_json(p.exits);
  Json timeline = Json::array();
  for (const RecordSlot& s : p.timeline) {
    char line[160];
    std::snprintf(line, sizeof line, "%.6g %.6g %.6g %.6g %.6g %.6g", s.offered, s.answered, s.in_time, s.refused, s.p50, s.p99);
    timeline.push_back(line);
  }
  Json late = Json::array();
  for (const LateAnswer& a : p.late) {
    char line[128];
    std::snprintf(line, sizeof line, "%.6f %.3f %.3f %.6g", static_cast<double>(a.intended) * 1e-9, static_cast<double>(a.waited) * 1e-6, static_cast<double>(a.took) * 1e-6, a.measured_ms);
    late.push_back(line);
  }
  if (!late.empty()) j["late"] = {{"columns", "at_s client_wait_ms took_ms server_ms"}, {"first", late}};
  if (!timeline.empty()) j["timeline"] = {{"columns", "offered answered in_time refused p50_us p99_us"}, {"slots", timeline}};
  return j;
}

Result<Part> parse_part(const Json& j, const std::string& where) {
  JsonReader r(j, where);
  Part p;
  p.name = r.str("name").substr(0, 200);
  if (r.has("settings")) p.settings = r.object("settings");
  for (const CountField& f : kCounts) p.*f.field = static_cast<uint64_t>(std::max<int64_t>(0, r.integer(f.key, 0)));
  p.has_deadline = r.boolean("has_deadline", false);
  p.deadline_ms = r.number("deadline_ms", 0.0);
  for (const MeanField& f : kMeans) p.*f.field = r.number(f.key, -1.0);
  p.energy_measured = r.str("energy_source", "") == "measured";
  if (r.has("latency_us")) {
    JsonReader l(r.object("latency_us"), where + ".latency_us");
    p.from_intended = parse_latency(l, "from_intended");
    p.from_sending = parse_latency(l, "from_sending");
    p.client_wait = parse_latency(l, "client_wait");
    p.refusals = parse_latency(l, "refusals");
    VERGE_RETURN_IF_ERROR(l.status());
  }
  p.codes = parse_counts(r, "refusals");
  p.variants = parse_counts(r, "variants");
  p.exits = parse_counts(r, "exits");
  if (r.has("timeline")) {
    JsonReader t(r.object("timeline"), where + ".timeline");
    for (const Json& line : t.array("slots")) {
      RecordSlot s;
      if (!line.is_string() || p.timeline.size() >= 10'000) break;
      if (std::sscanf(line.get_ref<const std::string&>().c_str(), "%lf %lf %lf %lf %lf %lf", &s.offered, &s.answered, &s.in_time, &s.refused, &s.p50, &s.p99) == 6) p.timeline.push_back(s);
    }
  }
  if (r.has("late")) {
    JsonReader t(r.object("late"), where + ".late");
    for (const Json& line : t.array("first")) {
      double at = 0, waited = 0, took = 0;
      LateAnswer a{};
      if (!line.is_string() || p.late.size() >= Tally::kMostLate) break;
      if (std::sscanf(line.get_ref<const std::string&>().c_str(), "%lf %lf %lf %lf", &at, &waited, &took, &a.measured_ms) != 4 || !(at >= 0 && at < 1e9) || !(waited >= 0 && waited < 1e9) || !(took >= 0 && took < 1e9)) break;
      a.intended = static_cast<uint64_t>(std::llround(at * 1e9));
      a.waited = static_cast<uint64_t>(std::llround(waited * 1e6));
      a.took = static_cast<uint64_t>(std::llround(took * 1e6));
      p.late.push_back(a);
    }
  }
  VERGE_RETURN_IF_ERROR(r.status());
  return p;
}

}  // namespace

double Latency::quantile(double q) const {
  if (buckets.empty()) return 0;
  uint64_t all = 0, seen = 0;
  for (const auto& b : buckets) all += b.second;
  const double wanted = std::max(1.0, std::ceil(q * static_cast<double>(all)));
  for (const auto& [us, count] : buckets)
    if (static_cast<double>(seen += count) >= wanted) return us;
  return buckets.back().first;
}

std::string Record::title() const {
  std::string models;
  for (const Part& p : tenants) {
    const std::string m = p.settings.contains("model") && p.settings["model"].is_string() ? p.settings["model"].get<std::string>() : "";
    if (!m.empty() && models.find(m) == std::string::npos) models += (models.empty() ? "" : ", ") + m;
  }
  return models + (kind == "live" ? " at " + server : ", " + kind);
}

std::string machine_text() {
  const Device d = os::this_device();
  return d.cpu_model + ", " + std::to_string(d.cores) + (d.cores == 1 ? " core" : " cores") + ", " + report::bytes(static_cast<double>(d.memory_bytes));
}

Part make_part(const std::string& name, const Tally& t, double slot_seconds) {
  Part p;
  p.name = name;
  p.offered = t.offered;
  p.sent = t.sent;
  p.answered = t.answered;
  p.in_time = t.in_time;
  p.nearly_in_time = t.nearly_in_time;
  p.refused = t.refused;
  p.unsent = t.unsent;
  p.unanswered = t.unanswered;
  p.samples = t.samples;
  p.right = t.right;
  p.right_in_time = t.right_in_time;
  p.from_intended = latency_of(t.from_intended, true);
  p.from_sending = latency_of(t.from_sending, false);
  p.client_wait = latency_of(t.client_wait, false);
  p.refusals = latency_of(t.refusals, false);
  auto sorted = [](const NameCounts& c) {
    std::vector<std::pair<std::string, uint64_t>> out;
    for (const auto& e : c.entries()) out.emplace_back(e.name, e.count);
    std::sort(out.begin(), out.end());
    return out;
  };
  p.codes = sorted(t.codes);
  p.variants = sorted(t.variants);
  p.exits = sorted(t.exits);
  p.expected_accuracy = t.expected_accuracy.value();
  p.predicted_ms = t.predicted_ms.value();
  p.measured_ms = t.measured_ms.value();
  p.energy_mj = t.energy_mj.value();
  p.energy_measured = t.energies_measured > 0 && t.energies_measured == t.energy_mj.n;
  for (const TimeSlot& s : t.slots)
    p.timeline.push_back({s.offered / slot_seconds, s.answered / slot_seconds, s.in_time / slot_seconds, s.refused / slot_seconds, s.quantile_us(0.5), s.quantile_us(0.99)});
  return p;
}

Record make_record(const Plan& plan, const std::vector<Tally>& tallies, double seconds) {
  Record r;
  r.at = os::utc_now();
  r.verge_version = VERGE_VERSION;
  r.machine = machine_text();
  r.settings = plan_json(plan);
  r.seconds = seconds;
  r.slot_seconds = tallies.empty() ? 1 : static_cast<double>(tallies[0].slot_ns) * 1e-9;
  Tally all;
  bool deadline = false;
  for (size_t i = 0; i < plan.tenants.size(); ++i) {
    Tally t = tallies[i];
    // An interrupted run has no more slots than were reached.
    const auto reached = static_cast<size_t>(std::ceil(seconds / r.slot_seconds - 1e-9));
    if (t.slots.size() > reached) t.slots.resize(reached);
    all.add(t);
    Part p = make_part(plan.tenants[i].name, t, r.slot_seconds);
    p.settings = tenant_json(plan.tenants[i]);
    p.deadline_ms = plan.tenants[i].deadline_ms;
    p.has_deadline = p.deadline_ms > 0;
    p.late = t.late;
    std::sort(p.late.begin(), p.late.end(), [](const LateAnswer& a, const LateAnswer& b) { return a.intended < b.intended; });
    deadline |= p.has_deadline;
    r.tenants.push_back(std::move(p));
  }
  r.total = make_part("all", all, r.slot_seconds);
  r.total.has_deadline = deadline;
  return r;
}

Json record_json(const Record& r) {
  Json j = {{"format", Record::kFormat}, {"kind", r.kind}, {"at", r.at}, {"verge_version", r.verge_version}, {"machine", r.machine}};
  if (!r.server.empty()) j["server"] = r.server;
  if (!r.protocol.empty()) j["protocol"] = r.protocol;
  if (!r.data.empty()) j["data"] = r.data;
  j["settings"] = r.settings;
  j["seconds"] = r.seconds;
  j["slot_seconds"] = r.slot_seconds;
  j["interrupted"] = r.interrupted;
  j["notes"] = r.notes;
  j["total"] = part_json(r.total, r.seconds);
  for (const Part& p : r.tenants) j["tenants"].push_back(part_json(p, r.seconds));
  return j;
}

Result<Record> parse_record(std::string_view text, const std::string& what) {
  VERGE_ASSIGN(const Json j, parse_json(text, what, kMostRecordBytes));
  JsonReader r(j, what);
  Record out;
  if (r.integer("format") != Record::kFormat) return invalid_argument(what + ": is not a result of this version's `verge bench` or `verge simulate`");
  out.kind = r.str("kind");
  out.at = r.str("at", "");
  out.verge_version = r.str("verge_version", "");
  out.machine = r.str("machine", "");
  out.server = r.str("server", "");
  out.protocol = r.str("protocol", "");
  out.data = r.str("data", "");
  if (r.has("settings")) out.settings = r.object("settings");
  out.seconds = r.number("seconds");
  out.slot_seconds = r.number("slot_seconds", 1.0);
  out.interrupted = r.boolean("interrupted", false);
  out.notes = r.strings("notes");
  VERGE_ASSIGN(out.total, parse_part(r.object("total"), what + ": total"));
  for (const Json& t : r.array("tenants")) {
    if (out.tenants.size() >= kMostParts) return invalid_argument(what + ": too many tenants");
    VERGE_ASSIGN(Part p, parse_part(t, what + ": tenants[" + std::to_string(out.tenants.size()) + "]"));
    out.tenants.push_back(std::move(p));
  }
  VERGE_RETURN_IF_ERROR(r.status());
  return out;
}

Result<Record> read_record(const std::string& path) {
  VERGE_ASSIGN(const std::string text, os::read_file(path, kMostRecordBytes));
  return parse_record(text, path);
}

}  // namespace verge::bench
