// The facts that every form of the report shows, worked out once.
#pragma once

#include <string>
#include <vector>

#include "core/manifest.h"
#include "core/profile.h"
#include "core/status.h"
#include "package/package.h"

namespace verge::report {

struct Row {
  const VariantSpec* spec = nullptr;
  const VariantProfile* profile = nullptr;  // nullptr: nothing was measured of it
  Verdict verdict = Verdict::kNotMeasured;
  std::string reason;
  double accuracy_delta = 0;   // to the reference, where both are known
  bool has_delta = false;
  uint64_t size_bytes = 0;     // of its artifacts; 0: there are none
  double generate_seconds = -1;
  const LatencyCell* base = nullptr;  // batch 1 on the fewest cores; nullptr if not measured
  const LatencyCell* best = nullptr;  // the cell of the highest throughput
  bool is_default = false;     // what a server answers with where the request names none
  bool on_front = false;       // no other ok variant is both faster and better
  double accuracy() const { return profile ? profile->accuracy : -1; }
  double p50() const { return base ? base->p50_us : -1; }
  double throughput() const;   // inferences a second in the best cell, one instance; -1: not measured
};

// What the quality axis of the accuracy plot and the Pareto front are made of.
enum class Quality { kMetric, kDifference, kNone };

// Differences up to this are the rounding of 32-bit floats: none is closer than the other.
inline constexpr double kExact = 1e-5;

struct Summary {
  const package::Package* package = nullptr;
  const Manifest* manifest = nullptr;
  const Profile* profile = nullptr;  // nullptr: no device has measured the package
  std::vector<Row> rows;             // ok first, fastest first; then rejected, failed, not measured
  Quality quality = Quality::kNone;
  const Row* default_row() const;
  const Row* native_row() const;  // the fastest variant in TensorFlow itself, called from C; nullptr if there is none
  int count(Verdict v) const;
  bool larger_is_better() const;
  double quality_of(const Row& row) const;  // -1: unknown. Differences within the rounding of floats are equal
};

Result<Summary> summarise(const package::Package& package, const std::string& device);

std::string metric_label(const Metric& m);  // "top-1 accuracy", "mean absolute error", …

}  // namespace verge::report
