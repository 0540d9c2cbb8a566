// Leaves at the first exit whose scores' entropy is at or below the exit's calibrated threshold (BranchyNet).
#include "policy/exit_rule.h"

namespace verge::policy {
namespace {

Decision decide(const ExitState& s, const ExitSettings& settings) {
  if (s.entropy >= 0 && s.exit < settings.thresholds.size() && s.entropy <= settings.thresholds[s.exit]) return {Go::kLeave, "its entropy is low enough"};
  return {};
}

}  // namespace

extern const ExitRule kEntropy = {.name = "entropy", .decide = decide, .keeps = true, .needs_thresholds = true};

}  // namespace verge::policy
