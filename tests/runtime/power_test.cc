#include "runtime/power.h"

#include <gtest/gtest.h>

#include <cmath>

#include "os/process.h"
#include "chain_support.h"

namespace verge::runtime {
namespace {

// So many watts, by the clock; then it fails.
class ClockMeter final : public os::EnergyMeter {
 public:
  explicit ClockMeter(double watts) : watts_(watts) {}
  double joules() override { return broken ? -1 : watts_ * static_cast<double>(os::monotonic_ns() - start_) / 1e9; }
  std::string_view source() const override { return "clock"; }
  const std::string& about() const override { return about_; }
  std::atomic<bool> broken{false};

 private:
  double watts_;
  std::string about_ = "clock";
  uint64_t start_ = os::monotonic_ns();
};

template <typename Fn>
bool until(Fn fn) {
  const uint64_t end = os::monotonic_ns() + 20'000'000'000;
  while (!fn() && os::monotonic_ns() < end) std::this_thread::yield();
  return fn();
}

TEST(MeasuredPower, IsThatOfTheMachine) {
  auto meter = std::make_shared<ClockMeter>(8);
  MeasuredPower power(meter, 2'000'000);
  // A look that was interrupted between the meter and the clock is wrong; the next one is not.
  EXPECT_TRUE(until([&] { return std::abs(power.lane_watts() - 8) < 0.5; })) << power.lane_watts();
  meter->broken = true;
  EXPECT_TRUE(until([&] { return power.lane_watts() == 0; }));
}

// Before each look, ten times as much work is told as time has passed: whoever looks late finds more of both.
class BusyMeter final : public os::EnergyMeter {
 public:
  double joules() override {
    const uint64_t now = os::monotonic_ns(), passed = now - std::exchange(told_, now);
    if (MeasuredPower* p = power.load()) p->worked(10 * passed);
    return clock_.joules();
  }
  std::string_view source() const override { return clock_.source(); }
  const std::string& about() const override { return clock_.about(); }
  std::atomic<MeasuredPower*> power{nullptr};

 private:
  ClockMeter clock_{8};
  uint64_t told_ = os::monotonic_ns();
};

TEST(MeasuredPower, IsSharedByTheLanesThatWork) {
  auto meter = std::make_shared<BusyMeter>();
  MeasuredPower power(meter, 2'000'000);
  meter->power = &power;
  // Each lane has its tenth.
  EXPECT_TRUE(until([&] { return power.lane_watts() > 0 && power.lane_watts() < 1.2; })) << power.lane_watts();
}

TEST(LanePower, RunsThatEndInOneLookWereAtWorkInThoseBefore) {
  LanePower power;
  EXPECT_EQ(power.watts(), 0);
  // Four lanes at 8 W in all, whose runs last three looks and end together.
  for (int i = 1; i <= 300; ++i) {
    power.look(0.1, 0.8, i % 3 == 0 ? 4 * 0.3 : 0);
    if (i < 60) continue;
    EXPECT_GT(power.watts(), 1.7) << i;
    EXPECT_LT(power.watts(), 2.4) << i;
  }
  // Then one lane alone.
  for (int i = 0; i < 100; ++i) power.look(0.1, 0.8, 0.1);
  EXPECT_NEAR(power.watts(), 8, 0.1);
}

TEST(MeasuredPower, IsWhatAnswersSay) {
  ChainServer server({.energy = {.idle_watts = 1000}, .energy_meter = std::make_shared<ClockMeter>(3)});
  TestFront front(*server.runtime);
  server.serve(server.chain({.delay_us = {2000, 2000, 2000, 2000}}));
  EXPECT_TRUE(until([&] {
    ChainCall c("chain", four_exits());
    front.infer(c.request);
    EXPECT_TRUE(front.run_until([&] { return c.done; }));
    const Chosen& said = c.request.chosen;
    // Modelled it would be more than eight joules; measured it is 3 W for the eight milliseconds and what they were late.
    return said.energy_measured && said.energy_mj >= 3 * 8 * 0.8 && said.energy_mj < 8'000;
  }));
}

}  // namespace
}  // namespace verge::runtime
