// What it takes a front that is its own lane to put its answers on their way once they are there: writing them down, and the system calls. Those that a turn has made wait for that of all of them.
#pragma once

#include <algorithm>
#include <cstdint>

namespace verge::policy {

class Answering {
 public:
  // A turn's `answers` took so long.
  void learn(uint64_t ns, uint64_t answers) {
    if (answers == 0) return;
    const uint64_t each = std::min(ns / answers, kMostNs);
    each_ns_ = each_ns_ == 0 ? each : each_ns_ - each_ns_ / 8 + std::min(each, 4 * each_ns_) / 8;
  }
  uint64_t predict(uint64_t answers) const { return each_ns_ * answers; }

 private:
  // A machine that stood still says nothing of answers.
  static constexpr uint64_t kMostNs = 1'000'000;
  uint64_t each_ns_ = 0;
};

}  // namespace verge::policy
