// What a lane of the simulated server does; and a front that is its own lane.
#include <utility>

#include "simulate/virtual_server.h"

namespace verge::simulate {

// --- a lane ---

// What a lane's thread does between runs: takes what was handed over, and the next batch.
void VirtualServer::look(SimLane& lane) {
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
bool VirtualServer::take_over(SimLane& lane) {
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

void VirtualServer::end_all() {
  for (Job* j : ended_.jobs) {
    if (j->hopeless) tell_refused(*j, kTooLate);
    recycle(j);
  }
  ended_.jobs.clear();
}

// A batch was taken: first what it costs beside the engine. A front that is its own lane has read it before.
void VirtualServer::begin(SimLane& lane) {
  lane.rows = 0;
  for (Job* j : lane.batch) lane.rows += j->batch, j->began = now_;
  lane.stage = 0;
  lane.started = now_;
  const Job& first = *lane.batch.front();
  const uint64_t others = front_is_lane_ ? 0 : o_.lane_ns * lane.batch.size();
  uint64_t cost = policy::run_cost_ns(lane.batch.size(), first.cost_ns, lane.rows, first.in->predictors[0]);
  lane.apart = front_is_lane_ && policy::runs_apart(cost, lane.batch.size());
  if (!front_is_lane_ || lane.apart) {
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

void VirtualServer::run_stage(SimLane& lane) {
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

void VirtualServer::on_event(SimLane& lane) {
  switch (lane.does) {
    case Does::kNothing: return front_is_lane_ ? begin_reading(lane) : look(lane);
    case Does::kReads: return has_read(lane);
    case Does::kPrepares: return run_stage(lane);
    case Does::kRuns: return has_run(lane);
    case Does::kWrites: return has_written(lane);
  }
}

// What the front does with the answer of the stage before, which it keeps: it goes out when the time is up.
void VirtualServer::give_out_kept(const SimLane& lane, Job& j) {
  if (lane.event_at <= j.due_ns) return;
  const policy::StageKnown& before = lane.known[lane.stage - 1];
  j.stood = true;
  j.accuracy = before.accuracy;
  const uint64_t at = std::max(j.due_ns, now_);
  report(j, before.exit, at, at);
}

void VirtualServer::has_run(SimLane& lane) {
  Job& first = *lane.batch.front();
  const SimVariant& v = *variants_[first.variant];
  first.in->predictors[lane.stage].learn(lane.rows, now_ - lane.stage_began, now_);
  if (first.stood) {
    recycle(&first);
  } else if (v.exits.empty()) {
    first.in->curve.learn(lane.rows, now_ - lane.stage_began);
    for (Job* j : lane.batch) finish(lane, j, "");
  } else {
    const policy::Decision d = after_stage(lane, first);
    if (d.go == policy::Go::kOn) {
      const bool kept = is_kept(lane, first);
      ++lane.stage;
      run_stage(lane);
      if (kept) give_out_kept(lane, first);
      return;
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

void VirtualServer::is_free(SimLane& lane) {
  lane.busy_ns += now_ - lane.started;
  const size_t requests = lane.batch.size();
  lane.batch.clear();
  lane.places.busy_until_ns.store(0, std::memory_order_relaxed);
  if (!front_is_lane_) return look(lane);
  if (std::exchange(lane.apart, false)) return begin_writing(lane);
  if (lane.turn->over(now_, lane.turn_began, now_ - lane.started + lane.answering.predict(lane.answers.size() + requests))) return begin_writing(lane);
  run_turn(lane);
}

void VirtualServer::known_stages(SimLane& lane, const Job& j, const SimVariant& v) {
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

policy::ExitState VirtualServer::state_of(const SimLane& lane, const Job& j) const {
  return {.exit = lane.stage,
          .stages = lane.known,
          .elapsed_ns = now_ - j.arrival,
          .deadline_ns = j.deadline_at ? j.deadline_at - j.arrival : policy::kNoDeadline,
          .margin_ns = j.margin,
          .nobody_waits = lane.places.waiting.load(std::memory_order_relaxed) == 0};
}

// A front that is its own lane cannot answer in the midst of a stage, unless that runs apart.
bool VirtualServer::is_kept(const SimLane& lane, const Job& j) const {
  return j.rule->keeps && j.deadline_at != 0 && (!front_is_lane_ || lane.apart) && (j.settings.min_accuracy < 0 || lane.known[lane.stage].accuracy >= j.settings.min_accuracy - 1e-9);
}

policy::Decision VirtualServer::after_stage(const SimLane& lane, const Job& j) const {
  policy::ExitState s = state_of(lane, j);
  s.kept = is_kept(lane, j);
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

void VirtualServer::begin_reading(SimLane& lane) {
  if (lane.inbox.empty()) return run_turn(lane);
  lane.reading.swap(lane.inbox);
  lane.inbox.clear();
  lane.read = 0;
  lane.does = Does::kReads;
  lane.event_at = machine_.done(now_, read_ns_);
}

void VirtualServer::has_read(SimLane& lane) {
  decide(lane.reading[lane.read]);
  if (++lane.read < lane.reading.size()) {
    lane.event_at = machine_.done(now_, read_ns_);
    return;
  }
  lane.reading.clear();
  expire();
  run_turn(lane);
}

void VirtualServer::run_turn(SimLane& lane) {
  if (!lane.turn) {
    lane.shortest_time.turn_begins();
    lane.turn.emplace(lane.queue.work_ns(), lane.shortest_time.ns());
    lane.turn_began = 0;
  }
  ended_.jobs.clear();
  const auto next = lane.queue.take(now_, lane.batch, ended_);
  end_all();
  if (next.any) {
    if (!lane.turn_began) lane.turn_began = now_;
    begin(lane);
    if (lane.apart && !lane.answers.empty()) {
      lane.event_at = machine_.done(lane.event_at, (o_.lane_ns - read_ns_) * lane.answers.size());
      send_answers(lane);
    }
    return;
  }
  if (!lane.answers.empty()) return begin_writing(lane);
  lane.turn.reset();
  if (!lane.inbox.empty()) return begin_reading(lane);
  lane.does = Does::kNothing;
  lane.event_at = next.wait_until ? next.wait_until : kNever;
}

void VirtualServer::begin_writing(SimLane& lane) {
  lane.turn.reset();
  lane.writing_since = now_;
  lane.does = Does::kWrites;
  lane.event_at = machine_.done(now_, (o_.lane_ns - read_ns_) * lane.answers.size());
}

void VirtualServer::has_written(SimLane& lane) {
  if (!lane.queue.empty()) lane.answering.learn(now_ - lane.writing_since, lane.answers.size());
  send_answers(lane);
  begin_reading(lane);
}

void VirtualServer::send_answers(SimLane& lane) {
  for (const SimLane::Answer& a : lane.answers) answer(a.job, a.exit, a.finished);
  lane.answers.clear();
}

}  // namespace verge::simulate
