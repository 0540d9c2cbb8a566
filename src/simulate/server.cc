#include "simulate/server.h"

#include <algorithm>
#include <deque>
#include <queue>

#include "policy/admission.h"
#include "policy/dispatch.h"
#include "simulate/demand.h"
#include "simulate/lane.h"

namespace verge::simulate {
namespace {

using bench::End;
using bench::Outcome;
using Does = SimLane::Does;

constexpr uint64_t kNever = UINT64_MAX;
constexpr uint64_t kConfidenceDraw = 1000, kAnswerDraw = 2000;
constexpr std::string_view kTooLate = "DEADLINE_EXCEEDED";

// Where a queue puts what ended while it waited.
struct Ended {
  std::vector<Job*> jobs;
  void push(Job* j) { jobs.push_back(j); }
};

class VirtualServer {
 public:
  VirtualServer(const bench::Plan& plan, const std::vector<SimModel>& models, const ServerOptions& o, size_t slots)
      : plan_(plan), models_(models), o_(o), machine_(o.disturbances, static_cast<uint64_t>(plan.warm_up * 1e9)) {
    // The server knows tenants by their tokens; those without are one.
    std::vector<std::string> tokens = {""};
    for (const bench::TenantSpec& t : plan.tenants) {
      auto at = std::find(tokens.begin(), tokens.end(), t.token_file);
      if (at == tokens.end()) at = tokens.insert(at, t.token_file);
      server_tenant_.push_back(static_cast<uint32_t>(at - tokens.begin()));
    }
    for (const SimModel& m : models) {
      Table table{&m, static_cast<uint32_t>(variants_.size()), {}, 0, false, false};
      for (const SimVariant& v : m.variants) {
        variants_.push_back(&v);
        table.staged |= !v.exits.empty();
        table.family |= v.model != m.name;
      }
      rank(table);
      tables_.push_back(std::move(table));
    }
    const std::vector<double> weights(tokens.size(), 1);
    for (int i = 0; i < std::max(o.lanes, 1); ++i) lanes_.push_back(std::make_unique<SimLane>(weights, variants_));
    for (size_t i = 0; i < plan.tenants.size(); ++i) result_.tallies.emplace_back(slots, std::max<uint64_t>(1, static_cast<uint64_t>(plan.seconds * 1e9) / std::max<size_t>(slots, 1)));
    front_is_lane_ = o.lanes == 0;
    half_ns_ = o.request_ns / 2;
    read_ns_ = o.lane_ns / 2;
    warm_ns_ = static_cast<uint64_t>(plan.warm_up * 1e9);
    end_ns_ = warm_ns_ + static_cast<uint64_t>(plan.seconds * 1e9);
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
        lane->event_at = kNever;
        expire();
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
    uint32_t worth;  // options that are not dominated
    bool staged, family;
  };
  struct Again {
    uint64_t ns;
    uint32_t source;
    bool operator>(const Again& o) const { return ns != o.ns ? ns > o.ns : source > o.source; }
  };
  struct Due {
    uint64_t ns, serial;
    Job* job;
    bool operator>(const Due& o) const { return ns != o.ns ? ns > o.ns : serial > o.serial; }
  };

  void rank(Table& t) const {
    std::vector<policy::Candidate> known;
    for (uint32_t v = 0; v < t.model->variants.size(); ++v) {
      const SimVariant& variant = t.model->variants[v];
      policy::Candidate c;
      for (uint32_t k = 0; k < variant.stages.size(); ++k) {
        const auto& cell = variant.stages[k].cells().front();
        c.typical_ns += cell.p50_ns;
        c.cautious_ns += cell.p99_ns ? cell.p99_ns : cell.p50_ns + cell.p50_ns * 3 / 10;
        c.accuracy = variant.exits.empty() ? variant.accuracy : variant.exits[k].accuracy;
        if (!metric_larger_is_better(t.model->metric)) c.accuracy = -1;
        t.options.push_back({t.first + v, k, c.accuracy});
        known.push_back(c);
      }
    }
    std::vector<uint8_t> dominated(known.size());
    policy::mark_dominated(known, dominated);
    for (size_t i = 0; i < known.size(); ++i) {
      t.options[i].dominated = dominated[i] != 0;
      t.worth += !dominated[i];
    }
  }

