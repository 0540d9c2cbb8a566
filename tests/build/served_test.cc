// The served signature and its proof against the network's; samples on their way through the chains.
#include "build/served.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "build/golden.h"
#include "build/samples.h"

namespace verge::build {
namespace {

using ::testing::HasSubstr;

Signature network() {
  Signature s;
  s.inputs = {{"x", DType::kFp32, {-1, 2, 2}, 0, {}}};
  s.outputs = {{"y", DType::kFp32, {-1, 3}, 0, {}}};
  return s;
}

Recipe recipe(const std::string& text) {
  auto r = parse_recipe("model: m\n" + text, "model.yaml", "/m");
  EXPECT_TRUE(r.ok()) << r.status().message();
  return std::move(*r);
}

std::string error_of(const std::string& text, const Signature& s) {
  auto served = resolve_served(recipe(text), s, {});
  return served.ok() ? "no error" : served.status().message();
}

TEST(Served, DefaultsAreTheNetworksOwn) {
  auto served = resolve_served(Recipe(), network(), {});
  ASSERT_TRUE(served.ok()) << served.status().message();
  EXPECT_EQ(served->inputs[0].spec, network().inputs[0]);
  EXPECT_EQ(served->outputs[0].spec, network().outputs[0]);
}

TEST(Served, ChainsAreProvedBatchAxisIncluded) {
  auto served = resolve_served(recipe("inputs: [{name: image, dtype: UINT8, shape: [2, 2], steps: [{cast: {dtype: FP32}}]}]\n"
                                      "outputs: [{name: p, steps: [softmax]}]"),
                               network(), {});
  ASSERT_TRUE(served.ok()) << served.status().message();
  EXPECT_EQ(served->inputs[0].feeds, "x");
  EXPECT_EQ(served->inputs[0].spec.shape, (Shape{-1, 2, 2}));
  EXPECT_EQ(served->outputs[0].from, "y");
}

TEST(Served, MisfitsNameTheFieldAndTheStep) {
  EXPECT_THAT(error_of("inputs: [{name: a, dtype: UINT8, shape: [2, 2]}]", network()), HasSubstr("model.yaml:2: inputs[0].dtype: is UINT8"));
  EXPECT_THAT(error_of("inputs: [{name: a, dtype: UINT8, shape: [2, 3], steps: [{cast: {dtype: FP32}}]}]", network()),
              AllOf(HasSubstr("inputs[0].steps"), HasSubstr("the last step (cast) gives [-1,2,3] where [-1,2,2] is wanted")));
  EXPECT_THAT(error_of("inputs: [{name: a, feeds: z}]", network()), HasSubstr("the network has no input 'z'"));
  EXPECT_THAT(error_of("outputs: [{name: a, from: z}]", network()), HasSubstr("model.yaml:2: outputs[0].from: the network has no output 'z'"));
  Signature two = network();
  two.inputs.push_back({"w", DType::kFp32, {-1, 1}, 0, {}});
  EXPECT_THAT(error_of("inputs: [{name: x}]", two), HasSubstr("nothing feeds the network's input 'w'"));
  EXPECT_THAT(error_of("inputs: [{name: a}, {name: x}]", two), HasSubstr("`feeds` is needed"));
  EXPECT_THAT(error_of("inputs: [{name: a, feeds: x}, {name: b, feeds: x}]", two), HasSubstr("is fed twice"));
}

TEST(Served, ASequencesTensorsAreNotTheClients) {
  Signature s = network();
  s.inputs.push_back({"start", DType::kInt32, {-1, 1}, 0, {}});
  s.inputs.push_back({"sum_in", DType::kFp32, {-1, 4}, 0, {}});
  s.outputs.push_back({"sum_out", DType::kFp32, {-1, 4}, 0, {}});
  const std::string block = "sequence: {controls: {start: start}, state: [{input: sum_in, output: sum_out}]}\n";
  const auto served = resolve_served(recipe(block), s, {});
  ASSERT_TRUE(served.ok()) << served.status().message();
  ASSERT_EQ(served->inputs.size(), 1u);
  ASSERT_EQ(served->outputs.size(), 1u);
  EXPECT_EQ(served->inputs[0].feeds, "x");
  EXPECT_EQ(served->by_sequence.size(), 2u);
  // Samples of a data set begin sequences.
  data::Dataset set;
  set.samples = 3;
  set.inputs["x"] = Tensor(DType::kFp32, Shape{3, 2, 2});
  const auto samples = run_chains(*served, set);
  ASSERT_TRUE(samples.ok()) << samples.status().message();
  EXPECT_EQ(samples->inputs.at("sum_in").shape, (Shape{3, 4}));
  EXPECT_EQ(samples->inputs.at("start").shape, (Shape{3, 1}));
  EXPECT_THAT(error_of(block + "inputs: [{name: x}, {name: start}]", s), HasSubstr("'start' is fed by the sequence"));
  EXPECT_THAT(error_of("sequence: {controls: {start: begin}}", s), HasSubstr("takes no 'begin'"));
  EXPECT_THAT(error_of("sequence: {state: [{input: sum_in, output: y}]}", s), HasSubstr("differ in shape"));
  EXPECT_FALSE(parse_recipe("model: m\nsequence: {}", "model.yaml", "/m").ok());
  EXPECT_FALSE(parse_recipe("model: m\nsequence: {controls: {begin: x}}", "model.yaml", "/m").ok());
  EXPECT_NE(normalised_recipe(recipe(block)), normalised_recipe(recipe("")));
}

TEST(Samples, ChainsRunOverAllSamples) {
  auto served = resolve_served(recipe("inputs: [{name: image, dtype: UINT8, shape: [2, 2], steps: [{cast: {dtype: FP32}}]}]"), network(), {});
  ASSERT_TRUE(served.ok()) << served.status().message();
  data::Dataset set;
  set.samples = 70;  // more than one run of the chain
  Tensor t(DType::kUint8, {70, 2, 2});
  for (size_t i = 0; i < t.data.size(); ++i) t.as<uint8_t>()[i] = static_cast<uint8_t>(i);
  set.inputs["image"] = t;
  auto samples = run_chains(*served, set);
  ASSERT_TRUE(samples.ok()) << samples.status().message();
  const Tensor& x = samples->inputs.at("x");
  EXPECT_EQ(x.shape, (Shape{70, 2, 2}));
  EXPECT_EQ(x.as<float>()[279], static_cast<float>(static_cast<uint8_t>(279)));
  EXPECT_EQ(head(x, 3).shape, (Shape{3, 2, 2}));
  EXPECT_EQ(head(x, 3).data.size(), 3u * 16);
}

TEST(Samples, OverlapIsAnErrorThatNamesThem) {
  data::Dataset a, b;
  a.description = "a 0-2";
  b.description = "b 2-3";
  a.ids = {"p", "q", "r"};
  b.ids = {"r", "s"};
  Status s = prove_apart(a, b);
  EXPECT_THAT(s.message(), AllOf(HasSubstr("overlap in 1 samples"), HasSubstr("2 = 0")));
  b.ids = {"t"};
  EXPECT_TRUE(prove_apart(a, b).ok());
}

TEST(Samples, NoiseIsTheSameEveryTimeAndFillsFreeDimensions) {
  Signature s;
  s.inputs = {{"x", DType::kFp32, {-1, -1, 3}, 0, {}}, {"s", DType::kBytes, {-1}, 0, {}}, {"i", DType::kInt64, {4}, -1, {}}};
  auto a = noise_samples(s, 5), b = noise_samples(s, 5);
  ASSERT_TRUE(a.ok()) << a.status().message();
  EXPECT_EQ(a->inputs.at("x").shape, (Shape{5, 32, 3}));
  EXPECT_EQ(a->inputs.at("i").shape, (Shape{5, 4}));
  EXPECT_EQ(a->inputs.at("x").data, b->inputs.at("x").data);
  EXPECT_TRUE(check_tensor(a->inputs.at("s").view(), "s").ok());
  EXPECT_EQ(head(a->inputs.at("s"), 2).shape[0], 2);
  EXPECT_TRUE(check_tensor(head(a->inputs.at("s"), 2).view(), "s").ok());
  Signature huge;
  huge.inputs = {{"x", DType::kFp32, {-1, 1 << 20, 1 << 20}, 0, {}}};
  EXPECT_EQ(noise_samples(huge, 1).status().code(), Code::kResourceExhausted);
}

TEST(Golden, IsBoundedInSamplesAndBytes) {
  NetworkSamples many;
  many.count = 1000;
  many.inputs["x"] = Tensor(DType::kUint8, {1000, 10});
  EXPECT_EQ(choose_golden(many).count, kMaxGoldenSamples);
  many.inputs["x"] = Tensor(DType::kFp32, {1000, 25'000});
  NetworkSamples some = choose_golden(many);
  EXPECT_LE(bytes_of(some), kMaxGoldenBytes * 3 / 4);
  EXPECT_GE(some.count, 50);
}

}  // namespace
}  // namespace verge::build
