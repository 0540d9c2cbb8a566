// model.yaml: what is accepted, and that every mistake is told with file, line and field.
#include "build/recipe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "build/build.h"
#include "build/recipe_fields.h"
#include "core/yaml.h"
#include "core/json.h"

namespace verge::build {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

Result<Recipe> parse(const std::string& text) { return parse_recipe(text, "model.yaml", "/m"); }

std::string error_of(const std::string& text) {
  auto r = parse(text);
  return r.ok() ? "no error" : r.status().message();
}

TEST(Recipe, ReadsEveryField) {
  auto r = parse(R"(name: resnet8
version: 3
description: "ResNet-8: CIFAR-10"
model: nets/resnet.h5
kind: h5
signature: serving_default
batch: first
inputs:
  - name: image
    dtype: BYTES
    shape: []
    feeds: input_1
    steps: [{cast: {dtype: FP32}}]
outputs:
  - name: class
    from: Identity
    steps: [softmax, {topk: {k: 5, output: labels}}]
labels: labels.txt
data:
  calibration: {path: images.uint8, format: raw, dtype: UINT8, shape: [32, 32, 3], samples: 0-199}
  evaluation:
    path: images.uint8
    format: raw
    dtype: UINT8
    shape: [32, 32, 3]
    labels: labels.uint8
    samples: 200-
metric: {kind: topk, k: 3}
limits: {max_accuracy_loss: 0.02, max_abs_diff: 1e-3}
targets: {include: ["openvino-*"], exclude: ["*-bf16"], batches: [8, 1, 8]}
)");
  ASSERT_TRUE(r.ok()) << r.status().message();
  EXPECT_EQ(r->name, "resnet8");
  EXPECT_EQ(r->version, 3);
  EXPECT_EQ(r->model, "/m/nets/resnet.h5");
  EXPECT_EQ(r->batch, "first");
  EXPECT_EQ(normalised_recipe(*r)["batch"], "first");
  ASSERT_EQ(r->inputs.size(), 1u);
  EXPECT_EQ(r->inputs[0].dtype, DType::kBytes);
  EXPECT_EQ(r->inputs[0].shape->rank(), 0);
  ASSERT_EQ(r->outputs[0].steps.size(), 2u);
  EXPECT_EQ(r->outputs[0].steps[0].op, "softmax");
  EXPECT_EQ(r->outputs[0].steps[1].params["k"], 5);
  EXPECT_EQ(r->labels, "/m/labels.txt");
  EXPECT_EQ(r->calibration->last, 199);
  EXPECT_EQ(r->evaluation->first, 200);
  EXPECT_EQ(r->evaluation->last, -1);
  EXPECT_EQ(r->evaluation->labels, "/m/labels.uint8");
  EXPECT_EQ(r->metric.kind, MetricKind::kTopK);
  EXPECT_EQ(r->metric.k, 3);
  EXPECT_EQ(*r->max_abs_diff, 1e-3);
  EXPECT_THAT(r->targets.batches, ElementsAre(1, 8));
  EXPECT_TRUE(r->targets.wants("openvino-ir-f32"));
  EXPECT_FALSE(r->targets.wants("openvino-ir-bf16"));
  EXPECT_FALSE(r->targets.wants("litert-tflite-f32"));
}

TEST(Recipe, NpzLabelsAreKeysAndCsvLabelsColumns) {
  auto r = parse("model: m\ndata: {evaluation: {path: w.npz, labels: y}, calibration: {path: a.csv, labels: fall}}");
  ASSERT_TRUE(r.ok()) << r.status().message();
  EXPECT_EQ(r->evaluation->labels, "y");
  EXPECT_EQ(r->calibration->labels, "fall");
}

TEST(Recipe, ErrorsNameFileLineAndField) {
  EXPECT_THAT(error_of("name: a\nmodle: x\n"), StartsWith("model.yaml:2: modle: unknown field; did you mean 'model'?"));
  EXPECT_THAT(error_of("name: a\n"), AllOf(StartsWith("model.yaml:1: model: required"), HasSubstr("SavedModel")));
  EXPECT_THAT(error_of("model: m\ndata:\n  calibration:\n    path: x\n    samples: 9-3\n"), StartsWith("model.yaml:5: data.calibration.samples: expected"));
  EXPECT_THAT(error_of("model: m\ninputs:\n  - name: a\n    dtype: FLOAT\n"), StartsWith("model.yaml:4: inputs[0].dtype: expected a data type"));
  EXPECT_THAT(error_of("model: m\ninputs:\n  - name: a\n    dtype: UINT8\n    shape: [-2]\n"), StartsWith("model.yaml:5: inputs[0].shape"));
  EXPECT_THAT(error_of("model: m\ninputs:\n  - name: a\n    dtype: UINT8\n    shape: [2]\n    steps:\n      - {csat: {dtype: FP32}}\n"),
              AllOf(StartsWith("model.yaml:7: inputs[0].steps[0]: unknown operator 'csat'"), HasSubstr("did you mean 'cast'?")));
  EXPECT_THAT(error_of("model: m\ninputs: [{name: a, dtype: UINT8, shape: [2], steps: [{cast: {dtpe: FP32}}]}]"),
              HasSubstr("inputs[0].steps[0].cast: unknown parameter 'dtpe'; did you mean 'dtype'?"));
  EXPECT_THAT(error_of("model: m\ninputs: [{name: a, dtype: UINT8, shape: [2], steps: [cast]}]"), HasSubstr("parameter 'dtype' is required"));
  EXPECT_THAT(error_of("model: m\ninputs: [{name: a, steps: [{cast: {dtype: FP32}}]}]"), HasSubstr("inputs[0].dtype: required where there are steps"));
  EXPECT_THAT(error_of("model: m\ninputs: [{name: a}, {name: a}]"), HasSubstr("inputs[1].name: 'a' is given twice"));
  EXPECT_THAT(error_of("model: m\nmetric: {kind: top1}"), HasSubstr("accuracy is measured, never invented"));
  EXPECT_THAT(error_of("model: m\nlimits: {max_accuracy_loss: -1}"), HasSubstr("limits.max_accuracy_loss: must be at least 0"));
  EXPECT_THAT(error_of("model: m\nkind: savedmodel"), HasSubstr("did you mean 'saved_model'?"));
  EXPECT_THAT(error_of("model: m\ndata: {calibration: {format: raw}}"), HasSubstr("data.calibration.path: required"));
  EXPECT_THAT(error_of("model: m\nname: ../../etc"), HasSubstr("name: '../../etc' is not a name"));
  EXPECT_THAT(error_of("model: m\nbatch: last"), AllOf(HasSubstr("model.yaml:2: batch: "), HasSubstr("first"), HasSubstr("none")));
  EXPECT_THAT(error_of("model: m\nbatch: none\nexits: [{name: a, output: x}, {name: b, output: y}]"), StartsWith("model.yaml:2: batch: belongs to models without exits"));
  EXPECT_THAT(error_of("model: m\ntargets: {batches: [0]}"), HasSubstr("targets.batches: must be between 1 and 1024"));
}

TEST(Recipe, ExitsAreOutputsOfTheModelOrModelsOfTheirOwn) {
  auto r = parse("model: m\nfamily: widths\nexits:\n  - {name: early, output: a}\n  - {name: late, output: b}\n");
  ASSERT_TRUE(r.ok()) << r.status().message();
  EXPECT_EQ(r->family, "widths");
  ASSERT_EQ(r->exits.size(), 2u);
  EXPECT_EQ(r->exits[1].output, "b");
  EXPECT_FALSE(r->stage_models());
  const Json key = normalised_recipe(*r);
  EXPECT_EQ(key["exits"].size(), 2u);
  EXPECT_EQ(key["family"], "widths");
  EXPECT_FALSE(normalised_recipe(*parse("model: m")).contains("exits"));

  r = parse("exits: [{name: early, model: s1, output: a}, {name: late, model: /abs/s2}]");
  ASSERT_TRUE(r.ok()) << r.status().message();
  EXPECT_TRUE(r->stage_models());
  EXPECT_EQ(r->exits[0].model, "/m/s1");
  EXPECT_EQ(r->model, "/abs/s2");

  EXPECT_THAT(error_of("model: m\nexits:\n  - {name: a, output: x}\n"), StartsWith("model.yaml:3: exits: expected 2 to 64 exits"));
  EXPECT_THAT(error_of("model: m\nexits:\n  - {name: a, output: x}\n  - {name: a, output: y}\n"), StartsWith("model.yaml:4: exits[1].name: 'a' is given twice"));
  EXPECT_THAT(error_of("model: m\nexits:\n  - {name: a, output: x}\n  - {name: b, output: x}\n"), StartsWith("model.yaml:4: exits[1].output: 'x' is given twice"));
  EXPECT_THAT(error_of("model: m\nexits:\n  - {name: a, output: x}\n  - {name: b}\n"), StartsWith("model.yaml:4: exits[1].output: required"));
  EXPECT_THAT(error_of("model: m\nexits:\n  - {name: a b, output: x}\n  - {name: b, output: y}\n"), StartsWith("model.yaml:3: exits[0].name: 'a b' is not a name"));
  EXPECT_THAT(error_of("model: m\nexits:\n  - {name: a, output: x}\n  - {name: b, model: y}\n"), StartsWith("model.yaml:4: exits[1].model: either every exit"));
  EXPECT_THAT(error_of("model: m\nexits:\n  - {name: a, model: x}\n  - {name: b, model: y}\n"), StartsWith("model.yaml:1: model: every exit has a model of its own"));
  EXPECT_THAT(error_of("exits:\n  - {name: a, output: x}\n  - {name: b, output: y}\n"), HasSubstr("model: required"));
  EXPECT_THAT(error_of("model: m\nexits:\n  - {name: a, ouput: x}\n  - {name: b, output: y}\n"), HasSubstr("did you mean 'output'?"));
  EXPECT_THAT(error_of("model: m\nsequence: {controls: {start: s}}\nexits: [{name: a, output: x}, {name: b, output: y}]\n"), HasSubstr("exits: a model with a sequence has no exits"));
  EXPECT_THAT(error_of("model: m\nfamily: a/b\n"), StartsWith("model.yaml:2: family: 'a/b' is not a name"));
}

TEST(Recipe, LaterErrorsFindTheLine) {
  auto r = parse("model: m\ninputs:\n  - name: a\n    feeds: b\n");
  ASSERT_TRUE(r.ok());
  EXPECT_EQ(r->error("inputs[0].feeds", "no").message(), "model.yaml:4: inputs[0].feeds: no");
  EXPECT_EQ(r->error("inputs[0].steps", "no").message(), "model.yaml:3: inputs[0].steps: no");
  EXPECT_EQ(Recipe().error("inputs", "no").message(), "inputs: no");
}

TEST(Recipe, HostileYaml) {
  std::string bomb = "a: &a [x,x]\nmodel: *a\n";
  EXPECT_THAT(error_of(bomb), HasSubstr("anchors"));
  EXPECT_THAT(error_of("model: !!python/object:os.system x"), HasSubstr("tags"));
  EXPECT_THAT(error_of(std::string(5000, '[')), HasSubstr("model.yaml"));
  EXPECT_THAT(error_of(std::string(30, '[') + std::string(30, ']')), HasSubstr("nested deeper than 24"));
  EXPECT_THAT(error_of(std::string(200'000, '{')), HasSubstr("model.yaml"));
  EXPECT_THAT(error_of(std::string(2 << 20, 'a')), HasSubstr("larger than 1 MiB"));
  EXPECT_THAT(error_of(""), HasSubstr("empty"));
  EXPECT_THAT(error_of("# only a comment\n"), HasSubstr("empty"));
  EXPECT_THAT(error_of("just text"), HasSubstr("expected an object"));
  EXPECT_THAT(error_of("model: a\nmodel: b"), HasSubstr("model.yaml:2: field 'model' is given twice (first on line 1)"));
  EXPECT_THAT(error_of("model: a\n---\nmodel: b"), HasSubstr("more than one YAML document"));
  EXPECT_THAT(error_of("model: \"a\\0b\""), HasSubstr("NUL"));
  EXPECT_THAT(error_of("model: {a: b}"), HasSubstr("model: expected a string, found an object"));
  EXPECT_THAT(error_of("model: a\n\tname: b"), StartsWith("model.yaml:2: not valid YAML"));
  EXPECT_THAT(error_of("? [a]\n: b"), HasSubstr("a key must be a plain string"));
  EXPECT_THAT(error_of(std::string("model: a\nname: \xff\xfe")), HasSubstr("model.yaml"));
  std::string many = "model: m\ntargets: {include: [";
  for (int i = 0; i < 5000; ++i) many += "a,";
  EXPECT_THAT(error_of(many + "a]}"), HasSubstr("targets.include: more than 1000 elements"));
}

TEST(Recipe, PatternsDoNotExplode) {
  EXPECT_TRUE(matches_pattern("*-int8", "openvino-ir-int8"));
  EXPECT_TRUE(matches_pattern("*", ""));
  EXPECT_FALSE(matches_pattern("openvino", "openvino-ir"));
  std::string pattern, text(200, 'a');
  for (int i = 0; i < 100; ++i) pattern += "a*";
  EXPECT_FALSE(matches_pattern(pattern + "b", text));
}

TEST(Recipe, NormalisedFormIgnoresWritingAndPlace) {
  auto a = parse("model: x.h5\nname: n\ninputs: [{name: a, dtype: UINT8, shape: [2], steps: [{cast: {dtype: FP32}}]}]");
  auto b = parse_recipe("name: n   # a comment\nmodel: x.h5\ninputs:\n- {steps: [cast: {dtype: FP32}], shape: [2], dtype: UINT8, name: a}\n", "other.yaml", "/elsewhere");
  ASSERT_TRUE(a.ok() && b.ok()) << b.status().message();
  EXPECT_EQ(normalised_recipe(*a).dump(), normalised_recipe(*b).dump());
  auto c = parse("model: x.h5\nname: n\ninputs: [{name: a, dtype: UINT8, shape: [3], steps: [{cast: {dtype: FP32}}]}]");
  EXPECT_NE(normalised_recipe(*a).dump(), normalised_recipe(*c).dump());
}

TEST(Schema, DescribesEveryFieldAndOperator) {
  auto schema = parse_json(recipe_schema_json(), "schema");
  ASSERT_TRUE(schema.ok()) << schema.status().message();
  for (const FieldDoc& f : recipe_object().fields) EXPECT_TRUE((*schema)["properties"].contains(std::string(f.name))) << f.name;
  EXPECT_EQ((*schema)["anyOf"][0]["required"], Json::array({"model"}));
  EXPECT_EQ((*schema)["properties"]["metric"]["properties"]["kind"]["enum"].size(), 6u);
  EXPECT_GT((*schema)["$defs"]["step"]["oneOf"].size(), 10u);
}

TEST(Yaml, NumbersAreThoseOfTheCoreRules) {
  auto value = [](const std::string& text) { return yaml_to_json(*parse_yaml(text, "f")); };
  EXPECT_EQ(value("12"), 12);
  EXPECT_EQ(value("-1.5e3"), -1500.0);
  EXPECT_EQ(value("'12'"), "12");
  EXPECT_EQ(value("nan"), "nan");
  EXPECT_EQ(value("0-199"), "0-199");
  EXPECT_EQ(value("true"), true);
  EXPECT_EQ(value("yes"), "yes");
  EXPECT_EQ(value("~"), nullptr);
}

}  // namespace
}  // namespace verge::build