  Job* take_job() {
    Job* j;
    if (spare_.empty()) {
      j = &jobs_.emplace_back();
    } else {
      j = spare_.back();
      spare_.pop_back();
      *j = Job();
    }
    j->serial = ++serial_;
    return j;
  }
  void recycle(Job* j) {
    j->serial = 0;
    spare_.push_back(j);
  }

  uint64_t actual(const Job& j, uint32_t variant, uint32_t stage, int64_t rows) const {
    return variants_[variant]->stages[stage].at(rows, fixed_uniform(o_.seed, j.number, variant * 16 + stage));
  }

  // --- requests in ---

  void arrive(uint64_t intended, uint32_t tenant, uint32_t source, bool closed) {
    Job* j = take_job();
    j->demand = &demands_[tenant];
    j->asker = tenant;
    j->tenant = server_tenant_[tenant];
    j->source = source;
    j->closed = closed;
    j->number = number_++;
    j->flow = static_cast<uint32_t>(j->number % static_cast<uint64_t>(std::max(o_.connections, 1)));
    j->priority = j->demand->priority;
    j->intended = intended;
    j->batch = j->demand->rows;
    now_ = intended + half_ns_;
    if (!front_is_lane_) {
      expire();
      return decide(j);
    }
    SimLane& lane = *lanes_[0];
    lane.inbox.push_back(j);
    if (lane.does == Does::kNothing) begin_reading(lane);
  }

  // The server has read it.
  void decide(Job* j) {
    j->arrival = now_;
    const SimDemand& d = *j->demand;
    // What is left is told when the request leaves; the server counts from when it has read it.
    if (d.deadline_ns) j->deadline_at = now_ + d.deadline_ns;
    const Table& table = *table_of_[j->asker];
    if (table.family || table.staged || d.bounded || (d.deadline_ns && d.variant.empty() && table.worth > 1)) return admit(j, table);
    infer_plain(j, table);
  }

  // A request that nothing is chosen for: the default variant, or the one it names.
  void infer_plain(Job* j, const Table& table) {
    uint32_t variant = 0;
    for (uint32_t v = 0; v < table.model->variants.size(); ++v) {
      const SimVariant& x = table.model->variants[v];
      if (j->demand->variant.empty() ? x.is_default : x.id == j->demand->variant) {
        variant = v;
        break;
      }
    }
    loads_.clear();
    for (auto& l : lanes_) loads_.push_back({l->places.waiting.load(std::memory_order_relaxed), occupied(*l)});
    const auto lane = static_cast<uint32_t>(policy::choose_lane(loads_, 0));
    settle(j, lane, table.first + variant, table.model->most_rows);
    j->accuracy = variants_[j->variant]->accuracy;
    j->due_ns = policy::due_ns(now_, j->deadline_at, lanes_[lane]->turn_ns);
    j->joins = j->most > 1;
    const uint64_t one = j->in->curve.predict(1);
    if (o_.clairvoyant) {
      j->cost_ns = j->needs = actual(*j, j->variant, 0, j->batch);
      j->alone = true;
    } else {
      j->cost_ns = policy::plain_cost_ns(one, j->joins, j->in->predictors[0], j->batch);
    }
    if (j->due_ns && now_ + (o_.clairvoyant ? j->needs : one + j->in->curve.deviation()) > j->due_ns) {
      j->probes = hopeless_.next();
      if (!j->probes) return refuse(j, kTooLate);
    }
    enter(j);
  }

