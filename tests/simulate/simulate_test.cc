#include <gtest/gtest.h>

#include <cmath>
#include <ctime>

#include "bench/record.h"
#include "os/files.h"
#include "simulate/calibrate.h"
#include "simulate/server.h"

namespace verge::simulate {
namespace {

LatencyCell constant(double us, int64_t batch = 1) {
  LatencyCell c;
  c.batch = batch;
  c.n = 1000;
  c.mean_us = c.min_us = c.p50_us = c.p99_us = c.max_us = us;
  return c;
}

// Log-normal around `us`, as a sketch.
LatencyCell spread(double us, double sigma) {
  LatencyCell c = constant(us);
  for (int i = -400; i <= 400; ++i) {
    const double z = i / 100.0, v = us * std::exp(sigma * z);
    const int bucket = static_cast<int>(std::floor(8 * std::log2(v)));
    const auto n = static_cast<int64_t>(1e4 * std::exp(-z * z / 2));
    if (!c.sketch.empty() && c.sketch.back().first == bucket) c.sketch.back().second += n;
    else c.sketch.emplace_back(bucket, n);
  }
  c.min_us = us * std::exp(-4 * sigma);
  c.max_us = us * std::exp(4 * sigma);
  c.p99_us = us * std::exp(2.33 * sigma);
  c.mean_us = us * std::exp(sigma * sigma / 2);
  return c;
}

bench::Plan poisson(double rate, double seconds, double deadline_ms = 0) {
  bench::Plan p;
  p.arrivals.kind = bench::ArrivalKind::kPoisson;
  p.arrivals.rate = rate;
  p.seconds = seconds;
  p.warm_up = 1;
  bench::TenantSpec t;
  t.model = "m";
  t.deadline_ms = deadline_ms;
  p.tenants = {t};
  return p;
}

SimModel four_exits(double sigma) {
  SimVariant v;
  v.id = "chain";
  v.model = "m";
  v.is_default = true;
  const double accuracy[] = {0.78, 0.84, 0.89, 0.91};
  for (int k = 0; k < 4; ++k) {
    v.exits.push_back({"exit" + std::to_string(k + 1), accuracy[k]});
    v.stages.emplace_back(std::vector<LatencyCell>{sigma > 0 ? spread(2000, sigma) : constant(2000)}, 1);
  }
  ExitPoint point;
  point.thresholds = {0.9, 0.8, 0.7};
  point.shares = {0.5, 0.2, 0.2, 0.1};
  point.accuracy = 0.905;
  point.calibration_loss = 0.005;
  point.cost = 0.475;
  v.confidence = {point};
  SimModel m;
  m.name = "m";
  m.metric = MetricKind::kTop1;
  m.most_rows = 1;
  m.variants.push_back(std::move(v));
  return m;
}

bench::Tally simulate_one(const bench::Plan& p, const SimModel& m, ServerOptions o = {}) {
  auto r = run_simulation(p, {m}, o, 0);
  EXPECT_TRUE(r.ok()) << r.status().message();
  return std::move(r->tallies[0]);
}

TEST(Simulate, WaitsOfMD1AreThoseOfTheFormula) {
  const double service = 1e-3;
  for (const double load : {0.3, 0.5, 0.7, 0.9}) {
    const bench::Tally t = simulate_one(poisson(load / service, 600), plain_model("m", constant(1000), -1));
    const double wait = t.from_intended.mean() * 1e-9 - service, expected = load * service / (2 * (1 - load));
    EXPECT_NEAR(wait / expected, 1, 0.04) << "load " << load;
    EXPECT_EQ(t.answered, t.offered);
  }
}

TEST(Simulate, SeveralLanesShareTheWork) {
  ServerOptions o;
  o.lanes = 4;
  const auto r = run_simulation(poisson(2000, 60), {plain_model("m", constant(1000), -1)}, o, 0);
  ASSERT_TRUE(r.ok());
  EXPECT_NEAR(r->busy, 0.5, 0.02);
  EXPECT_LT(r->tallies[0].from_intended.mean(), 1.2e6);
}

TEST(Simulate, TheSameSeedGivesTheSameResultAndAnotherAnother) {
  const bench::Plan p = poisson(150, 60, 12);
  auto print = [&](uint64_t seed) {
    bench::Plan q = p;
    q.seed = seed;
    ServerOptions o;
    o.seed = seed;
    auto r = run_simulation(q, {four_exits(0.2)}, o, 20);
    bench::Record record = bench::make_record(q, r->tallies, r->seconds);
    record.at.clear();
    return print_json(bench::record_json(record));
  };
  EXPECT_EQ(print(1), print(1));
  EXPECT_NE(print(1), print(2));
}

TEST(Simulate, AMillionRequestsTakeSeconds) {
  bench::Plan p = poisson(200, 1e5, 20);
  p.requests = 1'000'000;
  const std::clock_t begun = std::clock();  // of the processor: others' work does not count
  const bench::Tally t = simulate_one(p, four_exits(0.2));
  const double took = static_cast<double>(std::clock() - begun) / CLOCKS_PER_SEC;
  EXPECT_EQ(t.offered, 1'000'000u);
#ifdef NDEBUG
  EXPECT_LT(took, 10);
#endif
  RecordProperty("seconds", std::to_string(took));
}

TEST(Simulate, ExitsFollowTheDeadline) {
  struct Case {
    double deadline_ms;
    const char* exit;  // nullptr: refused
  };
  for (const Case& c : {Case{1.5, nullptr}, {3, "exit1"}, {5, "exit2"}, {7, "exit3"}, {50, "exit4"}}) {
    const bench::Tally t = simulate_one(poisson(5, 200, c.deadline_ms), four_exits(0));
    if (!c.exit) {
      // One in 64 is tried, to see whether the prediction still holds.
      EXPECT_GT(static_cast<double>(t.refused), 0.97 * static_cast<double>(t.offered));
      continue;
    }
    // Nearly all find the lane free.
    EXPECT_GT(static_cast<double>(t.exits.of(c.exit)), 0.93 * static_cast<double>(t.offered)) << c.deadline_ms;
    EXPECT_GT(static_cast<double>(t.in_time), 0.95 * static_cast<double>(t.offered)) << c.deadline_ms;
  }
}

TEST(Simulate, PredictiveMissesLessThanReactive) {
  bench::Plan p = poisson(20, 300, 5);
  p.tenants[0].parameters = {};
  const bench::Tally predictive = simulate_one(p, four_exits(0.1));
  bench::Parameter rule;
  rule.name = "verge.rule";
  rule.text = "reactive";
  p.tenants[0].parameters = {rule};
  const bench::Tally reactive = simulate_one(p, four_exits(0.1));
  // It looks at the time when it has passed.
  EXPECT_GT(predictive.in_time, 2 * reactive.in_time);
}

TEST(Simulate, ConfidenceLeavesAsTheCalibratedCurveSays) {
  bench::Plan p = poisson(5, 2000);
  bench::Parameter rule;
  rule.name = "verge.rule";
  rule.text = "confidence";
  p.tenants[0].parameters = {rule};
  const bench::Tally t = simulate_one(p, four_exits(0));
  const auto n = static_cast<double>(t.answered);
  EXPECT_NEAR(static_cast<double>(t.exits.of("exit1")) / n, 0.5, 0.02);
  EXPECT_NEAR(static_cast<double>(t.exits.of("exit4")) / n, 0.1, 0.02);
  EXPECT_NEAR(static_cast<double>(t.right) / static_cast<double>(t.samples), 0.905, 0.01);
}

TEST(Simulate, WhoKnowsTheTimesDoesNoWorse) {
  for (const double rate : {60.0, 120.0, 200.0}) {
    const bench::Plan p = poisson(rate, 300, 15);
    ServerOptions knowing;
    knowing.clairvoyant = true;
    const bench::Tally blind = simulate_one(p, four_exits(0.3)), best = simulate_one(p, four_exits(0.3), knowing);
    EXPECT_EQ(blind.offered, best.offered);
    EXPECT_GE(best.in_time + best.offered / 200, blind.in_time) << rate;
    // Who is admitted with the times known ends in time.
    EXPECT_GE(static_cast<double>(best.in_time), 0.998 * static_cast<double>(best.answered)) << rate;
  }
}

TEST(Simulate, AccuracyBoundsAreKept) {
  bench::Plan p = poisson(50, 100, 20);
  bench::Parameter bound;
  bound.name = "verge.min_accuracy";
  bound.kind = bench::Parameter::Kind::kNumber;
  bound.number = 0.85;
  p.tenants[0].parameters = {bound};
  const bench::Tally t = simulate_one(p, four_exits(0.2));
  EXPECT_EQ(t.exits.of("exit1") + t.exits.of("exit2"), 0u);
  EXPECT_GT(t.answered, t.offered / 2);
}

TEST(Simulate, RunsAreSharedWhereThatPays) {
  // A run of any size takes the same: at ten times what one by one could do, sharing answers all.
  SimModel m = plain_model("m", constant(1000), -1);
  m.most_rows = 64;
  m.variants[0].stages[0] = ServiceCurve({constant(1000), constant(1010, 8), constant(1050, 64)}, 1);
  const bench::Tally t = simulate_one(poisson(10'000, 20), m);
  EXPECT_EQ(t.answered, t.offered);
  EXPECT_LT(t.from_intended.quantile(0.99), 20'000'000u);
}

// Of one tenant's requests between two seconds, the share that was not answered in time.
double missed(const bench::Tally& t, size_t from, size_t until) {
  double offered = 0, in_time = 0;
  for (size_t i = from; i < until; ++i) offered += t.slots[i].offered, in_time += t.slots[i].in_time;
  return 1 - in_time / offered;
}

// A machine that was slow for a while leaves hardly a trace a second later: nothing that was learnt in the bad time, and is not looked at again because of it, keeps requests out.
TEST(Simulate, AfterABadTimeAllIsAsBefore) {
  enum class Kind { kAlone, kShares, kChain };
  for (const Kind kind : {Kind::kAlone, Kind::kShares, Kind::kChain}) {
    for (const int lanes : {0, 1}) {
      SimModel m = kind == Kind::kChain ? four_exits(0.15) : plain_model("m", spread(300, 0.15), -1);
      double capacity = 1e6 / 300;
      if (kind == Kind::kShares) {
        LatencyCell eight = spread(1200, 0.15), most = spread(6000, 0.15);
        eight.batch = 8;
        most.batch = 64;
        m.most_rows = 64;
        m.variants[0].stages[0] = ServiceCurve({spread(300, 0.15), eight, most}, 1);
        capacity *= 1.7;
      }
      if (kind == Kind::kChain) {
        for (ServiceCurve& stage : m.variants[0].stages) stage = ServiceCurve({spread(75, 0.15)}, 1);
      }
      bench::Plan p = poisson(0.7 * capacity, 16);
      p.warm_up = 2;
      p.tenants.clear();
      for (const double times : {5, 20}) {
        bench::TenantSpec t;
        t.model = "m";
        t.deadline_ms = times * spread(300, 0.15).p99_us * 1e-3;
        p.tenants.push_back(t);
      }
      ServerOptions o;
      o.lanes = lanes;
      o.lane_ns = 10'000;
      o.request_ns = 60'000;
      const auto calm = run_simulation(p, {m}, o, 16);
      ASSERT_TRUE(calm.ok());
      for (const double slower : {0, 4, 12}) {
        o.disturbances = {{2'000'000'000, slower == 0 ? 2'500'000'000u : 5'000'000'000u, slower}};
        const auto disturbed = run_simulation(p, {m}, o, 16);
        ASSERT_TRUE(disturbed.ok());
        for (size_t tenant : {0u, 1u}) {
          const bench::Tally &a = calm->tallies[tenant], &b = disturbed->tallies[tenant];
          if (slower > 1) {
            EXPECT_GT(missed(b, 2, 5), 0.2 + missed(a, 2, 5));
          }
          EXPECT_LT(missed(b, 6, 16), missed(a, 6, 16) + 0.03) << "kind " << static_cast<int>(kind) << ", lanes " << lanes << ", slower " << slower << ", tenant " << tenant;
        }
      }
      o.disturbances.clear();
    }
  }
}

TEST(Machine, WorkTakesLongerWhileItIsDisturbed) {
  const Machine m({{200, 300, 0}, {100, 140, 4}}, 1000);
  EXPECT_EQ(m.done(0, 500), 500u);
  EXPECT_EQ(m.done(1000, 100), 1100u);
  EXPECT_EQ(m.done(1100, 10), 1140u);
  EXPECT_EQ(m.done(1090, 15), 1120u);
  EXPECT_EQ(m.done(1090, 30), 1150u);
  EXPECT_EQ(m.done(1090, 100), 1320u);
  EXPECT_EQ(m.done(1250, 5), 1305u);
  EXPECT_EQ(m.done(5000, 5), 5005u);
  for (const char* bad : {"", "1", "a,b", "1,0", "1,2,0.5", "1,2,3,4", "-1,2", "1,2,"}) EXPECT_FALSE(parse_disturbance(bad).ok()) << bad;
  EXPECT_EQ(parse_disturbance("5,0.5")->until_ns, 5'500'000'000u);
  EXPECT_EQ(parse_disturbance("5,0.5,3")->slower, 3);
}

TEST(Simulate, AFrontThatIsItsOwnLaneAnswersInTurns) {
  ServerOptions o;
  o.lanes = 0;
  o.lane_ns = 20'000;
  bench::Plan p = poisson(0, 10);
  p.arrivals.kind = bench::ArrivalKind::kClosed;
  p.arrivals.in_flight = 1;
  const bench::Tally one = simulate_one(p, plain_model("m", constant(1000), -1), o);
  EXPECT_NEAR(one.from_intended.mean(), 1.02e6, 2e3);
  // Eight at once: each costs its reading and its answer beside the run; and whose run comes first waits for the end of the turn.
  p.arrivals.in_flight = 8;
  const bench::Tally eight = simulate_one(p, plain_model("m", constant(50), -1), o);
  EXPECT_NEAR(static_cast<double>(eight.answered), 10 / 70e-6, 0.01 * 10 / 70e-6);
}

TEST(Simulate, ClosedLoopsKeepTheirNumberInFlight) {
  bench::Plan p = poisson(0, 10);
  p.arrivals.kind = bench::ArrivalKind::kClosed;
  p.arrivals.in_flight = 3;
  const bench::Tally t = simulate_one(p, plain_model("m", constant(1000), -1));
  EXPECT_NEAR(static_cast<double>(t.answered), 10'000, 10);
  EXPECT_NEAR(t.from_intended.mean(), 3e6, 1e4);
}

TEST(Simulate, WhatCannotBeIsRefused) {
  bench::Plan p = poisson(10, 1);
  p.tenants[0].model = "other";
  EXPECT_NE(run_simulation(p, {four_exits(0)}, {}, 0).status().message().find("there are m"), std::string::npos);
  p.tenants[0].model = "m";
  bench::Parameter bad;
  for (const auto& [name, text] : {std::pair{"verge.rule", "luck"}, {"verge.exit", "exit9"}, {"verge.objective", "beauty"}, {"verge.conditions", "exit1: x"}, {"verge.variant", "none"}, {"verge.rule", "entropy"}}) {
    bad.name = name;
    bad.text = text;
    p.tenants[0].parameters = {bad};
    EXPECT_FALSE(run_simulation(p, {four_exits(0)}, {}, 0).ok()) << name;
  }
}

// A simulated server in the place of a live one: what a request takes there beside the engine is found again from its results.
TEST(Calibrate, FindsTheOverheadsOfAServer) {
  std::vector<SimModel> models = {plain_model("m", constant(100), 0.9)};
  ServerOptions truth;
  truth.lanes = 0;
  truth.connections = 8;
  truth.lane_ns = 40'000;
  truth.request_ns = 60'000;
  for (int i = 0; i < 100; ++i) truth.way_spread_ns.push_back(-20'000 + 800 * i);
  const auto result = [&](const bench::Plan& plan, const ServerOptions& o) {
    auto r = run_simulation(plan, models, o, 0);
    EXPECT_TRUE(r.ok());
    bench::Record record = bench::make_record(plan, r->tallies, r->seconds);
    record.kind = "live";
    return record;
  };
  const auto write = [&](const char* name, const bench::Record& record) {
    const std::string path = testing::TempDir() + name;
    EXPECT_TRUE(os::write_file_atomic(path, bench::record_json(record).dump()).ok());
    return path;
  };
  bench::Plan alone;
  alone.tenants.resize(1);
  alone.tenants[0].model = "m";
  alone.seconds = 2;
  bench::Plan load = poisson(1.3e9 / 140'000, 3, 2);
  load.seed = 7;
  bench::Record one = result(alone, truth);
  const std::vector<std::string> files = {write("alone.json", one), write("overload.json", result(load, truth))};

  bench::Plan other = load;
  other.seed = 8;
  ServerOptions found = truth;
  found.lane_ns = found.request_ns = 0;
  found.way_spread_ns.clear();
  ASSERT_TRUE(calibrate(files, other, true, models, found).ok());
  EXPECT_NEAR(static_cast<double>(found.lane_ns), 40'000, 3000);
  EXPECT_NEAR(static_cast<double>(found.lane_ns + found.request_ns), 120'000, 3000);  // the median of the way is 20 us longer
  EXPECT_NEAR(static_cast<double>(found.way_spread_ns.front()), -40'000, 3000);
  EXPECT_NEAR(static_cast<double>(found.way_spread_ns.back()), 40'000, 3000);
  const bench::Record live = result(other, truth), again = result(other, found);
  EXPECT_NEAR(live.total.miss_rate(), again.total.miss_rate(), 0.01);
  EXPECT_GT(live.total.miss_rate(), 0.1);

  // Another load says nothing of this one.
  other.arrivals.rate *= 2;
  EXPECT_NE(calibrate(files, other, true, models, found).message().find("arrivals differ"), std::string::npos);
}

TEST(ServiceTime, SamplesFollowTheSketch) {
  const LatencyCell c = spread(5000, 0.4);
  const ServiceTime t(c, 2);
  EXPECT_NEAR(static_cast<double>(t.at(0.5)), 10e6, 0.3e6);
  EXPECT_NEAR(static_cast<double>(t.at(0.99)), 10e6 * std::exp(2.33 * 0.4), 1.5e6);
  EXPECT_LE(t.at(0.1), t.at(0.2));
  double sum = 0;
  for (uint64_t i = 0; i < 100'000; ++i) sum += static_cast<double>(t.at(fixed_uniform(1, i, 0)));
  EXPECT_NEAR(sum / 1e5 / t.mean_ns(), 1, 0.01);
}

}  // namespace
}  // namespace verge::simulate
