// Multi-exit models in manifests and profiles: kept as they are, and refused where their parts do not fit.
#include "core/stages.h"

#include <gtest/gtest.h>

#include <functional>

#include "core/profile.h"

namespace verge {
namespace {

TensorSpec tensor(const std::string& name, int64_t width) { return {name, DType::kFp32, Shape{-1, width}, 0, {}}; }

// x -> (h, e1); x, h -> e2.
Manifest chain() {
  Manifest m;
  m.name = "exits";
  m.family = "exits-of-all-widths";
  m.source_kind = "saved_model";
  m.network = {{tensor("x", 4)}, {tensor("e2", 3)}};
  m.inputs = {{tensor("x", 4), "x", {}}};
  m.outputs = {{tensor("scores", 3), "e2", {}}};
  m.stages = {{{{tensor("x", 4)}, {tensor("h", 8), tensor("e1", 3)}}, "early", "e1"}, {{{tensor("x", 4), tensor("h", 8)}, {tensor("e2", 3)}}, "late", "e2"}};
  VariantSpec v;
  v.id = "onnxruntime-onnx-f32";
  v.engine = "onnxruntime";
  v.precision = "f32";
  v.device = "cpu";
  for (const char* c : {"a", "b"}) {
    Artifact a;
    a.format = "onnx";
    a.entry = "model.onnx";
    a.files = {{"model.onnx", 12, std::string(64, *c)}};
    a.id = folder_digest(a.files);
    v.artifacts.push_back(a.id);
    v.stages.push_back({{a.id}, {{"x", "x:0"}}});
    m.artifacts.push_back(a);
  }
  m.variants = {v};
  return m;
}

std::string error_after(const std::function<void(Json&)>& change) {
  Json j = *parse_json(print_manifest(chain()), "x");
  change(j);
  auto r = parse_manifest(j.dump());
  return r.ok() ? "" : r.status().message();
}
bool refuses(const std::string& words, const std::function<void(Json&)>& change) {
  const std::string error = error_after(change);
  if (error.find(words) != std::string::npos) return true;
  ADD_FAILURE() << "'" << words << "' is not in '" << error << "'";
  return false;
}

TEST(Stages, AreKeptAsTheyAre) {
  const std::string text = print_manifest(chain());
  auto m = parse_manifest(text);
  ASSERT_TRUE(m.ok()) << m.status().message();
  EXPECT_EQ(print_manifest(*m), text);
  EXPECT_EQ(m->family, "exits-of-all-widths");
  ASSERT_EQ(m->stages.size(), 2u);
  EXPECT_EQ(m->stages[1].exit, "late");
  EXPECT_EQ(m->stages[1].network.inputs[1].name, "h");
  EXPECT_EQ(m->variants[0].stages[0].names.at("x"), "x:0");
}

TEST(Stages, OfOrdinaryModelsLeaveNoTrace) {
  Manifest m = chain();
  m.stages.clear();
  m.family.clear();
  m.variants[0].stages.clear();
  const std::string text = print_manifest(m);
  EXPECT_EQ(text.find("stages"), std::string::npos);
  EXPECT_EQ(text.find("family"), std::string::npos);
  EXPECT_TRUE(parse_manifest(text).ok());
}

TEST(Stages, InputsThatNobodyMakesAreRefused) {
  EXPECT_TRUE(refuses("'g', which is neither an input of the network nor made by an earlier stage", [](Json& j) { j["stages"][1]["network"]["inputs"][1]["name"] = "g"; }));
  // What a later stage makes comes too late.
  EXPECT_TRUE(refuses("'h', which is neither", [](Json& j) { std::swap(j["stages"][0], j["stages"][1]); }));
  EXPECT_TRUE(refuses("where it is made", [](Json& j) { j["stages"][1]["network"]["inputs"][1]["dtype"] = "FP16"; }));
  EXPECT_TRUE(refuses("where it is made", [](Json& j) { j["stages"][1]["network"]["inputs"][1]["shape"] = {-1, 9}; }));
  EXPECT_TRUE(refuses("batch axis", [](Json& j) { j["stages"][1]["network"]["inputs"][1]["batch_axis"] = -1; }));
  EXPECT_TRUE(refuses("twice", [](Json& j) { j["stages"][1]["network"]["inputs"][1] = j["stages"][1]["network"]["inputs"][0]; }));
  EXPECT_TRUE(refuses("takes nothing", [](Json& j) { j["stages"][1]["network"]["inputs"] = Json::array(); }));
}

TEST(Stages, ExitsMustAnswerAsTheNetworkDoes) {
  EXPECT_TRUE(refuses("not an output of it", [](Json& j) { j["stages"][0]["output"] = "e2"; }));
  EXPECT_TRUE(refuses("another type or shape", [](Json& j) { j["stages"][0]["output"] = "h"; }));
  EXPECT_TRUE(refuses("the last exit's", [](Json& j) { j["stages"][1]["output"] = j["stages"][1]["network"]["outputs"][0]["name"] = "e9"; }));
  EXPECT_TRUE(refuses("stands twice", [](Json& j) { j["stages"][1]["exit"] = "early"; }));
  EXPECT_TRUE(refuses("not a valid name of an exit", [](Json& j) { j["stages"][1]["exit"] = "a b"; }));
  EXPECT_TRUE(refuses("a name that another tensor has", [](Json& j) { j["stages"][0]["network"]["outputs"][0]["name"] = "x"; }));
  EXPECT_TRUE(refuses("at least two", [](Json& j) { j["stages"].erase(1); }));
  EXPECT_TRUE(refuses("more than 64 stages", [](Json& j) {
    const Json one = j["stages"][0];
    for (int i = 0; i < 64; ++i) j["stages"].push_back(one);
  }));
  EXPECT_TRUE(refuses("the network's one output", [](Json& j) { j["network"]["outputs"].push_back(j["network"]["inputs"][0]); }));
  EXPECT_TRUE(refuses("no sequences", [](Json& j) { j["sequence"] = {{"limit", 3}}; j["sequence"]["controls"] = {{"id", "x"}}; j["network"]["inputs"].push_back(j["network"]["inputs"][0]); j["network"]["inputs"][1]["name"] = "id";
                                                    j["network"]["inputs"][1]["dtype"] = "INT64"; j["network"]["inputs"][1]["shape"] = {-1, 1}; j["sequence"]["controls"]["id"] = "id"; }));
  EXPECT_TRUE(refuses("valid name of a family", [](Json& j) { j["family"] = "../up"; }));
}

TEST(Stages, OfAVariantAreThoseOfTheModel) {
  EXPECT_TRUE(refuses("has 1 stages, the model 2", [](Json& j) { j["variants"][0]["stages"].erase(1); }));
  EXPECT_TRUE(refuses("has 0 stages, the model 2", [](Json& j) { j["variants"][0].erase("stages"); }));
  EXPECT_TRUE(refuses("the variant does not", [](Json& j) { j["variants"][0]["stages"][0]["artifacts"][0] = std::string(64, '0'); }));
  EXPECT_TRUE(refuses("has no artifacts", [](Json& j) { j["variants"][0]["stages"][0]["artifacts"] = Json::array(); }));
  EXPECT_TRUE(refuses("has 2 stages, the model 0", [](Json& j) { j.erase("stages"); }));
  // One that could not be made has none.
  EXPECT_EQ(error_after([](Json& j) {
              Json& v = j["variants"][0];
              v["conversion"] = "failed";
              v["artifacts"] = Json::array();
              v.erase("stages");
            }),
            "");
}

TEST(Stages, OfAnyWrongTypeAreAnErrorAndNoCrash) {
  const Json original = *parse_json(print_manifest(chain()), "x");
  for (const Json& other : {Json(5), Json("text"), Json::array({1}), Json{{"a", 1}}, Json(true)}) {
    Json j = original;
    j["stages"] = other;
    EXPECT_FALSE(parse_manifest(j.dump()).ok()) << other.dump();
    for (const auto& [key, value] : original["stages"][0].items()) {
      if (other.type() == value.type()) continue;
      Json k = original;
      k["stages"][0][key] = other;
      EXPECT_FALSE(parse_manifest(k.dump()).ok()) << key << " = " << other.dump();
    }
    j = original;
    j["variants"][0]["stages"][0]["names"] = other;
    EXPECT_FALSE(parse_manifest(j.dump()).ok()) << other.dump();
  }
}

Profile measured() {
  Profile p;
  p.device.fingerprint = "0123456789abcdef";
  VariantProfile v;
  v.id = "onnxruntime-onnx-f32";
  v.verdict = Verdict::kOk;
  LatencyCell c;
  c.n = 20;
  c.p50_us = 250;
  v.latency = {c};
  v.stages = {{{c}, 1000}, {{c}, -1}};
  v.exits = {{0.8, 1e-7}, {-1, -1}};
  v.confidence = {{{0.5}, {0.9, 0.1}, 0.81, 0.4, 0.02}, {{0.9}, {0.5, 0.5}, -1, 0.7, -0.001}};
  v.entropy = {{{1.5}, {0.25, 0.75}, 0.85, 0.9, 0}};
  p.variants = {v};
  return p;
}

TEST(Exits, OfAProfileAreKeptAsTheyAre) {
  const std::string text = print_profile(measured());
  auto p = parse_profile(text);
  ASSERT_TRUE(p.ok()) << p.status().message();
  EXPECT_EQ(print_profile(*p), text);
  const VariantProfile& v = p->variants[0];
  ASSERT_EQ(v.stages.size(), 2u);
  ASSERT_NE(v.stages[1].cell(1, 1), nullptr);
  EXPECT_EQ(v.stages[1].cell(1, 1)->p50_us, 250);
  EXPECT_EQ(v.stages[1].resident_bytes, -1);
  EXPECT_EQ(v.exits[0].accuracy, 0.8);
  EXPECT_EQ(v.confidence[1].thresholds, std::vector<double>{0.9});
  EXPECT_EQ(v.confidence[1].calibration_loss, -0.001);
  EXPECT_EQ(v.entropy[0].shares, (std::vector<double>{0.25, 0.75}));
}

TEST(Exits, CurvesThatDoNotFitAreRefused) {
  const auto error = [](const std::function<void(Json&)>& change) {
    Json j = *parse_json(print_profile(measured()), "x");
    change(j["variants"][0]);
    auto p = parse_profile(j.dump());
    return p.ok() ? std::string() : p.status().message();
  };
  EXPECT_NE(error([](Json& v) { v["confidence"][0]["thresholds"].push_back(1); }).find("must hold 1 numbers"), std::string::npos);
  EXPECT_NE(error([](Json& v) { v["confidence"][0]["shares"] = {"a", "b"}; }).find("must hold numbers"), std::string::npos);
  EXPECT_NE(error([](Json& v) { v["confidence"][0]["shares"] = {2, 0}; }).find("0 … 1"), std::string::npos);
  EXPECT_NE(error([](Json& v) { std::swap(v["confidence"][0], v["confidence"][1]); }).find("costs less"), std::string::npos);
  EXPECT_NE(error([](Json& v) { v.erase("exits"); }).find("no exits"), std::string::npos);
  EXPECT_NE(error([](Json& v) {
              for (int i = 0; i < 64; ++i) v["exits"].push_back(Json(v["exits"][0]));
            }).find("more than 64"),
            std::string::npos);
  EXPECT_NE(error([](Json& v) {
              for (int i = 0; i < 64; ++i) v["entropy"].push_back(Json(v["entropy"][0]));
            }).find("more than 64 points"),
            std::string::npos);
}

}  // namespace
}  // namespace verge
