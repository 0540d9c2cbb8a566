#include "simulate/service.h"

#include <algorithm>
#include <cmath>

namespace verge::simulate {

ServiceTime::ServiceTime(const LatencyCell& c, double stretch) {
  constant_ns_ = (c.p50_us > 0 ? c.p50_us : c.mean_us) * 1e3 * stretch;
  mean_ns_ = constant_ns_;
  double all = 0;
  for (const auto& [bucket, count] : c.sketch) all += count > 0 ? static_cast<double>(count) : 0;
  if (all <= 0) return;
  const double shift = std::log2(1e3 * stretch);
  double seen = 0, sum = 0;
  for (const auto& [bucket, count] : c.sketch) {
    if (count <= 0) continue;
    // A bucket is a twelfth wide; what was seen least and most bounds it.
    const double low = std::max(bucket / 8.0, c.min_us > 0 ? std::log2(c.min_us) : bucket / 8.0), high = std::min((bucket + 1) / 8.0, c.max_us > 0 ? std::log2(c.max_us) : (bucket + 1) / 8.0);
    seen += static_cast<double>(count);
    buckets_.push_back({seen / all, low + shift, std::max(low, high) + shift});
    sum += static_cast<double>(count) * std::exp2((buckets_.back().log_low + buckets_.back().log_high) / 2);
  }
  mean_ns_ = sum / all;
  // Within a bucket all values are taken for equally likely; the mean is known better.
  if (c.mean_us > 0) scale(std::clamp(c.mean_us * 1e3 * stretch / mean_ns_, 0.9, 1.1));
}

void ServiceTime::scale(double factor) {
  constant_ns_ *= factor;
  mean_ns_ *= factor;
  for (Bucket& b : buckets_) b.log_low += std::log2(factor), b.log_high += std::log2(factor);
}

uint64_t ServiceTime::at(double u) const {
  if (buckets_.empty()) return static_cast<uint64_t>(constant_ns_);
  const auto b = std::min(std::lower_bound(buckets_.begin(), buckets_.end(), u, [](const Bucket& x, double v) { return x.until < v; }), buckets_.end() - 1);
  const double before = b == buckets_.begin() ? 0 : (b - 1)->until, part = std::clamp((u - before) / (b->until - before), 0.0, 1.0);
  return static_cast<uint64_t>(std::exp2(b->log_low + part * (b->log_high - b->log_low)));
}

void ServiceTime::reshape(const std::vector<std::pair<double, uint64_t>>& measured) {
  double all = 0, seen = 0, middle = 0;
  for (const auto& [value, count] : measured) all += static_cast<double>(count);
  for (const auto& [value, count] : measured) {
    seen += static_cast<double>(count);
    if (middle <= 0 && seen >= all / 2) middle = value;
  }
  if (middle <= 0) return;
  const double median = std::log2(static_cast<double>(at(0.5)));
  buckets_.clear();
  seen = 0;
  double sum = 0;
  for (const auto& [value, count] : measured) {
    if (value <= 0 || count == 0) continue;
    seen += static_cast<double>(count);
    const double log = median + std::log2(value / middle);
    buckets_.push_back({seen / all, log, log});
    sum += static_cast<double>(count) * std::exp2(log);
  }
  mean_ns_ = sum / all;
}

ServiceCurve::ServiceCurve(const std::vector<LatencyCell>& cells, double stretch) {
  int64_t cores = INT64_MAX;
  for (const LatencyCell& c : cells) cores = std::min(cores, c.cores);
  for (const LatencyCell& c : cells) {
    if (c.cores != cores || c.batch < 1) continue;
    ServiceTime t(c, stretch);
    if (t.known()) cells_.push_back({c.batch, std::move(t), static_cast<uint64_t>(std::max(c.p50_us > 0 ? c.p50_us : c.mean_us, 0.0) * 1e3 * stretch), static_cast<uint64_t>(std::max(c.p99_us, 0.0) * 1e3 * stretch)});
  }
  std::sort(cells_.begin(), cells_.end(), [](const Cell& a, const Cell& b) { return a.rows < b.rows; });
}

void ServiceCurve::measured(const std::vector<LatencyCell>& now) {
  const std::vector<Cell> old = std::move(cells_);
  cells_ = ServiceCurve(now, 1).cells_;
  const std::vector<Cell> fresh = cells_;
  for (Cell c : old) {
    const auto off = [&](const Cell& x) { return std::abs(std::log2(static_cast<double>(x.rows) / static_cast<double>(c.rows))); };
    const auto nearest = std::min_element(fresh.begin(), fresh.end(), [&](const Cell& a, const Cell& b) { return off(a) < off(b); });
    if (nearest == fresh.end() || nearest->rows == c.rows) continue;
    const auto same = std::find_if(old.begin(), old.end(), [&](const Cell& x) { return x.rows == nearest->rows; });
    if (same != old.end() && same->p50_ns && nearest->p50_ns) {
      const double factor = static_cast<double>(nearest->p50_ns) / static_cast<double>(same->p50_ns);
      c.time.scale(factor);
      c.p50_ns = static_cast<uint64_t>(static_cast<double>(c.p50_ns) * factor);
      c.p99_ns = static_cast<uint64_t>(static_cast<double>(c.p99_ns) * factor);
    }
    cells_.push_back(std::move(c));
  }
  std::sort(cells_.begin(), cells_.end(), [](const Cell& a, const Cell& b) { return a.rows < b.rows; });
}

uint64_t ServiceCurve::at(int64_t rows, double u) const {
  const auto above = std::lower_bound(cells_.begin(), cells_.end(), rows, [](const Cell& c, int64_t r) { return c.rows < r; });
  if (above != cells_.end() && above->rows == rows) return above->time.at(u);
  const auto ns = [&](auto it) { return static_cast<double>(it->time.at(u)); };
  const double r = static_cast<double>(rows);
  double out;
  if (above == cells_.end()) out = ns(cells_.end() - 1) * r / static_cast<double>((cells_.end() - 1)->rows);
  else if (above == cells_.begin()) out = ns(above);
  else {
    const double lo = static_cast<double>((above - 1)->rows), hi = static_cast<double>(above->rows);
    out = ns(above - 1) + (ns(above) - ns(above - 1)) * (r - lo) / (hi - lo);
  }
  return std::max<uint64_t>(1, static_cast<uint64_t>(out));
}

double fixed_uniform(uint64_t seed, uint64_t number, uint64_t what) {
  uint64_t z = seed * 0x9e3779b97f4a7c15 + number * 0xbf58476d1ce4e5b9 + (what + 1) * 0x94d049bb133111eb;
  for (int i = 0; i < 2; ++i) {
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    z ^= z >> 31;
  }
  return static_cast<double>(z >> 11) * 0x1p-53;
}

}  // namespace verge::simulate
