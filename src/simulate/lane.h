// A lane under the virtual clock, and the requests that wait for it. What runs next, and how much of it at once, is policy/lane_queue.h's, as in the server.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "policy/answering.h"
#include "policy/dispatch.h"
#include "policy/exit_rule.h"
#include "policy/lane_queue.h"
#include "policy/predictor.h"
#include "simulate/demand.h"
#include "simulate/model.h"

namespace verge::simulate {

struct Job;

// One variant's part of a lane: what waits for it there, and what the lane has learnt of it.
struct SimGroup : policy::WaitingGroup<Job> {
  std::unique_ptr<policy::Predictor[]> predictors;  // one a stage
};

struct Job {
  // --- what policy::LaneQueue asks ---
  uint32_t priority = 0, tenant = 0, flow = 0;  // as the server knows tenants: by their tokens
  uint64_t due_ns = 0, place = 0, ahead_ns = 0, cost_ns = 0, shape_key = 0;
  int64_t batch = 1;
  bool joins = false, probes = false;
  policy::WaitingGroup<Job>& group() const { return *in; }
  int64_t most_rows() const { return most; }
  uint64_t needs_ns() const { return needs; }
  bool goes_alone() const { return alone; }
  bool is_waiting() const { return state == State::kWaiting; }
  bool claim() {
    if (state != State::kWaiting) return false;
    state = State::kClaimed;
    return true;
  }
  void end_hopeless(uint64_t) { hopeless = true; }

  enum class State : uint8_t { kNew, kWaiting, kClaimed, kGone } state = State::kNew;
  bool closed = false, hopeless = false, alone = false;
  bool stood = false;  // the deadline came in the midst of a stage, and the exit before it answered
  const SimDemand* demand = nullptr;
  SimGroup* in = nullptr;
  uint32_t asker = 0, source = 0, lane = 0;  // asker: of the plan's tenants
  uint64_t number = 0, serial = 0;
  uint64_t intended = 0, arrival = 0, began = 0;
  uint64_t deadline_at = 0, margin = 0;  // 0: none
  uint32_t variant = 0;
  int64_t most = 1;
  double accuracy = -1;
  uint64_t predicted_ns = 0, needs = 0;
  const policy::ExitRule* rule = nullptr;
  policy::ExitSettings settings;
  const ExitPoint* point = nullptr;
};

struct SimLane {
  SimLane(const std::vector<double>& weights, const std::vector<const SimVariant*>& variants);

  policy::LanePlaces places;
  policy::LaneQueue<Job> queue;
  std::unique_ptr<SimGroup[]> groups;  // by variant
  std::vector<Job*> inbox;             // handed over, and not looked at
  std::vector<Job*> batch;
  uint64_t event_at = UINT64_MAX;
  uint64_t started = 0, stage_began = 0, busy_ns = 0;
  uint32_t stage = 0;
  int64_t rows = 0;
  std::vector<policy::StageKnown> known;  // of the chain that runs, as it was when it began
  enum class Does : uint8_t { kNothing, kReads, kPrepares, kRuns, kWrites } does = Does::kNothing;

  // Of a front that is its own lane: what it reads in this turn, and what it has answered and not sent.
  bool apart = false;  // what runs does so on a thread of its own: the front goes on
  std::vector<Job*> reading;
  size_t read = 0;
  uint64_t writing_since = 0;
  struct Answer {
    Job* job;
    uint64_t finished;
    std::string_view exit;
  };
  std::vector<Answer> answers;
  std::optional<policy::Turn> turn;
  uint64_t turn_began = 0;
  policy::Answering answering;
  policy::ShortestTime shortest_time;
};

}  // namespace verge::simulate
