// A server under a virtual clock: the policies of the real one (src/policy) over sampled service times, nothing else in between.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "bench/plan.h"
#include "bench/tally.h"
#include "core/status.h"
#include "simulate/disturbance.h"
#include "simulate/model.h"

namespace verge::simulate {

struct ServerOptions {
  int lanes = 1;             // 0: one front that is its own lane, which reads, runs and answers in turns
  int connections = 1;       // that requests come over, one after the other
  std::vector<Disturbance> disturbances;
  uint64_t request_ns = 0;   // what a request takes outside the lanes, client and way included: half before, half after
  uint64_t lane_ns = 0;      // what each request occupies its lane with beside the engine: reading, transforms, the answer, where one core does it all
  std::vector<int64_t> way_spread_ns;  // of request_ns: how far it is from its median, at equal shares of all requests, ascending; empty: it is always the same
  bool clairvoyant = false;  // each service time is known in advance
  double watts = 0;          // of a busy lane; 0: energy is unknown
  uint64_t seed = 1;
};

struct SimResult {
  std::vector<bench::Tally> tallies;  // in the order of the plan's tenants
  double seconds = 0;                 // measured
  uint64_t events = 0;
  double busy = 0;                    // mean share of the lanes' time
};

// Runs the plan to its end. Every tenant's model must be among `models`.
Result<SimResult> run_simulation(const bench::Plan& plan, const std::vector<SimModel>& models, const ServerOptions& options, size_t slots);

}  // namespace verge::simulate
