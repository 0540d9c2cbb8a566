// What becomes of a request on its way to a lane: what it is reckoned to cost, whether it can be done in time, which lane has the least ahead, what a choice by bounds is told and what
// follows from it. Pure functions over what is known then; the server and the simulator decide by this same code.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "core/profile.h"
#include "policy/choose.h"
#include "policy/exit_rule.h"
#include "policy/predictor.h"

namespace verge::policy {

// Of requests that seem hopeless, one in so many is run: a prediction that is too long would otherwise never be put right.
class Probes {
 public:
  bool next() { return ++seen_ % kEvery == 0; }

 private:
  static constexpr uint64_t kEvery = 64;
  uint64_t seen_ = 0;
};

// Lane time of a request that nothing was chosen for, `one_ns` being a run of one sample: where requests share runs, its part of a run of some.
uint64_t plain_cost_ns(uint64_t one_ns, bool joins, const Predictor& predictor, int64_t rows);

// How long a run of these is expected to hold its lane; `cost_ns`: of a request that runs alone, what it was reckoned to cost.
uint64_t run_cost_ns(size_t requests, uint64_t cost_ns, int64_t rows, const Predictor& predictor);

// The lane with the least work ahead; an idle one before one that is about to be, among equals the first that was looked at.
class LeastAhead {
 public:
  void look(uint32_t lane, uint64_t ahead_ns, bool occupied) {
    const uint64_t ahead = 2 * ahead_ns + (occupied ? 1 : 0);
    if (ahead < least_) least_ = ahead, lane_ = lane;
  }
  uint32_t lane() const { return lane_; }

 private:
  uint64_t least_ = UINT64_MAX;
  uint32_t lane_ = 0;
};

// The time that a choice reckons with.
struct TimeLeft {
  uint64_t due_ns = 0;             // when the answer has to be on its way; 0: never
  uint64_t margin_ns = 0;          // what it needs once it is there: its outputs' steps, its encoding, the socket
  uint64_t left_ns = kNoDeadline;  // for a choice
  bool probes = false;             // it runs whatever the time
};
// `deadline_ns`: a point in time after `now`; 0: there is none.
TimeLeft time_left(uint64_t now, uint64_t deadline_ns, const ExitRule& rule);

// Time of a chain up to a stage: stages are late independently of each other.
class ChainTime {
 public:
  void add(const Quantiles& stage);
  uint64_t typical_ns() const { return known_ ? static_cast<uint64_t>(typical_) : 0; }
  uint64_t cautious_ns() const;

 private:
  double typical_ = 0, spread_ = 0;  // spread: sum of squares
  bool known_ = true;
};

// choose(); and where no candidate is sure to be in time though nothing is ahead, the fastest one all the same if it is as likely to be in time as not, which costs nobody else anything,
// and now and then if it is not: `*probes` is then set.
Choice choose_or_probe(std::span<const Candidate> candidates, const Demands& demands, uint64_t wait_ns, Probes& hopeless, bool* probes, std::span<Passed> reasons = {});

// The exit not to go beyond, where `chosen` was.
uint32_t furthest_exit(const ExitRule& rule, const Demands& demands, uint32_t chosen);

// The cautious time of the least that would do, where `best` was chosen: the earliest exit of the same variant that is accurate enough. `same(i)`: candidate i is of that variant.
template <typename Same>
uint64_t least_that_would_do(const ExitRule& rule, const ExitSettings& settings, std::span<const Candidate> candidates, const Candidate& best, Same same) {
  uint64_t least = best.cautious_ns;
  if (rule.exact) return least;
  for (size_t i = 0; i < candidates.size(); ++i) {
    const Candidate& c = candidates[i];
    if (!same(i) || (settings.min_accuracy >= 0 && c.accuracy < settings.min_accuracy - 1e-9)) continue;
    if (c.cautious_ns != 0) least = std::min(least, c.cautious_ns);
  }
  return least;
}

inline constexpr double kDefaultLoss = 0.005;  // "verge.max_accuracy_loss", where a rule needs one and none is given
// The point of a curve whose loss on the calibration samples is within `most` at the least cost; where there is none, the one that loses least.
const ExitPoint* exit_point(const std::vector<ExitPoint>& curve, double most);

}  // namespace verge::policy
