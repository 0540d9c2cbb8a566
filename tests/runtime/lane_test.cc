#include "runtime/lane.h"

#include "runtime/table.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <semaphore>
#include <thread>
#include <vector>

namespace verge::runtime {
namespace {

// Not hidden by testing::Test::Run.
using Work = runtime::Run;

// What lanes need of a variant to queue its runs.
Resident& some_variant() {
  static Resident resident;
  if (resident.groups == nullptr) {
    resident.groups = std::make_unique<LaneGroup[]>(4);
    resident.predictors = std::make_unique<Predictor[]>(4);
  }
  return resident;
}

std::vector<Work> some_runs(size_t n) {
  std::vector<Work> runs(n);
  for (Work& run : runs) run.resident = &some_variant();
  return runs;
}

// A lane that serves one run after the other.
struct OneLane {
  explicit OneLane(std::function<void(Work*)> serve) {
    Lane::Work work;
    work.serve = [serve](std::vector<Work*>& batch) {
      for (Work* run : batch) serve(run);
    };
    work.end = [](Work*) {};
    lanes.push_back(std::make_unique<Lane>(0, std::vector<int>(), std::vector<TenantOptions>(1), std::move(work)));
    lanes[0]->start(lanes);
  }
  Lane& lane() { return *lanes[0]; }
  std::vector<std::unique_ptr<Lane>> lanes;
};

TEST(Mailbox, KeepsTheOrderAndTellsTheFirst) {
  Work a, b, c;
  Mailbox<Work> box;
  EXPECT_TRUE(box.push(&a));
  EXPECT_FALSE(box.push(&b));
  EXPECT_FALSE(box.push(&c));
  Work* list = box.take_all();
  EXPECT_EQ(list, &a);
  EXPECT_EQ(list->next, &b);
  EXPECT_EQ(list->next->next, &c);
  EXPECT_EQ(box.take_all(), nullptr);
  EXPECT_TRUE(box.push(&a));
}

TEST(Lane, RunsWhatManyThreadsSubmitAndKeepsEachOnesOrder) {
  constexpr int kThreads = 4, kEach = 5000;
  std::vector<std::vector<Work>> runs(kThreads);
  std::vector<uint64_t> last(kThreads, 0);
  std::atomic<int> served{0};
  std::binary_semaphore all{0};
  bool ordered = true;
  OneLane one([&](Work* run) {
    ordered &= run->queued_ns > last[run->variant];
    last[run->variant] = run->queued_ns;
    if (served.fetch_add(1) + 1 == kThreads * kEach) all.release();
  });
  Lane& lane = one.lane();
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    runs[static_cast<size_t>(t)] = some_runs(kEach);
    threads.emplace_back([&, t] {
      for (int i = 0; i < kEach; ++i) {
        Work& run = runs[static_cast<size_t>(t)][static_cast<size_t>(i)];
        run.variant = run.flow = static_cast<uint32_t>(t);
        run.queued_ns = static_cast<uint64_t>(i) + 1;
        ASSERT_TRUE(lane.submit(&run, 1'000'000));
      }
    });
  }
  for (auto& t : threads) t.join();
  all.acquire();
  EXPECT_TRUE(ordered);
  EXPECT_EQ(lane.waiting(), 0u);
}

TEST(Lane, RefusesAtTheLimit) {
  std::binary_semaphore begun{0}, go{0};
  std::vector<Work> runs = some_runs(4);
  std::atomic<int> served{0};
  {
    OneLane one([&](Work*) {
      if (served.fetch_add(1) == 0) {
        begun.release();
        go.acquire();
      }
    });
    Lane& lane = one.lane();
    ASSERT_TRUE(lane.submit(&runs[0], 2));
    begun.acquire();
    EXPECT_TRUE(lane.submit(&runs[1], 2));
    EXPECT_TRUE(lane.submit(&runs[2], 2));
    EXPECT_FALSE(lane.submit(&runs[3], 2));
    EXPECT_EQ(lane.waiting(), 2u);
    EXPECT_FALSE(lane.try_borrow());
    go.release();
  }
  EXPECT_EQ(served.load(), 3);
}

// Threads borrow the lane and submit to it at the same time: nobody is ever inside together, and nothing is lost.
TEST(Lane, BorrowersAndItsThreadExcludeEachOther) {
  constexpr int kThreads = 3, kEach = 4000;
  std::atomic<int> inside{0}, served{0}, borrowed{0};
  std::atomic<bool> overlapped{false};
  std::atomic<int> left{kThreads * kEach};
  std::binary_semaphore all{0};
  const auto enter = [&] {
    if (inside.fetch_add(1) != 0) overlapped = true;
    inside.fetch_sub(1);
  };
  std::vector<std::vector<Work>> runs(kThreads);
  for (auto& r : runs) r = some_runs(kEach);
  OneLane one([&](Work*) {
    enter();
    ++served;
    if (left.fetch_sub(1) == 1) all.release();
  });
  Lane& lane = one.lane();
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kEach; ++i) {
        if (i % 2 == 0 && lane.try_borrow()) {
          enter();
          ++borrowed;
          lane.give_back();
          if (left.fetch_sub(1) == 1) all.release();
        } else {
          ASSERT_TRUE(lane.submit(&runs[static_cast<size_t>(t)][static_cast<size_t>(i)], 1'000'000));
        }
      }
    });
  }
  for (auto& t : threads) t.join();
  all.acquire();
  EXPECT_FALSE(overlapped);
  EXPECT_EQ(served + borrowed, kThreads * kEach);
}

