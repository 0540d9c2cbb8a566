#include "core/profile.h"

#include <gtest/gtest.h>

namespace verge {
namespace {

Profile sample() {
  Profile p;
  p.device = {"0123456789abcdef", "A CPU", "x86_64", 2, {"avx2"}, 1 << 30};
  p.manifest_sha256 = std::string(64, 'a');
  p.measured_at = "2026-01-01T00:00:00Z";
  p.engine_versions = {{"onnxruntime", "1.31.1"}};
  VariantProfile v;
  v.id = "onnxruntime-onnx-f32";
  v.verdict = Verdict::kOk;
  v.accuracy = 0.88;
  v.load_ms_cold = 12.5;
  LatencyCell c;
  c.batch = 4;
  c.cores = 2;
  c.n = 900;
  c.p50_us = 250;
  c.sketch = {{63, 10}, {64, 890}};
  v.latency = {c};
  VariantProfile bad;
  bad.id = "x";
  bad.verdict = Verdict::kRejected;
  bad.reason = "differs by 0.5";
  p.variants = {v, bad};
  return p;
}

TEST(Profile, PrintsTheSameBytesAfterParsing) {
  const std::string text = print_profile(sample());
  auto p = parse_profile(text);
  ASSERT_TRUE(p.ok()) << p.status().message();
  EXPECT_EQ(print_profile(*p), text);
  const VariantProfile* v = p->variant("onnxruntime-onnx-f32");
  ASSERT_NE(v, nullptr);
  ASSERT_NE(v->cell(4, 2), nullptr);
  EXPECT_EQ(v->cell(4, 2)->sketch.size(), 2u);
  EXPECT_EQ(v->cell(8, 2), nullptr);
  EXPECT_LT(v->cell(4, 2)->p99_us, 0) << "what was not measured is not known, not zero";
  EXPECT_EQ(p->variant("x")->verdict, Verdict::kRejected);
}

TEST(Profile, RefusesUnknownVerdictsAndTruncation) {
  std::string text = print_profile(sample());
  std::string other = text;
  other.replace(other.find("\"rejected\""), 10, "\"splendid\"");
  EXPECT_NE(parse_profile(other).status().message().find("splendid"), std::string::npos);
  for (size_t n = 0; n + 2 < text.size(); n += 11) EXPECT_FALSE(parse_profile(text.substr(0, n)).ok());
}

}  // namespace
}  // namespace verge
