#include "simulate/simulate.h"

#include <algorithm>
#include <chrono>
#include <cstdio>

#include "bench/load_options.h"
#include "report/text.h"
#include "simulate/measured.h"
#include "simulate/server.h"

namespace verge::simulate {
namespace {

constexpr int kOk = 0, kNothing = 1, kUsage = 2, kEnvironment = 3;

int fail(const Status& s) {
  std::fprintf(stderr, "verge simulate: %s\n", s.message().c_str());
  return s.code() == Code::kUnavailable ? kEnvironment : kUsage;
}

SimVariant* answered_variant(const bench::Part& p, std::vector<SimModel>& models) {
  const std::string model = p.settings.value("model", "");
  for (SimModel& m : models) {
    if (m.name != model) continue;
    for (SimVariant& v : m.variants) {
      const bool answered = std::any_of(p.variants.begin(), p.variants.end(), [&](const auto& x) { return x.first == v.id; });
      if (p.variants.empty() ? v.is_default : answered) return &v;
    }
  }
  return nullptr;
}

// Overheads out of live runs. Of one with one request in flight: what its median exceeds the profile's by. The part that the server's own clock saw
// occupies the lane (without it a third), the rest is the way and the client. Its spread takes the place of the profile's: a machine is busier at times. Of a saturated closed loop, where there is one: how much of it must
// occupy the lane for a simulated loop to answer at the live rate.
Status calibrate(const std::vector<std::string>& paths, std::vector<SimModel>& models, ServerOptions& o, bool measured) {
  double excess = -1;
  std::vector<std::pair<bench::Record, int>> saturated;
  for (const std::string& path : paths) {
    VERGE_ASSIGN(const bench::Record live, bench::read_record(path));
    const int in_flight = live.settings.value("in_flight", 0);
    if (live.kind != "live" || live.tenants.size() != 1 || in_flight < 1 || !live.total.answered)
      return invalid_argument(path + ": to calibrate, give results of closed loops with one tenant: `verge bench -n 1`, and if wanted one of `verge bench -n N` that loads the server fully");
    const bench::Part& p = live.tenants[0];
    SimVariant* v = answered_variant(p, models);
    if (!v) return invalid_argument(path + ": its model and variant are not among those simulated");
    if (in_flight > 1) {
      saturated.emplace_back(live, in_flight);
      continue;
    }
    double engine_ns = 0;
    const int64_t rows = p.settings.value("batch", 1);
    for (const ServiceCurve& c : v->stages) engine_ns += static_cast<double>(c.at(rows, 0.5));
    excess = std::max(0.0, p.from_intended.p50 * 1e3 - engine_ns);
    const double in_server = p.measured_ms >= 0 ? std::clamp(excess - std::max(0.0, p.from_intended.mean * 1e3 - p.measured_ms * 1e6), 0.0, excess) : excess / 3;
    o.lane_ns = static_cast<uint64_t>(in_server);
    o.request_ns = static_cast<uint64_t>(excess - in_server);
    // Where the server itself counted its runs, their spread is known.
    if (!measured)
      for (ServiceCurve& c : v->stages) c.reshape(p.from_intended.buckets);
  }
  for (const auto& [live, in_flight] : saturated) {
    bench::Plan plan;
    plan.arrivals.in_flight = in_flight;
    plan.seconds = 4;
    plan.warm_up = 1;
    bench::TenantSpec t;
    t.model = live.tenants[0].settings.value("model", "");
    t.batch = live.tenants[0].settings.value("batch", 1);
    plan.tenants = {t};
    const double wanted = live.total.rate(live.seconds);
    double low = 0, high = std::max(2 * excess, 1e9 / std::max(wanted, 1e-3));
    for (int i = 0; i < 14; ++i) {
      const double middle = (low + high) / 2;
      o.lane_ns = static_cast<uint64_t>(middle);
      o.request_ns = static_cast<uint64_t>(std::max(excess - middle, 0.0));
      VERGE_ASSIGN(const SimResult r, run_simulation(plan, models, o, 0));
      (static_cast<double>(r.tallies[0].answered) / r.seconds > wanted ? low : high) = middle;
    }
  }
  return {};
}

}  // namespace

int simulate_main(const SimulateOptions& options) {
  auto plan = bench::plan_of(options.load, options.batch);
  if (!plan.ok()) return fail(plan.status());
  auto models = load_models(options.packages, {options.variants, options.device, options.stretch});
  if (!models.ok()) return fail(models.status());
  for (bench::TenantSpec& t : plan->tenants)
    if (t.model.empty() && models->size() == 1) t.model = models->front().name;
  ServerOptions o;
  o.lanes = options.lanes;
  o.connections = options.connections;
  for (const std::string& text : options.disturb) {
    const auto d = parse_disturbance(text);
    if (!d.ok()) return fail(d.status());
    o.disturbances.push_back(*d);
  }
  o.request_ns = static_cast<uint64_t>(std::max(options.request_us, 0.0) * 1e3);
  o.lane_ns = static_cast<uint64_t>(std::max(options.lane_us, 0.0) * 1e3);
  o.clairvoyant = options.clairvoyant;
  o.watts = options.watts;
  o.seed = plan->seed;
  if (!options.measured.empty())
    if (const Status s = apply_measured(options.measured, options.measured_since, *models); !s.ok()) return fail(s);
  if (!options.calibrate.empty())
    if (const Status s = calibrate(options.calibrate, *models, o, !options.measured.empty()); !s.ok()) return fail(s);
  const auto begun = std::chrono::steady_clock::now();
  auto result = run_simulation(*plan, *models, o, bench::slots_of(plan->seconds));
  if (!result.ok()) return fail(result.status());
  const double took = std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count();
  bench::Record r = bench::make_record(*plan, result->tallies, result->seconds);
  r.kind = options.clairvoyant ? "clairvoyant" : "simulated";
  r.data = options.measured.empty() ? "service times sampled from profiles" : "service times sampled from what a server counted";
  r.settings["lanes"] = o.lanes;
  r.settings["overhead_us"] = {{"request", static_cast<double>(o.request_ns) * 1e-3}, {"lane", static_cast<double>(o.lane_ns) * 1e-3}};
  if (!options.disturb.empty()) r.settings["disturbances"] = options.disturb;
  if (options.stretch != 1) r.settings["stretch"] = options.stretch;
  for (const SimModel& m : *models) {
    Json variants = Json::array();
    for (const SimVariant& v : m.variants) variants.push_back(v.id);
    r.settings["models"][m.name] = variants;
  }
  r.settings["lanes_busy"] = result->busy;
  r.notes.push_back("lanes were busy " + report::significant(result->busy * 100, 3) + " % of the time");
  if (!options.load.quiet && options.load.json != "-")
    std::fprintf(stderr, "%llu requests in %s\n", static_cast<unsigned long long>(r.total.offered), report::time_us(took * 1e6).c_str());
  if (const Status s = bench::show(r, options.load); !s.ok()) return fail(s);
  return r.total.answered ? kOk : kNothing;
}

}  // namespace verge::simulate
