// Which variant and exit answers a request: a pure function over what is resident, what is known of it, and what the request demands.
#pragma once

#include <cstdint>
#include <span>

namespace verge::policy {

// What is best among those within the bounds. Unset: accuracy where a deadline or an energy bound is given, or nothing is; where only an accuracy bound
// is given, the cheapest in time (latency).
enum class Objective : uint8_t { kUnset, kAccuracy, kLatency, kEnergy };

inline constexpr uint64_t kNoDeadline = UINT64_MAX;

// One variant up to one exit, or a whole variant that has none.
struct Candidate {
  double accuracy = -1;     // larger is better; negative: unknown
  double energy_mj = -1;    // of one request up to there; negative: unknown
  uint64_t typical_ns = 0;  // service up to there, without waiting; 0: unknown
  uint64_t cautious_ns = 0;
  uint64_t wait_ns = 0;     // what is ahead of it
  uint32_t depth = 0;       // its exit's place in the chain: where accuracies are unknown or equal, of one variant the deeper one counts as the better
  bool ready = true;        // resident; else it would have to be loaded first
  uint64_t predicted_ns() const { return wait_ns + cautious_ns; }
};

struct Demands {
  uint64_t left_ns = kNoDeadline;  // until the answer has to be there
  double min_accuracy = -1;        // negative: no bound
  double max_energy_mj = -1;       // negative: no bound
  Objective objective = Objective::kUnset;
};
Objective objective_of(const Demands& d);  // with the default put in

// Why a candidate was passed over; or, of a refusal, which bound cannot be met.
enum class Passed : uint8_t {
  kChosen,           // it was not
  kNotResident,
  kAccuracy,         // below the bound
  kAccuracyUnknown,  // never evaluated, and there is a bound
  kEnergy,           // above the bound
  kEnergyUnknown,
  kDeadline,         // predicted to end too late
  kLessAccurate,     // within the bounds, but the choice is better by the objective
  kSlower,
  kMoreEnergy,
};
const char* passed_name(Passed p);  // "not resident", "accuracy", "accuracy unknown", …, "slower"

struct Choice {
  int32_t index = -1;           // -1: refused
  bool load = false;            // the choice has to be loaded: nothing that is resident is within the accuracy and energy bounds
  Passed refusal = Passed::kChosen;  // kDeadline, kEnergy(Unknown) or kAccuracy(Unknown); kNotResident where there is no candidate at all
  // The nearest bound that could be met with the others kept, where `refusal` says which: ns, mJ, or accuracy. Negative: none.
  double nearest = -1;
};

// `reasons`, if not empty, has as many elements as `candidates` and tells of each. Neither allocates nor throws.
Choice choose(std::span<const Candidate> candidates, const Demands& demands, std::span<Passed> reasons = {});

// Marks with 1 those that another one beats or equals in accuracy, typical and cautious time and energy, and beats in one of them; of equals all but the
// first. Run when a table is made, with measured figures. Candidates that differ in `ready`, or whose accuracy is unknown, are not compared. `by`, if
// not empty, gets the index of the one that beats it.
void mark_dominated(std::span<const Candidate> candidates, std::span<uint8_t> dominated, std::span<int32_t> by = {});

}  // namespace verge::policy
