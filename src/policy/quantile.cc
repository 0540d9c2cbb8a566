#include "policy/quantile.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace verge::policy {
namespace {

constexpr double kLeastStep = 0.002, kFirstStep = 0.1, kMostStep = 0.3;
constexpr double kStepOfSpread = 0.125;    // steps no smaller than this part of how unsteady the times are, nor above the next
constexpr double kMostSteady = 0.02;
constexpr int kAgreed = 6;             // votes in a row before the step grows: by chance one time in 64
constexpr double kUnknownSpread = 0.2624;  // ln 1.3
constexpr double kMostSpread = 3;
constexpr double kTail = 0.01;
constexpr double kLeastTailStep = 0.01, kFirstTailStep = 0.6, kTailStepOfSpread = 0.5, kOvershoot = 1.3, kMostTailStep = 0.3;

uint64_t to_ns(double log_ns) { return static_cast<uint64_t>(std::llround(std::exp(std::clamp(log_ns, 0.0, 42.0)))); }

}  // namespace

void DurationQuantiles::seed(uint64_t p50_ns, uint64_t p99_ns) {
  if (p50_ns == 0 || seen_ != 0) return;
  log_median_ = std::log(static_cast<double>(p50_ns));
  spread_ = p99_ns == 0 ? kUnknownSpread : std::clamp(std::log(static_cast<double>(std::max(p99_ns, p50_ns)) / static_cast<double>(p50_ns)), 0.0, kMostSpread);
  step_ = kFirstStep;
  known_ = true;
}

void DurationQuantiles::restart(const Quantiles& from) {
  if (from.typical_ns == 0) return;
  const uint32_t seen = std::min(seen_, 1u);
  seen_ = 0;
  seed(from.typical_ns, std::max(from.cautious_ns, from.typical_ns));
  seen_ = seen;
  agree_ = 0;
}

void DurationQuantiles::learn(uint64_t ns) {
  const double sample = std::log(static_cast<double>(std::max<uint64_t>(ns, 1)));
  if (seen_ != UINT32_MAX) ++seen_;
  if (!known_) {
    log_median_ = sample;
    spread_ = kUnknownSpread;
    step_ = kFirstStep;
    known_ = true;
    return;
  }
  const double off = sample - log_median_;

  // The tail first: it is a matter of the median before this measurement.
  const double tail_step = std::max({kLeastTailStep, std::min(kTailStepOfSpread * spread_, kMostTailStep), kFirstTailStep / seen_});
  if (off > spread_) {
    // Little further than the measurement itself: an unsteady machine would else drive it up by its own size each time.
    spread_ = std::min({spread_ + tail_step * (1 - kTail), std::max(off, spread_ * kOvershoot), kMostSpread});
  } else {
    spread_ = std::max(spread_ - tail_step * kTail, 0.0);
  }

  const int vote = off > 0 ? 1 : off < 0 ? -1 : 0;
  if (vote == 0) return;
  agree_ = agree_ * vote > 0 ? std::clamp(agree_ + vote, -1000, 1000) : vote;
  step_ = std::abs(agree_) >= kAgreed ? std::min(step_ * 1.5, kMostStep) : std::max(step_ * 0.85, std::clamp(kStepOfSpread * spread_, kLeastStep, kMostSteady));
  // Never beyond the measurement itself.
  log_median_ += vote * std::min(step_ / 2, std::abs(off));
}

Quantiles DurationQuantiles::get() const {
  if (!known_) return {};
  return {std::max<uint64_t>(to_ns(log_median_), 1), std::max<uint64_t>(to_ns(log_median_ + spread_), 1)};
}

Quantiles faded(const Quantiles& learned, const Quantiles& seed, uint64_t age_ns) {
  constexpr double kFresh = 1e9, kHalf = 1e9;
  const double old = static_cast<double>(age_ns) - kFresh;
  if (old <= 0 || seed.typical_ns == 0) return learned;
  const double kept = std::exp2(-old / kHalf);
  const auto fade = [kept](uint64_t now, uint64_t then) { return now <= then ? now : then + static_cast<uint64_t>(static_cast<double>(now - then) * kept); };
  return {fade(learned.typical_ns, seed.typical_ns), fade(learned.cautious_ns, seed.cautious_ns)};
}

int QuantileCurve::index_of(int64_t rows) {
  if (rows <= 1) return 0;
  return std::min(kSizes - 1, static_cast<int>(std::bit_width(static_cast<uint64_t>(rows) - 1)));
}

namespace {

uint64_t times(uint64_t ns, double factor) { return static_cast<uint64_t>(static_cast<double>(ns) * factor); }
double size_at(int index) { return static_cast<double>(int64_t{1} << index); }

}  // namespace

void QuantileCurve::seed(int64_t rows, uint64_t p50_ns, uint64_t p99_ns) {
  if (rows < 1) return;
  const int i = index_of(rows);
  const double factor = size_at(i) / static_cast<double>(rows);
  sizes_[static_cast<size_t>(i)].seed(times(p50_ns, factor), times(p99_ns, factor));
}

void QuantileCurve::learn(int64_t rows, uint64_t ns) {
  if (rows < 1) return;
  const int i = index_of(rows);
  sizes_[static_cast<size_t>(i)].learn(times(ns, size_at(i) / static_cast<double>(rows)));
}

Quantiles QuantileCurve::scaled(const Quantiles& q, int64_t rows, int from, bool from_larger) {
  double factor = static_cast<double>(std::max<int64_t>(rows, 1)) / size_at(from);
  if (from_larger) factor = std::max(factor, 0.5);
  return {std::max<uint64_t>(times(q.typical_ns, factor), 1), std::max<uint64_t>(times(q.cautious_ns, factor), 1)};
}

}  // namespace verge::policy
