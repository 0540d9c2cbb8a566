#include "simulate/simulate.h"

#include <algorithm>
#include <chrono>
#include <cstdio>

#include "bench/load_options.h"
#include "report/text.h"
#include "simulate/calibrate.h"
#include "simulate/measured.h"
#include "simulate/server.h"

namespace verge::simulate {
namespace {

constexpr int kOk = 0, kNothing = 1, kUsage = 2, kEnvironment = 3;

int fail(const Status& s) {
  std::fprintf(stderr, "verge simulate: %s\n", s.message().c_str());
  return s.code() == Code::kUnavailable ? kEnvironment : kUsage;
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
    if (const Status s = calibrate(options.calibrate, *plan, !options.measured.empty(), *models, o); !s.ok()) return fail(s);
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
