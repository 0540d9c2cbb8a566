#include "runtime/power.h"

#include <chrono>

#include "os/process.h"

namespace verge::runtime {

MeasuredPower::MeasuredPower(std::shared_ptr<os::EnergyMeter> meter, uint64_t period_ns)
    : meter_(std::move(meter)), period_ns_(period_ns), thread_([this] { loop(); }) {}

MeasuredPower::~MeasuredPower() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

void MeasuredPower::loop() {
  LanePower power;
  uint64_t then = os::monotonic_ns();
  double joules = meter_->joules();
  std::unique_lock lock(mutex_);
  while (!wake_.wait_for(lock, std::chrono::nanoseconds(period_ns_), [this] { return stop_; })) {
    const uint64_t now = os::monotonic_ns();
    const double used = meter_->joules();
    if (joules < 0 || used < 0) {
      watts_.store(0, std::memory_order_relaxed);
      return;
    }
    // Counters that have not moved yet say nothing: the next look covers both periods.
    if (used <= joules) continue;
    power.look(static_cast<double>(now - then) / 1e9, used - joules, static_cast<double>(worked_ns_.exchange(0, std::memory_order_relaxed)) / 1e9);
    watts_.store(power.watts(), std::memory_order_relaxed);
    then = now;
    joules = used;
  }
}

}  // namespace verge::runtime
