#include "data/metric.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace verge::data {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();

Tensor floats(const Shape& s, std::initializer_list<float> v) {
  Tensor t(DType::kFp32, s);
  std::copy(v.begin(), v.end(), t.as<float>());
  return t;
}
Tensor ids(std::initializer_list<int64_t> v, bool column = false) {
  const auto n = static_cast<int64_t>(v.size());
  Tensor t(DType::kInt64, column ? Shape{n, 1} : Shape{n});
  std::copy(v.begin(), v.end(), t.as<int64_t>());
  return t;
}
Result<double> compute(MetricKind kind, const Tensor& out, const Tensor& labels, const Tensor& reference = {}, int k = 5) {
  Metric m;
  m.kind = kind;
  m.k = k;
  return compute_metric(m, out.view(), labels.view(), reference.view());
}

TEST(Metric, Top1) {
  const Tensor out = floats({4, 3}, {1, 2, 3, 3, 2, 1, 5, 5, 0, kNan, 0, 0});
  EXPECT_EQ(*compute(MetricKind::kTop1, out, ids({2, 0, 0, 1})), 1.0);
  EXPECT_EQ(*compute(MetricKind::kTop1, out, ids({2, 1, 1, 0}, true)), 0.25);
  EXPECT_THAT(*top1_classes(out.view()), ElementsAre(2, 0, 0, 1));
  const Tensor one_hot = floats({4, 3}, {0, 0, 1, 1, 0, 0, 0, 1, 0, 0, 1, 0});
  EXPECT_EQ(*compute(MetricKind::kTop1, out, one_hot), 0.75);
  EXPECT_EQ(*compute(MetricKind::kTop1, floats({4, 1}, {0.2f, 0.5f, 0.9f, kNan}), ids({0, 1, 0, 0})), 0.75);
}

TEST(Metric, TopK) {
  const Tensor out = floats({3, 4}, {4, 3, 2, 1, 1, 1, 1, 1, kNan, 0, kNan, 1});
  EXPECT_DOUBLE_EQ(*compute(MetricKind::kTopK, out, ids({1, 1, 1}), {}, 2), 1.0);
  EXPECT_DOUBLE_EQ(*compute(MetricKind::kTopK, out, ids({2, 2, 0}), {}, 2), 0.0);
  EXPECT_DOUBLE_EQ(*compute(MetricKind::kTopK, out, ids({3, 3, 2}), {}, 100), 1.0);
}

TEST(Metric, Errors) {
  const Tensor out = floats({2, 2}, {1, 2, 3, 4});
  EXPECT_DOUBLE_EQ(*compute(MetricKind::kMae, out, floats({2, 2}, {1, 1, 5, 4})), 0.75);
  EXPECT_DOUBLE_EQ(*compute(MetricKind::kRmse, out, floats({2, 2}, {1, 1, 5, 4})), std::sqrt(5.0 / 4));
  EXPECT_DOUBLE_EQ(*compute(MetricKind::kMae, floats({2, 1}, {1, 2}), ids({1, 4})), 1);
  EXPECT_TRUE(std::isnan(*compute(MetricKind::kMae, floats({2}, {1, kNan}), ids({1, 4}))));
  EXPECT_THAT(compute(MetricKind::kMae, out, ids({1, 2})).status().message(), HasSubstr("do not fit outputs of shape [2,2]"));
}

TEST(Metric, Auc) {
  // By counting pairs: 3.5 of 4.
  EXPECT_DOUBLE_EQ(*compute(MetricKind::kAuc, floats({4}, {0.1f, 0.4f, 0.4f, 0.8f}), ids({0, 0, 1, 1})), 0.875);
  EXPECT_DOUBLE_EQ(*compute(MetricKind::kAuc, floats({4, 1}, {1, 1, 1, 1}), ids({0, 1, 0, 1})), 0.5);
  EXPECT_DOUBLE_EQ(*compute(MetricKind::kAuc, floats({2, 2}, {0.9f, 0.1f, 0.2f, 0.8f}), ids({0, 1})), 1);
  EXPECT_DOUBLE_EQ(*compute(MetricKind::kAuc, floats({2}, {0.9f, kNan}), ids({0, 1})), 0);
  EXPECT_THAT(compute(MetricKind::kAuc, floats({2}, {1, 2}), ids({1, 1})).status().message(), HasSubstr("both classes"));
  EXPECT_THAT(compute(MetricKind::kAuc, floats({2}, {1, 2}), ids({1, 2})).status().message(), HasSubstr("label 1 is 2"));
  EXPECT_FALSE(compute(MetricKind::kAuc, floats({1, 3}, {1, 2, 3}), ids({1})).ok());
}

TEST(Metric, Agreement) {
  EXPECT_DOUBLE_EQ(*compute(MetricKind::kAgreement, floats({2, 2}, {1, 2, 4, 3}), {}, floats({2, 2}, {0, 9, 0, 9})), 0.5);
  EXPECT_DOUBLE_EQ(
      *compute(MetricKind::kAgreement, floats({5, 1}, {0.505f, 0.52f, 101, kNan, kInf}), {}, floats({5, 1}, {0.5f, 0.5f, 100, kNan, kInf})),
      0.8);
  EXPECT_THAT(compute(MetricKind::kAgreement, floats({1}, {1}), {}).status().message(), HasSubstr("no reference"));
}

TEST(Metric, BadInput) {
  const Tensor out = floats({2, 2}, {1, 2, 3, 4});
  EXPECT_THAT(compute(MetricKind::kTop1, out, {}).status().message(), HasSubstr("no labels"));
  EXPECT_THAT(compute(MetricKind::kTop1, out, ids({1})).status().message(), HasSubstr("1 labels for 2 samples"));
  EXPECT_THAT(compute(MetricKind::kTop1, out, ids({1, 2})).status().message(), HasSubstr("classes are 0 … 1"));
  EXPECT_FALSE(compute(MetricKind::kTop1, out, ids({1, -1})).ok());
  EXPECT_FALSE(compute(MetricKind::kTop1, floats({0, 2}, {}), ids({})).ok());
  EXPECT_FALSE(compute(MetricKind::kNone, out, ids({1, 0})).ok());
  EXPECT_FALSE(compute(MetricKind::kTop1, out, floats({2, 3}, {0, 1, 0, 0, 0, 1})).ok());
}

TEST(MaxAbsDiff, SeesNanAndInfinity) {
  auto diff = [](std::initializer_list<float> a, std::initializer_list<float> b) {
    return *max_abs_diff(floats({static_cast<int64_t>(a.size())}, a).view(), floats({static_cast<int64_t>(b.size())}, b).view());
  };
  EXPECT_EQ(diff({1, 2, -3}, {1, 2.5, -3}), 0.5);
  EXPECT_EQ(diff({}, {}), 0);
  EXPECT_EQ(diff({kNan, 1}, {kNan, 1}), 0);
  EXPECT_EQ(diff({kNan, 1}, {0, 1}), kInf);
  EXPECT_EQ(diff({0, 1}, {kNan, 5}), kInf);
  EXPECT_EQ(diff({kInf}, {kInf}), 0);
  EXPECT_EQ(diff({kInf}, {-kInf}), kInf);
  EXPECT_EQ(diff({kInf}, {1}), kInf);
  EXPECT_FALSE(max_abs_diff(floats({1, 2}, {1, 2}).view(), floats({2}, {1, 2}).view()).ok());
}

}  // namespace
}  // namespace verge::data
