#include "core/manifest.h"

#include <gtest/gtest.h>

#include <functional>

namespace verge {
namespace {

Manifest sample() {
  Manifest m;
  m.name = "resnet8";
  m.version = 3;
  m.source_kind = "h5";
  m.source_name = "pretrainedResnet.h5";
  m.source_sha256 = std::string(64, 'a');
  m.build_key = std::string(64, 'b');
  m.reference = "tensorflow 2.21.0";
  TensorSpec in{"input_1", DType::kFp32, {-1, 32, 32, 3}, 0, {}};
  TensorSpec out{"dense", DType::kFp32, {-1, 10}, 0, {{0.5, -3, -1}}};
  m.network = {{in}, {out}};
  StepSpec cast{"cast", Json{{"dtype", "FP32"}}};
  m.inputs = {{{"image", DType::kUint8, {-1, 32, 32, 3}, 0, {}}, "input_1", {cast}}};
  m.outputs = {{out, "dense", {}}};
  m.metric.kind = MetricKind::kTopK;
  m.metric.k = 3;
  m.limits.max_accuracy_loss = 0.02;
  m.evaluation_samples = 800;
  m.evaluation_description = "cifar10 200-999";
  m.reference_accuracy = 0.881;
  m.native_paths = {{"model.predict", 1, 200, 51400}};
  Artifact a;
  a.format = "onnx";
  a.entry = "model.onnx";
  a.files = {{"model.onnx", 12, std::string(64, 'c')}};
  a.id = folder_digest(a.files);
  m.artifacts = {a};
  VariantSpec v;
  v.id = "onnxruntime-onnx-f32";
  v.engine = "onnxruntime";
  v.precision = "f32";
  v.device = "cpu";
  v.artifacts = {a.id};
  v.options = {{"k", "v"}};
  v.names = {{"dense", "dense:0"}};
  VariantSpec left = v;
  left.id = "litert-tflite-int8";
  left.conversion = Conversion::kLeftOut;
  left.reason = "no calibration data";
  left.artifacts.clear();
  m.variants = {v, left};
  m.golden.samples = 2;
  m.golden.inputs = {{"input_1", "in0.npy"}};
  m.golden.outputs = {{"dense", "out0.npy"}};
  m.golden.files = {{"in0.npy", 1, std::string(64, 'd')}, {"out0.npy", 1, std::string(64, 'e')}};
  return m;
}

// The error of parsing the sample after `change` was applied to its JSON.
std::string error_after(const std::function<void(Json&)>& change) {
  Json j = *parse_json(print_manifest(sample()), "x");
  change(j);
  auto r = parse_manifest(j.dump());
  return r.ok() ? "" : r.status().message();
}

TEST(Manifest, PrintsTheSameBytesAfterParsing) {
  const std::string text = print_manifest(sample());
  auto m = parse_manifest(text);
  ASSERT_TRUE(m.ok()) << m.status().message();
  EXPECT_EQ(print_manifest(*m), text);
  EXPECT_EQ(m->metric.k, 3);
  EXPECT_EQ(m->inputs[0].steps[0].op, "cast");
  EXPECT_EQ(m->variant("litert-tflite-int8")->reason, "no calibration data");
}

TEST(Manifest, ASequenceIsKeptAndCheckedAgainstTheNetwork) {
  Manifest m = sample();
  EXPECT_EQ(print_manifest(m).find("sequence"), std::string::npos);
  m.network.inputs.push_back({"start", DType::kBool, {-1, 1}, 0, {}});
  m.network.inputs.push_back({"h_in", DType::kFp32, {-1, 4}, 0, {}});
  m.network.outputs.push_back({"h_out", DType::kFp32, {-1, 4}, 0, {}});
  m.sequence.start = "start";
  m.sequence.state = {{"h_in", "h_out"}};
  m.sequence.limit = 7;
  const std::string text = print_manifest(m);
  const auto again = parse_manifest(text);
  ASSERT_TRUE(again.ok()) << again.status().message();
  EXPECT_EQ(print_manifest(*again), text);
  EXPECT_EQ(again->sequence.limit, 7);
  EXPECT_TRUE(again->sequence.feeds("h_in") && again->sequence.takes("h_out") && !again->sequence.feeds("input_1"));
  Manifest fed = m;
  fed.inputs.push_back({fed.network.inputs[1], "start", {}});
  EXPECT_FALSE(parse_manifest(print_manifest(fed)).ok());
  m.sequence.state[0].output = "dense";
  EXPECT_FALSE(parse_manifest(print_manifest(m)).ok());
}

TEST(Manifest, RefusesPathsThatClimbOut) {
  for (const char* path : {"../x", "/etc/passwd", "a/../../x", "a//b", "", "a\\b", "./x"})
    EXPECT_NE(error_after([&](Json& j) { j["artifacts"][0]["files"][0]["path"] = path; }), "") << path;
  EXPECT_NE(error_after([](Json& j) { j["labels"] = {{"file", "../labels"}, {"sha256", std::string(64, 'a')}}; }), "");
}

TEST(Manifest, RefusesAnArtifactWhoseIdIsNotItsDigest) {
  EXPECT_NE(error_after([](Json& j) { j["artifacts"][0]["files"][0]["size"] = 13; }).find("digest"), std::string::npos);
}

TEST(Manifest, RefusesReferencesToWhatIsNotThere) {
  EXPECT_NE(error_after([](Json& j) { j["variants"][0]["artifacts"][0] = std::string(64, '0'); }).find("unknown artifact"),
            std::string::npos);
  EXPECT_NE(error_after([](Json& j) { j["inputs"][0]["feeds"] = "nobody"; }).find("nobody"), std::string::npos);
  EXPECT_NE(error_after([](Json& j) { j["outputs"][0]["from"] = "nobody"; }).find("nobody"), std::string::npos);
  EXPECT_NE(error_after([](Json& j) { j["golden"]["inputs"]["input_1"] = "other.npy"; }).find("not listed"), std::string::npos);
  EXPECT_NE(error_after([](Json& j) { j["artifacts"][0]["entry"] = "other.onnx"; }).find("entry"), std::string::npos);
}

TEST(Manifest, RefusesDuplicateVariantsBadNamesAndOtherFormats) {
  EXPECT_NE(error_after([](Json& j) { j["variants"][1]["id"] = j["variants"][0]["id"]; }).find("twice"), std::string::npos);
  EXPECT_NE(error_after([](Json& j) { j["name"] = "../up"; }), "");
  EXPECT_NE(error_after([](Json& j) { j["version"] = 0; }), "");
  EXPECT_NE(error_after([](Json& j) { j["format"] = 99; }).find("format 99"), std::string::npos);
}

TEST(Manifest, EveryTruncationIsAnErrorAndNoCrash) {
  const std::string text = print_manifest(sample());
  for (size_t n = 0; n + 2 < text.size(); n += 7) EXPECT_FALSE(parse_manifest(text.substr(0, n)).ok());
}

TEST(Manifest, EveryFieldOfAWrongTypeIsAnErrorAndNoCrash) {
  const Json original = *parse_json(print_manifest(sample()), "x");
  for (const auto& [key, value] : original.items())
    for (const Json& other : {Json(5), Json("text"), Json::array({1}), Json{{"a", 1}}, Json(true)}) {
      Json j = original;
      j[key] = other;
      auto r = parse_manifest(j.dump());
      if (other.type() != value.type() && !(other.is_number() && value.is_number())) {
        EXPECT_FALSE(r.ok()) << key << " = " << other.dump();
      }
    }
}

TEST(Names, OnlyPlainOnesAreAccepted) {
  EXPECT_TRUE(valid_name("resnet-8_v1.2"));
  for (const char* bad : {"", ".hidden", "a/b", "a b", "-x", "\xc3\xa4"}) EXPECT_FALSE(valid_name(bad)) << bad;
  EXPECT_FALSE(valid_name(std::string(129, 'a')));
}

}  // namespace
}  // namespace verge
