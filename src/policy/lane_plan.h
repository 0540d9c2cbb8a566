// How many lanes share the cores, and how many threads an engine instance has on its lane: pure functions over what profiles have measured.
//
// One core a lane is the rule: lanes do not wait for each other, while threads of one run do. Fewer and wider lanes pay where a run on several threads
// wastes next to nothing of them, so that answers come sooner at no loss, or where a deadline cannot be met on one core.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace verge::policy {

// One run of `batch` samples on `threads` threads that have a core each.
struct ThreadCell {
  int64_t batch = 1;
  int threads = 1;
  uint64_t typical_ns = 0;   // 0: not measured
  uint64_t cautious_ns = 0;
};
using ThreadCurve = std::vector<ThreadCell>;

// Threads for an instance that has `cores` cores to itself: those with the least time of a run of one sample, as long as they do not cost throughput, and no more
// than bring something. 1 where nothing was measured.
int choose_threads(std::span<const ThreadCell> curve, int cores);

// A model that is to be served, as far as it matters here.
struct LaneModel {
  std::string name;
  ThreadCurve curve;                 // of the variant that answers where a request asks for nothing
  uint64_t deadline_ns = 0;          // that requests have where they name none, the strictest; 0: none
  std::vector<ThreadCurve> in_time;  // what may answer such a request beside it: other resident variants, earlier exits
};

struct LanePlan {
  enum class Why : uint8_t {
    kCores,     // a lane a core: nothing speaks for wider ones
    kUnknown,   // a lane a core: of some model it was not measured what several threads do, or not in a quiet moment
    kLatency,   // wider lanes answer sooner and lose no throughput
    kDeadline,  // a deadline cannot be met on one core
  };
  uint32_t lanes = 1;
  Why why = Why::kCores;
  std::string model;    // of kUnknown and kDeadline: which one; of kLatency: the one that gains most
  double latency = 1;   // of that model: time of one sample against that on a lane of one core
  double throughput = 1;  // of the model that loses most: samples a second of all lanes against lanes of one core
};
LanePlan plan_lanes(std::span<const LaneModel> models, int cores);
// "one core a lane: …": for a person.
std::string explain(const LanePlan& plan, int cores);

}  // namespace verge::policy
