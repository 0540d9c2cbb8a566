#include "policy/memory.h"

#include <cstdio>

namespace verge::policy {

Status MemoryLedger::reserve(uint64_t bytes, const std::string& who, const std::string& how) {
  const uint64_t used = base_ + reserved_;
  if (limit_ != 0 && (used >= limit_ || bytes > limit_ - used)) {
    return resource_exhausted(who + " needs " + format_bytes(bytes) + " (" + how + "), but of the memory limit of " + format_bytes(limit_) + " the server holds " +
                              format_bytes(base_) + " and loaded variants " + format_bytes(reserved_) + "; raise --memory or choose a smaller variant");
  }
  reserved_ += bytes;
  return {};
}

void MemoryLedger::give_back(uint64_t bytes) { reserved_ -= bytes < reserved_ ? bytes : reserved_; }

uint64_t estimated_resident_bytes(uint64_t artifact_bytes) {
  constexpr uint64_t kMost = uint64_t{1} << 60;
  const uint64_t files = artifact_bytes < kMost ? artifact_bytes : kMost;
  return 2 * files + (uint64_t{16} << 20);
}

std::string format_bytes(uint64_t bytes) {
  char text[32];
  const double b = static_cast<double>(bytes);
  if (bytes >= uint64_t{10} << 30) {
    std::snprintf(text, sizeof text, "%.1f GiB", b / (1 << 30));
  } else if (bytes >= uint64_t{1} << 20) {
    std::snprintf(text, sizeof text, "%.1f MiB", b / (1 << 20));
  } else {
    std::snprintf(text, sizeof text, "%.1f KiB", b / 1024);
  }
  return text;
}

}  // namespace verge::policy
