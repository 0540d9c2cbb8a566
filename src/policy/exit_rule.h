// After each stage of a multi-exit model: leave with this exit's answer, or go on to the next one. Pure functions over what is known then.
//
// A rule is one file in exit_rules/ and one line in exit_rules/registry.cc. What holds whatever the rule says (the accuracy bound, the energy bound, a
// deadline beside a rule that looks at none) is decide_exit()'s.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "policy/choose.h"
#include "policy/exit_conditions.h"

namespace verge::policy {

// What is known of a stage and its exit before a request comes.
struct StageKnown {
  std::string_view exit;    // the exit's name
  double accuracy = -1;     // of its answers; negative: unknown
  double energy_mj = -1;    // of this stage alone; negative: unknown
  uint64_t typical_ns = 0;  // of this stage alone, for as many samples as the request has; 0: unknown
  uint64_t cautious_ns = 0;
};

struct ExitState {
  uint32_t exit = 0;                   // the stage that has just run, from 0
  std::span<const StageKnown> stages;  // all of the chain
  uint64_t elapsed_ns = 0;             // from arrival
  uint64_t deadline_ns = kNoDeadline;  // from arrival, as the request gave it
  uint64_t margin_ns = 0;              // of that, what the answer needs to be on its way
  double confidence = -1;              // largest score of this exit's answer, the least of all samples; negative: it has none
  double entropy = -1;                 // of the scores in nats, the largest of all samples
  double energy_mj = -1;               // used so far
  bool kept = false;                   // this exit's answer is kept: where the next stage is not done in time, it goes out then
  bool nobody_waits = false;           // for the lane: a stage that is run in vain costs nobody else anything
  bool last() const { return exit + 1 >= stages.size(); }
  double computed() const;             // share of the chain's typical time that is done; without times, of its stages
};

struct ExitSettings {
  double min_accuracy = -1, max_energy_mj = -1;  // negative: none
  double confidence = -1;                        // verge.confidence, for all exits; negative: not given
  std::span<const double> thresholds;            // of the rules confidence and entropy, one for each exit but the last
  uint32_t furthest = UINT32_MAX;                // exit not to go beyond: of rule fixed the one to leave at; else, of a choice for time or energy, the chosen one
  const ExitConditions* conditions = nullptr;
};

enum class Go : uint8_t {
  kOn,
  kLeave,
  kGiveUp,  // the deadline has passed and no exit so far is accurate enough: no answer
};
struct Decision {
  Go go = Go::kOn;
  const char* reason = "";  // a few words
};

struct ExitRule {
  std::string_view name;
  Decision (*decide)(const ExitState&, const ExitSettings&);  // not asked at the last exit
  bool looks_at_time = false;      // it has its own way with the deadline
  bool looks_late = false;         // looks at the time only after a stage: nothing is kept for the way back, and no stage is refused beforehand
  bool exact = false;              // leaves where the request says and nowhere else
  bool keeps = false;              // beside a deadline: the answer of each exit is kept while the next stage runs
  bool needs_thresholds = false;   // ExitSettings::thresholds, or confidence
  bool needs_conditions = false;
};
std::span<const ExitRule* const> exit_rules();
const ExitRule* find_exit_rule(std::string_view name);  // "": the default, predictive; nullptr: there is none of this name

// The rule's word, with the bounds kept.
Decision decide_exit(const ExitRule& rule, const ExitState& state, const ExitSettings& settings);

// Before the first stage, of which `state.elapsed_ns` tells: whether an exit that would do can still be reached. The queue has taken its time. Rules that look at the time only
// after a stage go ahead in any case.
bool any_in_reach(const ExitRule& rule, const ExitState& state, const ExitSettings& settings);
// Whether `exit`, later than the state's, can be reached by the deadline: the next stage at its cautious time, those behind it at their typical ones. Where the
// answer is kept and nobody waits for the lane there is nothing to lose: the next stage then counts at its typical time too.
bool reaches(const ExitState& state, uint32_t exit);
// Whether a later exit that can be reached promises more than this one. Where accuracies are unknown, a later one does.
bool better_in_reach(const ExitState& state);

}  // namespace verge::policy
