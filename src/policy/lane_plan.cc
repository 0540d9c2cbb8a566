#include "policy/lane_plan.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "policy/dispatch.h"

namespace verge::policy {
namespace {

// A thread more has to bring at least this share of the time of one sample.
constexpr double kWorthAThread = 0.05;
// Wider lanes: what one sample has to gain, and what all together may lose. Two measurements of one thing differ by a percent or two.
constexpr double kWorthWiderLanes = 0.15;
constexpr double kNoLoss = 0.03;
// Threads that seem to gain more than this beyond their number were compared with a busy moment.
constexpr double kBelievable = 1.25;

uint64_t one_sample(std::span<const ThreadCell> curve, int threads) {
  for (const ThreadCell& c : curve)
    if (c.batch == 1 && c.threads == threads) return c.typical_ns;
  return 0;
}

uint64_t cautious(std::span<const ThreadCell> curve, int threads) {
  for (const ThreadCell& c : curve)
    if (c.batch == 1 && c.threads == threads) return std::max(c.typical_ns, c.cautious_ns);
  return 0;
}

// Samples a nanosecond of one instance, at its best batch size.
double best_rate(std::span<const ThreadCell> curve, int threads) {
  double best = 0;
  for (const ThreadCell& c : curve)
    if (c.threads == threads && c.typical_ns != 0) best = std::max(best, static_cast<double>(c.batch) / static_cast<double>(c.typical_ns));
  return best;
}

// The lane counts that make a difference, from a lane a core to one lane.
std::vector<uint32_t> lane_counts(int cores) {
  std::vector<uint32_t> out;
  for (int each = 1; each <= cores; ++each) {
    const auto lanes = static_cast<uint32_t>(cores / each);
    if (out.empty() || lanes != out.back()) out.push_back(lanes);
  }
  return out;
}

struct Figures {
  uint64_t latency_ns = 0;  // 0: not measured
  double rate = 0;
};
// With cores dealt out evenly, what the narrowest lane makes of it.
Figures with_lanes(std::span<const ThreadCell> curve, uint32_t lanes, int cores) {
  const int threads = choose_threads(curve, cores / static_cast<int>(lanes));
  return {one_sample(curve, threads), best_rate(curve, threads) * lanes};
}

// Whether it was measured what several threads do, up to all cores, and in a quiet moment.
bool known(std::span<const ThreadCell> curve, int cores) {
  const uint64_t alone = one_sample(curve, 1);
  const double rate = best_rate(curve, 1);
  bool all = false;
  for (const ThreadCell& c : curve) {
    if (c.threads <= 1 || c.threads > cores) continue;
    if (c.batch == 1 && static_cast<double>(c.typical_ns) * c.threads * kBelievable < static_cast<double>(alone)) return false;
    if (best_rate(curve, c.threads) > rate * c.threads * kBelievable) return false;
    all |= c.batch == 1 && c.threads == cores;
  }
  return alone != 0 && all;
}

bool in_time(const LaneModel& model, uint32_t lanes, int cores) {
  const uint64_t due = due_ns(0, model.deadline_ns);
  const auto meets = [&](std::span<const ThreadCell> curve) {
    const uint64_t takes = cautious(curve, choose_threads(curve, cores / static_cast<int>(lanes)));
    return takes != 0 && takes <= due;
  };
  return meets(model.curve) || std::any_of(model.in_time.begin(), model.in_time.end(), meets);
}

size_t late(std::span<const LaneModel> models, uint32_t lanes, int cores, std::string* which) {
  size_t n = 0;
  for (const LaneModel& m : models) {
    if (m.deadline_ns == 0 || !known(m.curve, cores) || in_time(m, lanes, cores)) continue;
    if (n++ == 0 && which != nullptr) *which = m.name;
  }
  return n;
}

// What the plan's lanes mean against lanes of one core.
void compare(std::span<const LaneModel> models, int cores, LanePlan& plan) {
  double gain = 2;
  for (const LaneModel& m : models) {
    const Figures base = with_lanes(m.curve, static_cast<uint32_t>(cores), cores), wide = with_lanes(m.curve, plan.lanes, cores);
    if (base.latency_ns == 0 || wide.latency_ns == 0) continue;
    plan.throughput = std::min(plan.throughput, wide.rate / base.rate);
    const double ratio = static_cast<double>(wide.latency_ns) / static_cast<double>(base.latency_ns);
    const bool counts = plan.why == LanePlan::Why::kDeadline ? m.name == plan.model : ratio < gain;
    if (!counts) continue;
    gain = plan.latency = ratio;
    plan.model = m.name;
  }
}

}  // namespace

int choose_threads(std::span<const ThreadCell> curve, int cores) {
  double most = 0;
  for (const ThreadCell& c : curve)
    if (c.batch == 1 && c.threads >= 1 && c.threads <= cores && c.typical_ns != 0) most = std::max(most, best_rate(curve, c.threads));
  int chosen = 1;
  uint64_t least = 0;
  for (int t = 1; t <= cores; ++t) {
    const uint64_t takes = one_sample(curve, t);
    if (takes == 0 || best_rate(curve, t) < most * (1 - kNoLoss)) continue;
    if (least != 0 && static_cast<double>(takes) > static_cast<double>(least) * (1 - kWorthAThread)) continue;
    chosen = t;
    least = takes;
  }
  return chosen;
}

LanePlan plan_lanes(std::span<const LaneModel> models, int cores) {
  LanePlan plan;
  plan.lanes = static_cast<uint32_t>(std::max(cores, 1));
  if (cores <= 1) return plan;
  const std::vector<uint32_t> counts = lane_counts(cores);
  // A deadline that one core cannot meet comes first: an answer too late is none.
  std::string which;
  size_t least = late(models, plan.lanes, cores, &which);
  for (const uint32_t lanes : counts) {
    if (const size_t n = late(models, lanes, cores, nullptr); n < least) {
      least = n;
      plan.lanes = lanes;
      plan.why = LanePlan::Why::kDeadline;
    }
  }
  if (plan.why == LanePlan::Why::kDeadline) {
    plan.model = which;
    compare(models, cores, plan);
    return plan;
  }
  for (const LaneModel& m : models) {
    if (known(m.curve, cores)) continue;
    plan.why = LanePlan::Why::kUnknown;
    plan.model = m.name;
    return plan;
  }
  double best = 0;
  for (const uint32_t lanes : counts) {
    double sum = 0, gain = 1;  // of the logarithm of the latency; the least ratio
    const bool no_loss = std::all_of(models.begin(), models.end(), [&](const LaneModel& m) {
      const Figures base = with_lanes(m.curve, static_cast<uint32_t>(cores), cores), wide = with_lanes(m.curve, lanes, cores);
      const double ratio = static_cast<double>(wide.latency_ns) / static_cast<double>(base.latency_ns);
      sum += std::log(ratio);
      gain = std::min(gain, ratio);
      return wide.rate >= base.rate * (1 - kNoLoss) && ratio <= 1 + kNoLoss;
    });
    if (!no_loss || gain > 1 - kWorthWiderLanes || sum >= best || late(models, lanes, cores, nullptr) > least) continue;
    best = sum;
    plan.lanes = lanes;
    plan.why = LanePlan::Why::kLatency;
  }
  if (plan.why == LanePlan::Why::kLatency) compare(models, cores, plan);
  return plan;
}

std::string explain(const LanePlan& plan, int cores) {
  const auto percent = [](double ratio) { return std::to_string(static_cast<int>(std::lround(ratio * 100))) + " %"; };
  const std::string figures = "one sample of '" + plan.model + "' takes " + percent(plan.latency) + " of its time on one core, throughput is " + percent(plan.throughput);
  switch (plan.why) {
    case LanePlan::Why::kUnknown:
      return "one core a lane: the profile of '" + plan.model + "' has no steady times for " + std::to_string(cores) + " threads; `verge profile` measures them";
    case LanePlan::Why::kLatency: return "fewer, wider lanes answer sooner at no loss: " + figures;
    case LanePlan::Why::kDeadline: return "one core cannot meet the deadline of requests for '" + plan.model + "': " + figures;
    case LanePlan::Why::kCores: break;
  }
  return cores <= 1 ? "there is one core" : "one core a lane: more threads a run would cost throughput or bring too little";
}

}  // namespace verge::policy