  // A request with bounds, or of a model with exits.
  void admit(Job* j, const Table& table) {
    policy::LeastAhead least;
    for (uint32_t i = 0; i < lanes_.size(); ++i) least.look(i, lanes_[i]->places.ahead_ns(now_), occupied(*lanes_[i]));
    SimLane& lane = *lanes_[least.lane()];
    const uint64_t wait = lane.places.ahead_ns(now_);
    const SimDemand& d = *j->demand;
    policy::Demands demands = d.bounds;
    const policy::TimeLeft time = policy::time_left(now_, j->deadline_at, *d.rule);
    j->margin = time.margin_ns;
    j->due_ns = time.due_ns;
    j->probes = time.probes;
    demands.left_ns = time.left_ns;
    candidates_.clear();
    considered_.clear();
    policy::ChainTime chain;
    uint32_t last = UINT32_MAX;
    for (uint32_t i = 0; i < table.options.size(); ++i) {
      const Option& option = table.options[i];
      const SimVariant& v = *variants_[option.variant];
      if (option.variant != last) chain = {}, last = option.variant;
      if (d.variant.empty() ? !d.narrows && !v.is_default : v.id != d.variant) continue;
      policy::Quantiles q;
      if (o_.clairvoyant) q.typical_ns = q.cautious_ns = actual(*j, option.variant, option.exit, j->batch);
      else q = lane.groups[option.variant].predictors[option.exit].expect(j->batch, now_);
      chain.add(q);
      policy::Candidate c{.accuracy = option.accuracy, .typical_ns = chain.typical_ns(), .cautious_ns = chain.cautious_ns(), .wait_ns = wait, .depth = option.exit};
      if (o_.watts > 0 && c.typical_ns) c.energy_mj = o_.watts * static_cast<double>(c.typical_ns) * 1e-6;
      if (!d.exit.empty() && !v.exits.empty()) {
        if (v.exits[option.exit].name != d.exit) continue;
      } else if (option.dominated && d.variant.empty() && d.narrows) {
        continue;
      }
      candidates_.push_back(c);
      considered_.push_back(i);
    }
    const policy::Choice choice = policy::choose_or_probe(candidates_, demands, wait, hopeless_, &j->probes);
    if (choice.index < 0) return refuse(j, choice.refusal == policy::Passed::kDeadline ? kTooLate : "FAILED_PRECONDITION");
    const policy::Candidate& best = candidates_[static_cast<size_t>(choice.index)];
    const Option& chosen = table.options[considered_[static_cast<size_t>(choice.index)]];
    const SimVariant& v = *variants_[chosen.variant];
    settle(j, least.lane(), chosen.variant, v.exits.empty() ? table.model->most_rows : 1);
    j->cost_ns = best.typical_ns;
    j->accuracy = best.accuracy;
    j->predicted_ns = best.predicted_ns();
    j->needs = best.cautious_ns;
    j->rule = d.rule;
    j->joins = j->most > 1;
    if (!v.exits.empty()) {
      policy::ExitSettings& s = j->settings;
      s.min_accuracy = demands.min_accuracy;
      s.max_energy_mj = demands.max_energy_mj;
      s.confidence = d.confidence;
      s.conditions = d.conditions.get();
      s.furthest = policy::furthest_exit(*d.rule, demands, chosen.exit);
      j->point = point_of(d, v);
      if (j->point && d.rule->needs_thresholds) s.thresholds = j->point->thresholds;
      j->needs = policy::least_that_would_do(*d.rule, s, candidates_, best, [&](size_t i) { return table.options[considered_[i]].variant == chosen.variant; });
      j->alone = true;
    }
    enter(j);
  }

  void settle(Job* j, uint32_t lane, uint32_t variant, int64_t most) {
    j->lane = lane;
    j->in = &lanes_[lane]->groups[variant];
    j->variant = variant;
    j->most = most;
  }

  // To its lane.
  void enter(Job* j) {
    SimLane& lane = *lanes_[j->lane];
    j->state = Job::State::kWaiting;
    if (front_is_lane_ && lane.queue.comes_too_late(*j, now_)) return refuse(j, kTooLate);
    lane.places.comes(j->cost_ns);
    lane.places.held.fetch_add(1, std::memory_order_relaxed);
    if (j->due_ns) due_.push({j->due_ns, j->serial, j});
    if (front_is_lane_) return lane.queue.push(j, now_);
    lane.inbox.push_back(j);
    if (lane.does == Does::kNothing) look(lane);
  }

  // Requests that wait are refused when their time is up; their lane comes across them later.
  void expire() {
    while (!due_.empty() && due_.top().ns <= now_) {
      const Due d = due_.top();
      due_.pop();
      Job* j = d.job;
      if (j->serial != d.serial || j->state != Job::State::kWaiting) continue;
      j->state = Job::State::kGone;
      lanes_[j->lane]->places.goes(j->cost_ns);
      tell_refused(*j, kTooLate);
    }
  }

  // --- a lane ---

