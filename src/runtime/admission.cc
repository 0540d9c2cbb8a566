// The front's part for requests that have bounds, or whose model has exits or is a family: which variant and exit is to answer, or why none can. What is
// best is policy/choose.h's; here its snapshot is put together, and the answer told.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <string>

#include "core/json.h"
#include "core/stages.h"
#include "os/process.h"
#include "runtime/front.h"

namespace verge::runtime {

// What a request may choose among, and what it asks.
struct FrontImpl::Offer {
  const VersionEntry* version = nullptr;  // of a family nullptr
  const FamilyEntry* family = nullptr;
  const std::vector<Option>& options;
  Demand demand;
  uint32_t lane = 0;
  uint64_t wait_ns = 0;
  uint64_t elapsed_ns = 0;
  double watts = 0;
  const VersionEntry& of(const Option& o) const { return family == nullptr ? *version : *family->members[o.member]; }
  const std::string& name() const { return family == nullptr ? version->source->name : family->name; }
};

namespace {

std::string number(double v) {
  char text[32];
  std::snprintf(text, sizeof text, "%.4g", v);
  return text;
}
double ms(uint64_t ns) { return static_cast<double>(ns) / 1e6; }

const char* best_by(policy::Objective o) {
  switch (o) {
    case policy::Objective::kLatency: return "the fastest within the bounds";
    case policy::Objective::kEnergy: return "the least energy within the bounds";
    default: return "the most accurate within the bounds";
  }
}

}  // namespace

bool FrontImpl::is_bounded(const Request& request, const VersionEntry& version) const {
  const Bounds& b = request.bounds;
  if (b.given() || !version.served->stages.empty() || bounds_[request.tenant < bounds_.size() ? request.tenant : 0]->any) return true;
  return b.deadline_ns != 0 && b.variant.empty() && version.resident_options > 1;
}

// The lane with the least expected work ahead, and how much that is.
uint32_t FrontImpl::lane_for(const Run& run, const Request& request, uint64_t now, uint64_t* wait_ns) const {
  const size_t lanes = shared_.lanes.size();
  uint32_t lane = index_;
  if (lanes == 0) {
    *wait_ns = places_.ahead_ns(now);
    return lane;
  }
  if (run.turn.entry != nullptr) {
    lane = static_cast<uint32_t>(run.turn.lane % lanes);
  } else if (request.sequence.given()) {
    lane = static_cast<uint32_t>(sequence_hash(request.sequence) % lanes);
  } else {
    policy::LeastAhead least;
    for (size_t i = 0; i < lanes; ++i) {
      const auto at = static_cast<uint32_t>((index_ + i) % lanes);
      const Lane& l = *shared_.lanes[at];
      least.look(at, l.ahead_ns(now), l.busy() || l.waiting() != 0);
    }
    lane = least.lane();
  }
  *wait_ns = shared_.lanes[lane]->ahead_ns(now);
  return lane;
}

// The snapshot: options that the request may have, with what is known of them now.
void FrontImpl::gather(const Offer& offer, const Request& request, const Run& run) {
  candidates_.clear();
  considered_.clear();
  const Demand& demand = offer.demand;
  const bool stateful = run.version->sequences != nullptr;
  const VersionEntry* last_version = nullptr;
  uint32_t last_variant = UINT32_MAX;
  bool usable = false;
  policy::ChainTime time;  // up to the exit
  for (uint32_t i = 0; i < offer.options.size(); ++i) {
    const Option& o = offer.options[i];
    const VersionEntry& version = offer.of(o);
    const Manifest& m = version.served->manifest();
    if (&version != last_version || o.variant != last_variant) {
      last_version = &version;
      last_variant = o.variant;
      time = {};
      usable = !request.bounds.variant.empty()          ? m.variants[o.variant].id == request.bounds.variant
               : stateful || !demand.narrows            ? static_cast<int>(o.variant) == version.default_variant
                                                        : true;
    }
    if (!usable) continue;
    policy::Candidate c{.accuracy = o.accuracy, .wait_ns = offer.wait_ns, .depth = o.exit == kNoExit ? 0 : o.exit, .ready = o.resident};
    if (o.resident) {
      const policy::Quantiles q = version.variants[o.variant].resident->predictor(offer.lane, o.exit == kNoExit ? 0 : o.exit).expect(run.batch, run.queued_ns);
      time.add(q);
      c.typical_ns = time.typical_ns();
      c.cautious_ns = time.cautious_ns();
    } else {
      c.typical_ns = o.profiled.typical_ns * static_cast<uint64_t>(run.batch);
      c.cautious_ns = o.profiled.cautious_ns * static_cast<uint64_t>(run.batch);
    }
    if (offer.watts > 0 && c.typical_ns != 0) c.energy_mj = offer.watts * static_cast<double>(c.typical_ns) * 1e-6;
    // After the sums: what is dominated is passed on the way to what is not. A request that names the exit gets it all the same.
    if (!demand.exit.empty() && o.exit != kNoExit) {
      if (m.stages[o.exit].exit != demand.exit) continue;
    } else if (o.dominated && request.bounds.variant.empty() && demand.narrows && !stateful) {
      continue;
    }
    candidates_.push_back(c);
    considered_.push_back(i);
  }
}

void FrontImpl::admit(Request& request, const VersionEntry* version, const FamilyEntry* family) {
  const VersionEntry& first = family != nullptr ? *family->members.front() : *version;
  ModelStats& stats = family != nullptr ? *family->stats : *version->stats;
  const std::shared_ptr<const TenantBounds>& defaults = bounds_[request.tenant < bounds_.size() ? request.tenant : 0];
  // Says what is wrong with a variant that is named.
  if (family == nullptr && (!request.bounds.variant.empty() || version->options.empty()) && choose_variant(request, *version) < 0) return;
  const uint64_t now = os::monotonic_ns();
  const uint64_t arrival = request.arrival_ns != 0 && request.arrival_ns <= now ? request.arrival_ns : now;
  if (request.bounds.deadline_ns == 0 && defaults->given.deadline_ms > 0) request.bounds.deadline_ns = arrival + static_cast<uint64_t>(defaults->given.deadline_ms * 1e6);
  Run* run = begin(request, first, stats, true);
  if (run == nullptr) return;
  Plan& plan = run->plan;
  plan.said = true;
  plan.arrival_ns = arrival;
  auto demand = merge_bounds(request.bounds, *defaults, plan.conditions);
  if (!demand.ok()) return fail_run(run, demand.status(), Reason::kBounds);
  plan.defaults = defaults;

  Offer offer{.version = version, .family = family, .options = family != nullptr ? family->options : version->options, .demand = std::move(demand).value()};
  const auto wrong = [&](const std::string& what) { fail_run(run, invalid_argument("model '" + offer.name() + "': " + what), Reason::kBounds); };
  const bool staged = std::any_of(offer.options.begin(), offer.options.end(), [](const Option& o) { return o.exit != kNoExit; });
  if (!staged) {
    if (offer.demand.own_exit) return wrong("it has no exits, so verge.exit, verge.conditions, verge.confidence and verge.max_accuracy_loss mean nothing to it");
    offer.demand.exit = {};
    offer.demand.rule = policy::find_exit_rule("");
  } else if (!offer.demand.exit.empty()) {
    const auto has = [&](const Option& o) { return o.exit != kNoExit && offer.of(o).served->manifest().stages[o.exit].exit == offer.demand.exit; };
    if (std::none_of(offer.options.begin(), offer.options.end(), has)) {
      std::string names;
      for (const StageSpec& s : first.served->manifest().stages) names += (names.empty() ? "'" : ", '") + s.exit + "'";
      if (!request.bounds.exit.empty()) return wrong("it has no exit '" + std::string(offer.demand.exit.substr(0, 64)) + "'; it has " + names);
      // A tenant's default was meant for another model.
      offer.demand.exit = {};
      offer.demand.rule = policy::find_exit_rule("");
    }
  }
  // Triton's word for models that answer a request several times.
  const bool decoupled = staged && family == nullptr && version->source->decoupled;
  if ((request.bounds.every_exit || decoupled) && request.early == nullptr) {
    return fail_run(run,
                    unimplemented("model '" + offer.name() + "': " + (decoupled ? "it is decoupled and answers" : "verge.every_exit asks for an answer") +
                                  " once an exit, which a unary call cannot carry; send the request by ModelStreamInfer"),
                    Reason::kBounds);
  }
  const MetricKind metric = first.served->manifest().metric.kind;
  if (offer.demand.bounds.min_accuracy >= 0 && !metric_larger_is_better(metric)) {
    return fail_run(run,
                    failed_precondition("model '" + offer.name() + "': min_accuracy needs a metric where larger is better; its metric is " + std::string(metric_name(metric))),
                    Reason::kAccuracyBound);
  }

  plan.rule = offer.demand.rule;
  if (family != nullptr) plan.family = family->name;
  offer.elapsed_ns = run->queued_ns - std::min(arrival, run->queued_ns);
  offer.lane = lane_for(*run, request, run->queued_ns, &offer.wait_ns);
  offer.watts = plan.watts = shared_.lane_watts(offer.lane);
  policy::Demands demands = offer.demand.bounds;
  const policy::TimeLeft time = policy::time_left(run->queued_ns, request.bounds.deadline_ns, *plan.rule);  // it has not passed: begin() has looked
  if (request.bounds.deadline_ns != 0) {
    plan.deadline_ns = request.bounds.deadline_ns - std::min(arrival, request.bounds.deadline_ns);
    plan.margin_ns = time.margin_ns;
    run->due_ns = time.due_ns;
    run->probes = time.probes;
    demands.left_ns = time.left_ns;
  }
  gather(offer, request, *run);
  if (candidates_.empty()) {
    if (family != nullptr && !request.bounds.variant.empty()) {
      return fail_run(run, not_found("family '" + family->name + "' has no variant '" + std::string(request.bounds.variant.substr(0, 128)) + "' that may answer"), Reason::kUnknownVariant);
    }
    return fail_run(run, unavailable("model '" + offer.name() + "' has no variant to answer with" + (family != nullptr ? "" : ": " + version->source->no_default)), Reason::kVariantNotOk);
  }
  reasons_.resize(request.bounds.trace ? candidates_.size() : 0);
  const policy::Choice choice = policy::choose_or_probe(candidates_, demands, offer.wait_ns, hopeless_, &run->probes, reasons_);
  if (choice.index < 0) return refuse_bounds(run, offer, choice, demands);

  const policy::Candidate& best = candidates_[static_cast<size_t>(choice.index)];
  const Option& chosen = offer.options[considered_[static_cast<size_t>(choice.index)]];
  const VersionEntry& taken = offer.of(chosen);
  run->version = taken.served.get();
  run->stats = taken.stats;
  run->variant = chosen.variant;
  run->lane_wish = offer.lane;
  run->cost_ns = best.typical_ns;
  plan.exit = chosen.exit;
  plan.accuracy = best.accuracy;
  plan.predicted_ns = best.cautious_ns == 0 ? 0 : offer.elapsed_ns + best.predicted_ns();
  plan.needs_ns = best.cautious_ns;
  plan.reason = best_by(policy::objective_of(demands));
  if (request.bounds.trace) tell_trace(offer, *run, choice.index);
  if (chosen.exit != kNoExit) {
    plan.every_exit = request.bounds.every_exit || decoupled;
    plan.keeps = !plan.every_exit && plan.rule->keeps && request.late != nullptr && request.bounds.deadline_ns != 0 && (!shared_.lanes.empty() || policy::runs_apart(run->cost_ns, 1)) && taken.served->sequences == nullptr;
    if (plan.keeps) run->begin_keeping();
    while ((plan.every_exit || plan.keeps) && run->early.size() < taken.served->stages.size()) run->early.push_back(std::make_unique<ExitAnswer>());
    if (Status s = plan_exits(offer, *run, demands, chosen, best); !s.ok()) return fail_run(run, std::move(s), Reason::kBounds);
  }
  const VariantEntry& entry = taken.variants[chosen.variant];
  if (entry.state != policy::VariantState::kResident) return hold_back(run, entry, taken);
  run->resident = entry.resident.get();
  dispatch(run, run->queued_ns);
}

// What the exit rule is told, and how little would do.
Status FrontImpl::plan_exits(const Offer& offer, Run& run, const policy::Demands& demands, const Option& chosen, const policy::Candidate& best) const {
  Plan& plan = run.plan;
  const Demand& demand = offer.demand;
  policy::ExitSettings& s = plan.settings;
  s.min_accuracy = demands.min_accuracy;
  s.max_energy_mj = demands.max_energy_mj;
  s.confidence = demand.confidence;
  s.conditions = demand.conditions;
  s.furthest = policy::furthest_exit(*plan.rule, demands, chosen.exit);
  if (plan.rule->needs_thresholds && !(demand.confidence >= 0 && plan.rule->name == "confidence")) {
    const VersionEntry& version = offer.of(chosen);
    const std::string& id = version.served->manifest().variants[chosen.variant].id;
    const VariantProfile* p = version.source->profile.variant(id);
    const bool entropy = plan.rule->name == "entropy";
    const ExitPoint* point = p == nullptr ? nullptr : policy::exit_point(entropy ? p->entropy : p->confidence, demand.max_accuracy_loss >= 0 ? demand.max_accuracy_loss : policy::kDefaultLoss);
    if (point == nullptr) {
      return failed_precondition("model '" + version.source->name + "', variant '" + id + "': rule '" + std::string(plan.rule->name) +
                                 "' needs calibrated thresholds, of which its profile has none" + (entropy ? "" : "; give verge.confidence"));
    }
    s.thresholds = point->thresholds;
  }
  plan.needs_ns = policy::least_that_would_do(*plan.rule, s, candidates_, best, [&](size_t i) {
    const Option& o = offer.options[considered_[i]];
    return o.member == chosen.member && o.variant == chosen.variant;
  });
  return {};
}

void FrontImpl::refuse_bounds(Run* run, const Offer& offer, const policy::Choice& choice, const policy::Demands& demands) {
  const std::string who = "model '" + offer.name() + "': ";
  std::string why;
  Reason reason = Reason::kBounds;
  Code code = Code::kFailedPrecondition;
  const bool known = choice.nearest >= 0;
  switch (choice.refusal) {
    case policy::Passed::kDeadline: {
      reason = Reason::kDeadlineBound;
      code = Code::kDeadlineExceeded;
      why = "the deadline cannot be met: " + number(ms(demands.left_ns)) + " ms are left";
      if (offer.wait_ns != 0) why += ", what is ahead takes " + number(ms(offer.wait_ns)) + " ms";
      const double nearest = choice.nearest / 1e6 + ms(offer.elapsed_ns) + ms(run->plan.margin_ns);
      if (known) why += "; the nearest deadline that could be met is " + number(std::ceil(nearest * 1000) / 1000) + " ms from arrival";
      break;
    }
    case policy::Passed::kAccuracy:
      reason = Reason::kAccuracyBound;
      why = "no variant is within min_accuracy " + number(demands.min_accuracy);
      if (known) why += "; the nearest that could be met is " + number(choice.nearest);
      break;
    case policy::Passed::kAccuracyUnknown:
      reason = Reason::kAccuracyBound;
      why = "min_accuracy cannot be met: the accuracy of no variant has been measured";
      break;
    case policy::Passed::kEnergy:
      reason = Reason::kEnergyBound;
      why = "max_energy_mj " + number(demands.max_energy_mj) + " cannot be met; the nearest that could be met is " + number(choice.nearest) + " mJ";
      break;
    case policy::Passed::kEnergyUnknown:
      reason = Reason::kEnergyBound;
      why = "max_energy_mj cannot be met: the energy of no variant is known; declare the machine's in the configuration";
      break;
    default: why = "no variant can answer";
  }
  fail_run(run, Status(code, who + why), reason);
}

// For people and for checks: all that was looked at.
void FrontImpl::tell_trace(const Offer& offer, Run& run, int32_t chosen) const {
  Json list = Json::array();
  for (uint32_t i = 0; i < offer.options.size(); ++i) {
    const Option& o = offer.options[i];
    const VersionEntry& version = offer.of(o);
    const Manifest& m = version.served->manifest();
    const auto name_of = [&](const Option& x) {
      const Manifest& other = offer.of(x).served->manifest();
      return (offer.family != nullptr ? offer.of(x).source->name + "/" : "") + other.variants[x.variant].id + (x.exit == kNoExit ? "" : "/" + other.stages[x.exit].exit);
    };
    Json j = {{"model", version.source->name}, {"variant", m.variants[o.variant].id}};
    if (o.exit != kNoExit) j["exit"] = m.stages[o.exit].exit;
    if (o.accuracy >= 0) j["accuracy"] = o.accuracy;
    const auto at = std::find(considered_.begin(), considered_.end(), i);
    if (at == considered_.end()) {
      j["passed_over"] = o.dominated && o.by >= 0 ? "dominated by " + name_of(offer.options[static_cast<size_t>(o.by)]) : "not asked for";
      list.push_back(std::move(j));
      continue;
    }
    const size_t c = static_cast<size_t>(at - considered_.begin());
    const policy::Candidate& candidate = candidates_[c];
    if (candidate.cautious_ns != 0) j["predicted_ms"] = ms(offer.elapsed_ns + candidate.predicted_ns());
    if (candidate.energy_mj >= 0) j["energy_mj"] = candidate.energy_mj;
    if (static_cast<int32_t>(c) == chosen) {
      j["chosen"] = true;
    } else {
      std::string why = policy::passed_name(reasons_[c]);
      const policy::Demands& d = offer.demand.bounds;
      if (reasons_[c] == policy::Passed::kAccuracy) why += " " + number(o.accuracy) + " < " + number(d.min_accuracy);
      if (reasons_[c] == policy::Passed::kEnergy) why += " " + number(candidate.energy_mj) + " > " + number(d.max_energy_mj) + " mJ";
      if (reasons_[c] == policy::Passed::kDeadline) {
        why += " " + number(ms(offer.elapsed_ns + candidate.predicted_ns())) + " > " + number(ms(run.plan.deadline_ns - run.plan.margin_ns)) + " ms";
      }
      j["passed_over"] = why;
    }
    list.push_back(std::move(j));
  }
  const Json trace = {{"candidates", std::move(list)}};
  run.plan.trace = trace.dump(-1, ' ', false, Json::error_handler_t::replace);
}

// `until`: when the answer was there.
void FrontImpl::tell_chosen(Run& run, Request& r, uint64_t until) const {
  const Plan& plan = run.plan;
  Chosen& c = r.chosen;
  const double measured = shared_.measured_watts(), watts = measured > 0 ? measured : plan.said ? plan.watts : shared_.lane_watts(run.lane());
  if (watts > 0) {
    c.energy_measured = measured > 0;
    const double share = run.run_rows > run.batch ? static_cast<double>(run.batch) / static_cast<double>(run.run_rows) : 1;
    c.energy_mj = watts * static_cast<double>(until - run.started_ns) * 1e-6 * share;
  }
  if (!plan.said) return;
  c.said = true;
  c.several = plan.every_exit;
  if (!plan.family.empty()) {
    c.model = run.version->source->name;
    r.answered_model = plan.family;
    r.answered_version = 1;
  }
  if (plan.left_at != kNoExit) {
    c.exit = run.version->manifest().stages[plan.left_at].exit;
    c.rule = plan.rule->name;
  }
  c.reason = plan.reason;
  c.accuracy = plan.accuracy;
  if (plan.predicted_ns != 0) c.predicted_ms = ms(plan.predicted_ns);
  c.measured_ms = ms(until - std::min(plan.arrival_ns, until));
  c.confidence = plan.confidence;
  c.trace = plan.trace;
}

// Of a choice that was made and then did not hold.
Status FrontImpl::bound_status(const Run& run) const {
  const Plan& plan = run.plan;
  const std::string who = "model '" + run.version->source->name + "', variant '" + run.version->manifest().variants[run.variant].id + "': ";
  if (run.reason == Reason::kAccuracyBound) return failed_precondition(who + "no exit that was reached is within min_accuracy " + number(plan.settings.min_accuracy));
  const uint64_t passed = run.started_ns - std::min(plan.arrival_ns, run.started_ns);
  std::string why = "the deadline of " + number(ms(plan.deadline_ns)) + " ms cannot be met any more: " + number(ms(passed)) + " ms had passed when ";
  why += run.ahead_ns != 0 ? "it was to be queued, what is before it takes " + number(ms(run.ahead_ns)) + " ms" : "a lane was free";
  if (plan.needs_ns != 0) why += ", and the least that would do takes " + number(ms(plan.needs_ns)) + " ms; the nearest deadline that could be met was " + number(ms(passed + run.ahead_ns + plan.needs_ns + plan.margin_ns)) + " ms";
  return {Code::kDeadlineExceeded, who + why};
}

}  // namespace verge::runtime
