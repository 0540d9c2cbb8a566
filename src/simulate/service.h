// Service times as they were measured: sampled from a profile's sketch.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "core/profile.h"

namespace verge::simulate {

// The distribution of one profile cell.
class ServiceTime {
 public:
  ServiceTime() = default;
  // From the sketch; without one, always the median (or the mean). `stretch` multiplies all times.
  ServiceTime(const LatencyCell& cell, double stretch);
  bool known() const { return mean_ns_ > 0; }
  // The time of which a share `u` (0 … 1) of runs is shorter.
  uint64_t at(double u) const;
  double mean_ns() const { return mean_ns_; }
  void scale(double factor);
  // The same median, but spread as these measured values are: (largest value of a bucket, count), ascending.
  void reshape(const std::vector<std::pair<double, uint64_t>>& measured);

 private:
  struct Bucket {
    double until;  // cumulative share
    double log_low, log_high;  // of ns, binary
  };
  std::vector<Bucket> buckets_;
  double mean_ns_ = 0, constant_ns_ = 0;
};

// By the number of samples in a run, from the cells of one number of cores.
class ServiceCurve {
 public:
  ServiceCurve() = default;
  ServiceCurve(const std::vector<LatencyCell>& cells, double stretch);
  bool known() const { return !cells_.empty(); }
  // Between measured sizes linear, beyond them in proportion.
  uint64_t at(int64_t rows, double u) const;
  struct Cell {
    int64_t rows;
    ServiceTime time;
    uint64_t p50_ns, p99_ns;  // p99 0: not measured
  };
  const std::vector<Cell>& cells() const { return cells_; }
  // Of these sizes what was measured now; of the others what the profile has, as much slower or faster as the nearest of these.
  void measured(const std::vector<LatencyCell>& now);
  void reshape(const std::vector<std::pair<double, uint64_t>>& measured) {
    for (Cell& c : cells_) c.time.reshape(measured);
  }

 private:
  std::vector<Cell> cells_;  // ascending
};

// A number in [0, 1) that depends on nothing but its arguments: request 17 needs the same time whatever policy serves it.
double fixed_uniform(uint64_t seed, uint64_t number, uint64_t what);

}  // namespace verge::simulate
