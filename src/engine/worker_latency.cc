#include "engine/worker_latency.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "os/process.h"

namespace verge::engine {
namespace {

constexpr size_t kMaxTimes = size_t{1} << 22;
// The counters move about once a millisecond: long enough for 1 %.
constexpr uint64_t kEnergyNs = 200'000'000;
constexpr uint64_t kReadNs = 5'000'000;  // meters of power alone add up what they see

}  // namespace

LatencyCell latency_cell(int64_t batch, int64_t cores, std::vector<uint64_t>& times_ns) {
  std::sort(times_ns.begin(), times_ns.end());
  const size_t n = times_ns.size();
  auto us = [](uint64_t ns) { return static_cast<double>(ns) / 1000.0; };
  // The smallest value that at least the share q of all runs does not pass.
  auto quantile = [&](double q) { return us(times_ns[std::min(n - 1, static_cast<size_t>(std::ceil(q * static_cast<double>(n))) - 1)]); };
  LatencyCell c;
  c.batch = batch;
  c.cores = cores;
  c.n = static_cast<int64_t>(n);
  c.mean_us = us(std::accumulate(times_ns.begin(), times_ns.end(), uint64_t{0})) / static_cast<double>(n);
  c.min_us = us(times_ns.front());
  c.max_us = us(times_ns.back());
  c.p50_us = quantile(0.5);
  if (n >= 20) c.p90_us = quantile(0.9);
  if (n >= 1000) c.p99_us = quantile(0.99);
  std::map<int, int64_t> buckets;
  for (uint64_t t : times_ns) ++buckets[static_cast<int>(std::floor(8 * std::log2(std::max(us(t), 1e-3))))];
  c.sketch.assign(buckets.begin(), buckets.end());
  return c;
}

Result<LatencyCell> measure_cell(Runnable& runner, SampleSet& samples, int64_t batch, int64_t cores, const CellLimits& limits,
                                 const std::function<void()>& counted) {
  VERGE_ASSIGN(auto inputs, samples.gather(0, std::min(batch, samples.samples()), batch));
  const auto budget = static_cast<uint64_t>(limits.seconds * 1e9);
  // A new batch size compiles or grows something in most engines: that belongs to no cell.
  const uint64_t warm_start = os::monotonic_ns();
  for (int i = 0; i < 100; ++i) {
    VERGE_RETURN_IF_ERROR(runner.run(inputs));
    if (i >= 1 && os::monotonic_ns() - warm_start > budget / 10) break;
  }
  std::vector<uint64_t> times;
  times.reserve(static_cast<size_t>(std::clamp<int64_t>(limits.runs, 1, 1 << 16)));
  const uint64_t start = os::monotonic_ns();
  uint64_t before = start;
  for (;;) {
    VERGE_RETURN_IF_ERROR(runner.run(inputs));
    const uint64_t now = os::monotonic_ns();
    times.push_back(now - before);
    if (counted) counted();
    before = counted ? os::monotonic_ns() : now;
    const bool time_over = now - start >= budget, runs_over = static_cast<int64_t>(times.size()) >= limits.runs;
    if (limits.thorough ? time_over && runs_over : time_over || runs_over) break;
    if (now >= limits.deadline_ns || times.size() >= kMaxTimes) break;
  }
  return latency_cell(batch, cores, times);
}

Result<double> measure_energy(Runnable& runner, SampleSet& samples, int64_t batch, os::EnergyMeter& meter) {
  VERGE_ASSIGN(auto inputs, samples.gather(0, std::min(batch, samples.samples()), batch));
  const double before = meter.joules();
  const uint64_t start = os::monotonic_ns();
  uint64_t read = start, now = start;
  int64_t runs = 0;
  do {
    VERGE_RETURN_IF_ERROR(runner.run(inputs));
    ++runs;
    now = os::monotonic_ns();
    if (now - read >= kReadNs) {
      if (meter.joules() < 0) return -1.0;
      read = now;
    }
  } while (now - start < kEnergyNs);
  const double after = meter.joules();
  return before >= 0 && after > before ? (after - before) * 1e3 / static_cast<double>(runs) : -1.0;
}

}  // namespace verge::engine
