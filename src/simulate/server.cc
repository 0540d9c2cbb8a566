#include "simulate/server.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <queue>

#include "policy/batching.h"
#include "policy/dispatch.h"
#include "policy/fair_order.h"
#include "policy/quantile.h"
#include "simulate/demand.h"
#include "simulate/lane.h"

namespace verge::simulate {
namespace {

using bench::End;
using bench::Outcome;

constexpr uint64_t kNever = UINT64_MAX;
constexpr uint64_t kMarginNs = 150'000;   // as the server keeps for the way back
constexpr uint64_t kProbeEvery = 64;
constexpr uint64_t kConfidenceDraw = 1000, kAnswerDraw = 2000;

class VirtualServer {
 public:
  VirtualServer(const bench::Plan& plan, const std::vector<SimModel>& models, const ServerOptions& o, size_t slots) : plan_(plan), models_(models), o_(o) {
    std::vector<double> weights(plan.tenants.size(), 1);
    for (const SimModel& m : models) {
      Table table{&m, static_cast<uint32_t>(variants_.size()), {}};
      for (const SimVariant& v : m.variants) variants_.push_back(&v);
      rank(table);
      tables_.push_back(std::move(table));
    }
    for (int i = 0; i < std::max(o.lanes, 1); ++i) lanes_.push_back(std::make_unique<SimLane>(weights, variants_));
    for (size_t i = 0; i < plan.tenants.size(); ++i) result_.tallies.emplace_back(slots, std::max<uint64_t>(1, static_cast<uint64_t>(plan.seconds * 1e9) / std::max<size_t>(slots, 1)));
    half_ns_ = o.request_ns / 2;
    warm_ns_ = static_cast<uint64_t>(plan.warm_up * 1e9);
    end_ns_ = warm_ns_ + static_cast<uint64_t>(plan.seconds * 1e9);
    if (o.clairvoyant)
      for (auto& lane : lanes_) lane->exact = true;
  }

  Status prepare() {
    for (const bench::TenantSpec& t : plan_.tenants) {
      VERGE_ASSIGN(SimDemand d, demand_of(t, models_));
      demands_.push_back(std::move(d));
    }
    for (const SimDemand& d : demands_)
      for (const Table& t : tables_)
        if (t.model == d.model) table_of_.push_back(&t);
    return {};
  }

  SimResult run() {
    auto sources = bench::make_sources(plan_);
    const std::vector<int> closed = bench::closed_loops(plan_);
    std::vector<bench::Source::Arrival> ahead(sources.size());
    for (uint32_t s = 0; s < sources.size(); ++s) {
      if (!closed[s]) ahead[s] = sources[s].next();
      for (int i = 0; i < closed[s]; ++i) again_.push({0, s});
    }
    uint64_t last_intended = warm_ns_;
    while (true) {
      // The next of: an arrival, a closed loop's next request, a lane's event.
      uint64_t arrival = kNever;
      uint32_t from = 0;
      for (uint32_t s = 0; s < sources.size(); ++s)
        if (!closed[s] && ahead[s].ns < arrival) arrival = ahead[s].ns, from = s;
      bool repeated = false;
      if (!again_.empty() && again_.top().ns < arrival) arrival = again_.top().ns, from = again_.top().source, repeated = true;
      if (stopped_ || arrival >= end_ns_) arrival = kNever;
      SimLane* lane = nullptr;
      for (auto& l : lanes_)
        if (l->event_at != kNever && (!lane || l->event_at < lane->event_at)) lane = l.get();
      if (arrival == kNever && !lane) break;
      ++result_.events;
      if (arrival != kNever && (!lane || arrival + half_ns_ <= lane->event_at)) {
        const uint32_t tenant = repeated ? sources[from].pick() : ahead[from].tenant;
        if (repeated) again_.pop();
        else ahead[from] = sources[from].next();
        if (arrival >= warm_ns_) {
          if (plan_.requests && measured_ >= plan_.requests) {
            stopped_ = true;
            continue;
          }
          ++measured_;
          last_intended = arrival;
        }
        arrive(arrival, tenant, from, closed[from] != 0);
      } else {
        now_ = lane->event_at;
        on_event(*lane);
      }
    }
    result_.seconds = stopped_ ? std::max(1e-9, static_cast<double>(last_intended - warm_ns_) * 1e-9) : plan_.seconds;
    const double span = static_cast<double>(std::max<uint64_t>(now_, 1)) * static_cast<double>(lanes_.size());
    for (auto& l : lanes_) result_.busy += static_cast<double>(l->busy_ns) / span;
    return std::move(result_);
  }