// One lane is stuck; what waits in front of it is done by the other one, but for what is pinned.
TEST(Lane, AnIdleOneTakesOverFromABusyOne) {
  std::binary_semaphore begun{0}, go{0}, moved{0}, poked{0};
  std::counting_semaphore<> rest{0};
  std::vector<Work> runs = some_runs(6);
  Work *stuck = &runs[0], *free_one = &runs[1], *tied = &runs[2], *poke = &runs[3], *beside = &runs[4], *again = &runs[5];
  tied->pinned = stuck->pinned = true;
  std::atomic<uint32_t> ran_on{99};
  std::vector<std::unique_ptr<Lane>> lanes;
  for (uint32_t i = 0; i < 2; ++i) {
    Lane::Work work;
    work.serve = [&](std::vector<Work*>& batch) {
      for (Work* run : batch) {
        if (run == stuck) {
          begun.release();
          go.acquire();
        }
        if (run == free_one) {
          ran_on = run->lane();
          moved.release();
        }
        if (run == tied || run == beside) rest.release();
        if (run == again) poked.release();
      }
    };
    work.end = [](Work*) {};
    lanes.push_back(std::make_unique<Lane>(i, std::vector<int>(), std::vector<TenantOptions>(1), std::move(work)));
  }
  for (auto& lane : lanes) lane->start(lanes);
  ASSERT_TRUE(lanes[0]->submit(stuck, 10));
  begun.acquire();
  ASSERT_TRUE(lanes[0]->submit(free_one, 10));
  ASSERT_TRUE(lanes[1]->submit(poke, 10));  // wakes it; then it has nothing to do
  moved.acquire();
  EXPECT_EQ(ran_on, 1u);
  // Nothing is taken from among pinned runs.
  ASSERT_TRUE(lanes[0]->submit(tied, 10));
  ASSERT_TRUE(lanes[0]->submit(beside, 10));
  ASSERT_TRUE(lanes[1]->submit(again, 10));
  poked.acquire();
  lanes[1]->stop();  // it has looked for more to do before it ends
  EXPECT_EQ(lanes[0]->waiting(), 2u);
  go.release();
  rest.acquire();
  rest.acquire();
  EXPECT_EQ(lanes[0]->waiting() + lanes[1]->waiting(), 0u);
  for (auto& lane : lanes) lane->stop();
}

TEST(Lane, ARunIsClaimedOrGivenUpNeverBoth) {
  for (int i = 0; i < 2000; ++i) {
    Work run;
    run.enter(3);
    bool claimed = false, gone = false;
    std::thread a([&] { claimed = run.claim(); });
    gone = run.give_up();
    a.join();
    ASSERT_NE(claimed, gone);
    EXPECT_EQ(run.lane(), 3u);
    EXPECT_FALSE(run.move_to(1));
  }
}

}  // namespace
}  // namespace verge::runtime
