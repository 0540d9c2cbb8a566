#include "simulate/demand.h"

#include <algorithm>
#include <cmath>

#include "policy/admission.h"

namespace verge::simulate {

Result<SimDemand> demand_of(const bench::TenantSpec& t, const std::vector<SimModel>& models) {
  SimDemand d;
  std::string names;
  for (const SimModel& m : models) {
    names += (names.empty() ? "" : ", ") + m.name;
    if (m.name == t.model || (t.model.empty() && models.size() == 1)) d.model = &m;
  }
  if (!d.model) return not_found("tenant " + t.name + ": " + (t.model.empty() ? "which model? Say --model" : "there is no model '" + t.model + "'") + "; there are " + names);
  d.deadline_ns = static_cast<uint64_t>(t.deadline_ms * 1e6);
  d.rows = t.batch;
  std::string rule;
  for (const bench::Parameter& p : t.parameters) {
    const bool number = p.kind == bench::Parameter::Kind::kNumber || p.kind == bench::Parameter::Kind::kInteger;
    if (p.name == "verge.min_accuracy") d.bounds.min_accuracy = p.number;
    else if (p.name == "verge.max_energy_mj") d.bounds.max_energy_mj = p.number;
    else if (p.name == "verge.confidence") d.confidence = p.number;
    else if (p.name == "verge.max_accuracy_loss") d.max_accuracy_loss = p.number;
    else if (p.name == "verge.rule") rule = p.text;
    else if (p.name == "verge.exit") d.exit = p.text;
    else if (p.name == "verge.variant") d.variant = p.text;
    else if (p.name == "verge.conditions") d.conditions_text = p.text;
    else if (p.name == "priority" && number && p.integer >= 1) d.priority = static_cast<uint32_t>(std::min<int64_t>(p.integer, 7));
    else if (p.name == "verge.objective") {
      d.bounds.objective = p.text == "accuracy" ? policy::Objective::kAccuracy : p.text == "latency" ? policy::Objective::kLatency : p.text == "energy" ? policy::Objective::kEnergy : policy::Objective::kUnset;
      if (d.bounds.objective == policy::Objective::kUnset) return invalid_argument("tenant " + t.name + ": objective must be accuracy, latency or energy");
    }
  }
  d.bounded = d.bounds.min_accuracy >= 0 || d.bounds.max_energy_mj >= 0 || d.bounds.objective != policy::Objective::kUnset || !rule.empty() || d.confidence >= 0 || d.max_accuracy_loss >= 0 ||
              !d.exit.empty() || !d.conditions_text.empty();
  if (rule.empty() && !d.exit.empty()) rule = "fixed";
  if (rule.empty() && !d.conditions_text.empty()) rule = "conditions";
  d.rule = policy::find_exit_rule(rule);
  if (!d.rule) return invalid_argument("tenant " + t.name + ": there is no rule '" + rule + "'");
  if (!d.conditions_text.empty()) {
    d.conditions = std::make_shared<policy::ExitConditions>();
    if (const Status s = policy::parse_exit_conditions(d.conditions_text, *d.conditions); !s.ok()) return s.prefixed("tenant " + t.name);
  }
  d.narrows = d.bounds.min_accuracy >= 0 || d.bounds.max_energy_mj >= 0 || d.bounds.objective != policy::Objective::kUnset || d.deadline_ns != 0;
  if (d.bounds.min_accuracy >= 0 && !metric_larger_is_better(d.model->metric) && d.model->metric != MetricKind::kNone)
    return failed_precondition("tenant " + t.name + ": min_accuracy needs a metric where larger is better");
  const auto has_variant = [&](const SimVariant& v) { return v.id == d.variant; };
  if (!d.variant.empty() && std::none_of(d.model->variants.begin(), d.model->variants.end(), has_variant))
    return not_found("tenant " + t.name + ": variant '" + d.variant + "' is not resident; say --variants '" + d.variant + "'");
  const auto has_exit = [&](const SimVariant& v) { return std::any_of(v.exits.begin(), v.exits.end(), [&](const SimExit& e) { return e.name == d.exit; }); };
  if (!d.exit.empty() && std::none_of(d.model->variants.begin(), d.model->variants.end(), has_exit)) return not_found("tenant " + t.name + ": no variant has an exit '" + d.exit + "'");
  if (d.rule->needs_thresholds)
    for (const SimVariant& v : d.model->variants)
      if (!v.exits.empty() && !point_of(d, v)) return failed_precondition("tenant " + t.name + ": variant " + v.id + " has no calibrated curve for rule " + std::string(d.rule->name));
  return d;
}

const ExitPoint* point_of(const SimDemand& d, const SimVariant& v) {
  const bool by_confidence = d.confidence >= 0;
  if (!d.rule->needs_thresholds && !by_confidence) return nullptr;
  const auto& curve = d.rule->name == "entropy" ? v.entropy : v.confidence;
  if (!by_confidence) return policy::exit_point(curve, d.max_accuracy_loss >= 0 ? d.max_accuracy_loss : policy::kDefaultLoss);
  // One threshold for all exits: the point whose thresholds are nearest tells how many samples leave where.
  const ExitPoint* best = nullptr;
  const auto off = [&](const ExitPoint& x) { return x.thresholds.empty() ? 1.0 : std::abs(x.thresholds[0] - d.confidence); };
  for (const ExitPoint& p : curve)
    if (!best || off(p) < off(*best)) best = &p;
  return best;
}

}  // namespace verge::simulate
