// When to leave: thresholds on made-up exits whose best choice is known, and that what is promised on calibration samples holds on others.
#include "build/exits.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

namespace verge::build {
namespace {

// Four exits, better and better: how hard a sample is decides which exits get it right, and these are surer of it, with noise.
std::vector<ExitAnswers> made_up(size_t n, uint32_t seed) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<double> unit(0, 1);
  std::normal_distribution<double> noise(0, 0.12);
  const double strength[] = {0.78, 0.84, 0.89, 0.91};
  std::vector<ExitAnswers> exits(4);
  for (size_t i = 0; i < n; ++i) {
    const double hard = unit(random);
    for (size_t k = 0; k < 4; ++k) {
      const bool right = unit(random) < 0.02 ? unit(random) < 0.1 : hard < strength[k];
      const double sure = std::clamp(1 - 0.5 * std::pow(hard / strength[k], 3) + noise(random) * (right ? 0.5 : 1), 0.1, 1.0);
      exits[k].confidence.push_back(static_cast<float>(sure));
      exits[k].entropy.push_back(static_cast<float>(2.3 * (1 - sure)));
      exits[k].right.push_back(right);
    }
  }
  return exits;
}
double accuracy(const ExitAnswers& a) { return std::accumulate(a.right.begin(), a.right.end(), 0.0) / static_cast<double>(a.right.size()); }

const std::vector<double> kCosts = {100, 200, 300, 400};

// The cheapest that promises to lose no more than this; points are in ascending cost.
const ExitPoint& for_loss(const std::vector<ExitPoint>& points, double loss) {
  for (const ExitPoint& p : points)
    if (p.calibration_loss <= loss) return p;
  return points.back();
}

TEST(ExitCurve, IsAFrontThatHoldsOnOtherSamples) {
  const auto calibration = made_up(5000, 1), evaluation = made_up(10000, 2);
  for (Sureness by : {Sureness::kConfidence, Sureness::kEntropy}) {
    const auto points = exit_curve(calibration, evaluation, kCosts, by);
    ASSERT_GE(points.size(), 8u);
    ASSERT_LE(points.size(), kMostPoints);
    const double full = accuracy(evaluation[3]);
    for (size_t i = 0; i < points.size(); ++i) {
      const ExitPoint& p = points[i];
      EXPECT_EQ(p.thresholds.size(), 3u);
      EXPECT_NEAR(std::accumulate(p.shares.begin(), p.shares.end(), 0.0), 1, 1e-9);
      EXPECT_LE(full - p.accuracy, p.calibration_loss + 0.005);
      if (i) {
        EXPECT_GE(p.cost, points[i - 1].cost);
      }
    }
    EXPECT_NEAR(points.front().cost, 0.25, 1e-9) << "all leave at the first exit";
    EXPECT_LE(points.back().calibration_loss, 0.0005);
    const ExitPoint& half = for_loss(points, 0.005);
    EXPECT_LE(full - half.accuracy, 0.007);
    EXPECT_LE(half.cost, 0.7);
  }
}

TEST(ExitCurve, IsNeverWorseThanTheSharesAlone) {
  const auto samples = made_up(4000, 3);
  const auto points = exit_curve(samples, samples, kCosts, Sureness::kConfidence);
  // The published sweep, done plainly.
  for (double p : {0.2, 0.5, 0.8, 1.0, 1.5}) {
    std::vector<double> thresholds;
    std::vector<bool> out(4000);
    const double all = 1 + p + p * p + p * p * p;
    for (size_t k = 0; k < 3; ++k) {
      std::vector<float> in;
      for (size_t i = 0; i < out.size(); ++i)
        if (!out[i]) in.push_back(samples[k].confidence[i]);
      std::sort(in.begin(), in.end(), std::greater<>());
      const auto quota = std::min(in.size() - 1, static_cast<size_t>(std::pow(p, k) / all * 4000));
      thresholds.push_back(in[quota]);
      for (size_t i = 0; i < out.size(); ++i) out[i] = out[i] || samples[k].confidence[i] >= in[quota];
    }
    const ExitPoint published = measure_thresholds(samples, kCosts, Sureness::kConfidence, thresholds);
    const bool matched = std::any_of(points.begin(), points.end(), [&](const ExitPoint& q) { return q.cost <= published.cost + 0.03 && q.accuracy >= published.accuracy - 0.004; });
    EXPECT_TRUE(matched) << "p = " << p << ": " << published.accuracy << " at " << published.cost;
  }
}

TEST(ExitCurve, APerfectJudgeLosesNothing) {
  // An exit is sure exactly where it is right: everything can leave at the first exit that is right.
  std::vector<ExitAnswers> exits(3);
  for (int i = 0; i < 900; ++i)
    for (int k = 0; k < 3; ++k) {
      const bool right = i % 3 <= k;
      exits[static_cast<size_t>(k)].confidence.push_back(right ? 0.9f : 0.3f);
      exits[static_cast<size_t>(k)].entropy.push_back(right ? 0.1f : 1.0f);
      exits[static_cast<size_t>(k)].right.push_back(right);
    }
  const std::vector<double> costs = {1, 2, 3};
  for (Sureness by : {Sureness::kConfidence, Sureness::kEntropy}) {
    const auto points = exit_curve(exits, exits, costs, by);
    const ExitPoint& p = for_loss(points, 0);
    EXPECT_DOUBLE_EQ(p.accuracy, 1);
    EXPECT_NEAR(p.cost, (1 + 2 + 3) / 9.0, 1e-9);
    EXPECT_NEAR(p.shares[0], 1.0 / 3, 1e-9);
    // Between the two answers that there are, not on one of them.
    if (by == Sureness::kConfidence) {
      EXPECT_NEAR(p.thresholds[0], 0.6, 1e-6);
    } else {
      EXPECT_NEAR(p.thresholds[0], 0.55, 1e-6);
    }
  }
}

TEST(ExitCurve, EqualAnswersArePartedByNobody) {
  std::vector<ExitAnswers> exits(2);
  for (int i = 0; i < 100; ++i) {
    for (auto& e : exits) e.confidence.push_back(0.5f), e.entropy.push_back(0.7f);
    exits[0].right.push_back(i < 50);
    exits[1].right.push_back(i < 90);
  }
  const std::vector<double> costs = {1, 2};
  for (const ExitPoint& p : exit_curve(exits, exits, costs, Sureness::kConfidence)) EXPECT_TRUE(p.shares[0] == 0 || p.shares[0] == 1);
}

TEST(ExitCurve, OfNothingIsNothing) {
  const auto some = made_up(10, 1);
  const std::vector<double> costs = {1, 2};
  EXPECT_TRUE(exit_curve({}, {}, {}, Sureness::kConfidence).empty());
  EXPECT_TRUE(exit_curve(some, some, costs, Sureness::kConfidence).empty()) << "as many costs as exits";
  EXPECT_TRUE(exit_curve(std::vector<ExitAnswers>(4), std::vector<ExitAnswers>(4), kCosts, Sureness::kConfidence).empty());
}

TEST(ExitCurve, CostsAreCountedAgainWithOtherTimes) {
  auto points = exit_curve(made_up(1000, 1), made_up(1000, 2), kCosts, Sureness::kConfidence);
  const auto before = points;
  cost_again(points, std::vector<double>{390, 396, 398, 400});
  for (const ExitPoint& p : points) EXPECT_GE(p.cost, 0.97);
  cost_again(points, kCosts);
  for (size_t i = 0; i < points.size(); ++i) EXPECT_NEAR(points[i].cost, before[i].cost, 1e-9);
  cost_again(points, std::vector<double>{});
  EXPECT_EQ(points.size(), before.size());
}

TEST(ExitAnswersOf, ScoresAreProbabilitiesOrBecomeOnes) {
  Tensor t(DType::kFp32, Shape{3, 3});
  const float values[] = {0.7f, 0.2f, 0.1f, 0, 2, 1, 0.25f, 0.25f, 0.5f};
  std::copy(std::begin(values), std::end(values), t.as<float>());
  const std::vector<int64_t> labels = {0, 2, 1};
  auto a = exit_answers(t, {MetricKind::kTop1, 5, {}}, labels);
  ASSERT_TRUE(a.ok()) << a.status().message();
  EXPECT_FLOAT_EQ(a->confidence[0], 0.7f);
  EXPECT_NEAR(a->confidence[1], std::exp(2) / (1 + std::exp(1) + std::exp(2)), 1e-6);
  EXPECT_EQ(a->right, (std::vector<uint8_t>{1, 0, 0}));
  a = exit_answers(t, {MetricKind::kTopK, 2, {}}, labels);
  EXPECT_EQ(a->right, (std::vector<uint8_t>{1, 1, 0})) << "of equals the first counts";
  EXPECT_FALSE(exit_answers(t, {MetricKind::kMae, 5, {}}, labels).ok());
  EXPECT_FALSE(exit_answers(t, {MetricKind::kTop1, 5, {}}, std::span(labels).first(2)).ok());
  t.as<float>()[4] = NAN;
  EXPECT_FALSE(exit_answers(t, {MetricKind::kTop1, 5, {}}, labels).ok());
  Tensor flat(DType::kFp32, Shape{3});
  EXPECT_FALSE(exit_answers(flat, {MetricKind::kTop1, 5, {}}, labels).ok());
}

TEST(ClassLabels, AreIdsOrOneHot) {
  Tensor ids(DType::kUint8, Shape{2});
  ids.as<uint8_t>()[1] = 7;
  EXPECT_EQ(class_labels(ids), (std::vector<int64_t>{0, 7}));
  Tensor hot(DType::kFp32, Shape{2, 3});
  hot.as<float>()[2] = hot.as<float>()[3] = 1;
  EXPECT_EQ(class_labels(hot), (std::vector<int64_t>{2, 0}));
  Tensor real(DType::kFp32, Shape{1});
  real.as<float>()[0] = 0.5f;
  EXPECT_TRUE(class_labels(real).empty());
  EXPECT_TRUE(class_labels(Tensor()).empty());
}

}  // namespace
}  // namespace verge::build