 private:
  // A variant up to an exit, of one model's table.
  struct Option {
    uint32_t variant;  // in variants_
    uint32_t exit;
    double accuracy;
    bool dominated = false;
  };
  struct Table {
    const SimModel* model;
    uint32_t first;
    std::vector<Option> options;
  };
  struct Again {
    uint64_t ns;
    uint32_t source;
    bool operator>(const Again& o) const { return ns != o.ns ? ns > o.ns : source > o.source; }
  };

  void rank(Table& t) const {
    std::vector<policy::Candidate> known;
    for (uint32_t v = 0; v < t.model->variants.size(); ++v) {
      const SimVariant& variant = t.model->variants[v];
      double typical = 0;
      for (uint32_t k = 0; k < variant.stages.size(); ++k) {
        const auto& cell = variant.stages[k].cells().front();
        typical += static_cast<double>(cell.p50_ns);
        const double accuracy = variant.exits.empty() ? variant.accuracy : variant.exits[k].accuracy;
        t.options.push_back({t.first + v, k, accuracy});
        known.push_back({.accuracy = accuracy, .typical_ns = static_cast<uint64_t>(typical), .cautious_ns = static_cast<uint64_t>(typical), .depth = k});
      }
    }
    std::vector<uint8_t> dominated(known.size());
    policy::mark_dominated(known, dominated);
    for (size_t i = 0; i < known.size(); ++i) t.options[i].dominated = dominated[i] != 0;
  }

  Job* take_job() {
    if (spare_.empty()) {
      jobs_.emplace_back();
      return &jobs_.back();
    }
    Job* j = spare_.back();
    spare_.pop_back();
    *j = Job();
    return j;
  }

  uint64_t actual(const Job& j, uint32_t variant, uint32_t stage, int64_t rows) const {
    return variants_[variant]->stages[stage].at(rows, fixed_uniform(o_.seed, j.number, variant * 16 + stage));
  }

  void arrive(uint64_t intended, uint32_t tenant, uint32_t source, bool closed) {
    now_ = intended + half_ns_;
    Job* j = take_job();
    j->demand = &demands_[tenant];
    j->tenant = tenant;
    j->source = source;
    j->closed = closed;
    j->number = number_++;
    j->intended = intended;
    j->arrival = now_;
    j->rows = j->demand->rows;
    // What is left is told when the request leaves; the server counts from when it arrives.
    if (j->demand->deadline_ns) j->deadline_at = now_ + j->demand->deadline_ns;
    const Table& table = *table_of_[tenant];
    const SimDemand& d = *j->demand;
    const bool staged = std::any_of(table.model->variants.begin(), table.model->variants.end(), [](const SimVariant& v) { return !v.exits.empty(); });
    const bool bounded = staged || d.bounds.min_accuracy >= 0 || d.bounds.max_energy_mj >= 0 || d.bounds.objective != policy::Objective::kUnset ||
                         (d.deadline_ns && d.variant.empty() && table.options.size() > 1);
    if (bounded) admit(j, table);
    else dispatch(j, table);
  }

  // A request without bounds: the default variant, runs shared.
  void dispatch(Job* j, const Table& table) {
    uint32_t variant = 0;
    for (uint32_t v = 0; v < table.model->variants.size(); ++v) {
      const SimVariant& x = table.model->variants[v];
      if (j->demand->variant.empty() ? x.is_default : x.id == j->demand->variant) {
        variant = table.first + v;
        break;
      }
    }
    loads_.clear();
    for (auto& l : lanes_) loads_.push_back({l->waiting, l->busy});
    SimLane& lane = *lanes_[policy::choose_lane(loads_, 0)];
    j->variant = variant;
    j->accuracy = variants_[variant]->accuracy;
    j->due = policy::due_ns(now_, j->deadline_at);
    j->joins = table.model->most_rows > 1;
    j->most_rows = table.model->most_rows;
    SimGroup& g = lane.groups[variant];
    j->cost = std::max<uint64_t>(g.curve.least_per_row(j->most_rows), 1) * static_cast<uint64_t>(j->rows);
    if (o_.clairvoyant) j->cost = actual(*j, variant, 0, j->rows) + o_.lane_ns;
    if (j->due) {
      const uint64_t needed = o_.clairvoyant ? j->cost : g.curve.predict(j->rows) + g.curve.deviation();
      const uint64_t before = o_.clairvoyant || lane.waiting ? lane.ahead(now_) : 0;
      if (now_ + needed + before > j->due) {
        j->probes = before == 0 && ++hopeless_ % kProbeEvery == 0;
        if (!j->probes) return refuse(j, "DEADLINE_EXCEEDED");
      }
      j->needs_ns = o_.clairvoyant ? needed : 0;
    }
    enter(lane, j);
  }

