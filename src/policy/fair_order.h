// In which order waiting requests are taken: by priority; among equals by start-time fair queueing (Goyal, Vin, Cheng, SIGCOMM 1996) over
// tenants, by their weights, and over the connections of each tenant, equally. What is shared is lane time, not turns.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

namespace verge::policy {

class FairOrder {
 public:
  // Connections that share a bucket share its turns.
  static constexpr uint32_t kBuckets = 32;
  static constexpr uint32_t kPriorities = 8;

  // One weight a tenant, each > 0.
  explicit FairOrder(const std::vector<double>& weights);

  // A request of `cost_ns` lane time begins to wait. Returns its place: smaller goes first. `priority` < kPriorities.
  uint64_t enter(uint32_t priority, uint32_t tenant, uint32_t connection, uint64_t cost_ns);
  // The place that enter() would give, for one that may be turned away instead: that must not cost its connection's next request anything.
  uint64_t look(uint32_t priority, uint32_t tenant, uint32_t connection) const;
  // It waits no longer: it was taken, or is gone.
  void leave(uint64_t place, uint32_t tenant, uint32_t connection);

 private:
  static constexpr int kTimeBits = 60;
  // Virtual time passes faster the smaller the weight of who is served is: with the least, its bits are used up in two weeks of work. Long before that it begins anew.
  static constexpr uint64_t kRestart = uint64_t{1} << 56;
  struct Bucket {
    uint64_t finish = 0;  // virtual time at which all that entered before will have been served
    uint32_t waiting = 0;
  };
  struct Tenant {
    double inverse_weight = 1;
    uint32_t active = 0;  // buckets with somebody waiting
    std::array<Bucket, kBuckets> buckets;
  };
  Tenant& tenant(uint32_t index) { return tenants_[index < tenants_.size() ? index : 0]; }
  const Tenant& tenant(uint32_t index) const { return tenants_[index < tenants_.size() ? index : 0]; }

  std::vector<Tenant> tenants_;
  uint64_t waiting_ = 0;
  uint64_t now_ = 0;  // virtual time: the start of what was taken last, in ns of a tenant of weight 1
};

}  // namespace verge::policy
