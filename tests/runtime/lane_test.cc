#include "runtime/lane.h"

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
  Lane lane(0, {}, [&](Work* run) {
    ordered &= run->queued_ns > last[run->variant];
    last[run->variant] = run->queued_ns;
    if (served.fetch_add(1) + 1 == kThreads * kEach) all.release();
  });
  lane.start();
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    runs[static_cast<size_t>(t)] = std::vector<Work>(kEach);
    threads.emplace_back([&, t] {
      for (int i = 0; i < kEach; ++i) {
        Work& run = runs[static_cast<size_t>(t)][static_cast<size_t>(i)];
        run.variant = static_cast<uint32_t>(t);
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
  std::vector<Work> runs(4);
  std::atomic<int> served{0};
  {
    Lane lane(0, {}, [&](Work*) {
      if (served.fetch_add(1) == 0) {
        begun.release();
        go.acquire();
      }
    });
    lane.start();
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
  for (auto& r : runs) r = std::vector<Work>(kEach);
  Lane lane(0, {}, [&](Work*) {
    enter();
    ++served;
    if (left.fetch_sub(1) == 1) all.release();
  });
  lane.start();
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

}  // namespace
}  // namespace verge::runtime
