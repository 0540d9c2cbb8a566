#include "simulate/calibrate.h"

#include <algorithm>
#include <cmath>

#include "bench/record.h"

namespace verge::simulate {
namespace {

constexpr int kFitSteps = 14;
constexpr size_t kWayPoints = 1024;
// Where fewer of an open loop's requests than that were not answered in time, it does not say how much a lane can do.
constexpr double kLeastMissed = 0.05;

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

// How much longer or shorter than its median the way of a request is that the server's lane does not see: by what live latencies spread more than service times do. Both spread independently
// of each other, so their squares add up.
std::vector<int64_t> spread_of_way(const bench::Latency& live, const SimVariant& v, int64_t rows) {
  std::vector<double> engine(kWayPoints);
  for (size_t i = 0; i < engine.size(); ++i)
    for (size_t k = 0; k < v.stages.size(); ++k) engine[i] += static_cast<double>(v.stages[k].at(rows, fixed_uniform(1, i, k)));
  std::sort(engine.begin(), engine.end());
  std::vector<int64_t> out;
  const double middle = live.p50 * 1e3, engine_middle = engine[engine.size() / 2];
  for (size_t i = 0; i < kWayPoints; ++i) {
    const double off = live.quantile((static_cast<double>(i) + 0.5) / kWayPoints) * 1e3 - middle, engine_off = engine[i] - engine_middle;
    out.push_back(static_cast<int64_t>(std::copysign(std::sqrt(std::max(0.0, off * off - engine_off * engine_off)), off)));
  }
  return out;
}

// Takes `lane_ns` so that `answered(simulated)` becomes `wanted`, a number that falls as lanes have more to do. `excess`: what a lone request takes beside the engine.
template <typename Answered>
Status fit(const bench::Plan& plan, const std::vector<SimModel>& models, double excess, double most, double wanted, Answered answered, ServerOptions& o) {
  double low = 0, high = most;
  // The live server was no clairvoyant, and its machine as it is.
  ServerOptions as_live = o;
  as_live.clairvoyant = false;
  as_live.disturbances.clear();
  for (int i = 0; i < kFitSteps; ++i) {
    const double middle = (low + high) / 2;
    o.lane_ns = as_live.lane_ns = static_cast<uint64_t>(middle);
    o.request_ns = as_live.request_ns = static_cast<uint64_t>(std::max(excess - middle, 0.0));
    VERGE_ASSIGN(const SimResult r, run_simulation(plan, models, as_live, 0));
    (answered(r) > wanted ? low : high) = middle;
  }
  return {};
}

uint64_t in_time(const SimResult& r) {
  uint64_t n = 0;
  for (const bench::Tally& t : r.tallies) n += t.in_time;
  return n;
}

// The live run's load as it was, where it was that of `plan` under a seed of its own.
Result<bench::Plan> same_load(const bench::Record& live, const std::string& path, bench::Plan plan) {
  const auto differs = [&](const std::string& what) {
    return invalid_argument(path + ": to calibrate by an open loop it must have had the same load, under another seed or for another time; " + what + " differ");
  };
  if (live.settings.value("arrivals", "") != plan.arrivals.text()) return differs("arrivals");
  if (live.tenants.size() != plan.tenants.size()) return differs("tenants");
  for (size_t i = 0; i < plan.tenants.size(); ++i)
    if (live.tenants[i].settings != bench::tenant_json(plan.tenants[i])) return differs("tenants");
  plan.seed = live.settings.value("seed", plan.seed);
  plan.warm_up = live.settings.value("warm_up_seconds", plan.warm_up);
  plan.seconds = live.seconds;
  return plan;
}

}  // namespace

// Of one request in flight: what its median exceeds the profile's by. The part that the server's own clock saw
// occupies the lane (without it a third), the rest is the way and the client. Its spread takes the place of the profile's: a machine is busier at times; where the server itself counted its runs, the rest
// of it is the way's. Of a saturated closed loop, where there is one: how much of it must
// occupy the lane for a simulated loop to answer at the live rate. Of an open loop of the same load that had more than could be done: the same for what was answered in time; requests are then read, run and
// refused in larger groups than any closed loop makes.
Status calibrate(const std::vector<std::string>& paths, const bench::Plan& plan, bool measured, std::vector<SimModel>& models, ServerOptions& o) {
  double excess = -1;
  std::vector<std::pair<bench::Record, int>> saturated;
  std::vector<std::pair<bench::Record, bench::Plan>> open;
  for (const std::string& path : paths) {
    VERGE_ASSIGN(const bench::Record live, bench::read_record(path));
    const int in_flight = live.settings.value("in_flight", 0);
    if (live.kind == "live" && in_flight == 0 && live.total.has_deadline) {
      VERGE_ASSIGN(bench::Plan same, same_load(live, path, plan));
      open.emplace_back(live, std::move(same));
      continue;
    }
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
    if (measured) o.way_spread_ns = spread_of_way(p.from_intended, *v, rows);
    else
      for (ServiceCurve& c : v->stages) c.reshape(p.from_intended.buckets);
  }
  for (const auto& [live, in_flight] : saturated) {
    bench::Plan loop;
    loop.arrivals.in_flight = in_flight;
    loop.seconds = 4;
    loop.warm_up = 1;
    bench::TenantSpec t;
    t.model = live.tenants[0].settings.value("model", "");
    t.batch = live.tenants[0].settings.value("batch", 1);
    loop.tenants = {t};
    const double wanted = live.total.rate(live.seconds);
    const auto rate = [](const SimResult& r) { return static_cast<double>(r.tallies[0].answered) / r.seconds; };
    VERGE_RETURN_IF_ERROR(fit(loop, models, excess, std::max(2 * excess, 1e9 / std::max(wanted, 1e-3)), wanted, rate, o));
  }
  for (const auto& [live, load] : open) {
    const double wanted = static_cast<double>(live.total.in_time), offered = static_cast<double>(live.total.offered);
    if (wanted > (1 - kLeastMissed) * offered || wanted <= 0) continue;
    const double most = std::max(2 * excess, 1e9 * live.seconds / wanted);
    VERGE_RETURN_IF_ERROR(fit(load, models, excess, most, wanted / offered, [&](const SimResult& r) {
      uint64_t all = 0;
      for (const bench::Tally& t : r.tallies) all += t.offered;
      return static_cast<double>(in_time(r)) / static_cast<double>(std::max<uint64_t>(all, 1));
    }, o));
  }
  return {};
}

}  // namespace verge::simulate
