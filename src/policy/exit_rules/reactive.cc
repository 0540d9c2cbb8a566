// Dělen's rule as published (IoTDI 2023): leaves at the first exit whose condition, elapsed > bound, holds. Overshoots the bound by design; the baseline
// that the predictive rule is compared with.
#include "policy/exit_rule.h"

namespace verge::policy {
namespace {

Decision decide(const ExitState& s, const ExitSettings&) {
  if (s.deadline_ns != kNoDeadline && s.elapsed_ns > s.deadline_ns) return {Go::kLeave, "the bound has passed"};
  return {};
}

}  // namespace

extern const ExitRule kReactive = {.name = "reactive", .decide = decide, .looks_at_time = true, .looks_late = true};

}  // namespace verge::policy
