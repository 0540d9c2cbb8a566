#include "policy/quantile.h"
#include "policy/predictor.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

namespace verge::policy {
namespace {

double ratio(uint64_t a, double b) { return static_cast<double>(a) / b; }

TEST(Quantile, NothingIsKnownAtFirst) {
  DurationQuantiles q;
  EXPECT_EQ(q.get().typical_ns, 0u);
  EXPECT_EQ(q.get().cautious_ns, 0u);
  q.seed(0, 5);
  EXPECT_EQ(q.get().typical_ns, 0u);
}

TEST(Quantile, StartsFromTheProfile) {
  DurationQuantiles q;
  q.seed(1'000'000, 1'500'000);
  EXPECT_NEAR(ratio(q.get().typical_ns, 1e6), 1, 1e-6);
  EXPECT_NEAR(ratio(q.get().cautious_ns, 1.5e6), 1, 1e-6);
  DurationQuantiles without;
  without.seed(1'000'000, 0);
  EXPECT_NEAR(ratio(without.get().cautious_ns, 1.3e6), 1, 1e-4);
  EXPECT_EQ(q.seen(), 0u);
}

// Log-normal times of three spreads, from a seed that is wrong by a factor of three either way.
TEST(Quantile, FindsBothQuantiles) {
  for (const double sigma : {0.02, 0.1, 0.4}) {
    for (const double wrong : {0.33, 1.0, 3.0}) {
      std::mt19937_64 random(7);
      std::lognormal_distribution<double> time(std::log(2e6), sigma);
      DurationQuantiles q;
      q.seed(static_cast<uint64_t>(2e6 * wrong), 0);
      for (int i = 0; i < 3000; ++i) q.learn(static_cast<uint64_t>(time(random)));
      // Shares rather than values: of 20,000 further ones, while it goes on learning.
      int above_median = 0, above_tail = 0;
      for (int i = 0; i < 20'000; ++i) {
        const uint64_t t = static_cast<uint64_t>(time(random));
        above_median += t > q.get().typical_ns;
        above_tail += t > q.get().cautious_ns;
        q.learn(t);
      }
      EXPECT_NEAR(above_median / 20'000.0, 0.5, 0.05) << sigma << " " << wrong;
      EXPECT_GT(above_tail / 20'000.0, 0.002) << sigma << " " << wrong;
      EXPECT_LT(above_tail / 20'000.0, 0.02) << sigma << " " << wrong;
    }
  }
}

TEST(Quantile, AnOutlierIsOneVote) {
  DurationQuantiles q;
  for (int i = 0; i < 500; ++i) q.learn(static_cast<uint64_t>(1'000'000 + (i % 7 - 3) * 10'000));
  const Quantiles before = q.get();
  q.learn(5'000'000'000);
  EXPECT_LT(ratio(q.get().typical_ns, static_cast<double>(before.typical_ns)), 1.02);
  EXPECT_LT(ratio(q.get().cautious_ns, static_cast<double>(before.cautious_ns)), 1.2);
}

TEST(Quantile, FollowsAChangeOfPace) {
  DurationQuantiles q;
  std::mt19937_64 random(3);
  std::lognormal_distribution<double> noise(0, 0.05);
  for (int i = 0; i < 1000; ++i) q.learn(static_cast<uint64_t>(1e6 * noise(random)));
  int needed = 0;
  while (ratio(q.get().typical_ns, 2e6) < 0.95 && needed < 1000) q.learn(static_cast<uint64_t>(2e6 * noise(random))), ++needed;
  EXPECT_LT(needed, 40);
  EXPECT_GT(q.get().cautious_ns, q.get().typical_ns);
}

TEST(Quantile, ExtremesKeepItWhole) {
  DurationQuantiles q;
  for (const uint64_t ns : {uint64_t{0}, UINT64_MAX, uint64_t{1}, UINT64_MAX, uint64_t{0}}) q.learn(ns);
  EXPECT_GE(q.get().cautious_ns, q.get().typical_ns);
  EXPECT_GT(q.get().typical_ns, 0u);
}

TEST(Quantile, WhatIsNotMeasuredFadesToTheProfile) {
  const Quantiles learned{800, 4000}, seed{200, 400};
  const uint64_t second = 1'000'000'000;
  EXPECT_EQ(faded(learned, seed, second).typical_ns, 800u) << "fresh";
  EXPECT_EQ(faded(learned, seed, 2 * second).typical_ns, 500u);
  EXPECT_EQ(faded(learned, seed, 2 * second).cautious_ns, 2200u);
  EXPECT_NEAR(static_cast<double>(faded(learned, seed, 30 * second).cautious_ns), 400, 1);
  EXPECT_EQ(faded(seed, learned, 30 * second).typical_ns, 200u) << "what turned out faster stays";
  EXPECT_EQ(faded(learned, {}, 30 * second).typical_ns, 800u) << "without a profile there is nothing to go back to";
}

TEST(QuantileCurve, OneSizeSpeaksForOthersUntilTheyAreMeasured) {
  QuantileCurve c;
  EXPECT_EQ(c.predict(1).typical_ns, 0u);
  c.seed(1, 1000, 1200);
  c.seed(8, 6000, 6600);
  EXPECT_NEAR(ratio(c.predict(1).typical_ns, 1000), 1, 0.01);
  EXPECT_NEAR(ratio(c.predict(16).typical_ns, 12000), 1, 0.01);
  EXPECT_NEAR(ratio(c.predict(8).cautious_ns, 6600), 1, 0.01);
  EXPECT_NEAR(ratio(c.predict(4).typical_ns, 3000), 1, 0.01);
  c.learn(3, 2700);  // counts at four, where nothing was known
  EXPECT_NEAR(ratio(c.predict(4).typical_ns, 3600), 1, 0.01);
  EXPECT_NEAR(ratio(c.predict(3).typical_ns, 2700), 1, 0.01);
  EXPECT_NEAR(ratio(c.predict(1000).typical_ns, 750'000), 1, 0.01);
  c.learn(0, 5);
  c.learn(-3, 5);
}

// What looked slow, was not run for it, and has faded: one more run continues from there, or it would look slow again, for as long as before.
TEST(Predictor, WhatHasFadedStaysSo) {
  Predictor p;
  p.seed(1, 1'000'000, 1'200'000);
  uint64_t now = 1'000'000'000;
  for (int i = 0; i < 300; ++i) p.learn(1, 12'000'000, now += 12'000'000);
  ASSERT_GT(p.predict(1).typical_ns, 9'000'000u);
  ASSERT_GT(p.expect(1, now).typical_ns, 9'000'000u);
  now += 8'000'000'000;
  EXPECT_LT(p.expect(1, now).typical_ns, 1'200'000u);
  p.learn(1, 1'000'000, now);
  EXPECT_LT(p.expect(1, now).typical_ns, 1'200'000u);
  EXPECT_LT(p.expect(1, now).cautious_ns, 2'500'000u);
}

}  // namespace
}  // namespace verge::policy
