// The rules that there are: one line each.
#include "policy/exit_rule.h"

#define VERGE_EXIT_RULES(rule) \
  rule(kPredictive)            \
  rule(kReactive)              \
  rule(kConfidence)            \
  rule(kEntropy)               \
  rule(kFixed)                 \
  rule(kConditions)

namespace verge::policy {

#define VERGE_DECLARE(name) extern const ExitRule name;
VERGE_EXIT_RULES(VERGE_DECLARE)

namespace {

#define VERGE_ADDRESS(name) &name,
const ExitRule* const kRules[] = {VERGE_EXIT_RULES(VERGE_ADDRESS)};

}  // namespace

std::span<const ExitRule* const> exit_rules() { return kRules; }

const ExitRule* find_exit_rule(std::string_view name) {
  if (name.empty()) return &kPredictive;
  for (const ExitRule* rule : kRules) {
    if (rule->name == name) return rule;
  }
  return nullptr;
}

}  // namespace verge::policy
