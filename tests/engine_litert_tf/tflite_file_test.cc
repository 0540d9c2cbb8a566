// What the LiteRT plugin reads and refuses before LiteRT sees a file.
#include "litert/tflite_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <ctime>
#include <fstream>
#include <iterator>

#include "tflite_writer.h"

namespace verge::litert {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing_tflite::content;
using testing_tflite::GraphSpec;
using testing_tflite::OperatorSpec;
using testing_tflite::TensorSpec;
using testing_tflite::write_tflite;

constexpr int kRelu = 19, kConv = 3, kDepthwise = 4, kAdd = 0, kSplit = 49, kReshape = 22, kWhile = 119, kCustom = 32, kDequantize = 6;

std::string check(const std::string& bytes) {
  TfliteFile file;
  std::string wrong = parse_tflite(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size(), file);
  return wrong.empty() ? check_tflite(file) : wrong;
}

std::string read(const std::string& path) {
  std::ifstream in(std::string(VERGE_SOURCE) + "/" + path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

GraphSpec relu() { return {{{"x", {1, 4}, kFloat32, {}, {-1, 4}}, {"y", {1, 4}, kFloat32, {}, {-1, 4}}}, {{kRelu, {0}, {1}}}, {0}, {1}}; }

TEST(TfliteFile, ReadsWhatItNeeds) {
  TfliteFile file;
  const std::string bytes = write_tflite({relu()});
  ASSERT_THAT(parse_tflite(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size(), file), IsEmpty());
  EXPECT_THAT(check_tflite(file), IsEmpty());
  ASSERT_EQ(file.signatures.size(), 1u);
  EXPECT_EQ(file.signatures[0].input_names, std::vector<std::string>{"x"});
  EXPECT_EQ(file.signatures[0].output_names, std::vector<std::string>{"y"});
  EXPECT_EQ(file.subgraphs[0].tensors[0].signature, (std::vector<int32_t>{-1, 4}));
  EXPECT_EQ(executed_precision(file).executed, "f32");
}

TEST(TfliteFile, ReadsSignaturesQuantisationAndPrecision) {
  for (const auto& [path, precision] :
       {std::pair{"engines/litert/check/model.tflite", "f32"}, {"engines/litert/check/int8.tflite", "int8"}}) {
    const std::string bytes = read(path);
    ASSERT_FALSE(bytes.empty()) << path;
    TfliteFile file;
    ASSERT_THAT(parse_tflite(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size(), file), IsEmpty());
    EXPECT_THAT(check_tflite(file), IsEmpty());
    EXPECT_EQ(file.signatures[0].key, "serving_default");
    EXPECT_EQ(executed_precision(file).executed, precision);
  }
}

// Every length and every flipped bit of a real file: an answer each time, in bounds (the sanitizers watch), and never a long one.
TEST(TfliteFile, SurvivesDamage) {
  for (const char* path : {"engines/litert/check/model.tflite", "engines/litert/check/int8.tflite"}) {
    const std::string whole = read(path);
    for (size_t n = 0; n < whole.size(); ++n) {
      // Its own allocation, so that a read past the end is seen.
      const std::vector<char> cut(whole.begin(), whole.begin() + static_cast<ptrdiff_t>(n));
      check(std::string(cut.begin(), cut.end()));
    }
    int refused = 0;
    for (size_t bit = 0; bit < whole.size() * 8; ++bit) {
      std::string flipped = whole;
      flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << (bit % 8)));
      refused += !check(flipped).empty();
    }
    EXPECT_GT(refused, 1000) << path;
  }
}

TEST(TfliteFile, RefusesOtherFiles) {
  EXPECT_THAT(check(""), HasSubstr("not a TFLite file"));
  EXPECT_THAT(check(std::string(100, 'x')), HasSubstr("not a TFLite file"));
  std::string bytes = write_tflite({relu()});
  bytes[0] = static_cast<char>(0xf0);
  bytes[2] = 1;
  EXPECT_THAT(check(bytes), HasSubstr("damaged"));
}

// A large vector that many tables share must not multiply the work.
TEST(TfliteFile, BoundsItsWork) {
  testing_tflite::Writer w;
  w.bytes.assign(8, 0);
  std::memcpy(w.bytes.data() + 4, "TFL3", 4);
  const auto model = w.table(8);
  w.link(0, model.at);
  w.set<uint32_t>(model, 0, 3);
  constexpr size_t kMany = 200'000;
  const size_t list = w.vector(std::vector<uint32_t>(kMany));
  w.link(w.field(model, 2), list);
  const auto graph = w.table(5);
  const size_t inputs = w.vector(std::vector<int32_t>(kMany));
  w.link(w.field(graph, 1), inputs);
  for (size_t i = 0; i < kMany; ++i) w.link(list + 4 + 4 * i, graph.at);
  const std::clock_t start = std::clock();  // of the processor: others' work does not count
  EXPECT_FALSE(check(w.bytes).empty());
  EXPECT_LT(std::clock() - start, 5 * CLOCKS_PER_SEC);
}

struct BadGraph {
  const char* name;
  GraphSpec graph;
  const char* message;
};

class Refused : public testing::TestWithParam<BadGraph> {};

TEST_P(Refused, WithAReason) { EXPECT_THAT(check(write_tflite({GetParam().graph})), HasSubstr(GetParam().message)); }

GraphSpec two(TensorSpec x, TensorSpec y, OperatorSpec op) { return {{std::move(x), std::move(y)}, {std::move(op)}, {0}, {1}}; }
TensorSpec f(std::vector<int32_t> shape, std::string bytes = {}) { return {"t", std::move(shape), kFloat32, std::move(bytes)}; }

INSTANTIATE_TEST_SUITE_P(
    All, Refused,
    testing::Values(
        BadGraph{"flex", two(f({4}), f({4}), {kCustom, {0}, {1}, "FlexTensorListReserve"}),
                 "needs the TensorFlow operator TensorListReserve (FlexTensorListReserve)"},
        BadGraph{"way_out", two(f({4}), f({4}), {kCustom, {0}, {1}, "FlexErf"}), "bring the SavedModel and let `verge build` convert it"},
        BadGraph{"custom", two(f({4}), f({4}), {kCustom, {0}, {1}, "MyOwn"}), "custom operator MyOwn"},
        BadGraph{"unknown", two(f({4}), f({4}), {5000, {0}, {1}}), "does not know"},
        BadGraph{"variant", two({"t", {}, kVariant}, f({4}), {kRelu, {0}, {1}}), "variant tensor"},
        BadGraph{"variable", two({"t", {4}, kFloat32, {}, {}, {}, {}, 0, true}, f({4}), {kRelu, {0}, {1}}), "variable tensor"},
        BadGraph{"unwritten", {{f({4}), f({4}), f({4})}, {{kRelu, {2}, {1}}}, {0}, {1}}, "before it is written"},
        BadGraph{"cycle", {{f({4}), f({4}), f({4})}, {{kAdd, {0, 2}, {1}}, {kRelu, {1}, {2}}}, {0}, {1}}, "before it is written"},
        BadGraph{"constant_output", {{f({4}), f({4}, std::string(16, 'a'))}, {{kRelu, {0}, {1}}}, {0}, {1}}, "has a value already"},
        BadGraph{"written_twice", {{f({4}), f({4})}, {{kRelu, {0}, {1}}, {kRelu, {0}, {1}}}, {0}, {1}}, "has a value already"},
        BadGraph{"nothing_writes", {{f({4}), f({4})}, {}, {0}, {1}}, "nothing writes"},
        BadGraph{"index", two(f({4}), f({4}), {kRelu, {7}, {1}}), "reads tensor 7"},
        BadGraph{"negative_output", two(f({4}), f({4}), {kRelu, {0}, {-1}}), "writes tensor -1"},
        BadGraph{"negative_dimension", two(f({-4}), f({4}), {kRelu, {0}, {1}}), "impossible shape"},
        BadGraph{"huge", two(f({1 << 20, 1 << 20}), f({4}), {kRelu, {0}, {1}}), "larger than 2 GiB"},
        BadGraph{"overflow", two(f({1 << 30, 1 << 30, 1 << 30, 1 << 30}), f({4}), {kRelu, {0}, {1}}), "impossible shape"},
        BadGraph{"working", two(f({1 << 28}), f({1 << 28}), {kRelu, {0}, {1}}), "at once"},
        BadGraph{"rank", two(f({1, 1, 1, 1, 1, 1, 1, 1, 1}), f({4}), {kRelu, {0}, {1}}), "9 dimensions"},
        BadGraph{
            "content", {{f({4}), f({4}), f({4}, "abc")}, {{kAdd, {0, 2}, {1}}}, {0}, {1}}, "holds 3 bytes where its shape calls for 16"},
        BadGraph{"signature", two({"t", {4}, kFloat32, {}, {5}}, f({4}), {kRelu, {0}, {1}}), "shape signature"},
        BadGraph{"scale", two({"t", {4}, kInt8, {}, {}, {NAN}, {0}}, f({4}), {kDequantize, {0}, {1}}), "scale of nan"},
        BadGraph{"tiny_scale", two({"t", {4}, kInt8, {}, {}, {9e-41f}, {0}}, f({4}), {kDequantize, {0}, {1}}), "scale of 0.0"},
        BadGraph{"zero_point", two({"t", {4}, kInt8, {}, {}, {1.0f}, {300}}, f({4}), {kDequantize, {0}, {1}}), "zero point 300"},
        BadGraph{"channels", two({"t", {4}, kInt8, {}, {}, {1, 1, 1}, {0, 0, 0}}, f({4}), {kDequantize, {0}, {1}}),
                 "3 scales for 4 channels"},
        BadGraph{"axis", two({"t", {4}, kInt8, {}, {}, {1, 1}, {0, 0}, 3}, f({4}), {kDequantize, {0}, {1}}), "along dimension 3"},
        BadGraph{"arity", two(f({4}), f({4}), {kAdd, {0}, {1}}), "1 inputs and 1 outputs"},
        BadGraph{"missing_input", two(f({1, 4, 4, 1}), f({1, 4, 4, 1}), {kConv, {0, -1}, {1}}), "without its input 1"},
        BadGraph{"depthwise_bias",
                 {{f({1, 4, 4, 1}), f({1, 4, 4, 1}), f({1, 1, 1, 1}, "abcd")}, {{kDepthwise, {0, 2}, {1}}}, {0}, {1}},
                 "2 inputs"},
        BadGraph{
            "split", {{f({4}), f({2}), {"n", {}, kInt32, std::string(4, 0)}}, {{kSplit, {2, 0}, {1}, {}, 35, {7}}}, {0}, {1}}, "7 splits"},
        BadGraph{"reshape_to_float", {{f({4}), f({4}), f({1}, "abcd")}, {{kReshape, {0, 2}, {1}}}, {0}, {1}}, "instead of an integer"},
        BadGraph{"reshape_rank",
                 {{f({4}), f({4}), {"s", {64}, kInt32, std::string(256, 1)}}, {{kReshape, {0, 2}, {1}}}, {0}, {1}},
                 "more than 8 dimensions"},
        BadGraph{"dequantize_shape", two({"t", {4}, kInt8, {}, {}, {1}, {0}}, f({8}), {kDequantize, {0}, {1}}), "changes the shape"},
        BadGraph{"split_options",
                 {{f({4}), f({2}), {"n", {}, kInt32, std::string(4, 0)}}, {{kSplit, {2, 0}, {1}, {}, 2, {1}}}, {0}, {1}},
                 "without its options"},
        BadGraph{"pool_stride", two(f({1, 4, 4, 1}), f({1, 4, 4, 1}), {17, {0}, {1}, {}, 5, {0, 0, 1, 1, 1}}),
                 "a stride, size or count of 0"},
        BadGraph{"pool_filter", two(f({1, 4, 4, 1}), f({1, 4, 4, 1}), {17, {0}, {1}, {}, 5, {0, 1, 1, -2147483647, 1}}),
                 "count of -2147483647"},
        BadGraph{"left_out", two(f({4}), f({4}), {kReshape, {0, -1}, {1}}), "without its input 1"},
        BadGraph{"subgraph", two(f({4}), f({4}), {kWhile, {0}, {1}, {}, 93, {5, 6}}), "calls subgraph 5"},
        BadGraph{"circle", two(f({4}), f({4}), {kWhile, {0}, {1}, {}, 93, {0, 0}}), "in a circle"},
        BadGraph{"name", {{{"a\x01", {4}}, f({4})}, {{kRelu, {0}, {1}}}, {0}, {1}}, "no text"}),
    [](const auto& test) { return std::string(test.param.name); });

}  // namespace
}  // namespace verge::litert