  // A request with bounds, or of a model with exits.
  void admit(Job* j, const Table& table) {
    SimLane* lane = nullptr;
    uint64_t least = kNever;
    for (auto& l : lanes_)
      if (const uint64_t ahead = 2 * l->ahead(now_) + (l->busy || l->waiting ? 1 : 0); ahead < least) least = ahead, lane = l.get();
    const uint64_t wait = lane->ahead(now_);
    const SimDemand& d = *j->demand;
    policy::Demands demands = d.bounds;
    const bool reactive = d.rule->name == "reactive";
    if (j->deadline_at) {
      const uint64_t left = j->deadline_at - now_;
      j->margin = reactive ? 0 : std::min(left / 10, kMarginNs);
      j->due = j->deadline_at - j->margin;
      if (!reactive) demands.left_ns = left - j->margin;
      j->probes = reactive;
    }
    candidates_.clear();
    considered_.clear();
    double typical = 0, spread = 0;
    uint32_t last = UINT32_MAX;
    for (uint32_t i = 0; i < table.options.size(); ++i) {
      const Option& option = table.options[i];
      const SimVariant& v = *variants_[option.variant];
      if (option.variant != last) typical = spread = 0, last = option.variant;
      if (d.variant.empty() ? !d.narrows && !v.is_default : v.id != d.variant) continue;
      policy::Quantiles q;
      if (o_.clairvoyant) q.typical_ns = q.cautious_ns = actual(*j, option.variant, option.exit, j->rows) + (option.exit == 0 ? o_.lane_ns : 0);
      else q = lane->groups[option.variant].predictors[option.exit].predict(j->rows);
      typical += static_cast<double>(q.typical_ns);
      const double off = static_cast<double>(q.cautious_ns - std::min(q.cautious_ns, q.typical_ns));
      spread += off * off;
      policy::Candidate c{.accuracy = option.accuracy, .wait_ns = wait, .depth = option.exit};
      c.typical_ns = static_cast<uint64_t>(typical);
      c.cautious_ns = static_cast<uint64_t>(typical + std::sqrt(spread));
      if (o_.watts > 0) c.energy_mj = o_.watts * static_cast<double>(c.typical_ns) * 1e-6;
      if (!d.exit.empty() && !v.exits.empty()) {
        if (v.exits[option.exit].name != d.exit) continue;
      } else if (option.dominated && d.variant.empty() && d.narrows) {
        continue;
      }
      // A single-exit variant is offered whole.
      candidates_.push_back(c);
      considered_.push_back(i);
    }
    policy::Choice choice = policy::choose(candidates_, demands);
    if (choice.index < 0 && choice.refusal == policy::Passed::kDeadline && wait == 0 && !o_.clairvoyant && ++hopeless_ % kProbeEvery == 0) {
      policy::Demands timeless = demands;
      timeless.left_ns = policy::kNoDeadline;
      timeless.objective = policy::Objective::kLatency;
      choice = policy::choose(candidates_, timeless);
      j->probes = true;
    }
    if (choice.index < 0) return refuse(j, choice.refusal == policy::Passed::kDeadline ? "DEADLINE_EXCEEDED" : "FAILED_PRECONDITION");
    const policy::Candidate& best = candidates_[static_cast<size_t>(choice.index)];
    const Option& chosen = table.options[considered_[static_cast<size_t>(choice.index)]];
    j->variant = chosen.variant;
    j->cost = best.typical_ns;
    j->accuracy = best.accuracy;
    j->predicted_ns = best.predicted_ns();
    j->needs_ns = best.cautious_ns;
    j->rule = d.rule;
    const SimVariant& v = *variants_[chosen.variant];
    policy::ExitSettings& s = j->settings;
    s.min_accuracy = demands.min_accuracy;
    s.max_energy_mj = demands.max_energy_mj;
    s.confidence = d.confidence;
    s.conditions = d.conditions.get();
    if (d.rule->exact || policy::objective_of(demands) != policy::Objective::kAccuracy) s.furthest = chosen.exit;
    j->point = v.exits.empty() ? nullptr : point_of(d, v);
    if (j->point && d.rule->needs_thresholds) s.thresholds = j->point->thresholds;
    if (!d.rule->exact)
      for (size_t i = 0; i < considered_.size(); ++i)
        if (table.options[considered_[i]].variant == chosen.variant && (s.min_accuracy < 0 || candidates_[i].accuracy >= s.min_accuracy - 1e-9)) j->needs_ns = std::min(j->needs_ns, candidates_[i].cautious_ns);
    j->joins = v.exits.empty() && table.model->most_rows > 1;
    j->most_rows = j->joins ? table.model->most_rows : 1;
    enter(*lane, j);
  }

