#include "policy/choose.h"

namespace verge::policy {
namespace {

// Beyond the rounding of text and of sums.
constexpr double kEpsilon = 1e-9;

Passed bound_missed(const Candidate& c, const Demands& d) {
  if (d.min_accuracy >= 0) {
    if (c.accuracy < 0) return Passed::kAccuracyUnknown;
    if (c.accuracy < d.min_accuracy - kEpsilon) return Passed::kAccuracy;
  }
  if (d.max_energy_mj >= 0) {
    if (c.energy_mj < 0) return Passed::kEnergyUnknown;
    if (c.energy_mj > d.max_energy_mj + kEpsilon) return Passed::kEnergy;
  }
  return Passed::kChosen;
}

bool in_time(const Candidate& c, const Demands& d) { return d.left_ns == kNoDeadline || c.predicted_ns() <= d.left_ns; }
bool accurate(const Candidate& c, const Demands& d) { return d.min_accuracy < 0 || (c.accuracy >= 0 && c.accuracy >= d.min_accuracy - kEpsilon); }
bool frugal(const Candidate& c, const Demands& d) { return d.max_energy_mj < 0 || (c.energy_mj >= 0 && c.energy_mj <= d.max_energy_mj + kEpsilon); }

// -1: a is better, 1: b is, 0: neither. Unknown accuracy is worse than any; unknown energy and time too.
int by_accuracy(const Candidate& a, const Candidate& b) {
  if (a.accuracy != b.accuracy) return a.accuracy > b.accuracy ? -1 : 1;
  if (a.accuracy < 0 && a.depth != b.depth) return a.depth > b.depth ? -1 : 1;
  return 0;
}
int by_time(const Candidate& a, const Candidate& b) {
  const auto at = [](const Candidate& c) { return c.cautious_ns == 0 ? kNoDeadline : c.predicted_ns(); };
  return at(a) == at(b) ? 0 : at(a) < at(b) ? -1 : 1;
}
int by_energy(const Candidate& a, const Candidate& b) {
  if (a.energy_mj == b.energy_mj) return 0;
  if (a.energy_mj < 0 || b.energy_mj < 0) return a.energy_mj >= 0 ? -1 : 1;
  return a.energy_mj < b.energy_mj ? -1 : 1;
}

bool better(const Candidate& a, const Candidate& b, Objective o) {
  using Compare = int (*)(const Candidate&, const Candidate&);
  static constexpr Compare kOrders[3][3] = {{by_accuracy, by_time, by_energy}, {by_time, by_accuracy, by_energy}, {by_energy, by_accuracy, by_time}};
  const auto& order = kOrders[o == Objective::kLatency ? 1 : o == Objective::kEnergy ? 2 : 0];
  for (const Compare compare : order) {
    if (const int c = compare(a, b); c != 0) return c < 0;
  }
  return false;
}

Passed behind(const Candidate& c, const Candidate& best, Objective o) {
  if (o == Objective::kLatency) return by_time(best, c) < 0 ? Passed::kSlower : Passed::kLessAccurate;
  if (o == Objective::kEnergy) return by_energy(best, c) < 0 ? Passed::kMoreEnergy : by_accuracy(best, c) < 0 ? Passed::kLessAccurate : Passed::kSlower;
  return by_accuracy(best, c) < 0 ? Passed::kLessAccurate : by_time(best, c) < 0 ? Passed::kSlower : Passed::kMoreEnergy;
}

// Which bound stands in the way, and how far it would have to give.
Choice refuse(std::span<const Candidate> candidates, const Demands& d) {
  Choice out;
  bool any = false, both = false, enough = false;
  for (const Candidate& c : candidates) {
    any = true;
    both |= accurate(c, d) && frugal(c, d);
    enough |= accurate(c, d);
  }
  if (!any) {
    out.refusal = Passed::kNotResident;
    return out;
  }
  const auto nearer = [&](double value, bool smaller) {
    if (value >= 0 && (out.nearest < 0 || (smaller ? value < out.nearest : value > out.nearest))) out.nearest = value;
  };
  // First the nearest with all other bounds kept; where there is none, with the deadline given up too.
  for (const bool keep_time : {true, false}) {
    for (const Candidate& c : candidates) {
      if (both) {
        out.refusal = Passed::kDeadline;
        if (c.ready && accurate(c, d) && frugal(c, d)) nearer(static_cast<double>(c.predicted_ns()), true);
      } else if (keep_time && !in_time(c, d)) {
        continue;
      } else if (enough) {
        out.refusal = Passed::kEnergy;
        if (accurate(c, d)) nearer(c.energy_mj, true);
      } else {
        out.refusal = Passed::kAccuracy;
        if (frugal(c, d)) nearer(c.accuracy, false);
      }
    }
    if (out.nearest >= 0) return out;
  }
  if (out.refusal == Passed::kEnergy) {
    out.refusal = Passed::kEnergyUnknown;
  } else if (out.refusal == Passed::kAccuracy) {
    // Those whose accuracy is known take too much energy, or none is known.
    for (const Candidate& c : candidates) nearer(c.accuracy, false);
    if (out.nearest < 0) out.refusal = Passed::kAccuracyUnknown;
  }
  return out;
}

}  // namespace

const char* passed_name(Passed p) {
  switch (p) {
    case Passed::kChosen: return "chosen";
    case Passed::kNotResident: return "not resident";
    case Passed::kAccuracy: return "accuracy";
    case Passed::kAccuracyUnknown: return "accuracy unknown";
    case Passed::kEnergy: return "energy";
    case Passed::kEnergyUnknown: return "energy unknown";
    case Passed::kDeadline: return "deadline";
    case Passed::kLessAccurate: return "less accurate";
    case Passed::kSlower: return "slower";
    case Passed::kMoreEnergy: return "more energy";
  }
  return "invalid";
}

Objective objective_of(const Demands& d) {
  if (d.objective != Objective::kUnset) return d.objective;
  return d.min_accuracy >= 0 && d.left_ns == kNoDeadline && d.max_energy_mj < 0 ? Objective::kLatency : Objective::kAccuracy;
}

Choice choose(std::span<const Candidate> candidates, const Demands& demands, std::span<Passed> reasons) {
  const Objective objective = objective_of(demands);
  int32_t best = -1, absent = -1;
  bool any_resident = false;
  for (size_t i = 0; i < candidates.size(); ++i) {
    const Candidate& c = candidates[i];
    Passed why = bound_missed(c, demands);
    if (why == Passed::kChosen && !c.ready) {
      why = Passed::kNotResident;
      if (absent < 0 || better(c, candidates[static_cast<size_t>(absent)], objective)) absent = static_cast<int32_t>(i);
    } else if (why == Passed::kChosen) {
      any_resident = true;
      if (!in_time(c, demands)) {
        why = Passed::kDeadline;
      } else if (best < 0 || better(c, candidates[static_cast<size_t>(best)], objective)) {
        best = static_cast<int32_t>(i);
      }
    }
    if (!reasons.empty()) reasons[i] = why;
  }
  Choice out;
  out.index = best;
  if (best < 0 && !any_resident && absent >= 0) {
    out.index = absent;
    out.load = true;
  }
  if (out.index < 0) return refuse(candidates, demands);
  if (reasons.empty()) return out;
  for (size_t i = 0; i < candidates.size(); ++i) {
    if (static_cast<int32_t>(i) == out.index) {
      reasons[i] = Passed::kChosen;
    } else if (reasons[i] == Passed::kChosen) {
      reasons[i] = behind(candidates[i], candidates[static_cast<size_t>(out.index)], objective);
    }
  }
  return out;
}

void mark_dominated(std::span<const Candidate> candidates, std::span<uint8_t> dominated, std::span<int32_t> by) {
  for (size_t i = 0; i < candidates.size(); ++i) {
    const Candidate& c = candidates[i];
    dominated[i] = 0;
    if (!by.empty()) by[i] = -1;
    if (c.accuracy < 0 || c.cautious_ns == 0) continue;
    for (size_t k = 0; k < candidates.size(); ++k) {
      const Candidate& o = candidates[k];
      if (k == i || o.ready != c.ready || o.accuracy < 0 || o.cautious_ns == 0) continue;
      const bool energy_known = c.energy_mj >= 0 && o.energy_mj >= 0;
      if (o.accuracy < c.accuracy || o.typical_ns > c.typical_ns || o.cautious_ns > c.cautious_ns || (energy_known && o.energy_mj > c.energy_mj)) continue;
      const bool equal = o.accuracy == c.accuracy && o.typical_ns == c.typical_ns && o.cautious_ns == c.cautious_ns && (!energy_known || o.energy_mj == c.energy_mj);
      if (equal && k > i) continue;
      dominated[i] = 1;
      if (!by.empty()) by[i] = static_cast<int32_t>(k);
      break;
    }
  }
}

}  // namespace verge::policy
