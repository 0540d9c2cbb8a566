#include "bench/histogram.h"

#include <algorithm>
#include <cmath>

namespace verge::bench {

uint64_t Histogram::largest_of(size_t i) {
  if (i < 2 * kHalf) return i;
  const size_t shift = i / kHalf - 1;
  return ((static_cast<uint64_t>(i - shift * kHalf) + 1) << shift) - 1;
}

void Histogram::add(const Histogram& o) {
  for (size_t i = 0; i < kBuckets; ++i) counts_[i] += o.counts_[i];
  count_ += o.count_;
  sum_ += o.sum_;
  max_ = std::max(max_, o.max_);
  min_ = std::min(min_, o.min_);
}

void Histogram::record_many(uint64_t ns, uint64_t count) {
  if (!count) return;
  record(ns);
  counts_[index(std::min(ns, kLargest))] += count - 1;
  count_ += count - 1;
  sum_ += static_cast<double>(std::min(ns, kLargest)) * static_cast<double>(count - 1);
}

uint64_t Histogram::quantile(double q) const {
  if (!count_) return 0;
  const auto wanted = std::clamp<uint64_t>(static_cast<uint64_t>(std::ceil(q * static_cast<double>(count_))), 1, count_);
  uint64_t seen = 0;
  for (size_t i = 0; i < kBuckets; ++i) {
    seen += counts_[i];
    if (seen >= wanted) return std::min(largest_of(i), max_);
  }
  return max_;
}

double Histogram::share_within(uint64_t ns) const {
  if (!count_) return 0;
  const size_t last = index(std::min(ns, kLargest));
  uint64_t n = 0;
  for (size_t i = 0; i <= last; ++i) n += counts_[i];
  return static_cast<double>(n) / static_cast<double>(count_);
}

std::vector<std::pair<uint64_t, uint64_t>> Histogram::buckets() const {
  std::vector<std::pair<uint64_t, uint64_t>> out;
  for (size_t i = 0; i < kBuckets; ++i)
    if (counts_[i]) out.emplace_back(largest_of(i), counts_[i]);
  return out;
}

}  // namespace verge::bench
