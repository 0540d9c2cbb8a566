#include "net/loop.h"

#include <gtest/gtest.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

namespace verge::net {
namespace {

constexpr uint64_t kStepNs = 30'000;
constexpr int kStepsInAShare = 2;  // of kStepNs, in what a turn has for those aside: the one during which it ends is the last

// Always ready; each step takes a while, and a machine that stalls makes it longer only.
struct Busy final : EventHandler {
  Busy() : fd(eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC)) {}
  ~Busy() { close(fd); }
  void on_event(uint32_t) override {
    ++steps;
    if (on_step) on_step();
    for (const uint64_t end = now_ns() + takes_ns; now_ns() < end;) {
    }
  }
  const int fd;
  uint64_t takes_ns = 0;
  int steps = 0;
  std::function<void()> on_step;
};

std::unique_ptr<Loop> make_loop() {
  auto made = Loop::create();
  EXPECT_TRUE(made.ok());
  return std::move(made).value();
}

constexpr auto kNoTimer = [] { return UINT64_MAX; };

TEST(LoopTest, ThoseAsideHaveAShareOfATurn) {
  const auto loop = make_loop();
  Busy good;
  std::vector<std::unique_ptr<Busy>> strangers;
  ASSERT_TRUE(loop->add(good.fd, EPOLLIN, &good, Loop::Place::kFirst).ok());
  for (int i = 0; i < 100; ++i) {
    strangers.push_back(std::make_unique<Busy>());
    strangers.back()->takes_ns = kStepNs;
    ASSERT_TRUE(loop->add(strangers.back()->fd, EPOLLIN, strangers.back().get(), Loop::Place::kAside).ok());
  }
  const auto steps = [&] {
    int n = 0;
    for (const auto& s : strangers) n += s->steps;
    return n;
  };
  int turns = 0, before = 0, most = 0;
  loop->run(
      [&] {
        ++turns;
        EXPECT_EQ(good.steps, turns);
        most = std::max(most, steps() - std::exchange(before, steps()));
        const auto waits = [](const auto& s) { return s->steps < 2; };
        if (std::none_of(strangers.begin(), strangers.end(), waits)) loop->stop();
      },
      kNoTimer);
  EXPECT_LE(most, kStepsInAShare);
  EXPECT_GE(turns, 2 * 100 / kStepsInAShare);
  // One after another: nobody is forgotten.
  for (const auto& s : strangers) EXPECT_LE(s->steps, 3);
}

TEST(LoopTest, OneAsideHasOneStepATurn) {
  const auto loop = make_loop();
  Busy stranger;
  ASSERT_TRUE(loop->add(stranger.fd, EPOLLIN, &stranger, Loop::Place::kAside).ok());
  int turns = 0;
  loop->run(
      [&] {
        EXPECT_EQ(stranger.steps, ++turns);
        if (turns == 10) loop->stop();
      },
      kNoTimer);
}

TEST(LoopTest, OneAsideMayRemoveAnother) {
  const auto loop = make_loop();
  Busy a, b, good;
  for (Busy* s : {&a, &b}) ASSERT_TRUE(loop->add(s->fd, EPOLLIN, s, Loop::Place::kAside).ok());
  ASSERT_TRUE(loop->add(good.fd, EPOLLIN, &good, Loop::Place::kFirst).ok());
  a.on_step = [&] { loop->remove(b.fd, &b, Loop::Place::kAside); };
  b.on_step = [&] { loop->remove(a.fd, &a, Loop::Place::kAside); };
  loop->run(
      [&] {
        if (good.steps == 5) loop->stop();
      },
      kNoTimer);
  EXPECT_TRUE(a.steps == 0 || b.steps == 0);
  EXPECT_GE(a.steps + b.steps, 4);
}

TEST(LoopTest, TimersThatAreDueTogetherFireOverTurns) {
  struct Counted final : Timer {
    void on_timer() override { ++*fired; }
    int* fired = nullptr;
  };
  const auto loop = make_loop();
  TimerList list(0);
  loop->add_timers(&list);
  int fired = 0, before = 0, most = 0;
  std::vector<Counted> timers(100);
  for (Counted& t : timers) {
    t.fired = &fired;
    list.arm(t, now_ns());
  }
  loop->run(
      [&] {
        most = std::max(most, fired - std::exchange(before, fired));
        if (fired == 100) loop->stop();
      },
      kNoTimer);
  EXPECT_GT(most, 0);
  EXPECT_LE(most, 8);
}

}  // namespace
}  // namespace verge::net
