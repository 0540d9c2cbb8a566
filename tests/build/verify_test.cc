// Verdicts from numbers.
#include "build/verify.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace verge::build {
namespace {

using ::testing::HasSubstr;

constexpr int kSamples = 100;

// Ten classes; sample i is of class i % 10 and the reference is right on all but every tenth sample.
Tensor scores(double noise = 0) {
  Tensor t(DType::kFp32, {kSamples, 10});
  for (int i = 0; i < kSamples; ++i) {
    int top = i % 10 == 9 ? 0 : i % 10;
    for (int c = 0; c < 10; ++c) t.as<float>()[i * 10 + c] = static_cast<float>((c == top ? 0.9 : 0.01) + noise * std::sin(i * 10 + c));
  }
  return t;
}

Reference classifier(bool evaluation) {
  Reference r;
  r.network.outputs = {{"y", DType::kFp32, {-1, 10}, 0, {}}};
  r.outputs["y"] = scores();
  r.evaluation = evaluation;
  if (evaluation) {
    r.metric.kind = MetricKind::kTop1;
    r.labels = Tensor(DType::kInt64, {kSamples});
    for (int i = 0; i < kSamples; ++i) r.labels.as<int64_t>()[i] = i % 10;
    r.accuracy = *accuracy_of(r, r.outputs);
  }
  return r;
}

VariantProfile judged(const Reference& r, const std::string& precision, Tensor outputs) {
  VariantProfile p;
  p.verdict = Verdict::kOk;
  judge(r, precision, {{"y", std::move(outputs)}}, p);
  return p;
}

TEST(Verify, TheReferenceItselfIsOk) {
  Reference r = classifier(true);
  EXPECT_NEAR(r.accuracy, 0.9, 1e-9);
  VariantProfile p = judged(r, "f32", scores());
  EXPECT_EQ(p.verdict, Verdict::kOk) << p.reason;
  EXPECT_EQ(p.max_abs_diff, 0);
  EXPECT_NEAR(p.accuracy, 0.9, 1e-9);
  EXPECT_EQ(p.accuracy_samples, kSamples);
}

TEST(Verify, EveryExitIsJudgedByTheReferencesSameExit) {
  // The first exit is right on fewer samples than the last: no loss, where the reference's own first exit is no better.
  Reference late = classifier(true), early = late;
  late.network.outputs[0].name = "late";
  late.outputs = {{"late", scores()}};
  Tensor worse = scores();
  for (int i = 0; i < kSamples / 5; ++i) std::swap(worse.as<float>()[i * 10], worse.as<float>()[i * 10 + 5]);
  early.network.outputs[0].name = "early";
  early.outputs = {{"early", worse}};
  early.accuracy = *accuracy_of(early, early.outputs);
  EXPECT_LT(early.accuracy, 0.9);
  const std::vector<Reference> references = {early, late};
  const std::vector<std::string> names = {"one", "two"};
  VariantProfile p;
  judge_exits(references, names, "f32", {{"early", worse}, {"late", scores()}}, p);
  EXPECT_EQ(p.verdict, Verdict::kOk) << p.reason;
  ASSERT_EQ(p.exits.size(), 2u);
  EXPECT_DOUBLE_EQ(p.exits[0].accuracy, early.accuracy);
  EXPECT_DOUBLE_EQ(p.accuracy, late.accuracy) << "the model's is that of its last exit";
  EXPECT_EQ(p.accuracy_samples, kSamples);
  // One bad exit is enough, and it is named.
  judge_exits(references, names, "f32", {{"early", scores(0.01)}, {"late", scores()}}, p);
  EXPECT_EQ(p.verdict, Verdict::kRejected);
  EXPECT_THAT(p.reason, HasSubstr("exit 'one': "));
  judge_exits(references, names, "f32", {{"early", worse}}, p);
  EXPECT_THAT(p.reason, HasSubstr("exit 'two': it has no output 'late'"));
}

TEST(Verify, ExactVariantsHaveATightLimitReducedOnesDoNot) {
  Reference r = classifier(true);
  VariantProfile exact = judged(r, "f32", scores(0.01));
  EXPECT_EQ(exact.verdict, Verdict::kRejected);
  EXPECT_THAT(exact.reason, HasSubstr("the limit is 0.0001"));
  EXPECT_EQ(judged(r, "int8", scores(0.01)).verdict, Verdict::kOk);
  r.limits.max_abs_diff = 0.005;
  EXPECT_EQ(judged(r, "int8", scores(0.01)).verdict, Verdict::kRejected);
}

TEST(Verify, AConstantAnswerIsRejectedWhateverTheMetric) {
  for (bool evaluation : {true, false}) {
    for (const char* precision : {"f32", "int8", "dynamic"}) {
      Tensor half(DType::kFp32, {kSamples, 10});
      for (int i = 0; i < kSamples * 10; ++i) half.as<float>()[i] = 0.5f;
      EXPECT_EQ(judged(classifier(evaluation), precision, half).verdict, Verdict::kRejected) << precision;
    }
  }
  // One probability a sample, mostly near 0: the constant agrees with nearly all classes and still is nothing.
  Reference r;
  r.network.outputs = {{"y", DType::kFp32, {-1, 1}, 0, {}}};
  r.outputs["y"] = Tensor(DType::kFp32, {kSamples, 1});
  for (int i = 0; i < kSamples; ++i) r.outputs["y"].as<float>()[i] = i == 50 ? 0.96f : 0.256f;
  Tensor half(DType::kFp32, {kSamples, 1});
  for (int i = 0; i < kSamples; ++i) half.as<float>()[i] = 0.5f;
  VariantProfile p = judged(r, "int8", half);
  EXPECT_EQ(p.verdict, Verdict::kRejected);
  EXPECT_THAT(p.reason, HasSubstr("do not follow the reference's"));
}

TEST(Verify, LostAccuracyIsRejectedWithTheNumbers) {
  Reference r = classifier(true);
  Tensor worse = scores();
  for (int i = 0; i < 5; ++i) std::swap(worse.as<float>()[i * 10 + i % 10], worse.as<float>()[i * 10 + (i + 1) % 10]);
  VariantProfile p = judged(r, "int8", worse);
  EXPECT_EQ(p.verdict, Verdict::kRejected);
  EXPECT_THAT(p.reason, AllOf(HasSubstr("top1 0.85 against the reference's 0.9"), HasSubstr("exceeds the limit 0.02")));
  r.limits.max_accuracy_loss = 0.05;
  EXPECT_EQ(judged(r, "int8", worse).verdict, Verdict::kOk);
}

TEST(Verify, BrokenAnswersAreRejected) {
  Reference r = classifier(true);
  Tensor nan = scores();
  nan.as<float>()[3] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THAT(judged(r, "int8", nan).reason, HasSubstr("NaN"));
  EXPECT_THAT(judged(r, "f32", Tensor(DType::kFp32, {kSamples, 9})).reason, HasSubstr("has the shape [100,9]"));
  VariantProfile p;
  p.verdict = Verdict::kOk;
  judge(r, "f32", {}, p);
  EXPECT_THAT(p.reason, HasSubstr("no output 'y'"));
}

TEST(Verify, AFailedVariantStaysFailed) {
  VariantProfile p;
  p.verdict = Verdict::kFailed;
  p.reason = "killed by signal 11";
  judge(classifier(false), "f32", {{"y", scores()}}, p);
  EXPECT_EQ(p.verdict, Verdict::kFailed);
  EXPECT_EQ(p.reason, "killed by signal 11");
}

TEST(Verify, WithoutEvaluationDataNoAccuracyIsStated) {
  VariantProfile p = judged(classifier(false), "int8", scores(0.01));
  EXPECT_EQ(p.verdict, Verdict::kOk);
  EXPECT_LT(p.accuracy, 0);
}

}  // namespace
}  // namespace verge::build
