#include "runtime/profiled.h"

#include <algorithm>

#include "runtime/table.h"

namespace verge::runtime {
namespace {

// Where too few runs were measured for it, the 0.99 quantile is reckoned as that much above the median.
constexpr double kCautious = 1.3;

uint64_t to_ns(double us) { return static_cast<uint64_t>(us * 1000); }

}  // namespace

policy::ThreadCurve thread_curve(const std::vector<LatencyCell>& cells) {
  policy::ThreadCurve out;
  for (const LatencyCell& c : cells) {
    if (c.batch < 1 || c.cores < 1 || c.cores > 4096 || !(c.p50_us > 0 && c.p50_us < 1e12)) continue;
    out.push_back({c.batch, static_cast<int>(c.cores), to_ns(c.p50_us), to_ns(c.p99_us > 0 && c.p99_us < 1e12 ? c.p99_us : c.p50_us * kCautious)});
  }
  return out;
}

policy::ThreadCurve thread_curve_to_exit(const VariantProfile& profile, size_t exit) {
  policy::ThreadCurve out;
  for (size_t k = 0; k <= exit; ++k) {
    const policy::ThreadCurve stage = k < profile.stages.size() ? thread_curve(profile.stages[k].latency) : policy::ThreadCurve{};
    if (k == 0) {
      out = stage;
      continue;
    }
    // What one of the stages lacks, the chain lacks.
    std::erase_if(out, [&](policy::ThreadCell& c) {
      const auto it = std::find_if(stage.begin(), stage.end(), [&](const policy::ThreadCell& s) { return s.batch == c.batch && s.threads == c.threads; });
      if (it == stage.end()) return true;
      c.typical_ns += it->typical_ns;
      c.cautious_ns += it->cautious_ns;
      return false;
    });
  }
  return out;
}

void seed(Resident& resident, const VariantProfile& profile, uint32_t lane, int64_t cores) {
  const auto each = [&](const std::vector<LatencyCell>& cells, auto take) {
    int64_t nearest = 0;
    for (const LatencyCell& c : cells) {
      if (c.cores <= cores) nearest = std::max(nearest, c.cores);
    }
    for (const LatencyCell& c : cells) {
      if (c.cores == nearest && c.p50_us > 0) take(c, to_ns(c.p50_us));
    }
  };
  each(profile.latency, [&](const LatencyCell& c, uint64_t ns) {
    if (c.cores == cores) resident.groups[lane].curve.seed(c.batch, ns);
  });
  const auto p99 = [](const LatencyCell& c) { return c.p99_us > 0 ? to_ns(c.p99_us) : 0; };
  if (resident.stages.empty()) {
    each(profile.latency, [&](const LatencyCell& c, uint64_t ns) { resident.predictor(lane).seed(c.batch, ns, p99(c)); });
  }
  for (uint32_t k = 0; k < resident.stages.size() && k < profile.stages.size(); ++k) {
    each(profile.stages[k].latency, [&](const LatencyCell& c, uint64_t ns) { resident.predictor(lane, k).seed(c.batch, ns, p99(c)); });
  }
}

}  // namespace verge::runtime
