// What a network takes on one lane: learned by whoever has the lane, read by all fronts.
#pragma once

#include <array>
#include <atomic>

#include "os/process.h"
#include "policy/quantile.h"

namespace verge::runtime {

class Predictor {
 public:
  void seed(int64_t rows, uint64_t p50_ns, uint64_t p99_ns) {
    curve_.seed(rows, p50_ns, p99_ns);
    const int i = policy::QuantileCurve::index_of(rows);
    told_[static_cast<size_t>(i)].seed = curve_.at(i);
    tell(rows);
  }
  void learn(int64_t rows, uint64_t ns) {
    curve_.learn(rows, ns);
    told_[static_cast<size_t>(policy::QuantileCurve::index_of(rows))].learned_at_ns.store(os::monotonic_ns(), std::memory_order_relaxed);
    tell(rows);
  }
  policy::Quantiles predict(int64_t rows) const {
    return policy::QuantileCurve::predict_from(rows, [this](int i) {
      const Told& told = told_[static_cast<size_t>(i)];
      return policy::Quantiles{told.typical_ns.load(std::memory_order_relaxed), told.cautious_ns.load(std::memory_order_relaxed)};
    });
  }

  // As predict(), for a choice: what has not run for long counts less the longer ago it was.
  policy::Quantiles expect(int64_t rows, uint64_t now) const {
    return policy::QuantileCurve::predict_from(rows, [this, now](int i) {
      const Told& told = told_[static_cast<size_t>(i)];
      const uint64_t at = told.learned_at_ns.load(std::memory_order_relaxed);
      return policy::faded({told.typical_ns.load(std::memory_order_relaxed), told.cautious_ns.load(std::memory_order_relaxed)}, told.seed, now > at && at != 0 ? now - at : 0);
    });
  }

 private:
  void tell(int64_t rows) {
    const int i = policy::QuantileCurve::index_of(rows);
    const policy::Quantiles q = curve_.at(i);
    Told& told = told_[static_cast<size_t>(i)];
    told.typical_ns.store(q.typical_ns, std::memory_order_relaxed);
    told.cautious_ns.store(q.cautious_ns, std::memory_order_relaxed);
  }
  struct Told {
    policy::Quantiles seed;  // set before anybody else sees it
    std::atomic<uint64_t> typical_ns{0}, cautious_ns{0};
    std::atomic<uint64_t> learned_at_ns{0};
  };
  policy::QuantileCurve curve_;
  std::array<Told, policy::QuantileCurve::kSizes> told_;
};

}  // namespace verge::runtime
