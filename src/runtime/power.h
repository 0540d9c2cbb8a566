// What the machine draws, measured: kept up to date beside the requests, so that whoever needs it reads one number.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>

#include "os/energy.h"

namespace verge::runtime {

// The power of the machine while models run, shared by the lanes that work at that time: idle power included, of what passes while no model runs
// nothing is charged to anybody. A tenth of a second's measure each, smoothed over the last few.
class MeasuredPower {
 public:
  explicit MeasuredPower(std::shared_ptr<os::EnergyMeter> meter, uint64_t period_ns = 100'000'000);
  ~MeasuredPower();
  MeasuredPower(const MeasuredPower&) = delete;

  // A lane has run a model for so long. Any thread.
  void worked(uint64_t ns) { worked_ns_.fetch_add(ns, std::memory_order_relaxed); }
  // Of one lane that works; 0 until there is a first measure, and when the meter can be read no more. Any thread.
  double lane_watts() const { return watts_.load(std::memory_order_relaxed); }

 private:
  void loop();
  const std::shared_ptr<os::EnergyMeter> meter_;
  const uint64_t period_ns_;
  std::atomic<uint64_t> worked_ns_{0};
  std::atomic<double> watts_{0};
  std::mutex mutex_;
  std::condition_variable wake_;
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace verge::runtime
