// Quantiles of a duration that learn online, one measurement at a time: what a run typically takes, and what it takes in all but one of a hundred cases.
// No allocation, no history. One thread writes.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace verge::policy {

struct Quantiles {
  uint64_t typical_ns = 0;   // the median; 0: nothing is known
  uint64_t cautious_ns = 0;  // the 0.99 quantile
};

// What to believe of a duration that was `learned` but not measured for `age_ns`. After a second, what is above `seed` (of the profile) loses half of
// that each second: a variant that a busy moment made look slow would else never be chosen again, and so never be put right.
Quantiles faded(const Quantiles& learned, const Quantiles& seed, uint64_t age_ns);

// The median follows by multiplicative stochastic approximation: each measurement moves it by a step up or down, whatever its distance, so that one
// outlier counts as one vote. The step grows while all votes agree (the machine has become faster or slower) and shrinks while they
// alternate, down to a part of how unsteady the times are. The
// 0.99 quantile is kept as a ratio to the median, so that it follows a change of pace at once.
class DurationQuantiles {
 public:
  // What a profile says. `p99_ns` 0: it does not say; then 1.3 times the median. Ignored once something was measured.
  void seed(uint64_t p50_ns, uint64_t p99_ns);
  void learn(uint64_t ns);
  // What is to be believed now, where that is not what was learned: it goes on from there, and learns as fast as in the beginning.
  void restart(const Quantiles& from);
  Quantiles get() const;
  // Measurements so far; a seed does not count.
  uint32_t seen() const { return seen_; }

 private:
  double log_median_ = 0;  // natural logarithm of ns
  double spread_ = 0;      // ln(q99 / q50)
  double step_ = 0;
  int agree_ = 0;          // votes of one direction in a row, signed
  uint32_t seen_ = 0;
  bool known_ = false;
};

// The same by the number of samples in a run, at sizes 1, 2, 4, … 64. A run of another size counts at the next larger one, in proportion.
class QuantileCurve {
 public:
  static constexpr int kSizes = 7;
  static int index_of(int64_t rows);  // of the size that `rows` counts at
  void seed(int64_t rows, uint64_t p50_ns, uint64_t p99_ns);
  void learn(int64_t rows, uint64_t ns);
  // Of a run of `rows`; where its size is not known, from the nearest known one: a larger run in proportion, a smaller one no shorter than half.
  Quantiles predict(int64_t rows) const {
    return predict_from(rows, [this](int i) { return at(i); });
  }
  void restart(int index, const Quantiles& from) { sizes_[static_cast<size_t>(index)].restart(from); }
  Quantiles at(int index) const { return sizes_[static_cast<size_t>(index)].get(); }  // of a run of 1 << index

  // The same from what at() said, however it was kept.
  template <typename At>
  static Quantiles predict_from(int64_t rows, At at) {
    const int wanted = index_of(rows);
    for (int d = 0; d < kSizes; ++d) {
      if (wanted - d >= 0) {
        if (const Quantiles q = at(wanted - d); q.typical_ns != 0) return scaled(q, rows, wanted - d, false);
      }
      if (d != 0 && wanted + d < kSizes) {
        if (const Quantiles q = at(wanted + d); q.typical_ns != 0) return scaled(q, rows, wanted + d, true);
      }
    }
    return {};
  }

 private:
  static Quantiles scaled(const Quantiles& q, int64_t rows, int from, bool from_larger);
  std::array<DurationQuantiles, kSizes> sizes_;
};

}  // namespace verge::policy
