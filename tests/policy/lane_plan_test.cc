#include "policy/lane_plan.h"

#include <gtest/gtest.h>

namespace verge::policy {
namespace {

constexpr uint64_t kMs = 1'000'000;

// A curve whose runs of one and of eight samples take so many ms on 1, 2, … threads.
ThreadCurve curve(std::initializer_list<double> one, std::initializer_list<double> eight = {}) {
  ThreadCurve out;
  int threads = 1;
  for (const double ms : one) {
    out.push_back({1, threads, static_cast<uint64_t>(ms * 1e6), static_cast<uint64_t>(ms * 1.3e6)});
    ++threads;
  }
  threads = 1;
  for (const double ms : eight) {
    out.push_back({8, threads, static_cast<uint64_t>(ms * 1e6), static_cast<uint64_t>(ms * 1.3e6)});
    ++threads;
  }
  return out;
}

TEST(LanePlan, ThreadsAreThoseThatAnswerSoonest) {
  EXPECT_EQ(choose_threads(curve({10, 6, 5, 4.9}), 4), 3);  // the fourth brings too little
  EXPECT_EQ(choose_threads(curve({10, 6, 5, 4.9}), 2), 2);
  EXPECT_EQ(choose_threads(curve({10, 12}), 2), 1);
  EXPECT_EQ(choose_threads(curve({10, 9.8}), 2), 1);
}

TEST(LanePlan, ThreadsDoNotCostTheLaneThroughput) {
  EXPECT_EQ(choose_threads(curve({10, 8}, {20, 40}), 2), 1);
  EXPECT_EQ(choose_threads(curve({10, 8}, {40, 20}), 2), 2);
}

TEST(LanePlan, WithoutMeasurementsOneThread) {
  EXPECT_EQ(choose_threads({}, 8), 1);
  EXPECT_EQ(choose_threads(curve({10}), 8), 1);
  const ThreadCurve empty = {{1, 1, 0, 0}, {1, 2, 0, 0}};
  EXPECT_EQ(choose_threads(empty, 2), 1);
}

TEST(LanePlan, ALaneACoreIsTheRule) {
  const LaneModel m{"m", curve({10, 6}, {40, 24}), 0, {}};
  const LanePlan p = plan_lanes({&m, 1}, 2);
  EXPECT_EQ(p.lanes, 2u);
  EXPECT_EQ(p.why, LanePlan::Why::kCores);
  EXPECT_EQ(plan_lanes({&m, 1}, 1).lanes, 1u);
  EXPECT_EQ(plan_lanes({}, 4).lanes, 4u);
}

TEST(LanePlan, ThreadsThatWasteNothingMakeOneLane) {
  const LaneModel m{"m", curve({10, 5.1}, {80, 40.5}), 0, {}};
  const LanePlan p = plan_lanes({&m, 1}, 2);
  EXPECT_EQ(p.lanes, 1u);
  EXPECT_EQ(p.why, LanePlan::Why::kLatency);
  EXPECT_NEAR(p.latency, 0.51, 0.001);
  EXPECT_NEAR(p.throughput, 80 / 40.5 / 2, 0.001);
  EXPECT_NE(explain(p, 2).find("'m' takes 51 % of its time"), std::string::npos) << explain(p, 2);
}

TEST(LanePlan, OneModelThatWouldLoseKeepsTheLanes) {
  const LaneModel models[] = {{"gains", curve({10, 5}, {80, 40}), 0, {}}, {"loses", curve({1, 1}, {8, 8}), 0, {}}};
  EXPECT_EQ(plan_lanes(models, 2).lanes, 2u);
}

TEST(LanePlan, AsManyCoresEachAsPay) {
  // Up to two threads nothing is lost, four lose.
  const LaneModel m{"m", curve({10, 5, 4.5, 4}), 0, {}};
  const LanePlan p = plan_lanes({&m, 1}, 4);
  EXPECT_EQ(p.lanes, 2u);
  EXPECT_EQ(p.why, LanePlan::Why::kLatency);
}

TEST(LanePlan, ADeadlineThatOneCoreCannotMeetBuysThreads) {
  // Cautious times 13 and 7.8 ms, of 10 ms of which a tenth is kept for the way back.
  LaneModel m{"m", curve({10, 6}, {40, 24}), 10 * kMs, {}};
  const LanePlan p = plan_lanes({&m, 1}, 2);
  EXPECT_EQ(p.lanes, 1u);
  EXPECT_EQ(p.why, LanePlan::Why::kDeadline);
  EXPECT_EQ(p.model, "m");
  EXPECT_NEAR(p.throughput, 40.0 / 24 / 2, 0.001);
  EXPECT_NE(explain(p, 2).find("deadline of requests for 'm'"), std::string::npos);
  // Nothing helps: the throughput is kept.
  m.deadline_ns = 5 * kMs;
  EXPECT_EQ(plan_lanes({&m, 1}, 2).lanes, 2u);
  // It is met as it is.
  m.deadline_ns = 20 * kMs;
  EXPECT_EQ(plan_lanes({&m, 1}, 2).lanes, 2u);
}

TEST(LanePlan, AnotherVariantOrAnEarlierExitMeetsTheDeadlineToo) {
  LaneModel m{"m", curve({10, 6}, {40, 24}), 10 * kMs, {}};
  m.in_time = {curve({2, 2})};
  EXPECT_EQ(plan_lanes({&m, 1}, 2).lanes, 2u);
}

TEST(LanePlan, NoMoreCoresThanTheDeadlineNeeds) {
  const LaneModel m{"m", curve({10, 6, 4.5, 4}), 10 * kMs, {}};
  EXPECT_EQ(plan_lanes({&m, 1}, 4).lanes, 2u);
}

TEST(LanePlan, OldProfilesAndBusyMomentsChangeNothing) {
  LaneModel m{"m", curve({10}), 5 * kMs, {}};
  EXPECT_EQ(plan_lanes({&m, 1}, 2).lanes, 2u);
  EXPECT_EQ(plan_lanes({&m, 1}, 2).why, LanePlan::Why::kUnknown);
  // Two threads cannot be four times as fast as one.
  m.curve = curve({20, 5});
  EXPECT_EQ(plan_lanes({&m, 1}, 2).lanes, 2u);
  EXPECT_EQ(plan_lanes({&m, 1}, 2).why, LanePlan::Why::kUnknown);
  EXPECT_NE(explain(plan_lanes({&m, 1}, 2), 2).find("`verge profile`"), std::string::npos);
  const LaneModel unknown[] = {{"quiet", curve({10, 5.1}, {80, 40.5}), 0, {}}, {"bare", {}, 0, {}}};
  EXPECT_EQ(plan_lanes(unknown, 2).lanes, 2u);
  EXPECT_EQ(plan_lanes(unknown, 2).model, "bare");
}

TEST(LanePlan, CoresThatDoNotDivide) {
  const LaneModel m{"m", curve({9, 4.5, 3}), 0, {}};
  EXPECT_EQ(plan_lanes({&m, 1}, 3).lanes, 1u);
  // Seven cores in three lanes: reckoned with two a lane, as the narrowest has.
  const LaneModel seven{"m", curve({10, 6, 5, 5, 5, 5, 5}), 10 * kMs, {}};
  EXPECT_EQ(plan_lanes({&seven, 1}, 7).lanes, 3u);
}

}  // namespace
}  // namespace verge::policy
