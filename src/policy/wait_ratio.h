// How much longer requests wait than the work before them says: others overtake them, a core is taken away for a while, runs share less well than they
// might. Learned from waits that have ended, and asked for the 0.99 quantile: who is admitted is to be in time all but always, for an answer that comes
// a moment too late has cost as much as one in time.
#pragma once

#include <algorithm>
#include <cstdint>

#include "policy/quantile.h"

namespace verge::policy {

class WaitRatio {
 public:
  // Shorter waits, and those of fewer runs, are as much a matter of a single run as of what was ahead: one that overtakes makes twice of a wait for one.
  static constexpr uint64_t kLeastNs = 2'000'000, kLeastRuns = 4;
  static constexpr double kMost = 2;  // a queue much shorter than need be is read and answered in smaller groups, which costs more for each

  // It was to wait for `expected_ns`, and waited for `waited_ns`. `run_ns`: what a run of those that wait takes.
  void learn(uint64_t expected_ns, uint64_t waited_ns, uint64_t run_ns, uint64_t now) {
    if (expected_ns < std::max(kLeastNs, kLeastRuns * run_ns)) return;
    if (now > learned_at_ns_ + kOldNs && ratios_.seen() != 0) ratios_.restart(believed(now));
    learned_at_ns_ = now;
    ratios_.learn(static_cast<uint64_t>(std::min(static_cast<double>(waited_ns) / static_cast<double>(expected_ns), 2 * kMost) * kUnit));
  }
  // At least 1. What was not learned anew for a while fades: with a large ratio only those are let in whose waits are too short to be learned from.
  double cautious(uint64_t now) const { return ratios_.seen() < kFew ? kUnknown : std::clamp(static_cast<double>(believed(now).cautious_ns) / kUnit, 1.0, kMost); }

 private:
  static constexpr double kUnit = 1e6;
  static constexpr double kUnknown = 1.1;
  static constexpr uint64_t kOldNs = 1'000'000'000;
  static constexpr uint32_t kFew = 16;
  Quantiles believed(uint64_t now) const {
    constexpr Quantiles kNothingKnown{static_cast<uint64_t>(kUnit), static_cast<uint64_t>(kUnknown * kUnit)};
    return faded(ratios_.get(), kNothingKnown, now - std::min(now, learned_at_ns_));
  }
  DurationQuantiles ratios_;  // in millionths
  uint64_t learned_at_ns_ = 0;
};

}  // namespace verge::policy
