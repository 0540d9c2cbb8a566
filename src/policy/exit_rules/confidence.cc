// Leaves at the first exit whose largest score reaches the exit's threshold: the calibrated one, or verge.confidence for all.
#include "policy/exit_rule.h"

namespace verge::policy {
namespace {

Decision decide(const ExitState& s, const ExitSettings& settings) {
  const double threshold = settings.confidence >= 0 ? settings.confidence : s.exit < settings.thresholds.size() ? settings.thresholds[s.exit] : 2;
  if (s.confidence >= 0 && s.confidence >= threshold) return {Go::kLeave, "confident enough"};
  return {};
}

}  // namespace

extern const ExitRule kConfidence = {.name = "confidence", .decide = decide, .keeps = true, .needs_thresholds = true};

}  // namespace verge::policy
