#include "runtime/lane_queue.h"

#include "runtime/table.h"

namespace verge::runtime {
namespace {

// Memory for inputs beyond which a lane gives all of it back after a run.
constexpr size_t kMostWorkBytes = size_t{64} << 20;

}  // namespace

std::vector<double> weights_of(const std::vector<TenantOptions>& tenants) {
  std::vector<double> out;
  for (const TenantOptions& t : tenants) out.push_back(t.weight);
  return out;
}

uint64_t expected_ns(std::span<Run* const> batch) {
  const Run& first = *batch.front();
  int64_t rows = 0;
  for (const Run* run : batch) rows += run->batch;
  return policy::run_cost_ns(batch.size(), first.cost_ns, rows, first.resident->predictor(first.lane()));
}

void LaneWork::trim() {
  size_t n = 0;
  for (const auto& s : before) n += s.a.data.capacity() + s.b.data.capacity();
  for (const auto* buffers : {&aligned, &joined, &gathered})
    for (const Buffer& b : *buffers) n += b.capacity();
  for (const auto& v : offsets) n += v.capacity() * sizeof(uint64_t);
  for (const auto& v : blobs) n += v.capacity();
  if (n <= kMostWorkBytes) return;
  const size_t network_inputs = joined.size();
  for (auto* buffers : {&aligned, &joined, &gathered}) std::vector<Buffer>().swap(*buffers);
  joined.resize(network_inputs);
  before.clear();
  offsets.clear();
  blobs.clear();
}

}  // namespace verge::runtime
