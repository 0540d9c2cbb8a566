// How long runs took, counted: what a simulation draws its service times from. Written by whoever has the lane, read by any thread; no allocation, no lock.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>

namespace verge::policy {

class ServiceCounts {
 public:
  // As the sketches of profiles (core/profile.h): bucket i is [2^(i/8), 2^((i+1)/8)) microseconds; the first and the last take what is beyond.
  static constexpr int kBuckets = 26 * 8;

  void add(uint64_t ns) {
    const double us = static_cast<double>(std::max<uint64_t>(ns, 1)) * 1e-3;
    const int i = std::clamp(static_cast<int>(std::floor(8 * std::log2(us))), 0, kBuckets - 1);
    bump(buckets_[static_cast<size_t>(i)], 1);
    bump(sum_ns_, ns);
  }
  uint64_t count(int bucket) const { return buckets_[static_cast<size_t>(bucket)].load(std::memory_order_relaxed); }
  uint64_t sum_ns() const { return sum_ns_.load(std::memory_order_relaxed); }

 private:
  static void bump(std::atomic<uint64_t>& v, uint64_t by) {
    v.store(v.load(std::memory_order_relaxed) + by, std::memory_order_relaxed);
  }
  std::array<std::atomic<uint64_t>, kBuckets> buckets_{};  // fast models run 2^32 times within a day
  std::atomic<uint64_t> sum_ns_{0};
};

}  // namespace verge::policy
