// Requests of the simulated server, on their way to a lane and back.
#include <algorithm>

#include "simulate/virtual_server.h"

namespace verge::simulate {

// --- requests in ---

void VirtualServer::arrive(uint64_t intended, uint32_t tenant, uint32_t source, bool closed) {
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
  now_ = j->arrival = intended + half_ns_;  // the kernel notes it, whenever the server reads it
  if (!front_is_lane_) {
    expire();
    return decide(j);
  }
  SimLane& lane = *lanes_[0];
  if (lane.apart) {
    expire();
    lane.event_at = machine_.done(lane.event_at, read_ns_);  // the front takes the core meanwhile
    return decide(j);
  }
  lane.inbox.push_back(j);
  if (lane.does == Does::kNothing) begin_reading(lane);
}

// The server has read it.
void VirtualServer::decide(Job* j) {
  const SimDemand& d = *j->demand;
  // What is left is told when the request leaves; the server counts from its arrival there.
  if (d.deadline_ns) j->deadline_at = j->arrival + d.deadline_ns;
  if (j->deadline_at && now_ >= j->deadline_at) return refuse(j, kTooLate);
  const Table& table = *table_of_[j->asker];
  if (table.family || table.staged || d.bounded || (d.deadline_ns && d.variant.empty() && table.worth > 1)) return admit(j, table);
  infer_plain(j, table);
}

// A request that nothing is chosen for: the default variant, or the one it names.
void VirtualServer::infer_plain(Job* j, const Table& table) {
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
  j->due_ns = policy::due_ns(now_, j->deadline_at);
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
void VirtualServer::admit(Job* j, const Table& table) {
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

void VirtualServer::settle(Job* j, uint32_t lane, uint32_t variant, int64_t most) {
  j->lane = lane;
  j->in = &lanes_[lane]->groups[variant];
  j->variant = variant;
  j->most = most;
}

// To its lane.
void VirtualServer::enter(Job* j) {
  SimLane& lane = *lanes_[j->lane];
  j->state = Job::State::kWaiting;
  if (front_is_lane_ && lane.queue.comes_too_late(*j, now_)) return refuse(j, kTooLate);
  lane.places.comes(j->cost_ns);
  lane.places.held.fetch_add(1, std::memory_order_relaxed);
  if (j->due_ns) due_.push({j->due_ns, j->serial, j});
  if (front_is_lane_) {
    if (j->deadline_at && !j->probes) lane.shortest_time.note(j->deadline_at - j->arrival);
    return lane.queue.push(j, now_);
  }
  lane.inbox.push_back(j);
  if (lane.does == Does::kNothing) look(lane);
}

// Requests that wait are refused when their time is up; their lane comes across them later.
void VirtualServer::expire() {
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

// --- answers out ---

void VirtualServer::finish(SimLane& lane, Job* j, std::string_view exit) {
  if (!front_is_lane_) return answer(j, exit, now_);
  lane.turn->answered(j->flow, j->due_ns, j->deadline_at);
  lane.answers.push_back({j, now_, exit});
}

void VirtualServer::answer(Job* j, std::string_view exit, uint64_t finished) {
  report(*j, exit, finished, now_);
  recycle(j);
}

// `sent`: when the answer is on its way.
void VirtualServer::report(const Job& j, std::string_view exit, uint64_t finished, uint64_t sent) {
  Outcome o;
  o.exit = exit;
  const SimVariant& v = *variants_[j.variant];
  o.variant = v.id;
  o.expected_accuracy = j.accuracy;
  if (j.predicted_ns) o.predicted_ms = static_cast<double>(j.predicted_ns) * 1e-6;
  o.measured_ms = static_cast<double>(finished - j.arrival) * 1e-6;
  if (o_.watts > 0) o.energy_mj = o_.watts * static_cast<double>(finished - j.began) * 1e-6;
  // Under thresholds those who leave early are the easy ones: the curve's accuracy is of all together.
  const double accuracy = j.point && j.rule->needs_thresholds && j.point->accuracy >= 0 ? j.point->accuracy : j.accuracy;
  if (accuracy >= 0) {
    o.samples = static_cast<int>(j.batch);
    for (int64_t i = 0; i < j.batch; ++i) o.right += fixed_uniform(o_.seed, j.number, kAnswerDraw + static_cast<uint64_t>(i)) < accuracy;
  }
  tell(j, o, sent);
}

void VirtualServer::refuse(Job* j, std::string_view code) {
  tell_refused(*j, code);
  recycle(j);
}

void VirtualServer::tell_refused(Job& j, std::string_view code) {
  Outcome o;
  o.end = End::kRefused;
  o.code = code;
  tell(j, o, now_);
}

// The client hears of it.
void VirtualServer::tell(const Job& j, Outcome& o, uint64_t sent) {
  auto back = static_cast<int64_t>(o_.request_ns - half_ns_);
  // What is on its way longer was so before or after: a deadline is told when the request leaves, and counted by the server from when it has read it, so it makes no difference.
  if (!o_.way_spread_ns.empty()) back += o_.way_spread_ns[static_cast<size_t>(fixed_uniform(o_.seed, j.number, kWayDraw) * static_cast<double>(o_.way_spread_ns.size()))];
  const uint64_t done = sent + static_cast<uint64_t>(std::max<int64_t>(back, 0));
  if (j.intended >= warm_ns_) {
    o.intended = j.intended - warm_ns_;
    o.sent = o.intended;
    o.done = done - warm_ns_;
    o.deadline_ns = j.demand->deadline_ns;
    result_.tallies[j.asker].record(o);
  }
  if (j.closed) again_.push({std::max(done, j.intended + 1), j.source});
}

}  // namespace verge::simulate
