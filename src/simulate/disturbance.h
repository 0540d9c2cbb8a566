// Times when the simulated machine does less than it should: it stands still, or is slower. What-if, and tests of how the policies recover.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "core/status.h"

namespace verge::simulate {

struct Disturbance {
  uint64_t from_ns = 0, until_ns = 0;  // from the beginning of what is measured
  double slower = 0;                   // by this factor; 0: it stands still
};
// "AT,SECONDS[,FACTOR]": from second AT on, for so long; without a factor it stands still.
Result<Disturbance> parse_disturbance(std::string_view text);

class Machine {
 public:
  Machine() = default;
  // `offset_ns`: when what is measured begins. They must not overlap.
  Machine(std::vector<Disturbance> disturbances, uint64_t offset_ns);
  // When work of `work_ns` that begins at `start` is done.
  uint64_t done(uint64_t start, uint64_t work_ns) const;

 private:
  std::vector<Disturbance> all_;  // ascending
};

}  // namespace verge::simulate
