#include "bench/arrivals.h"

#include <gtest/gtest.h>

#include <cmath>

namespace verge::bench {
namespace {

struct Gaps {
  double mean = 0, variation = 0;  // of gaps, in s; standard deviation over mean
};

Gaps gaps_of(const ArrivalSpec& spec, int n, uint64_t seed = 3) {
  Arrivals a(spec, seed);
  double sum = 0, squares = 0;
  uint64_t last = 0;
  for (int i = 0; i < n; ++i) {
    const uint64_t t = a.next();
    EXPECT_GE(t, last);
    const double gap = static_cast<double>(t - last) * 1e-9;
    last = t;
    sum += gap;
    squares += gap * gap;
  }
  const double mean = sum / n;
  return {mean, std::sqrt(squares / n - mean * mean) / mean};
}

TEST(Arrivals, PoissonHasItsRateAndExponentialGaps) {
  ArrivalSpec s;
  s.kind = ArrivalKind::kPoisson;
  s.rate = 250;
  const Gaps g = gaps_of(s, 200'000);
  EXPECT_NEAR(g.mean * 250, 1, 0.01);
  EXPECT_NEAR(g.variation, 1, 0.02);
}

TEST(Arrivals, UniformIsEven) {
  ArrivalSpec s;
  s.kind = ArrivalKind::kUniform;
  s.rate = 1000;
  const Gaps g = gaps_of(s, 1000);
  EXPECT_NEAR(g.mean, 0.001, 1e-6);
  EXPECT_LT(g.variation, 0.001);
}

TEST(Arrivals, BurstsKeepTheMeanAndVaryMore) {
  ArrivalSpec s;
  s.kind = ArrivalKind::kBursts;
  s.rate = 500;
  s.burst_factor = 10;
  s.burst_seconds = 0.1;
  s.pause_seconds = 0.4;
  const Gaps g = gaps_of(s, 1'000'000);
  EXPECT_NEAR(g.mean * 500, 1, 0.05);
  EXPECT_GT(g.variation, 1.3);
}

TEST(Arrivals, ReplayIsScaledAndBeginsAgain) {
  ArrivalSpec s;
  s.kind = ArrivalKind::kReplay;
  s.trace = std::make_shared<const std::vector<double>>(std::vector<double>{0, 1, 4});  // 0.5/s
  s.rate = 5;                                                                            // ten times as fast
  Arrivals a(s, 1);
  EXPECT_EQ(a.next(), 0u);
  EXPECT_NEAR(static_cast<double>(a.next()), 0.1e9, 2);
  EXPECT_NEAR(static_cast<double>(a.next()), 0.4e9, 2);
  EXPECT_NEAR(static_cast<double>(a.next()), 0.6e9, 2);  // the mean gap later
  EXPECT_NEAR(static_cast<double>(a.next()), 0.7e9, 2);
}

TEST(Arrivals, TheSameSeedGivesTheSameSequence) {
  ArrivalSpec s;
  s.kind = ArrivalKind::kPoisson;
  s.rate = 100;
  Source a(s, {0, 1}, {1, 3}, 42), b(s, {0, 1}, {1, 3}, 42), other(s, {0, 1}, {1, 3}, 43);
  int second = 0;
  bool differs = false;
  for (int i = 0; i < 20'000; ++i) {
    const auto x = a.next(), y = b.next(), z = other.next();
    EXPECT_EQ(x.ns, y.ns);
    EXPECT_EQ(x.tenant, y.tenant);
    differs |= x.ns != z.ns;
    second += x.tenant == 1;
  }
  EXPECT_TRUE(differs);
  EXPECT_NEAR(second / 20'000.0, 0.75, 0.015);
}

TEST(Arrivals, WhatCannotBeIsRefused) {
  ArrivalSpec s;
  s.kind = ArrivalKind::kPoisson;
  EXPECT_FALSE(check_arrivals(s).ok());
  s.rate = std::nan("");
  EXPECT_FALSE(check_arrivals(s).ok());
  s.kind = ArrivalKind::kReplay;
  EXPECT_FALSE(check_arrivals(s).ok());
  s.kind = ArrivalKind::kClosed;
  s.in_flight = 0;
  EXPECT_FALSE(check_arrivals(s).ok());
}

TEST(Trace, NumbersWithAUnitAndDates) {
  auto t = parse_trace("at,what\n1500,a\n500,b\n2500,c\n", "at", "ms", "t.csv");
  ASSERT_TRUE(t.ok()) << t.status().message();
  EXPECT_EQ(*t, (std::vector<double>{0, 1, 2}));
  t = parse_trace("TIMESTAMP,x\n2023-12-31 23:59:59.5000000,1\r\n2024-01-01 00:00:01.25,2\n", "", "s", "t.csv");
  ASSERT_TRUE(t.ok()) << t.status().message();
  EXPECT_NEAR((*t)[1], 1.75, 1e-6);
  t = parse_trace("0.5\n1.5\n", "0", "s", "t.csv");
  ASSERT_TRUE(t.ok());
  EXPECT_EQ(t->size(), 2u);
  t = parse_trace("a,b\n\"x,y\",3\n\"z\",5\n", "b", "s", "t.csv");
  ASSERT_TRUE(t.ok());
  EXPECT_EQ((*t)[1], 2);
}

TEST(Trace, ErrorsNameTheLineAndTheColumns) {
  EXPECT_NE(parse_trace("at,what\n1,a\n", "time", "s", "t.csv").status().message().find("at, what"), std::string::npos);
  EXPECT_NE(parse_trace("at\n1\nx\n", "at", "s", "t.csv").status().message().find("t.csv:3"), std::string::npos);
  EXPECT_FALSE(parse_trace("1\n1\n1\n", "", "s", "t.csv").ok());  // no time passes
  EXPECT_FALSE(parse_trace("", "", "s", "t.csv").ok());
  EXPECT_FALSE(parse_trace("1\n2\n", "", "hours", "t.csv").ok());
  EXPECT_FALSE(parse_trace("a,b\n1\n", "b", "s", "t.csv").ok());
  EXPECT_FALSE(parse_trace("nan\n1\ninf\n", "", "s", "t.csv").ok());
}

}  // namespace
}  // namespace verge::bench
