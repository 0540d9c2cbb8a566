#include "simulate/simulate.h"

#include <algorithm>
#include <chrono>
#include <cstdio>

#include "bench/load_options.h"
#include "report/text.h"
#include "simulate/server.h"

namespace verge::simulate {
namespace {

constexpr int kOk = 0, kNothing = 1, kUsage = 2, kEnvironment = 3;

int fail(const Status& s) {
  std::fprintf(stderr, "verge simulate: %s\n", s.message().c_str());
  return s.code() == Code::kUnavailable ? kEnvironment : kUsage;
}

// Overheads out of a live run with one request in flight: what its median exceeds the profile's by. The part that the server's own clock saw
// occupies the lane, the rest is the way and the client.
Status calibrate(const std::string& path, const std::vector<SimModel>& models, ServerOptions& o) {
  VERGE_ASSIGN(const bench::Record live, bench::read_record(path));
  if (live.kind != "live" || live.tenants.size() != 1) return invalid_argument(path + ": to calibrate, give the result of `verge bench -n 1` with one tenant");
  const bench::Part& p = live.tenants[0];
  if (!p.answered) return invalid_argument(path + ": nothing was answered");
  const std::string model = p.settings.value("model", "");
  for (const SimModel& m : models) {
    if (m.name != model) continue;
    for (const SimVariant& v : m.variants) {
      const bool answered = std::any_of(p.variants.begin(), p.variants.end(), [&](const auto& x) { return x.first == v.id; });
      if (p.variants.empty() ? !v.is_default : !answered) continue;
      double engine_ns = 0;
      for (const ServiceCurve& c : v.stages) engine_ns += static_cast<double>(c.at(1, 0.5));
      const double excess = std::max(0.0, p.from_intended.p50 * 1e3 - engine_ns);
      const double in_server = p.measured_ms >= 0 ? std::clamp(excess - std::max(0.0, p.from_intended.mean * 1e3 - p.measured_ms * 1e6), 0.0, excess) : excess / 3;
      o.run_ns = static_cast<uint64_t>(in_server);
      o.request_ns = static_cast<uint64_t>(excess - in_server);
      return {};
    }
  }
  return invalid_argument(path + ": model '" + model + "' and its variant are not among those simulated");
}

}  // namespace

int simulate_main(const SimulateOptions& options) {
  auto plan = bench::plan_of(options.load, options.batch);
  if (!plan.ok()) return fail(plan.status());
  const auto models = load_models(options.packages, {options.variants, options.device, options.stretch});
  if (!models.ok()) return fail(models.status());
  for (bench::TenantSpec& t : plan->tenants)
    if (t.model.empty() && models->size() == 1) t.model = models->front().name;
  ServerOptions o;
  o.lanes = options.lanes;
  o.request_ns = static_cast<uint64_t>(std::max(options.request_us, 0.0) * 1e3);
  o.run_ns = static_cast<uint64_t>(std::max(options.run_us, 0.0) * 1e3);
  o.clairvoyant = options.clairvoyant;
  o.watts = options.watts;
  o.seed = plan->seed;
  if (!options.calibrate.empty())
    if (const Status s = calibrate(options.calibrate, *models, o); !s.ok()) return fail(s);
  const auto begun = std::chrono::steady_clock::now();
  auto result = run_simulation(*plan, *models, o, bench::slots_of(plan->seconds));
  if (!result.ok()) return fail(result.status());
  const double took = std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count();
  bench::Record r = bench::make_record(*plan, result->tallies, result->seconds);
  r.kind = options.clairvoyant ? "clairvoyant" : "simulated";
  r.data = "service times sampled from profiles";
  r.settings["lanes"] = o.lanes;
  r.settings["overhead_us"] = {{"request", static_cast<double>(o.request_ns) * 1e-3}, {"run", static_cast<double>(o.run_ns) * 1e-3}};
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
