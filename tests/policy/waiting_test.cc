// How long those who come will wait, and who is turned away for it.
#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "policy/dispatch.h"
#include "policy/fair_order.h"
#include "policy/lane_queue.h"
#include "policy/wait_ratio.h"

namespace verge::policy {
namespace {

constexpr uint64_t kMs = 1'000'000;

TEST(WaitRatio, IsWhatWaitsTurnOutToBeAllButAlways) {
  WaitRatio r;
  uint64_t now = 1000 * kMs;
  const double unknown = r.cautious(now);
  EXPECT_GE(unknown, 1);
  EXPECT_LE(unknown, 1.5);
  const auto learn = [&](uint64_t expected, uint64_t waited, uint64_t run, int times) {
    for (int i = 0; i < times; ++i) r.learn(expected, waited, run, now += kMs);
  };
  learn(1000, 50 * kMs, 100, 500);  // too short to say anything
  learn(20 * kMs, 50 * kMs, 6 * kMs, 500);  // of too few runs
  EXPECT_EQ(r.cautious(now), unknown);
  for (int i = 0; i < 2000; ++i) learn(20 * kMs, (i % 10 == 0 ? 30 : 20) * kMs, kMs, 1);
  EXPECT_GE(r.cautious(now), 1.3);
  EXPECT_LE(r.cautious(now), 2);
  learn(20 * kMs, 10 * kMs, kMs, 5000);
  EXPECT_EQ(r.cautious(now), 1);  // it never says that less is ahead than there is
  learn(20 * kMs, 2000 * kMs, kMs, 5000);
  EXPECT_EQ(r.cautious(now), WaitRatio::kMost);
  // It lets in only who waits too little to be learned from, and must not stay so for ever.
  EXPECT_NEAR(r.cautious(now + 60'000 * kMs), unknown, 0.01);
  now += 60'000 * kMs;
  learn(20 * kMs, 20 * kMs, kMs, 1);
  EXPECT_LE(r.cautious(now), 1.3);
}

// Of a tenant with the least weight, a fortnight of work is more virtual time than a place has bits for: the priorities above them must not be touched.
TEST(FairOrder, PrioritiesOutliveAnyAmountOfWork) {
  FairOrder order({0.001, 1});
  constexpr uint64_t kHour = uint64_t{3600} * 1'000'000'000;
  for (int i = 0; i < 24 * 60; ++i) {
    const uint64_t urgent = order.enter(1, 0, 1, kHour), other = order.enter(2, 1, 2, kHour);
    ASSERT_LT(urgent, other) << "after " << i << " hours";
    order.leave(urgent, 0, 1);
    order.leave(other, 1, 2);
  }
}

TEST(DueNs, KeepsTimeForTheWayBackAndForAWaitThatNobodySaw) {
  EXPECT_EQ(due_ns(100 * kMs, 200 * kMs), 195 * kMs);
  EXPECT_EQ(due_ns(100 * kMs, 120 * kMs), 118 * kMs);
  EXPECT_EQ(due_ns(100 * kMs, 200 * kMs, 4 * kMs), 191 * kMs);
  EXPECT_EQ(due_ns(100 * kMs, 200 * kMs, 90 * kMs), 185 * kMs);  // what is fresh is not taken for old
  EXPECT_EQ(due_ns(100 * kMs, 90 * kMs, 4 * kMs), 90 * kMs);
}

constexpr uint64_t kNobodyHurries = UINT64_MAX;

TEST(Turn, EndsWhenItsAnswersAreWorthSendingOrMustLeave) {
  constexpr uint64_t kUs = 1000;
  Turn turn(0, kNobodyHurries);
  turn.answered(1, 0, 0);
  EXPECT_FALSE(turn.over(1000 * kUs + 149 * kUs, 1000 * kUs, 20 * kUs));
  EXPECT_TRUE(turn.over(1000 * kUs + 151 * kUs, 1000 * kUs, 20 * kUs));
  for (uint32_t connection = 2; connection <= 8; ++connection) turn.answered(connection, 0, 0);
  EXPECT_FALSE(turn.over(1900 * kUs, 1000 * kUs, 20 * kUs));
  // One that is there by 1.4 ms and must be with its client by 1.6 ms: the next run would keep it beyond 1.5 ms.
  turn.answered(9, 1400 * kUs, 1600 * kUs);
  EXPECT_FALSE(turn.over(1470 * kUs, 1000 * kUs, 20 * kUs));
  EXPECT_TRUE(turn.over(1490 * kUs, 1000 * kUs, 20 * kUs));
  // Where much waits, groups are larger, but no answer is kept past its deadline for that.
  Turn busy(uint64_t{100} * kMs, kNobodyHurries);
  busy.answered(1, 60 * kMs, 64 * kMs);
  EXPECT_FALSE(busy.over(53 * kMs, 50 * kMs, kMs));
  Turn late(uint64_t{100} * kMs, kNobodyHurries);
  late.answered(1, 51 * kMs, 52 * kMs);
  EXPECT_TRUE(late.over(51 * kMs, 50 * kMs, kMs));
  // Nothing waits unseen for more than an eighth of what those in a hurry give.
  Turn hurried(uint64_t{100} * kMs, 8 * kMs);
  hurried.answered(1, 0, 0);
  EXPECT_FALSE(hurried.over(51 * kMs, 50 * kMs, kMs / 10));
  EXPECT_TRUE(hurried.over(51 * kMs + 1, 50 * kMs, kMs / 10));
}

TEST(ShortestTime, IsOfLate) {
  ShortestTime shortest;
  shortest.turn_begins();
  EXPECT_EQ(shortest.ns(), kNobodyHurries);
  shortest.note(40 * kMs);
  shortest.note(50 * kMs);
  EXPECT_EQ(shortest.ns(), 40 * kMs);
  for (int i = 0; i < 45; ++i) shortest.turn_begins();
  EXPECT_NEAR(static_cast<double>(shortest.ns()), 80e6, 2e6);
  shortest.note(50 * kMs);
  EXPECT_EQ(shortest.ns(), 50 * kMs);
  for (int i = 0; i < 5000; ++i) shortest.turn_begins();
  EXPECT_EQ(shortest.ns(), kNobodyHurries);
}

struct Waiting {
  uint32_t priority = 4, tenant = 0, flow = 0;
  uint64_t due_ns = 0, place = 0, ahead_ns = 0, cost_ns = 10 * kMs, shape_key = 0;
  int64_t batch = 1;
  bool joins = false, probes = false, waits = true, hopeless = false;
  WaitingGroup<Waiting>* in = nullptr;
  WaitingGroup<Waiting>& group() const { return *in; }
  int64_t most_rows() const { return 1; }
  uint64_t needs_ns() const { return 0; }
  bool goes_alone() const { return true; }
  bool is_waiting() const { return waits; }
  bool claim() { return std::exchange(waits, false); }
  void end_hopeless(uint64_t) { hopeless = true; }
};
struct Ended {
  std::vector<Waiting*> runs;
  void push(Waiting* w) { runs.push_back(w); }
};

class Lane : public testing::Test {
 protected:
  Lane() {
    for (int i = 0; i < 8; ++i) group.curve.learn(1, 10 * kMs);
  }
  Waiting& comes(uint32_t flow, uint64_t due = 0) {
    made.push_back(std::make_unique<Waiting>());
    Waiting& w = *made.back();
    w.flow = flow;
    w.due_ns = due;
    w.in = &group;
    places.comes(w.cost_ns);
    places.held.fetch_add(1);
    return w;
  }
  LanePlaces places;
  WaitingGroup<Waiting> group;
  LaneQueue<Waiting> queue{places, {1}};
  std::vector<std::unique_ptr<Waiting>> made;
};

TEST_F(Lane, TurnsAwayByPlaceAndTime) {
  for (int i = 0; i < 10; ++i) queue.push(&comes(1), 0);
  const auto ahead = [&](uint32_t priority, uint32_t flow, uint64_t due) {
    return queue.too_much_ahead({.priority = priority, .tenant = 0, .flow = flow, .due_ns = due, .needed_ns = 10 * kMs}, 0);
  };
  EXPECT_EQ(ahead(4, 1, 500 * kMs), 0u);
  EXPECT_GE(ahead(4, 1, 60 * kMs), 100 * kMs);
  EXPECT_GE(ahead(4, 1, 40 * kMs), 100 * kMs);  // what was found once holds for who has less time
  EXPECT_EQ(ahead(4, 1, 500 * kMs), 0u);        // and for nobody who has more,
  EXPECT_EQ(ahead(4, 2, 60 * kMs), 0u);         // or a better place,
  EXPECT_EQ(ahead(1, 1, 60 * kMs), 0u);
  EXPECT_GE(ahead(4, 1, 60 * kMs), 100 * kMs);
  std::vector<Waiting*> batch;
  Ended ended;
  for (int i = 0; i < 8; ++i) ASSERT_TRUE(queue.take(static_cast<uint64_t>(i) * 10 * kMs, batch, ended).any);
  EXPECT_EQ(ahead(4, 1, 60 * kMs), 0u);  // nor once others have left
}

// The ratio is learned from the waits of those whose time was short.
TEST_F(Lane, AdmitsLessWhereWaitsTurnOutLonger) {
  uint64_t now = 0;
  std::vector<Waiting*> batch;
  Ended ended;
  const auto admitted = [&] {
    int n = 0;
    while (n < 1000) {
      Waiting& w = comes(1, now + 400 * kMs);
      if (queue.comes_too_late(w, now)) {
        places.goes(w.cost_ns);
        places.held.fetch_sub(1);
        break;
      }
      queue.push(&w, now);
      ++n;
    }
    return n;
  };
  const int first = admitted();
  EXPECT_GE(first, 30);
  EXPECT_LE(first, 39);
  int later = 0;
  for (int round = 0; round < 40; ++round) {
    while (!queue.empty()) {
      // Every other run takes twice its time, in stretches that no mean shows.
      now += round % 2 == 0 ? 10 * kMs : 20 * kMs;
      queue.take(now, batch, ended);
    }
    later = admitted();
  }
  EXPECT_LT(later, first);
  EXPECT_GE(later, 5);
}

}  // namespace
}  // namespace verge::policy
