// How much memory variants may hold. Memory is reserved before a load starts, so the sum never passes the limit.
#pragma once

#include <cstdint>
#include <string>

#include "core/status.h"

namespace verge::policy {

class MemoryLedger {
 public:
  // `limit` 0: none. `base` is what the process holds without any model. All in bytes.
  MemoryLedger(uint64_t limit, uint64_t base) : limit_(limit), base_(base) {}

  // kResourceExhausted with the figures where it does not fit. `who` names the model and variant, `how` says where `bytes` comes from.
  Status reserve(uint64_t bytes, const std::string& who, const std::string& how);
  void give_back(uint64_t bytes);
  // What was reserved turned out to be `bytes` too little. It is held already, so this cannot be refused; later reservations see it.
  void add(uint64_t bytes) { reserved_ += bytes; }

  uint64_t limit() const { return limit_; }
  uint64_t base() const { return base_; }
  uint64_t reserved() const { return reserved_; }

 private:
  uint64_t limit_, base_, reserved_ = 0;
};

// What a variant is expected to hold where it was never measured: its files twice (as read, and as the engine rearranges them) and 16 MiB.
uint64_t estimated_resident_bytes(uint64_t artifact_bytes);

std::string format_bytes(uint64_t bytes);  // "12.3 MiB"

}  // namespace verge::policy
