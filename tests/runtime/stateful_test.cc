// Sequences through the runtime: controls and state reach the network, requests keep their order, and nothing is left behind.
#include "support.h"

namespace verge::runtime {
namespace {

// The identity network with the inputs x, start and last. What it gives as x is the next request's `last`.
class Stateful : public testing::TestWithParam<size_t> {
 protected:
  Stateful() : server({.lanes = GetParam()}), front(*server.runtime) {
    const auto one = [](const char* name) { return TensorSpec{name, DType::kFp32, Shape{-1, 1}, 0, {}}; };
    auto source = server.source("s", {one("x"), one("start"), one("last")});
    Manifest& m = source->manifest;
    m.inputs = {{one("x"), "x", {}}};
    m.sequence.start = "start";
    m.sequence.state = {{"last", "x"}};
    m.sequence.limit = 4;
    server.serve(source);
    front.front().drain();
  }
  std::unique_ptr<Call> call(uint64_t id, float x, bool start = false, bool end = false) {
    auto c = std::make_unique<Call>();
    c->to("s").input("x", {1, 1}, {x});
    c->request.sequence = {id, {}, start, end};
    return c;
  }
  // x, start, last as the network saw them.
  std::vector<float> ask(uint64_t id, float x, bool start = false, bool end = false) {
    auto c = call(id, x, start, end);
    front.infer(c->request);
    EXPECT_TRUE(front.run_until([&] { return c->done; }));
    EXPECT_TRUE(c->request.status.ok()) << c->request.status.to_string();
    std::vector<float> seen;
    for (size_t i = 0; i < c->request.outputs.size(); ++i) seen.push_back(c->floats(i)[0]);
    return seen;
  }
  Status refused(Call& c) {
    front.infer(c.request);
    EXPECT_TRUE(front.run_until([&] { return c.done; }));
    return c.request.status;
  }
  Server server;
  TestFront front;
};
INSTANTIATE_TEST_SUITE_P(Placement, Stateful, testing::Values(0, 1, 2));

TEST_P(Stateful, ControlsAndStateReachTheNetworkBySequence) {
  EXPECT_EQ(ask(7, 10, true), (std::vector<float>{10, 1, 0}));
  EXPECT_EQ(ask(8, 20, true), (std::vector<float>{20, 1, 0}));
  EXPECT_EQ(ask(7, 11), (std::vector<float>{11, 0, 10}));
  EXPECT_EQ(ask(8, 21), (std::vector<float>{21, 0, 20}));
  EXPECT_EQ(ask(7, 12, false, true), (std::vector<float>{12, 0, 11}));
  auto over = call(7, 13);
  EXPECT_EQ(refused(*over).code(), Code::kInvalidArgument);
  EXPECT_EQ(ask(7, 14, true), (std::vector<float>{14, 1, 0}));
  EXPECT_EQ(ask(8, 22, true), (std::vector<float>{22, 1, 0}));  // begun anew
}

TEST_P(Stateful, RequestsSentAheadRunInTheirOrder) {
  constexpr int kSequences = 3, kEach = 30;
  std::vector<std::unique_ptr<Call>> calls;
  for (int i = 0; i < kEach; ++i) {
    for (uint64_t s = 1; s <= kSequences; ++s) {
      calls.push_back(call(s, static_cast<float>(i + 1), i == 0));
      calls.back()->request.flow = static_cast<uint32_t>(i);  // over many connections
      calls.back()->request.bounds.priority = static_cast<uint64_t>(i % 7);
      server.runtime->infer(front.front(), calls.back()->request);
    }
  }
  ASSERT_TRUE(front.run_until([&] { return std::all_of(calls.begin(), calls.end(), [](const auto& c) { return c->done; }); }));
  for (size_t i = 0; i < calls.size(); ++i) {
    ASSERT_TRUE(calls[i]->request.status.ok()) << calls[i]->request.status.to_string();
    EXPECT_EQ(calls[i]->floats(2)[0], static_cast<float>(i / kSequences)) << i;
  }
}

TEST_P(Stateful, WhatCannotBeARequestOfASequenceIsRefused) {
  auto none = call(0, 1), unknown = call(9, 1), two = call(9, 1, true);
  two->input("x", {2, 1}, {1, 2});
  EXPECT_EQ(refused(*none).code(), Code::kInvalidArgument);
  EXPECT_NE(refused(*unknown).message().find("START"), std::string::npos);
  EXPECT_NE(refused(*two).message().find("one sample"), std::string::npos);
  EXPECT_NE(server.runtime->metrics_text().find("reason=\"sequence\"} 3"), std::string::npos);
}

TEST_P(Stateful, CancelledRequestsLeaveNothingBehind) {
  for (uint64_t id = 1; id <= 40; ++id) {  // ten times as many as may be in progress
    auto c = call(id, 1, true);
    server.runtime->infer(front.front(), c->request);
    server.runtime->cancel(front.front(), c->request);
    ASSERT_TRUE(front.run_until([&] { return c->done; }));
  }
  EXPECT_EQ(ask(100, 5, true)[0], 5);
}

}  // namespace
}  // namespace verge::runtime
