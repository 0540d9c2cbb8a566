// A histogram of durations with three significant digits at every magnitude (as HdrHistogram: buckets of equal width within a power of two), in
// constant memory and time. Values in nanoseconds, up to an hour; larger ones count as that.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace verge::bench {

class Histogram {
 public:
  Histogram() : counts_(kBuckets) {}

  void record(uint64_t ns) {
    if (ns > kLargest) ns = kLargest;
    ++counts_[index(ns)];
    ++count_;
    sum_ += static_cast<double>(ns);
    if (ns > max_) max_ = ns;
    if (ns < min_) min_ = ns;
  }
  void add(const Histogram& o);

  uint64_t count() const { return count_; }
  double mean() const { return count_ ? sum_ / static_cast<double>(count_) : 0; }  // ns
  uint64_t max() const { return max_; }
  uint64_t min() const { return count_ ? min_ : 0; }
  // The least value that a share `q` of all does not pass, in ns, to three digits; 0 where there is nothing.
  uint64_t quantile(double q) const;
  // Share of values of at most `ns` (to the width of a bucket).
  double share_within(uint64_t ns) const;

  // Buckets that hold something: (largest value in it, count), ascending.
  std::vector<std::pair<uint64_t, uint64_t>> buckets() const;
  void record_many(uint64_t ns, uint64_t count);

  static constexpr uint64_t kLargest = uint64_t{3600} * 1'000'000'000;

 private:
  // 1,024 buckets in each power of two: a bucket is at most a thousandth of its values wide.
  static constexpr int kBits = 11;
  static constexpr size_t kHalf = size_t{1} << (kBits - 1);
  static constexpr size_t kBuckets = (42 - kBits + 2) * kHalf;
  static size_t index(uint64_t v) {
    const int shift = v < 2 * kHalf ? 0 : 64 - __builtin_clzll(v) - kBits;
    return static_cast<size_t>(shift) * kHalf + static_cast<size_t>(v >> shift);
  }
  static uint64_t largest_of(size_t index);

  std::vector<uint64_t> counts_;
  uint64_t count_ = 0, max_ = 0, min_ = UINT64_MAX;
  double sum_ = 0;
};

}  // namespace verge::bench
