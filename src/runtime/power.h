// What the machine draws, measured: kept up to date beside the requests, so that whoever needs it reads one number.
#pragma once

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>

#include "os/energy.h"

namespace verge::runtime {

// The power of one lane that works, of looks at a meter: each counts nine tenths of the one after it. Runs of several lanes that end in different looks are set against the same second or so
// of energy; of runs much longer than ten looks, looks in which none ends still take one lane for all.
class LanePower {
 public:
  void look(double seconds, double joules, double worked_seconds) {
    seconds_ = kKept * seconds_ + seconds;
    joules_ = kKept * joules_ + joules;
    worked_ = kKept * worked_ + worked_seconds;
  }
  // Where several lanes worked at once, each had its part; 0 before the first look.
  double watts() const { return seconds_ > 0 ? joules_ / std::max(seconds_, worked_) : 0; }

 private:
  static constexpr double kKept = 0.9;
  double seconds_ = 0, joules_ = 0, worked_ = 0;
};

// The power of the machine while models run, shared by the lanes that work at that time: idle power included, of what passes while no model runs
// nothing is charged to anybody. Looked at each tenth of a second.
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