  static bool occupied(const SimLane& l) { return l.does != Does::kNothing || l.places.waiting.load(std::memory_order_relaxed) != 0; }

  // What a lane's thread does between runs: takes what was handed over, and the next batch.
  void look(SimLane& lane) {
    ended_.jobs.clear();
    for (Job* j : lane.inbox) lane.queue.push_or_end(j, now_, ended_);
    lane.inbox.clear();
    policy::LaneQueue<Job>::Next next = lane.queue.take(now_, lane.batch, ended_);
    end_all();
    if (!next.any && lane.queue.empty() && take_over(lane)) {
      next = lane.queue.take(now_, lane.batch, ended_);
      end_all();
    }
    if (next.any) return begin(lane);
    lane.does = Does::kNothing;
    lane.event_at = next.wait_until ? next.wait_until : kNever;
  }

  // The older half of what the busiest other lane was handed and has not looked at.
  bool take_over(SimLane& lane) {
    SimLane* busiest = nullptr;
    for (auto& other : lanes_)
      if (other.get() != &lane && other->places.waiting.load(std::memory_order_relaxed) > (busiest ? busiest->places.waiting.load(std::memory_order_relaxed) : 0)) busiest = other.get();
    if (!busiest || busiest->inbox.empty()) return false;
    const size_t n = (busiest->inbox.size() + 1) / 2;
    for (size_t i = 0; i < n; ++i) {
      Job* j = busiest->inbox[i];
      busiest->places.held.fetch_sub(1, std::memory_order_relaxed);
      if (j->state != Job::State::kWaiting) {
        recycle(j);
        continue;
      }
      busiest->places.goes(j->cost_ns);
      lane.places.comes(j->cost_ns);
      lane.places.held.fetch_add(1, std::memory_order_relaxed);
      for (uint32_t l = 0; l < lanes_.size(); ++l)
        if (lanes_[l].get() == &lane) settle(j, l, j->variant, j->most);
      lane.queue.push(j, now_);
    }
    busiest->inbox.erase(busiest->inbox.begin(), busiest->inbox.begin() + static_cast<std::ptrdiff_t>(n));
    return true;
  }

  void end_all() {
    for (Job* j : ended_.jobs) {
      if (j->hopeless) tell_refused(*j, kTooLate);
      recycle(j);
    }
    ended_.jobs.clear();
  }

  // A batch was taken: first what it costs beside the engine. A front that is its own lane has read it before.
  void begin(SimLane& lane) {
    lane.rows = 0;
    for (Job* j : lane.batch) lane.rows += j->batch, j->began = now_;
    lane.stage = 0;
    lane.started = now_;
    const Job& first = *lane.batch.front();
    if (!front_is_lane_) {
      const uint64_t others = o_.lane_ns * lane.batch.size();
      uint64_t cost = policy::run_cost_ns(lane.batch.size(), first.cost_ns, lane.rows, first.in->predictors[0]);
      // A clairvoyant sees the truth as far as the first stage goes.
      if (o_.clairvoyant && variants_[first.variant]->exits.empty()) cost = others + actual(first, first.variant, 0, lane.rows);
      lane.places.busy_until_ns.store(now_ + std::max<uint64_t>(cost, 1), std::memory_order_relaxed);
      if (others) {
        lane.does = Does::kPrepares;
        lane.event_at = machine_.done(now_, others);
        return;
      }
    }
    run_stage(lane);
  }

  void run_stage(SimLane& lane) {
    const Job& first = *lane.batch.front();
    if (lane.stage == 0 && !variants_[first.variant]->exits.empty()) {
      known_stages(lane, first, *variants_[first.variant]);
      // The queue, and what came before the run, have taken their time.
      if (!first.probes && !policy::any_in_reach(*first.rule, state_of(lane, first), first.settings)) {
        refuse(lane.batch.front(), kTooLate);
        return is_free(lane);
      }
    }
    lane.does = Does::kRuns;
    lane.stage_began = now_;
    lane.event_at = machine_.done(now_, actual(first, first.variant, lane.stage, lane.rows));
  }