  void enter(SimLane& lane, Job* j) {
    lane.push(j, now_);
    if (!lane.busy) begin(lane);
  }

  void begin(SimLane& lane) {
    ended_.clear();
    const uint64_t wake = lane.take(now_, ended_);
    for (Job* j : ended_) refuse(j, "DEADLINE_EXCEEDED");
    if (lane.batch.empty()) {
      lane.busy = false;
      lane.event_at = wake ? wake : kNever;
      return;
    }
    Job& first = *lane.batch.front();
    const SimVariant& v = *variants_[first.variant];
    int64_t rows = 0;
    uint64_t typical = 0;
    for (const Job* j : lane.batch) rows += j->rows, typical += j->cost;
    const uint64_t took = actual(first, first.variant, 0, rows) + o_.lane_ns * lane.batch.size();
    lane.busy = true;
    lane.started = now_;
    lane.stage = 0;
    lane.rows = rows;
    lane.stage_began = now_;
    lane.event_at = now_ + took;
    // What others see of the lane's rest: the prediction; a clairvoyant sees the truth as far as the first stages go.
    lane.expected_end = now_ + (o_.clairvoyant && v.exits.empty() ? took : lane.batch.size() == 1 ? std::max<uint64_t>(typical, 1) : lane.groups[first.variant].curve.predict(rows));
  }

  void on_event(SimLane& lane) {
    if (!lane.busy) return begin(lane);
    Job& first = *lane.batch.front();
    const SimVariant& v = *variants_[first.variant];
    SimGroup& g = lane.groups[first.variant];
    const uint64_t took = now_ - lane.stage_began;
    g.predictors[lane.stage].learn(lane.rows, took);
    if (v.exits.empty()) {
      g.curve.learn(lane.rows, took);
      for (Job* j : lane.batch) answer(j, "");
    } else {
      const policy::Decision d = decide(lane, first, v);
      if (d.go == policy::Go::kOn) {
        ++lane.stage;
        lane.stage_began = now_;
        lane.event_at = now_ + actual(first, first.variant, lane.stage, lane.rows);
        return;
      }
      if (d.go == policy::Go::kGiveUp) refuse(&first, first.deadline_at && now_ >= first.deadline_at ? "DEADLINE_EXCEEDED" : "FAILED_PRECONDITION");
      else {
        first.accuracy = v.exits[lane.stage].accuracy;
        answer(&first, v.exits[lane.stage].name);
      }
    }
    lane.busy_ns += now_ - lane.started;
    lane.batch.clear();
    lane.busy = false;
    begin(lane);
  }

