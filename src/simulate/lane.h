// A lane under the virtual clock: what waits for it and what it runs, in the order and the sizes that the policies say.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "policy/batching.h"
#include "policy/exit_rule.h"
#include "policy/fair_order.h"
#include "policy/quantile.h"
#include "simulate/demand.h"
#include "simulate/model.h"

namespace verge::simulate {

struct Job {
  const SimDemand* demand = nullptr;
  uint32_t tenant = 0, source = 0;
  bool closed = false, joins = false, probes = false;
  uint64_t number = 0;
  uint64_t intended = 0, arrival = 0, began = 0;
  uint64_t deadline_at = 0, due = 0, margin = 0;  // 0: none
  uint32_t variant = 0;
  int64_t rows = 1, most_rows = 1;
  double accuracy = -1;
  uint64_t predicted_ns = 0, needs_ns = 0, cost = 0;
  const policy::ExitRule* rule = nullptr;
  policy::ExitSettings settings;
  const ExitPoint* point = nullptr;
  uint64_t place = 0;
};

// One variant's part of a lane's queue, and what the lane has learnt of it.
struct SimGroup {
  struct Entry {
    uint64_t place, order;
    Job* job;
  };
  std::vector<Entry> heap;
  policy::BatchCurve curve;
  std::vector<policy::QuantileCurve> predictors;  // one a stage
  int64_t rows_waiting = 0;
  uint64_t last_arrival = 0, gap = 0, hold_until = 0, decisions = 0;
};

class SimLane {
 public:
  SimLane(const std::vector<double>& weights, const std::vector<const SimVariant*>& variants);

  void push(Job* j, uint64_t now);
  // Fills `batch` with what is to run now. What cannot be done in time goes to `ended`. Returns when to look again where `batch` stays empty; 0: when more comes.
  uint64_t take(uint64_t now, std::vector<Job*>& ended);
  // Expected work before one that comes now.
  uint64_t ahead(uint64_t now) const { return waiting_cost_ + (busy && expected_end > now ? expected_end - now : 0); }

  std::vector<SimGroup> groups;  // by variant
  std::vector<Job*> batch;
  uint32_t waiting = 0;
  bool busy = false;
  bool exact = false;            // costs are known, not predicted
  uint64_t event_at = UINT64_MAX, expected_end = 0, started = 0, stage_began = 0, busy_ns = 0;
  uint32_t stage = 0;
  int64_t rows = 0;

 private:
  Job* pop(SimGroup& g);
  bool drop_hopeless(SimGroup& g, uint64_t now, std::vector<Job*>& ended);
  uint64_t needed(const SimGroup& g, const Job& j) const { return j.needs_ns ? j.needs_ns : g.curve.predict(j.rows) + g.curve.deviation(); }
  uint64_t hold(SimGroup& g, uint64_t now) const;
  void fill(SimGroup& g, uint64_t now, std::vector<Job*>& ended);

  policy::FairOrder order_;
  policy::Demand demand_;
  std::vector<SimGroup*> active_;
  uint64_t pushed_ = 0, waiting_cost_ = 0;
};

}  // namespace verge::simulate