  void on_event(SimLane& lane) {
    switch (lane.does) {
      case Does::kNothing: return front_is_lane_ ? begin_reading(lane) : look(lane);
      case Does::kReads: return has_read(lane);
      case Does::kPrepares: return run_stage(lane);
      case Does::kRuns: return has_run(lane);
      case Does::kWrites: return has_written(lane);
    }
  }

  void has_run(SimLane& lane) {
    Job& first = *lane.batch.front();
    const SimVariant& v = *variants_[first.variant];
    first.in->predictors[lane.stage].learn(lane.rows, now_ - lane.stage_began, now_);
    if (v.exits.empty()) {
      first.in->curve.learn(lane.rows, now_ - lane.stage_began);
      for (Job* j : lane.batch) finish(lane, j, "");
    } else {
      const policy::Decision d = after_stage(lane, first);
      if (d.go == policy::Go::kOn) {
        ++lane.stage;
        return run_stage(lane);
      }
      if (d.go == policy::Go::kGiveUp) {
        refuse(&first, first.deadline_at && now_ >= first.deadline_at ? kTooLate : "FAILED_PRECONDITION");
      } else {
        first.accuracy = v.exits[lane.stage].accuracy;
        first.in->curve.learn(first.batch, now_ - lane.started);
        finish(lane, &first, v.exits[lane.stage].name);
      }
    }
    is_free(lane);
  }

  void is_free(SimLane& lane) {
    lane.busy_ns += now_ - lane.started;
    lane.batch.clear();
    lane.places.busy_until_ns.store(0, std::memory_order_relaxed);
    if (!front_is_lane_) return look(lane);
    if (lane.turn->over(now_ - lane.turn_began)) return begin_writing(lane);
    run_turn(lane);
  }

  void known_stages(SimLane& lane, const Job& j, const SimVariant& v) {
    lane.known.resize(v.stages.size());
    for (uint32_t k = 0; k < lane.known.size(); ++k) {
      policy::Quantiles q = j.in->predictors[k].predict(j.batch);
      if (o_.clairvoyant) q.typical_ns = q.cautious_ns = actual(j, j.variant, k, j.batch);
      lane.known[k] = {.exit = v.exits[k].name,
                       .accuracy = v.exits[k].accuracy,
                       .energy_mj = o_.watts > 0 ? o_.watts * static_cast<double>(q.typical_ns) * 1e-6 : -1,
                       .typical_ns = q.typical_ns,
                       .cautious_ns = q.cautious_ns};
    }
  }

  policy::ExitState state_of(const SimLane& lane, const Job& j) const {
    return {.exit = lane.stage, .stages = lane.known, .elapsed_ns = now_ - j.arrival, .deadline_ns = j.deadline_at ? j.deadline_at - j.arrival : policy::kNoDeadline, .margin_ns = j.margin};
  }

