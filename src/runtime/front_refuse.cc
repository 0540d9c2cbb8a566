// The front's part for requests that come too late because of what is ahead of them, told from their heads: under overload most of what comes is refused, and what that costs is
// taken from those who are answered.
#include <algorithm>
#include <string>

#include "os/process.h"
#include "policy/dispatch.h"
#include "runtime/front.h"

namespace verge::runtime {

// Rounded, so that many refusals in a row have the same text, which is then made once and is a byte on the wire.
Status FrontImpl::too_late_status(uint64_t ahead_ns) {
  uint64_t unit = 1;
  for (uint64_t us = ahead_ns / 1000; us / unit >= 10;) unit *= 10;
  const uint64_t us = std::max<uint64_t>((ahead_ns / 1000 + unit / 2) / unit * unit, 1);
  if (us != too_late_number_) {
    too_late_number_ = us;
    too_late_text_ = "it cannot be done by its deadline: what is before it takes about " + (us < 1000 ? std::to_string(us) + " us" : std::to_string(us / 1000) + " ms");
  }
  return {Code::kDeadlineExceeded, too_late_text_};
}

// Only where this front is the lane: a lane of its own has its order to itself. What is not refused here is looked at once more, in full, by infer().
Status FrontImpl::refuse(const Request& request) {
  look_back();
  if (!shared_.lanes.empty() || draining_ || (queue_.empty() && !long_runs_.running()) || request.sequence.given()) return {};
  const auto model = table().models.find(request.model);
  if (model == table().models.end()) return {};
  const VersionEntry* version = model->second.find(request.version);
  if (version == nullptr || !version->broken.ok() || version->served->sequences != nullptr || is_bounded(request, *version)) return {};
  int variant = request.bounds.variant.empty() ? version->default_variant : -1;
  if (!request.bounds.variant.empty()) {
    const auto& variants = version->served->manifest().variants;
    const auto at = std::find_if(variants.begin(), variants.end(), [&](const VariantSpec& v) { return v.id == request.bounds.variant; });
    if (at != variants.end()) variant = static_cast<int>(at - variants.begin());
  }
  if (variant < 0) return {};
  const VariantEntry& entry = version->variants[static_cast<size_t>(variant)];
  if (entry.state != policy::VariantState::kResident) return {};

  const auto count = [&](Code code, Reason reason) {
    refused_in_turn_ = true;
    version->stats->fronts[index_].failures[static_cast<size_t>(code)][static_cast<size_t>(reason)].add(1);
  };
  const uint32_t limit = shared_.options.queue_limit;
  if (places_.waiting.load(std::memory_order_relaxed) >= limit) {
    count(Code::kResourceExhausted, Reason::kQueueFull);
    return resource_exhausted("the queue is full: " + std::to_string(limit) + " requests wait, the limit is " + std::to_string(limit));
  }
  const uint64_t now = os::monotonic_ns(), deadline = request.bounds.deadline_ns;
  if (deadline <= now) return {};  // none, or it has passed
  const LaneGroup& group = entry.resident->groups[index_];
  uint64_t needed = group.cautious_ns.load(std::memory_order_relaxed);
  const bool shares = entry.resident->max_rows > 1;
  if (shares) needed = std::max(needed, LaneQueue::needed_among_others(group));
  const uint64_t priority = request.bounds.priority;
  const uint64_t ahead = queue_.too_much_ahead({.priority = static_cast<uint32_t>(priority == 0 ? kDefaultPriority : std::min(priority, kLowestPriority)),
                                                .tenant = request.tenant < shared_.options.tenants.size() ? request.tenant : 0,
                                                .flow = request.flow,
                                                .due_ns = due_ns(request, now),
                                                .needed_ns = needed,
                                                .shares = shares ? &group : nullptr},
                                               now);
  if (ahead == 0) return {};
  count(Code::kDeadlineExceeded, Reason::kHopeless);
  return too_late_status(ahead);
}

}  // namespace verge::runtime
