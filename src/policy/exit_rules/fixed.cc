// Leaves at the exit that the request names, whatever the time.
#include "policy/exit_rule.h"

namespace verge::policy {
namespace {

Decision decide(const ExitState& s, const ExitSettings& settings) {
  if (s.exit >= settings.furthest) return {Go::kLeave, "the exit that was asked for"};
  return {};
}

}  // namespace

extern const ExitRule kFixed = {.name = "fixed", .decide = decide, .looks_at_time = true, .exact = true};

}  // namespace verge::policy
