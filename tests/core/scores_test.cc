#include "core/scores.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace verge {
namespace {

ScoreSummary of(const std::vector<float>& v, Shape shape) { return summarize_scores({DType::kFp32, shape, std::as_bytes(std::span(v))}); }

TEST(Scores, ADistributionIsTakenAsItIs) {
  const ScoreSummary s = of({0.7f, 0.2f, 0.1f}, Shape{1, 3});
  EXPECT_NEAR(s.confidence, 0.7, 1e-6);
  EXPECT_NEAR(s.entropy, -(0.7 * std::log(0.7) + 0.2 * std::log(0.2) + 0.1 * std::log(0.1)), 1e-6);
  EXPECT_NEAR(of({1, 0, 0}, Shape{1, 3}).entropy, 0, 1e-9);
}

TEST(Scores, LogitsGoThroughASoftmax) {
  const ScoreSummary s = of({2, 1, 0}, Shape{1, 3});
  const double z = std::exp(2) + std::exp(1) + 1, p[] = {std::exp(2) / z, std::exp(1) / z, 1 / z};
  EXPECT_NEAR(s.confidence, p[0], 1e-6);
  EXPECT_NEAR(s.entropy, -(p[0] * std::log(p[0]) + p[1] * std::log(p[1]) + p[2] * std::log(p[2])), 1e-6);
  const ScoreSummary large = of({1e30f, -1e30f}, Shape{1, 2});
  EXPECT_NEAR(large.confidence, 1, 1e-9);
  EXPECT_NEAR(large.entropy, 0, 1e-9);
}

TEST(Scores, TheLeastSureSampleCounts) {
  const ScoreSummary s = of({0.9f, 0.1f, 0.6f, 0.4f}, Shape{2, 2});
  EXPECT_NEAR(s.confidence, 0.6, 1e-6);
  EXPECT_NEAR(s.entropy, -(0.6 * std::log(0.6) + 0.4 * std::log(0.4)), 1e-6);
}

TEST(Scores, OneClassIsAProbability) {
  EXPECT_NEAR(of({0.2f}, Shape{1, 1}).confidence, 0.8, 1e-6);
  EXPECT_LT(of({3}, Shape{1, 1}).confidence, 0);
}

TEST(Scores, WhatHoldsNoScoresHasNone) {
  EXPECT_LT(of({NAN, 1}, Shape{1, 2}).confidence, 0);
  EXPECT_LT(of({INFINITY, 1}, Shape{1, 2}).confidence, 0);
  EXPECT_LT(of({}, Shape{0, 3}).confidence, 0);
  EXPECT_LT(of({1}, Shape{1, 3}).confidence, 0);  // shorter than it says
  const std::vector<int32_t> ints = {1, 2};
  EXPECT_LT(summarize_scores({DType::kInt32, Shape{1, 2}, std::as_bytes(std::span(ints))}).confidence, 0);
}

}  // namespace
}  // namespace verge
