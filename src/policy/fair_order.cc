#include "policy/fair_order.h"

#include <algorithm>

namespace verge::policy {

FairOrder::FairOrder(const std::vector<double>& weights) : tenants_(std::max<size_t>(weights.size(), 1)) {
  for (size_t i = 0; i < weights.size(); ++i) tenants_[i].inverse_weight = weights[i] > 0 ? 1 / weights[i] : 1;
}

uint64_t FairOrder::enter(uint32_t priority, uint32_t tenant_index, uint32_t connection, uint64_t cost_ns) {
  Tenant& t = tenant(tenant_index);
  Bucket& b = t.buckets[connection % kBuckets];
  if (b.waiting++ == 0) ++t.active;
  ++waiting_;
  const uint64_t start = std::max(now_, b.finish);
  // Each of a tenant's connections gets its part of the tenant's share.
  b.finish = start + std::max<uint64_t>(1, static_cast<uint64_t>(static_cast<double>(cost_ns) * t.active * t.inverse_weight));
  return uint64_t{std::min(priority, kPriorities - 1)} << kTimeBits | start;
}

uint64_t FairOrder::look(uint32_t priority, uint32_t tenant_index, uint32_t connection) const {
  return uint64_t{std::min(priority, kPriorities - 1)} << kTimeBits | std::max(now_, tenant(tenant_index).buckets[connection % kBuckets].finish);
}

void FairOrder::leave(uint64_t place, uint32_t tenant_index, uint32_t connection) {
  Tenant& t = tenant(tenant_index);
  Bucket& b = t.buckets[connection % kBuckets];
  if (--b.waiting == 0) --t.active;
  now_ = std::max(now_, place & ((uint64_t{1} << kTimeBits) - 1));
  if (--waiting_ != 0 || now_ < kRestart) return;
  // Nobody has anything to claim of what was before.
  now_ = 0;
  for (Tenant& each : tenants_)
    for (Bucket& bucket : each.buckets) bucket.finish = 0;
}

}  // namespace verge::policy
