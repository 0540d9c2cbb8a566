// What the TensorFlow plugin reads of a SavedModel and refuses before TensorFlow sees it.
#include "tensorflow/saved_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>

namespace verge::tensorflow {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

std::string read(const std::string& path) {
  std::ifstream in(std::string(VERGE_SOURCE) + "/" + path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

// Protobuf by hand.
std::string varint(uint64_t v) {
  std::string out;
  for (; v >= 0x80; v >>= 7) out.push_back(static_cast<char>(v | 0x80));
  out.push_back(static_cast<char>(v));
  return out;
}
std::string msg(int field, const std::string& bytes) {
  return varint(static_cast<uint64_t>(field) << 3 | 2) + varint(bytes.size()) + bytes;
}
std::string num(int field, uint64_t v) { return varint(static_cast<uint64_t>(field) << 3) + varint(v); }
std::string node(const std::string& name, const std::string& op, const std::vector<std::string>& inputs = {},
                 const std::string& attributes = {}) {
  std::string out = msg(1, name) + msg(2, op);
  for (const auto& i : inputs) out += msg(3, i);
  return out + attributes;
}
std::string attribute(const std::string& key, const std::string& value) { return msg(5, msg(1, key) + msg(2, value)); }
std::string calls(const std::string& function) { return attribute("f", msg(10, msg(1, function))); }
std::string function(const std::string& name, const std::vector<std::string>& nodes) {
  std::string out = msg(1, msg(1, name));
  for (const auto& n : nodes) out += msg(3, n);
  return out;
}
std::string tensor_info(const std::string& tensor, int dtype, const std::vector<int64_t>& dims) {
  std::string shape;
  for (int64_t d : dims) shape += msg(2, num(1, static_cast<uint64_t>(d)));
  return msg(1, tensor) + num(2, static_cast<uint64_t>(dtype)) + msg(3, shape);
}

struct Parts {
  std::vector<std::string> nodes = {}, functions = {};
  std::string tag = "serve";
  std::string extra = {};
  std::string output = "y:0";
  std::vector<std::string> input_names = {"x"};
};

std::string saved_model(const Parts& p) {
  std::string graph, library, signature;
  for (const auto& n : p.nodes) graph += msg(1, n);
  for (const auto& f : p.functions) library += msg(1, f);
  if (!library.empty()) graph += msg(2, library);
  for (const auto& name : p.input_names) signature += msg(1, msg(1, name) + msg(2, tensor_info("x:0", 1, {-1, 4})));
  signature += msg(2, msg(1, "y") + msg(2, tensor_info(p.output, 1, {-1, 3})));
  const std::string meta = msg(1, msg(4, p.tag)) + msg(2, graph) + msg(5, msg(1, "serving_default") + msg(2, signature)) + p.extra;
  return num(1, 1) + msg(2, meta);
}

std::string check(const std::string& bytes) {
  SavedModel out;
  return read_saved_model(bytes, out);
}

const std::string kX = node("x", "Placeholder");

TEST(SavedModel, ReadsSignatures) {
  SavedModel m;
  ASSERT_THAT(read_saved_model(read("engines/tensorflow/check/model/saved_model.pb"), m), IsEmpty());
  ASSERT_EQ(m.signatures.size(), 2u);
  const auto& s = m.signatures[0].key == "serving_default" ? m.signatures[0] : m.signatures[1];
  ASSERT_EQ(s.inputs.size(), 2u);
  EXPECT_EQ(s.inputs[0].name, "a");
  EXPECT_EQ(s.inputs[0].dims, (std::vector<int64_t>{-1, 4}));
  ASSERT_EQ(s.outputs.size(), 3u);
  EXPECT_EQ(s.outputs[2].name, "score");
  EXPECT_EQ(m.product_types, (std::map<int, int>{{1, 1}}));
  EXPECT_FALSE(m.keeps_state);
}

TEST(SavedModel, OrdersNamesByTheirNumbers) {
  SavedModel m;
  Parts p{{kX, node("y", "Relu", {"x"})}, {}, "serve", "", "y:0", {"in_10", "in_2", "in_1"}};
  ASSERT_THAT(read_saved_model(saved_model(p), m), IsEmpty());
  std::vector<std::string> names;
  for (const auto& i : m.signatures[0].inputs) names.push_back(i.name);
  EXPECT_EQ(names, (std::vector<std::string>{"in_1", "in_2", "in_10"}));
}

TEST(SavedModel, SurvivesDamage) {
  for (const char* path : {"engines/tensorflow/check/model/saved_model.pb", "engines/tensorflow/check/words/saved_model.pb"}) {
    const std::string whole = read(path);
    ASSERT_FALSE(whole.empty());
    for (size_t n = 0; n < whole.size(); n += 53) {
      const std::string cut(whole.begin(), whole.begin() + static_cast<ptrdiff_t>(n));
      EXPECT_FALSE(check(cut).empty()) << n;
    }
    for (size_t bit = 0; bit < whole.size() * 8; bit += 37) {
      std::string flipped = whole;
      flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << (bit % 8)));
      check(flipped);
    }
  }
}

TEST(SavedModel, RefusesOtherFiles) {
  EXPECT_THAT(check(""), HasSubstr("no graph tagged 'serve'"));
  EXPECT_THAT(check("#!/bin/sh\n"), HasSubstr("damaged"));
  EXPECT_THAT(check(saved_model({{kX, node("y", "Relu", {"x"})}, {}, "train"})), HasSubstr("its tags are: train"));
  EXPECT_THAT(check(num(1, 1) + msg(2, msg(1, msg(4, "serve")) + msg(2, msg(1, kX)))), HasSubstr("has no signature"));
}

class Denied : public testing::TestWithParam<const char*> {};

TEST_P(Denied, AnywhereInTheGraph) {
  const std::string op = GetParam();
  EXPECT_THAT(check(saved_model({{kX, node("y", "Relu", {"x"})}})), IsEmpty());
  // On the path of the signature, beside it, in a function that is called, and in one that is not.
  EXPECT_THAT(check(saved_model({{kX, node("bad", op, {"x"}), node("y", "Relu", {"bad"})}})), HasSubstr("operator " + op));
  EXPECT_THAT(check(saved_model({{kX, node("y", "Relu", {"x"}), node("bad", op)}})), HasSubstr("operator " + op));
  const std::string f = function("inner", {node("n", op)});
  EXPECT_THAT(check(saved_model({{kX, node("y", "PartitionedCall", {"x"}, calls("inner"))}, {f}})), HasSubstr("operator " + op));
  EXPECT_THAT(check(saved_model({{kX, node("y", "Relu", {"x"})}, {f}})), HasSubstr("operator " + op));
}

INSTANTIATE_TEST_SUITE_P(All, Denied,
                         testing::Values("ReadFile", "WriteFile", "MatchingFiles", "PyFunc", "PyFuncStateless", "EagerPyFunc",
                                         "TFRecordDatasetV2", "TextLineDataset", "FixedLengthRecordReaderV2", "WholeFileReaderV2",
                                         "InitializeTableFromTextFileV2", "CreateSummaryFileWriter", "DataServiceDatasetV4", "LMDBReader",
                                         "SaveDatasetV2", "LoadDataset", "RemoteCall", "TRTEngineOp"));

TEST(SavedModel, RefusesPrintingToAFile) {
  const std::string to_file = attribute("output_stream", msg(2, "file:///tmp/x")), to_stderr = attribute("output_stream", msg(2, "stderr"));
  EXPECT_THAT(check(saved_model({{kX, node("p", "PrintV2", {"x"}, to_file), node("y", "Relu", {"x", "^p"})}})), HasSubstr("PrintV2"));
  EXPECT_THAT(check(saved_model({{kX, node("p", "PrintV2", {"x"}, to_stderr), node("y", "Relu", {"x", "^p"})}})), IsEmpty());
}

// Every SavedModel has operators that save and restore it; they must stay where the loader alone uses them.
TEST(SavedModel, KeepsSavingAndRestoringApart) {
  const std::string save = function("save_it", {node("s", "SaveV2")}), restore = function("restore_it", {node("r", "RestoreV2")});
  const std::string saver = msg(3, msg(1, "saver_filename:0") + msg(2, "s1:0") + msg(3, "r1"));
  const std::vector<std::string> ends = {node("s1", "StatefulPartitionedCall", {}, calls("save_it")),
                                         node("r1", "StatefulPartitionedCall", {}, calls("restore_it"))};
  std::vector<std::string> nodes = {kX, node("y", "Relu", {"x"}), ends[0], ends[1]};
  EXPECT_THAT(check(saved_model({nodes, {save, restore}, "serve", saver})), IsEmpty());
  nodes[1] = node("y", "Relu", {"x", "^s1"});
  EXPECT_THAT(check(saved_model({nodes, {save, restore}, "serve", saver})), HasSubstr("reaches a SaveV2"));
  nodes[1] = node("y", "PartitionedCall", {"x"}, calls("outer"));
  const std::string outer = function("outer", {node("c", "PartitionedCall", {}, calls("restore_it"))});
  EXPECT_THAT(check(saved_model({nodes, {save, restore, outer}, "serve", saver})), HasSubstr("reaches a RestoreV2"));
  nodes[1] = node("y", "Relu", {"x"});
  const std::string saves_at_load = msg(3, msg(3, "s1"));
  EXPECT_THAT(check(saved_model({nodes, {save, restore}, "serve", saves_at_load})), HasSubstr("runs a SaveV2 operator when it is loaded"));
}

TEST(SavedModel, SaysWhichSignaturesKeepTensors) {
  SavedModel m;
  const Parts p{{kX, node("v", "VarHandleOp"), node("a", "AssignAddVariableOp", {"v", "x"}), node("y", "ReadVariableOp", {"v", "^a"})}};
  ASSERT_THAT(read_saved_model(saved_model(p), m), IsEmpty());
  EXPECT_TRUE(m.keeps_state);
}

TEST(SavedModel, EndsOnFunctionsThatCallEachOther) {
  const std::string a = function("a", {node("n", "PartitionedCall", {}, calls("b"))}),
                    b = function("b", {node("n", "PartitionedCall", {}, calls("a"))});
  EXPECT_THAT(check(saved_model({{kX, node("y", "PartitionedCall", {"x"}, calls("a"))}, {a, b}})), IsEmpty());
}

}  // namespace
}  // namespace verge::tensorflow
