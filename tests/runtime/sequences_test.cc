#include "runtime/sequences.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

namespace verge::runtime {
namespace {

constexpr uint64_t kSecond = 1'000'000'000;

// An accumulator: INPUT and the last sum in, the sum out, as Triton's `simple_sequence` is built of.
Signature network(DType id = DType::kUint64) {
  const auto tensor = [](const char* name, DType t) { return TensorSpec{name, t, Shape{-1, 1}, 0, {}}; };
  Signature s;
  s.inputs = {tensor("INPUT", DType::kInt32), tensor("START", DType::kFp32), tensor("END", DType::kBool), tensor("READY", DType::kInt32), tensor("CORRID", id),
              tensor("SUM_IN", DType::kInt32)};
  s.outputs = {tensor("OUTPUT", DType::kInt32), tensor("SUM_OUT", DType::kInt32)};
  return s;
}

SequenceSpec spec() {
  SequenceSpec s;
  s.start = "START";
  s.end = "END";
  s.ready = "READY";
  s.id = "CORRID";
  s.state = {{"SUM_IN", "SUM_OUT"}};
  return s;
}

Sequence request(uint64_t id, bool start = false, bool end = false) { return {id, {}, start, end}; }

class Sequences : public testing::Test {
 protected:
  void make(SequenceSpec s = spec(), uint32_t lanes = 1, DType id = DType::kUint64) { store = std::make_unique<SequenceStore>(std::move(s), network(id), "simple_sequence", lanes); }
  template <typename T>
  static T value(const TensorView& v) {
    T t;
    EXPECT_EQ(v.data.size(), sizeof t);
    std::memcpy(&t, v.data.data(), sizeof t);
    return t;
  }
  // What the network does with it.
  int32_t run(const SequenceTurn& turn, int32_t input) {
    std::vector<TensorView> views(store->fed_inputs().size());
    store->feed(turn, views);
    const int32_t sum = value<int32_t>(views[4]) + input;
    const TensorView out{DType::kInt32, Shape{1, 1}, std::as_bytes(std::span(&sum, 1))};
    EXPECT_TRUE(store->keep(turn, std::vector<TensorView>{out, out}).ok());
    return sum;
  }
  int32_t ask(const Sequence& s, int32_t input, uint64_t now = 0) {
    const auto turn = store->admit(s, now);
    EXPECT_TRUE(turn.ok()) << turn.status().to_string();
    if (!turn.ok()) return -1;
    const int32_t sum = run(*turn, input);
    store->finish(*turn, now);
    return sum;
  }
  std::unique_ptr<SequenceStore> store;
};

TEST_F(Sequences, StateGoesFromOneRequestToTheNextAndNotToOthers) {
  make();
  EXPECT_EQ(store->fed_inputs().size(), 5u);
  EXPECT_EQ(store->state_bytes(), 4u);
  EXPECT_EQ(ask(request(1, true), 5), 5);
  EXPECT_EQ(ask(request(2, true), 100), 100);
  EXPECT_EQ(ask(request(1), 6), 11);
  EXPECT_EQ(ask({0, "1", true, false}, 7), 7);  // the text is another id than the number
  EXPECT_EQ(ask(request(1, false, true), 1), 12);
  EXPECT_EQ(ask(request(2), 1), 101);
  EXPECT_EQ(store->size(), 2u);
  EXPECT_EQ(ask(request(2, true), 1), 1);  // begun anew
  EXPECT_EQ(store->counts().started, 4u);
  EXPECT_EQ(store->counts().ended, 1u);
}

TEST_F(Sequences, ControlsSayWhatTheRequestSays) {
  make();
  std::vector<TensorView> views(5);
  const auto first = store->admit(request(42, true), 0);
  store->feed(*first, views);
  EXPECT_EQ(value<float>(views[0]), 1.0f);
  EXPECT_EQ(value<uint8_t>(views[1]), 0);
  EXPECT_EQ(value<int32_t>(views[2]), 1);
  EXPECT_EQ(value<uint64_t>(views[3]), 42u);
  EXPECT_EQ(views[3].shape.to_string(), "[1,1]");
  store->finish(*first, 0);
  const auto last = store->admit(request(42, false, true), 0);
  store->feed(*last, views);
  EXPECT_EQ(value<float>(views[0]), 0.0f);
  EXPECT_EQ(value<uint8_t>(views[1]), 1);
  store->finish(*last, 0);
  make(spec(), 1, DType::kBytes);
  const auto text = store->admit({0, "abc", true, true}, 0);
  store->feed(*text, views);
  EXPECT_TRUE(check_tensor(views[3], "CORRID").ok());
  EXPECT_EQ(views[3].data.size(), 7u);
  store->finish(*text, 0);
  EXPECT_EQ(store->size(), 0u);
}

TEST_F(Sequences, WhatHasNotBegunIsRefusedAsClientsKnowIt) {
  make();
  EXPECT_EQ(store->admit({}, 0).status().message(), "inference request to model 'simple_sequence' must specify a non-zero or non-empty correlation ID");
  EXPECT_EQ(store->admit(request(3), 0).status().message(),
            "inference request for sequence 3 to model 'simple_sequence' must specify the START flag on the first request of the sequence");
  ask(request(3, true, true), 1);
  const auto after = store->admit(request(3), 0);
  EXPECT_EQ(after.status().code(), Code::kInvalidArgument);
  EXPECT_FALSE(store->admit({0, std::string(129, 'x'), true, false}, 0).ok());
  EXPECT_EQ(store->counts().refused, 4u);
}

TEST_F(Sequences, AfterTheLastRequestOnlyAStartGoesOnThoughItHasNotRun) {
  make();
  const auto first = store->admit(request(1, true), 0), last = store->admit(request(1, false, true), 0);
  EXPECT_FALSE(store->admit(request(1), 0).ok());
  const auto anew = store->admit(request(1, true), 0);
  ASSERT_TRUE(anew.ok());
  EXPECT_EQ(run(*first, 5), 5);
  store->finish(*first, 0);
  EXPECT_EQ(run(*last, 5), 10);
  store->finish(*last, 0);
  EXPECT_EQ(run(*anew, 1), 1);
  store->finish(*anew, 0);
  EXPECT_EQ(store->size(), 1u);
}

TEST_F(Sequences, ARunThatFailedLeavesTheStateAsItWas) {
  make();
  EXPECT_EQ(ask(request(1, true), 5), 5);
  const auto failed = store->admit(request(1), 0);
  store->finish(*failed, 0);
  EXPECT_EQ(ask(request(1), 1), 6);
  const auto odd = store->admit(request(1), 0);
  const int32_t two[2] = {1, 2};
  const TensorView wrong{DType::kInt32, Shape{2, 1}, std::as_bytes(std::span(two))};
  EXPECT_EQ(store->keep(*odd, std::vector<TensorView>{wrong, wrong}).code(), Code::kInternal);
  store->finish(*odd, 0);
  EXPECT_EQ(ask(request(1), 1), 7);
}

TEST_F(Sequences, IdleOnesAreForgotten) {
  auto s = spec();
  s.idle_seconds = 2;
  make(s);
  ask(request(1, true), 1, 0);
  ask(request(2, true), 1, kSecond);
  EXPECT_EQ(store->expire(kSecond), 2 * kSecond);
  ask(request(1), 1, kSecond + 1);
  EXPECT_EQ(store->expire(3 * kSecond), 3 * kSecond + 1);  // 2 has gone
  EXPECT_EQ(store->size(), 1u);
  EXPECT_FALSE(store->admit(request(2), 3 * kSecond).ok());
  EXPECT_EQ(store->counts().evicted_idle, 1u);
  // One with a request waiting is not idle.
  const auto turn = store->admit(request(1), 3 * kSecond);
  EXPECT_EQ(store->expire(100 * kSecond), UINT64_MAX);
  store->finish(*turn, 100 * kSecond);
  EXPECT_EQ(store->expire(100 * kSecond), 102 * kSecond);
}

TEST_F(Sequences, TheirNumberIsBounded) {
  auto s = spec();
  s.limit = 2;
  make(s);
  ask(request(1, true), 1);
  ask(request(2, true), 1);
  ask(request(1), 1);
  ask(request(3, true), 1);  // in the place of 2
  EXPECT_FALSE(store->admit(request(2), 0).ok());
  EXPECT_EQ(store->counts().evicted_room, 1u);
  const auto a = store->admit(request(1), 0), b = store->admit(request(3), 0);
  EXPECT_EQ(store->admit(request(4, true), 0).status().code(), Code::kResourceExhausted);
  store->finish(*a, 0);
  EXPECT_TRUE(store->admit(request(4, true), 0).ok());
  store->finish(*b, 0);
}

TEST_F(Sequences, EachStaysOnItsLaneAndTheyAreDealtOut) {
  make(spec(), 2);
  std::vector<uint32_t> lanes;
  for (uint64_t id = 1; id <= 4; ++id) {
    const auto turn = store->admit(request(id, true), 0);
    lanes.push_back(turn->lane);
    store->finish(*turn, 0);
  }
  EXPECT_EQ(std::count(lanes.begin(), lanes.end(), 0u), 2);
  for (uint64_t id = 1; id <= 4; ++id) {
    const auto turn = store->admit(request(id), 0);
    EXPECT_EQ(turn->lane, lanes[id - 1]);
    store->finish(*turn, 0);
  }
}

TEST(SequenceSpec, HasToFitTheNetwork) {
  EXPECT_TRUE(check_sequence(spec(), network()).ok());
  const auto refused = [](const SequenceSpec& s, const char* part) {
    const Status status = check_sequence(s, network());
    EXPECT_NE(status.message().find(part), std::string::npos) << status.to_string();
  };
  auto s = spec();
  s.start = "NONE";
  refused(s, "takes no 'NONE'");
  s = spec();
  s.end = "START";
  refused(s, "named twice");
  s = spec();
  s.start = "CORRID";
  refused(s, "BOOL, INT32 or FP32");
  s = spec();
  s.id = "START";
  refused(s, "INT64");
  s = spec();
  s.state = {{"SUM_IN", "NONE"}};
  refused(s, "gives no 'NONE'");
  s = spec();
  s.state = {{"START", "OUTPUT"}};
  refused(s, "differ in type");
  s = spec();
  s.state.push_back({"INPUT", "SUM_OUT"});
  refused(s, "named twice");
  auto free = network();
  free.inputs[5].shape = free.outputs[1].shape = Shape{-1, -1};
  EXPECT_NE(check_sequence(spec(), free).message().find("free dimension"), std::string::npos);
}

TEST(SequenceSpec, IsReadAsItIsPrinted) {
  const Json j = sequence_json(spec());
  const auto again = parse_sequence(j, "sequence");
  ASSERT_TRUE(again.ok()) << again.status().to_string();
  EXPECT_EQ(sequence_json(*again).dump(), j.dump());
  for (const char* bad : {R"({"controls":{"start":3}})", R"({"state":[{"input":"a"}]})", R"({"state":[{"input":"a","output":"b","initial":"ones"}]})", R"({"limit":0})",
                          R"({"idle_seconds":0})", R"({"idle_seconds":1e9})", R"({"state":{}})"}) {
    EXPECT_FALSE(parse_sequence(Json::parse(bad), "sequence").ok()) << bad;
  }
}

}  // namespace
}  // namespace verge::runtime
