#include "runtime/bounds.h"

#include <cmath>
#include <string>

namespace verge::runtime {
namespace {

std::string quoted(std::string_view text) { return "'" + std::string(text.substr(0, 64)) + "'"; }

Result<const policy::ExitRule*> rule_named(std::string_view name) {
  if (const policy::ExitRule* rule = policy::find_exit_rule(name); rule != nullptr) return rule;
  std::string names;
  for (const policy::ExitRule* rule : policy::exit_rules()) names += (names.empty() ? "" : ", ") + std::string(rule->name);
  return invalid_argument("rule: " + quoted(name) + " is none; there are " + names);
}

// The rule by its name or, where only what it needs is given, by that.
template <typename Given>
Result<const policy::ExitRule*> rule_of(const Given& b) {
  const std::string_view name = !std::string_view(b.rule).empty()         ? std::string_view(b.rule)
                                : !std::string_view(b.exit).empty()       ? "fixed"
                                : !std::string_view(b.conditions).empty() ? "conditions"
                                : b.max_accuracy_loss >= 0                ? "confidence"
                                                                          : "";
  VERGE_ASSIGN(const policy::ExitRule* rule, rule_named(name));
  if (!std::string_view(b.exit).empty() && !rule->exact) return invalid_argument("exit: only rule 'fixed' takes one, not " + quoted(rule->name));
  if (!std::string_view(b.conditions).empty() && !rule->needs_conditions) return invalid_argument("conditions: only rule 'conditions' takes them, not " + quoted(rule->name));
  if (rule->exact && std::string_view(b.exit).empty()) return invalid_argument("exit: rule 'fixed' needs one");
  if (rule->needs_conditions && std::string_view(b.conditions).empty()) return invalid_argument("conditions: rule 'conditions' needs them");
  return rule;
}

template <typename Given>
bool names_rule(const Given& b) {
  return !std::string_view(b.rule).empty() || !std::string_view(b.exit).empty() || !std::string_view(b.conditions).empty() || b.max_accuracy_loss >= 0;
}

Status check_number(const char* name, double v, double most) {
  if (std::isnan(v) || v > most) return invalid_argument(std::string(name) + ": it must be a number of at most " + std::to_string(static_cast<int64_t>(most)));
  return {};
}

template <typename Given>
Status check_numbers(const Given& b) {
  VERGE_RETURN_IF_ERROR(check_number("min_accuracy", b.min_accuracy, 1e9));
  VERGE_RETURN_IF_ERROR(check_number("max_energy_mj", b.max_energy_mj, 1e12));
  VERGE_RETURN_IF_ERROR(check_number("confidence", b.confidence, 1));
  return check_number("max_accuracy_loss", b.max_accuracy_loss, 1e9);
}

}  // namespace

Result<std::shared_ptr<const TenantBounds>> check_bounds(BoundsDefaults d) {
  auto t = std::make_shared<TenantBounds>();
  t->given = std::move(d);
  const BoundsDefaults& b = t->given;
  if (!(b.deadline_ms >= 0 && b.deadline_ms <= 1e9)) return invalid_argument("deadline_ms: it must be between 0 and 1000000000");
  VERGE_RETURN_IF_ERROR(check_numbers(b));
  if (!b.conditions.empty()) VERGE_RETURN_IF_ERROR(policy::parse_exit_conditions(b.conditions, t->conditions));
  VERGE_ASSIGN(t->rule, rule_of(b));
  t->any = b.deadline_ms > 0 || b.min_accuracy >= 0 || b.max_energy_mj >= 0 || b.objective != Objective::kUnset || b.confidence >= 0 || names_rule(b);
  return std::shared_ptr<const TenantBounds>(std::move(t));
}

Result<Demand> merge_bounds(const Bounds& r, const TenantBounds& tenant, std::unique_ptr<policy::ExitConditions>& own) {
  static_assert(static_cast<int>(Objective::kEnergy) == static_cast<int>(policy::Objective::kEnergy));
  const BoundsDefaults& d = tenant.given;
  Demand out;
  if (r.given()) VERGE_RETURN_IF_ERROR(check_numbers(r).prefixed("verge"));
  out.bounds.min_accuracy = r.min_accuracy >= 0 ? r.min_accuracy : d.min_accuracy;
  out.bounds.max_energy_mj = r.max_energy_mj >= 0 ? r.max_energy_mj : d.max_energy_mj;
  out.bounds.objective = static_cast<policy::Objective>(r.objective != Objective::kUnset ? r.objective : d.objective);
  if (names_rule(r)) {
    // The request's own rule with what it gives for it; the tenant's was meant for another.
    auto rule = rule_of(r);
    if (!rule.ok()) return rule.status().prefixed("verge");
    out.rule = *rule;
    out.exit = r.exit;
    out.confidence = r.confidence;
    out.max_accuracy_loss = r.max_accuracy_loss;
    if (!r.conditions.empty()) {
      if (own == nullptr) own = std::make_unique<policy::ExitConditions>();
      VERGE_RETURN_IF_ERROR(policy::parse_exit_conditions(r.conditions, *own).prefixed("verge"));
      out.conditions = own.get();
    }
  } else {
    out.rule = tenant.rule;
    out.exit = d.exit;
    out.confidence = r.confidence >= 0 ? r.confidence : d.confidence;
    out.max_accuracy_loss = d.max_accuracy_loss;
    if (!d.conditions.empty()) out.conditions = &tenant.conditions;
  }
  out.own_exit = !r.exit.empty() || !r.conditions.empty() || r.confidence >= 0 || r.max_accuracy_loss >= 0;
  out.narrows = out.bounds.min_accuracy >= 0 || out.bounds.max_energy_mj >= 0 || out.bounds.objective != policy::Objective::kUnset || r.deadline_ns != 0;
  return out;
}

}  // namespace verge::runtime