  policy::Decision after_stage(const SimLane& lane, const Job& j) const {
    policy::ExitState s = state_of(lane, j);
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

  // --- a front that is its own lane: reads what has come, runs for a turn, sends its answers ---

  void begin_reading(SimLane& lane) {
    if (lane.inbox.empty()) return run_turn(lane);
    lane.reading.swap(lane.inbox);
    lane.inbox.clear();
    lane.read = 0;
    lane.does = Does::kReads;
    lane.event_at = machine_.done(now_, read_ns_);
  }

  void has_read(SimLane& lane) {
    decide(lane.reading[lane.read]);
    if (++lane.read < lane.reading.size()) {
      lane.event_at = machine_.done(now_, read_ns_);
      return;
    }
    lane.reading.clear();
    expire();
    run_turn(lane);
  }

  void run_turn(SimLane& lane) {
    if (!lane.turn) {
      lane.turn.emplace(lane.queue.work_ns());
      lane.turn_began = 0;
    }
    ended_.jobs.clear();
    const auto next = lane.queue.take(now_, lane.batch, ended_);
    end_all();
    if (next.any) {
      if (!lane.turn_began) lane.turn_began = now_;
      return begin(lane);
    }
    if (!lane.answers.empty()) return begin_writing(lane);
    lane.turn.reset();
    lane.turn_ns = 0;
    if (!lane.inbox.empty()) return begin_reading(lane);
    lane.does = Does::kNothing;
    lane.event_at = next.wait_until ? next.wait_until : kNever;
  }

  void begin_writing(SimLane& lane) {
    lane.turn.reset();
    lane.turn_ns = lane.queue.empty() ? 0 : now_ - lane.turn_began;
    lane.does = Does::kWrites;
    lane.event_at = machine_.done(now_, (o_.lane_ns - read_ns_) * lane.answers.size());
  }

  void has_written(SimLane& lane) {
    for (const SimLane::Answer& a : lane.answers) answer(a.job, a.exit, a.finished);
    lane.answers.clear();
    begin_reading(lane);
  }

  // --- answers out ---

  void finish(SimLane& lane, Job* j, std::string_view exit) {
    if (!front_is_lane_) return answer(j, exit, now_);
    lane.turn->answered(j->flow);
    lane.answers.push_back({j, now_, exit});
  }

  void answer(Job* j, std::string_view exit, uint64_t finished) {
    Outcome o;
    o.exit = exit;
    const SimVariant& v = *variants_[j->variant];
    o.variant = v.id;
    o.expected_accuracy = j->accuracy;
    if (j->predicted_ns) o.predicted_ms = static_cast<double>(j->predicted_ns) * 1e-6;
    o.measured_ms = static_cast<double>(finished - j->arrival) * 1e-6;
    if (o_.watts > 0) o.energy_mj = o_.watts * static_cast<double>(finished - j->began) * 1e-6;
    // Under thresholds those who leave early are the easy ones: the curve's accuracy is of all together.
    const double accuracy = j->point && j->rule->needs_thresholds && j->point->accuracy >= 0 ? j->point->accuracy : j->accuracy;
    if (accuracy >= 0) {
      o.samples = static_cast<int>(j->batch);
      for (int64_t i = 0; i < j->batch; ++i) o.right += fixed_uniform(o_.seed, j->number, kAnswerDraw + static_cast<uint64_t>(i)) < accuracy;
    }
    tell(*j, o);
    recycle(j);
  }

  void refuse(Job* j, std::string_view code) {
    tell_refused(*j, code);
    recycle(j);
  }

  void tell_refused(Job& j, std::string_view code) {
    Outcome o;
    o.end = End::kRefused;
    o.code = code;
    tell(j, o);
  }

  // The client hears of it.
  void tell(const Job& j, Outcome& o) {
    const uint64_t done = now_ + (o_.request_ns - half_ns_);
    if (j.intended >= warm_ns_) {
      o.intended = j.intended - warm_ns_;
      o.sent = o.intended;
      o.done = done - warm_ns_;
      o.deadline_ns = j.demand->deadline_ns;
      result_.tallies[j.asker].record(o);
    }
    if (j.closed) again_.push({std::max(done, j.intended + 1), j.source});
  }

  const bench::Plan& plan_;
  const std::vector<SimModel>& models_;
  const ServerOptions o_;
  const Machine machine_;
  std::vector<const SimVariant*> variants_;  // of all models
  std::vector<Table> tables_;
  std::vector<SimDemand> demands_;
  std::vector<const Table*> table_of_;       // of each tenant
  std::vector<uint32_t> server_tenant_;
  std::vector<std::unique_ptr<SimLane>> lanes_;
  std::priority_queue<Again, std::vector<Again>, std::greater<>> again_;
  std::priority_queue<Due, std::vector<Due>, std::greater<>> due_;
  std::deque<Job> jobs_;
  std::vector<Job*> spare_;
  Ended ended_;
  std::vector<policy::LaneLoad> loads_;
  std::vector<policy::Candidate> candidates_;
  std::vector<uint32_t> considered_;
  SimResult result_;
  policy::Probes hopeless_;
  uint64_t now_ = 0, half_ns_ = 0, read_ns_ = 0, warm_ns_ = 0, end_ns_ = 0, number_ = 0, serial_ = 0, measured_ = 0;
  bool front_is_lane_ = false, stopped_ = false;
};

}  // namespace

Result<SimResult> run_simulation(const bench::Plan& plan, const std::vector<SimModel>& models, const ServerOptions& options, size_t slots) {
  if (options.lanes < 0 || options.lanes > 256) return invalid_argument("lanes: must be 0 to 256");
  VirtualServer server(plan, models, options, slots);
  VERGE_RETURN_IF_ERROR(server.prepare());
  return server.run();
}

}  // namespace verge::simulate