  policy::Decision decide(SimLane& lane, Job& j, const SimVariant& v) {
    const auto count = static_cast<uint32_t>(v.stages.size());
    known_.resize(count);
    for (uint32_t k = 0; k < count; ++k) {
      policy::Quantiles q = lane.groups[j.variant].predictors[k].predict(lane.rows);
      if (o_.clairvoyant) q.typical_ns = q.cautious_ns = actual(j, j.variant, k, lane.rows);
      known_[k] = {.exit = v.exits[k].name,
                   .accuracy = v.exits[k].accuracy,
                   .energy_mj = o_.watts > 0 ? o_.watts * static_cast<double>(q.typical_ns) * 1e-6 : -1,
                   .typical_ns = q.typical_ns,
                   .cautious_ns = q.cautious_ns};
    }
    policy::ExitState s{.exit = lane.stage, .stages = known_, .elapsed_ns = now_ - j.arrival, .deadline_ns = j.deadline_at ? j.deadline_at - j.arrival : policy::kNoDeadline, .margin_ns = j.margin};
    if (o_.watts > 0) s.energy_mj = o_.watts * static_cast<double>(now_ - lane.started) * 1e-6;
    if (j.point) {
      // Of the calibrated curve is known how many samples leave where; which of them this one is, is drawn.
      const double u = fixed_uniform(o_.seed, j.number, kConfidenceDraw);
      double until = 0;
      bool sure = false;
      for (uint32_t k = 0; k <= lane.stage && k < j.point->shares.size(); ++k) sure |= u < (until += j.point->shares[k]);
      s.confidence = sure ? 1 : 0;
      s.entropy = sure ? 0 : 1e9;
    }
    return policy::decide_exit(*j.rule, s, j.settings);
  }

  void answer(Job* j, std::string_view exit) {
    Outcome o;
    o.exit = exit;
    const SimVariant& v = *variants_[j->variant];
    o.variant = v.id;
    o.expected_accuracy = j->accuracy;
    if (j->predicted_ns) o.predicted_ms = static_cast<double>(j->predicted_ns) * 1e-6;
    o.measured_ms = static_cast<double>(now_ - j->arrival) * 1e-6;
    if (o_.watts > 0) o.energy_mj = o_.watts * static_cast<double>(now_ - j->began) * 1e-6;
    // Under thresholds those who leave early are the easy ones: the curve's accuracy is of all together.
    const double accuracy = j->point && j->rule->needs_thresholds && j->point->accuracy >= 0 ? j->point->accuracy : j->accuracy;
    if (accuracy >= 0) {
      o.samples = static_cast<int>(j->rows);
      for (int64_t i = 0; i < j->rows; ++i) o.right += fixed_uniform(o_.seed, j->number, kAnswerDraw + static_cast<uint64_t>(i)) < accuracy;
    }
    end(j, o);
  }

  void refuse(Job* j, std::string_view code) {
    Outcome o;
    o.end = End::kRefused;
    o.code = code;
    end(j, o);
  }

  void end(Job* j, Outcome& o) {
    const uint64_t done = now_ + (o_.request_ns - half_ns_);
    if (j->intended >= warm_ns_) {
      o.intended = j->intended - warm_ns_;
      o.sent = o.intended;
      o.done = done - warm_ns_;
      o.deadline_ns = j->demand->deadline_ns;
      result_.tallies[j->tenant].record(o);
    }
    if (j->closed) again_.push({std::max(done, j->intended + 1), j->source});
    spare_.push_back(j);
  }

  const bench::Plan& plan_;
  const std::vector<SimModel>& models_;
  const ServerOptions o_;
  std::vector<const SimVariant*> variants_;  // of all models
  std::vector<Table> tables_;
  std::vector<SimDemand> demands_;
  std::vector<const Table*> table_of_;       // of each tenant
  std::vector<std::unique_ptr<SimLane>> lanes_;
  std::priority_queue<Again, std::vector<Again>, std::greater<>> again_;
  std::deque<Job> jobs_;
  std::vector<Job*> spare_, ended_;
  std::vector<policy::LaneLoad> loads_;
  std::vector<policy::Candidate> candidates_;
  std::vector<uint32_t> considered_;
  std::vector<policy::StageKnown> known_;
  SimResult result_;
  uint64_t now_ = 0, half_ns_ = 0, warm_ns_ = 0, end_ns_ = 0, number_ = 0, measured_ = 0, hopeless_ = 0;
  bool stopped_ = false;
};

}  // namespace

Result<SimResult> run_simulation(const bench::Plan& plan, const std::vector<SimModel>& models, const ServerOptions& options, size_t slots) {
  if (options.lanes < 1 || options.lanes > 256) return invalid_argument("lanes: must be 1 to 256");
  VirtualServer server(plan, models, options, slots);
  VERGE_RETURN_IF_ERROR(server.prepare());
  return server.run();
}

}  // namespace verge::simulate
