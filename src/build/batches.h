// Which batch sizes get files of their own, in formats that fix the batch (tflite).
#pragma once

#include <cstdint>
#include <vector>

namespace verge::build {

// Sizes that every network gets, and the one that it gets beside them where that pays.
inline constexpr int64_t kBatchOfOne = 1, kSmallBatch = 8, kLargeBatch = 64;

// Whether a file of kLargeBatch samples is worth having, from the times of a run of one and of eight samples in microseconds: the call itself is so much of both that
// a sample of 64 takes at least a quarter less than one of eight. Not where such a run would take longer than 4 ms: nothing would make it so long.
bool large_batch_pays(double one_us, double eight_us);

}  // namespace verge::build
