// Leaves at the first exit whose condition, written by a user, holds. An exit without one is not left at.
#include "policy/exit_rule.h"

namespace verge::policy {
namespace {

Decision decide(const ExitState& s, const ExitSettings& settings) {
  if (settings.conditions == nullptr) return {};
  const ExitConditions::Entry* entry = settings.conditions->find(s.stages[s.exit].exit);
  if (entry != nullptr && settings.conditions->holds(*entry, s)) return {Go::kLeave, "its condition holds"};
  return {};
}

}  // namespace

extern const ExitRule kConditions = {.name = "conditions", .decide = decide, .keeps = true, .needs_conditions = true};

}  // namespace verge::policy
