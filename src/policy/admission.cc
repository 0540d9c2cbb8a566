#include "policy/admission.h"

#include <cmath>

namespace verge::policy {
namespace {

constexpr uint64_t kMarginNs = 150'000;
// Where requests share runs, one is reckoned to hold its lane for its part of a run of so many.
constexpr int64_t kCompany = 8;

}  // namespace

uint64_t plain_cost_ns(uint64_t one_ns, bool joins, const Predictor& predictor, int64_t rows) {
  const auto n = static_cast<uint64_t>(rows);
  const uint64_t alone = one_ns * n;
  return joins ? std::min(alone, predictor.predict(kCompany).typical_ns / kCompany * n) : alone;
}

uint64_t run_cost_ns(size_t requests, uint64_t cost_ns, int64_t rows, const Predictor& predictor) { return requests == 1 ? cost_ns : predictor.predict(rows).typical_ns; }

TimeLeft time_left(uint64_t now, uint64_t deadline_ns, const ExitRule& rule) {
  TimeLeft out;
  if (deadline_ns == 0) return out;
  const uint64_t left = deadline_ns - now;
  out.margin_ns = rule.looks_late ? 0 : std::min(left / 10, kMarginNs);
  out.due_ns = deadline_ns - out.margin_ns;
  if (!rule.looks_late) out.left_ns = left - out.margin_ns;
  out.probes = rule.looks_late;
  return out;
}

void ChainTime::add(const Quantiles& stage) {
  known_ &= stage.typical_ns != 0;
  typical_ += static_cast<double>(stage.typical_ns);
  const double off = static_cast<double>(stage.cautious_ns - std::min(stage.cautious_ns, stage.typical_ns));
  spread_ += off * off;
}

uint64_t ChainTime::cautious_ns() const { return known_ ? static_cast<uint64_t>(typical_ + std::sqrt(spread_)) : 0; }

Choice choose_or_probe(std::span<const Candidate> candidates, const Demands& demands, uint64_t wait_ns, Probes& hopeless, bool* probes, std::span<Passed> reasons) {
  const Choice choice = choose(candidates, demands, reasons);
  if (choice.index >= 0 || choice.refusal != Passed::kDeadline || wait_ns != 0) return choice;
  Demands timeless = demands;
  timeless.left_ns = kNoDeadline;
  timeless.objective = Objective::kLatency;
  const Choice fastest = choose(candidates, timeless);
  if (fastest.index < 0) return choice;
  const Candidate& c = candidates[static_cast<size_t>(fastest.index)];
  if ((c.typical_ns == 0 || c.typical_ns > demands.left_ns) && !hopeless.next()) return choice;
  *probes = true;
  return choose(candidates, timeless, reasons);
}

uint32_t furthest_exit(const ExitRule& rule, const Demands& demands, uint32_t chosen) {
  return rule.exact || objective_of(demands) != Objective::kAccuracy ? chosen : UINT32_MAX;
}

const ExitPoint* exit_point(const std::vector<ExitPoint>& curve, double most) {
  const ExitPoint *best = nullptr, *careful = nullptr;
  for (const ExitPoint& p : curve) {
    if (p.calibration_loss <= most + 1e-9 && (best == nullptr || p.cost < best->cost)) best = &p;
    if (careful == nullptr || p.calibration_loss < careful->calibration_loss) careful = &p;
  }
  return best != nullptr ? best : careful;
}

}  // namespace verge::policy
