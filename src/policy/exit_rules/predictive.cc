// Leaves before a stage that would pass the deadline, or that brings nothing. Where this exit's answer is kept for the deadline, it tries what is as likely to be done by then as not.
#include "policy/exit_rule.h"

namespace verge::policy {
namespace {

Decision decide(const ExitState& s, const ExitSettings&) {
  const double here = s.stages[s.exit].accuracy;
  bool later_better = false;
  for (uint32_t i = s.exit + 1; i < s.stages.size(); ++i) later_better |= here < 0 || s.stages[i].accuracy < 0 || s.stages[i].accuracy > here;
  if (!later_better) return {Go::kLeave, "no later exit is more accurate"};
  if (!better_in_reach(s)) return {Go::kLeave, "the next exit would be too late"};
  return {};
}

}  // namespace

extern const ExitRule kPredictive = {.name = "predictive", .decide = decide, .looks_at_time = true, .keeps = true};

}  // namespace verge::policy
