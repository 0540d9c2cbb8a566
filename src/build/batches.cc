#include "build/batches.h"

#include <algorithm>

namespace verge::build {
namespace {

constexpr double kLongestRunUs = 4000;  // of the batching policy
constexpr double kWorth = 0.75;

}  // namespace

bool large_batch_pays(double one_us, double eight_us) {
  if (!(one_us > 0) || !(eight_us > 0)) return false;
  // A larger run that took less was disturbed: the rest is the call.
  const double sample = std::max(0.0, (eight_us - one_us) / (kSmallBatch - kBatchOfOne));
  const double run = one_us + sample * (kLargeBatch - kBatchOfOne);
  return run <= kLongestRunUs && run / kLargeBatch <= kWorth * eight_us / kSmallBatch;
}

}  // namespace verge::build
