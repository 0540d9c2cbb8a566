// A front that is its own lane goes on while a long run is on its way.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "support.h"

namespace verge::runtime {
namespace {

struct LongRunsTest : ::testing::Test {
  static constexpr int kSlowMs = 150;
  Server server{{.lanes = 0}};
  TestFront front{*server.runtime};
  void SetUp() override {
    server.slow_us(kSlowMs * 1000);
    server.serve(server.source("n", {Server::vector_spec("x", 4)}));
    // Both are resident, and known to take what they take.
    for (const char* variant : {"fast", "slow"}) {
      Call c;
      ask(c, variant);
      front.infer(c.request);
      ASSERT_TRUE(front.run_until([&] { return c.done; }));
      ASSERT_TRUE(c.request.status.ok()) << c.request.status.to_string();
    }
  }
  static void ask(Call& c, std::string_view variant) {
    c.to("n").input("x", {1, 4}, {1, 2, 3, 4});
    c.request.bounds.variant = variant;
  }
  void begin(Call& c, std::string_view variant) {
    if (variant == "slow") slow_until_ = after_ms(kSlowMs);
    ask(c, variant);
    front.infer(c.request);
    front.front().drain();
  }
  // A machine that stops for so long sees the run's end.
  void expect_not_yet(const Call& c) const {
    const bool done = c.done;
    if (os::monotonic_ns() < slow_until_) {
      EXPECT_FALSE(done);
    }
  }

