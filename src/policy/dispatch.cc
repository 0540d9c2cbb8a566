#include "policy/dispatch.h"

#include <algorithm>
#include <iterator>

namespace verge::policy {

size_t choose_lane(std::span<const LaneLoad> lanes, size_t start) {
  size_t best = 0;
  uint64_t best_load = UINT64_MAX;
  for (size_t k = 0; k < lanes.size(); ++k) {
    const size_t i = (start + k) % lanes.size();
    const uint64_t load = uint64_t{lanes[i].waiting} + (lanes[i].busy ? 1 : 0);
    if (load < best_load) {
      best = i;
      best_load = load;
    }
  }
  return best;
}

bool run_on_front(const LaneLoad& lane, uint64_t predicted_ns, uint64_t hand_off_ns) {
  return lane.waiting == 0 && !lane.busy && predicted_ns != 0 && predicted_ns < hand_off_ns;
}

Chunk next_chunk(std::span<const int64_t> fixed, int64_t remaining, const BatchCurve* curve) {
  const auto above = std::lower_bound(fixed.begin(), fixed.end(), remaining);
  if (above == fixed.end()) return {fixed.back(), fixed.back()};
  if (*above != remaining && above != fixed.begin() && curve != nullptr) {
    const int64_t below = *std::prev(above), parts = (remaining + below - 1) / below;
    const uint64_t part = curve->predict(below);
    if (part != 0 && part * static_cast<uint64_t>(parts) < curve->predict(*above)) return {below, below};
  }
  return {*above, remaining};
}

uint64_t due_ns(uint64_t now, uint64_t deadline, uint64_t turn_ns) {
  if (deadline <= now) return deadline;
  const uint64_t tenth = (deadline - now) / 10;
  return deadline - std::min<uint64_t>(tenth, 5'000'000) - std::min(tenth, turn_ns);
}

uint64_t predict_next(uint64_t old_ns, uint64_t sample_ns) {
  if (old_ns == 0) return std::max<uint64_t>(sample_ns, 1);
  const uint64_t bounded = std::min(sample_ns, 4 * old_ns);
  return std::max<uint64_t>(bounded >= old_ns ? old_ns + (bounded - old_ns) / 8 : old_ns - (old_ns - bounded) / 8, 1);
}

}  // namespace verge::policy
