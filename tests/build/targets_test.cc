#include "build/targets.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "build/build_key.h"

namespace verge::build {
namespace {

std::vector<std::string> ids(const std::vector<Target>& targets, bool left_out = false) {
  std::vector<std::string> out;
  for (const Target& t : targets) {
    if (t.left_out.empty() != left_out) out.push_back(t.id);
  }
  return out;
}

const Target* find(const std::vector<Target>& targets, const std::string& id) {
  auto it = std::find_if(targets.begin(), targets.end(), [&](const Target& t) { return t.id == id; });
  return it == targets.end() ? nullptr : &*it;
}

TEST(Targets, KerasSourceWithCalibration) {
  auto targets = choose_targets({"h5", "f32", false, true, true, true}, {});
  EXPECT_THAT(ids(targets), ::testing::IsSupersetOf({"openvino-ir-f32", "openvino-ir-bf16", "openvino-ir-f16", "openvino-ir-int8", "openvino-onnx-f32",
                                                    "openvino-tflite-int8", "onnxruntime-onnx-f32", "onnxruntime-onnx-int8", "litert-tflite-f32",
                                                    "litert-tflite-f16", "litert-tflite-dynamic", "litert-tflite-int8", "tensorflow-savedmodel-f32",
                                                    "litert-tflite-int8-arm64", "onnxruntime-onnx-f32-cuda", "tensorrt-onnx-f32", "litert-edgetpu-int8"}));
  EXPECT_EQ(find(targets, "openvino-ir-f32")->conversion, find(targets, "openvino-ir-bf16")->conversion);
  EXPECT_EQ(find(targets, "openvino-ir-bf16")->options.at("inference_precision"), "bf16");
  std::set<std::string> unique;
  for (const Target& t : targets) EXPECT_TRUE(unique.insert(t.id).second && valid_name(t.id)) << t.id;
  std::vector<ConversionTarget> made = conversions(targets);
  std::set<std::string> conversion_ids;
  for (const ConversionTarget& c : made) EXPECT_TRUE(conversion_ids.insert(c.id).second) << c.id;
  EXPECT_EQ(made.size(), 11u);  // 3 IR, 2 ONNX, 4 TFLite, SavedModel, Edge TPU
}

TEST(Targets, WhatIsMissingIsAReason) {
  auto targets = choose_targets({"saved_model", "f32", false, false, true, false}, {});
  EXPECT_EQ(find(targets, "openvino-ir-bf16"), nullptr);
  EXPECT_THAT(find(targets, "litert-tflite-int8")->left_out, ::testing::HasSubstr("no calibration data"));
  EXPECT_EQ(find(targets, "litert-tflite-dynamic")->left_out, "");
  EXPECT_TRUE(find(targets, "tensorflow-savedmodel-f32")->from_source);
  targets = choose_targets({"onnx", "f32", false, true, false, false}, {});
  EXPECT_THAT(ids(targets), ::testing::IsSupersetOf({"openvino-onnx-f32", "onnxruntime-onnx-f32"}));
  EXPECT_THAT(find(targets, "openvino-ir-f32")->left_out, ::testing::HasSubstr("make toolchain"));
  EXPECT_TRUE(conversions(targets).empty());
}

TEST(Targets, LoopsHaveTwoForms) {
  auto targets = choose_targets({"saved_model", "f32", true, false, true, false}, {});
  EXPECT_TRUE(find(targets, "tensorflow-savedmodel-f32-loop")->from_source);
  EXPECT_FALSE(find(targets, "tensorflow-savedmodel-f32-unrolled")->from_source);
  EXPECT_NE(find(targets, "litert-tflite-f32-unrolled")->conversion.id, find(targets, "litert-tflite-f32-loop")->conversion.id);
  EXPECT_EQ(find(targets, "litert-tflite-f32"), nullptr);
}

TEST(Targets, QuantisedFilesStayAsTheyAre) {
  auto targets = choose_targets({"tflite", "int8", false, false, true, true}, {});
  EXPECT_THAT(ids(targets), ::testing::IsSupersetOf({"openvino-tflite-int8", "litert-tflite-int8", "litert-tflite-int8-arm64"}));
  EXPECT_TRUE(find(targets, "litert-tflite-int8")->from_source);
  for (const Target& t : targets) EXPECT_EQ(t.precision, "int8") << t.id;
  targets = choose_targets({"tflite", "dynamic", false, false, false, true}, {});
  EXPECT_THAT(ids(targets), ::testing::ElementsAre("openvino-tflite-dynamic", "litert-tflite-dynamic"));
  targets = choose_targets({"onnx", "f16", false, false, true, false}, {});
  EXPECT_TRUE(find(targets, "onnxruntime-onnx-f32")->from_source);
}

TEST(Targets, ChoiceByPattern) {
  TargetChoice choice;
  choice.include = {"litert-*"};
  choice.exclude = {"*-arm64", "*edgetpu*"};
  EXPECT_THAT(ids(choose_targets({"h5", "f32", false, true, true, false}, choice)),
              ::testing::ElementsAre("litert-tflite-f32", "litert-tflite-f16", "litert-tflite-dynamic", "litert-tflite-int8"));
}

TEST(BuildKey, EveryPartCounts) {
  KeyParts parts;
  parts.name = "m";
  parts.source_sha256 = "s";
  parts.recipe = Json{{"a", 1}};
  std::set<std::string> keys{package_key(parts), incomplete_key(package_key(parts))};
  auto with = [&](auto&& change) {
    KeyParts p = parts;
    change(p);
    EXPECT_TRUE(keys.insert(package_key(p)).second);
  };
  with([](KeyParts& p) { p.name = "n"; });
  with([](KeyParts& p) { p.source_sha256 = "t"; });
  with([](KeyParts& p) { p.recipe["a"] = 2; });
  with([](KeyParts& p) { p.labels_sha256 = "l"; });
  with([](KeyParts& p) { p.calibration = "c"; });
  with([](KeyParts& p) { p.evaluation = "c"; });
  with([](KeyParts& p) { p.toolchain = "none"; });
  with([](KeyParts& p) { p.engines = {"openvino"}; });
  with([](KeyParts& p) { p.cpu_flags = {"avx2"}; });
  EXPECT_EQ(package_key(parts), package_key(parts));
}

TEST(BuildKey, CalibrationDecidesInt8Only) {
  KeyParts a;
  KeyParts b;
  b.calibration = "other";
  ConversionTarget f32{"ir-f32", "openvino-ir", "f32", ""}, int8{"ir-int8", "openvino-ir", "int8", ""};
  EXPECT_EQ(conversion_key(a, f32, "", {}), conversion_key(b, f32, "", {}));
  EXPECT_NE(conversion_key(a, int8, "", {}), conversion_key(b, int8, "", {}));
  EXPECT_NE(conversion_key(a, f32, "", {}), conversion_key(a, f32, "", {1}));
}

}  // namespace
}  // namespace verge::build