 private:
  uint64_t slow_until_ = 0;
};

TEST_F(LongRunsTest, AShortRunIsOverWithTheTurn) {
  // On a machine that stops now and then, one run may be taken for long.
  EXPECT_EQ(in_some_try([&](int) -> std::string {
    Call c;
    begin(c, "fast");
    const bool done = c.done;
    EXPECT_TRUE(front.run_until([&] { return c.done; }));
    return done ? "" : "it was done apart";
  }), "");
}

TEST_F(LongRunsTest, WhatNeedsNoLaneIsAnsweredMeanwhile) {
  Call slow, unknown, after;
  begin(slow, "slow");
  expect_not_yet(slow);
  front.infer(unknown.to("nothing").request);
  EXPECT_TRUE(unknown.done);
  EXPECT_EQ(unknown.request.status.code(), Code::kNotFound);
  // One run at a time.
  begin(after, "fast");
  expect_not_yet(after);
  ASSERT_TRUE(front.run_until([&] { return after.done; }));
  EXPECT_TRUE(slow.done);
  EXPECT_EQ(slow.floats(), (std::vector<float>{1, 2, 3, 4}));
  EXPECT_EQ(after.floats(), (std::vector<float>{1, 2, 3, 4}));
}

TEST_F(LongRunsTest, WhatComesTooLateForTheRunIsRefusedAtOnce) {
  Call slow, late;
  begin(slow, "slow");
  ask(late, "fast");
  late.request.bounds.deadline_ns = after_ms(20);
  front.infer(late.request);
  EXPECT_TRUE(late.done);
  EXPECT_EQ(late.request.status.code(), Code::kDeadlineExceeded);
  expect_not_yet(slow);
  EXPECT_TRUE(front.run_until([&] { return slow.done; }));
}

TEST_F(LongRunsTest, WhatWaitsIsCancelledAtOnce) {
  Call slow, waits;
  begin(slow, "slow");
  begin(waits, "fast");
  server.runtime->cancel(front.front(), waits.request);
  EXPECT_TRUE(waits.done);
  EXPECT_EQ(waits.request.status.code(), Code::kCancelled);
  // What runs is not: its end comes with the run's.
  server.runtime->cancel(front.front(), slow.request);
  expect_not_yet(slow);
  EXPECT_TRUE(front.run_until([&] { return slow.done; }));
  EXPECT_EQ(slow.times, 1);
}

TEST_F(LongRunsTest, OneAfterTheOther) {
  std::vector<std::unique_ptr<Call>> calls;
  for (int i = 0; i < 6; ++i) {
    calls.push_back(std::make_unique<Call>());
    begin(*calls.back(), i % 3 == 0 ? "slow" : "fast");
  }
  ASSERT_TRUE(front.run_until([&] { return std::all_of(calls.begin(), calls.end(), [](const auto& c) { return c->done; }); }));
  for (const auto& c : calls) {
    EXPECT_TRUE(c->request.status.ok()) << c->request.status.to_string();
    EXPECT_EQ(c->times, 1);
  }
}

TEST_F(LongRunsTest, WhatComesTooLateIsToldByItsHeadWhereNothingElseWaits) {
  EXPECT_EQ(in_some_try([&](int) -> std::string {
    Call slow, late;
    begin(slow, "slow");
    ask(late, "fast");
    late.request.bounds.deadline_ns = after_ms(20);
    server.runtime->infer(front.front(), late.request);
    // Until this turn ends, the run has not come back.
    const bool crowded = front.front().crowded();
    Request head;
    head.model = "n";
    head.bounds.variant = "fast";
    head.bounds.deadline_ns = after_ms(20);
    const Status refused = server.runtime->refuse(front.front(), head);
    EXPECT_TRUE(front.run_until([&] { return slow.done && late.done; }));
    EXPECT_FALSE(front.front().crowded());
    if (late.request.status.code() != Code::kDeadlineExceeded) return "late: " + late.request.status.to_string();
    if (!crowded) return "it is not asked for";
    return refused.code() == Code::kDeadlineExceeded ? "" : "by its head: " + refused.to_string();
  }), "");
}

// Meanwhile requests may come and go as often as clients like: what is left of each stays until the run ends, so there are not more of them than on any lane.
TEST(LongRuns, WhatIsGivenUpMeanwhileIsBounded) {
  constexpr uint32_t kLimit = 2;
  Server server({.lanes = 0, .queue_limit = kLimit});
  TestFront front(*server.runtime);
  server.slow_us(50'000);
  server.serve(server.source("n", {Server::vector_spec("x", 4)}));
  const auto ask = [&](Call& c, std::string_view variant) {
    c.to("n").input("x", {1, 4}, {1, 2, 3, 4});
    c.request.bounds.variant = variant;
    server.runtime->infer(front.front(), c.request);
  };
  Call first, slow;
  front.front().drain();
  ask(first, "slow");  // which loads it
  ASSERT_TRUE(front.run_until([&] { return first.done; }));
  ask(slow, "slow");
  front.front().drain();
  uint32_t left = 0;
  for (int i = 0; i < 50; ++i) {
    Call c;
    ask(c, "fast");
    server.runtime->cancel(front.front(), c.request);
    ASSERT_EQ(c.times, 1);
    left += c.request.status.code() == Code::kCancelled ? 1 : 0;
    if (c.request.status.code() != Code::kCancelled) {
      EXPECT_EQ(c.request.status.code(), Code::kResourceExhausted) << c.request.status.to_string();
    }
  }
  EXPECT_GE(left, kLimit);
  EXPECT_LE(left, 4 * kLimit);
  // Afterwards there is room again.
  ASSERT_TRUE(front.run_until([&] { return slow.done; }));
  Call after;
  front.front().drain();
  ask(after, "fast");
  ASSERT_TRUE(front.run_until([&] { return after.done; }));
  EXPECT_TRUE(after.request.status.ok()) << after.request.status.to_string();
}

TEST_F(LongRunsTest, ItsAnswerGoesOutBeforeWhatWaitsIsRun) {
  Call slow, waits;
  begin(slow, "slow");
  begin(waits, "fast");
  const bool waited = !slow.done;
  // This returns at the end of the turn in which it was answered.
  ASSERT_TRUE(front.run_until([&] { return slow.done; }));
  if (waited) {
    EXPECT_FALSE(waits.done);
  }
  EXPECT_TRUE(front.run_until([&] { return waits.done; }));
}

// On a lane, too.
TEST(LongRuns, AFrontMayGoWhileOneIsOnItsWay) {
  for (const size_t lanes : {size_t{0}, size_t{1}}) {
    Server server({.lanes = lanes});
    server.slow_us(50'000);
    server.serve(server.source("n", {Server::vector_spec("x", 4)}));
    Call loads, slow, waits;
    {
      TestFront front(*server.runtime);
      for (Call* c : {&loads, &slow, &waits}) {
        c->to("n").input("x", {1, 4}, {1, 2, 3, 4});
        c->request.bounds.variant = "slow";
      }
      front.infer(loads.request);
      ASSERT_TRUE(front.run_until([&] { return loads.done; }));
      loads.request.release();
      front.infer(slow.request);
      front.front().drain();
      front.infer(waits.request);
      server.runtime->cancel(front.front(), waits.request);
    }
  }
}

}  // namespace
}  // namespace verge::runtime
