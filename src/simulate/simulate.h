// `verge simulate`: the server's policies over measured times, under a virtual clock.
#pragma once

#include <string>
#include <vector>

#include "bench/bench.h"

namespace verge::simulate {

struct SimulateOptions {
  bench::LoadOptions load;
  std::vector<std::string> packages;  // zoo, ZOO/NAME, ZOO/NAME/VERSION
  std::vector<std::string> variants;  // resident ones, with '*'; empty: the default one
  std::string device;
  int lanes = 1, connections = 1;
  std::vector<std::string> disturb;   // see parse_disturbance()
  long long batch = 1;
  double request_us = 0, lane_us = 0;  // overheads; see ServerOptions
  std::vector<std::string> calibrate; // results of `verge bench -n 1`, and of -n N: where the overheads come from
  std::string measured, measured_since;  // the /metrics of a server: its service times in place of the profiles
  double stretch = 1, watts = 0;
  bool clairvoyant = false;
};
int simulate_main(const SimulateOptions& options);

}  // namespace verge::simulate
