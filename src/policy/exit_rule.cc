#include "policy/exit_rule.h"

namespace verge::policy {
namespace {

bool accurate(const StageKnown& s, double min) { return min < 0 || s.accuracy >= min - 1e-9; }

}  // namespace

double ExitState::computed() const {
  uint64_t done = 0, all = 0;
  for (uint32_t i = 0; i < stages.size(); ++i) {
    all += stages[i].typical_ns;
    if (i <= exit) done += stages[i].typical_ns;
    if (stages[i].typical_ns == 0) return static_cast<double>(exit + 1) / static_cast<double>(stages.size());
  }
  return all == 0 ? 1 : static_cast<double>(done) / static_cast<double>(all);
}

bool any_in_reach(const ExitRule& rule, const ExitState& s, const ExitSettings& settings) {
  if (s.deadline_ns == kNoDeadline || rule.looks_late) return true;
  uint64_t at = s.elapsed_ns + s.margin_ns;
  for (uint32_t k = 0; k < s.stages.size(); ++k) {
    at += k == 0 && !s.nobody_waits ? s.stages[k].cautious_ns : s.stages[k].typical_ns;
    const bool would_do = rule.exact ? k == settings.furthest : accurate(s.stages[k], settings.min_accuracy);
    if (would_do) return at <= s.deadline_ns;
  }
  return false;
}

bool reaches(const ExitState& s, uint32_t exit) {
  if (s.deadline_ns == kNoDeadline) return true;
  const bool careful = !s.kept || !s.nobody_waits;
  uint64_t at = s.elapsed_ns + s.margin_ns;
  for (uint32_t i = s.exit + 1; i <= exit; ++i) at += careful && i == s.exit + 1 ? s.stages[i].cautious_ns : s.stages[i].typical_ns;
  return at <= s.deadline_ns;
}

bool better_in_reach(const ExitState& s) {
  const double here = s.stages[s.exit].accuracy;
  for (uint32_t i = s.exit + 1; i < s.stages.size() && reaches(s, i); ++i) {
    const double there = s.stages[i].accuracy;
    if (here < 0 || there < 0 || there > here) return true;
  }
  return false;
}

Decision decide_exit(const ExitRule& rule, const ExitState& s, const ExitSettings& settings) {
  if (s.last()) return {Go::kLeave, "the last exit"};
  if (!accurate(s.stages[s.exit], settings.min_accuracy)) {
    bool later = false;
    for (uint32_t i = s.exit + 1; i < s.stages.size() && i <= settings.furthest; ++i) later |= accurate(s.stages[i], settings.min_accuracy);
    if (!later || (s.deadline_ns != kNoDeadline && s.elapsed_ns >= s.deadline_ns)) return {Go::kGiveUp, "no exit so far is within the accuracy bound"};
    return {Go::kOn, "below the accuracy bound"};
  }
  if (rule.exact) return rule.decide(s, settings);
  if (s.exit >= settings.furthest) return {Go::kLeave, "the cheapest exit within the bounds"};
  if (settings.max_energy_mj >= 0 && s.energy_mj >= 0 && s.stages[s.exit + 1].energy_mj >= 0 && s.energy_mj + s.stages[s.exit + 1].energy_mj > settings.max_energy_mj + 1e-9) {
    return {Go::kLeave, "the next exit would pass the energy bound"};
  }
  const Decision d = rule.decide(s, settings);
  if (d.go != Go::kOn) return d;
  if (settings.confidence >= 0 && s.confidence >= settings.confidence) return {Go::kLeave, "confident enough"};
  if (!rule.looks_at_time && s.deadline_ns != kNoDeadline && !reaches(s, s.exit + 1)) return {Go::kLeave, "the next exit would be too late"};
  return d;
}

}  // namespace verge::policy
