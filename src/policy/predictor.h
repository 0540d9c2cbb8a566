// What a network takes on one lane: learned by whoever has the lane, read by all threads. The server and the simulator learn by this same code.
#pragma once

#include <array>
#include <atomic>

#include "policy/quantile.h"
#include "policy/service_counts.h"

namespace verge::policy {

class Predictor {
 public:
  void seed(int64_t rows, uint64_t p50_ns, uint64_t p99_ns) {
    curve_.seed(rows, p50_ns, p99_ns);
    const int i = QuantileCurve::index_of(rows);
    told_[static_cast<size_t>(i)].seed = curve_.at(i);
    tell(rows);
  }
  void learn(int64_t rows, uint64_t ns, uint64_t now) {
    const int i = QuantileCurve::index_of(rows);
    Told& told = told_[static_cast<size_t>(i)];
    // What has faded meanwhile stays so: one run would else make all of it fresh again.
    const Quantiles learned = curve_.at(i), believed = believe(told, now);
    if (believed.cautious_ns < learned.cautious_ns || believed.typical_ns < learned.typical_ns) curve_.restart(i, believed);
    curve_.learn(rows, ns);
    // A run of another size counts at the next larger one, in proportion, as the curve has it.
    const double size = static_cast<double>(int64_t{1} << i);
    counts_[static_cast<size_t>(i)].add(static_cast<double>(rows) == size || rows < 1 ? ns : static_cast<uint64_t>(static_cast<double>(ns) * size / static_cast<double>(rows)));
    told.learned_at_ns.store(now, std::memory_order_relaxed);
    tell(rows);
  }
  const ServiceCounts& counts(int index) const { return counts_[static_cast<size_t>(index)]; }  // of runs of 1 << index samples
  Quantiles predict(int64_t rows) const {
    return QuantileCurve::predict_from(rows, [this](int i) {
      const Told& told = told_[static_cast<size_t>(i)];
      return Quantiles{told.typical_ns.load(std::memory_order_relaxed), told.cautious_ns.load(std::memory_order_relaxed)};
    });
  }

  // As predict(), for a choice: what has not run for long counts less the longer ago it was.
  Quantiles expect(int64_t rows, uint64_t now) const {
    return QuantileCurve::predict_from(rows, [this, now](int i) { return believe(told_[static_cast<size_t>(i)], now); });
  }

 private:
  void tell(int64_t rows) {
    const int i = QuantileCurve::index_of(rows);
    const Quantiles q = curve_.at(i);
    Told& told = told_[static_cast<size_t>(i)];
    told.typical_ns.store(q.typical_ns, std::memory_order_relaxed);
    told.cautious_ns.store(q.cautious_ns, std::memory_order_relaxed);
  }
  struct Told {
    Quantiles seed;  // set before anybody else sees it
    std::atomic<uint64_t> typical_ns{0}, cautious_ns{0};
    std::atomic<uint64_t> learned_at_ns{0};
  };
  static Quantiles believe(const Told& told, uint64_t now) {
    const uint64_t at = told.learned_at_ns.load(std::memory_order_relaxed);
    return faded({told.typical_ns.load(std::memory_order_relaxed), told.cautious_ns.load(std::memory_order_relaxed)}, told.seed, now > at && at != 0 ? now - at : 0);
  }
  QuantileCurve curve_;
  std::array<Told, QuantileCurve::kSizes> told_;
  std::array<ServiceCounts, QuantileCurve::kSizes> counts_;
};

}  // namespace verge::policy
