// How sure a classifier's answer is. One definition for calibration and for serving, so that a calibrated threshold means the same in both.
#pragma once

#include "core/tensor.h"

namespace verge {

struct ScoreSummary {
  double confidence = -1;  // largest score of the last axis, of the least sure sample; negative: the tensor holds no scores
  double entropy = -1;     // in nats, of the least sure sample
};

// `scores`: FP32, a sample along the first axis, classes along the last. What is no distribution (not all in 0…1 with a sum of 1 within 0.01) goes
// through a softmax first. A single class is a probability p of two, p and 1 - p, where it is in 0…1.
ScoreSummary summarize_scores(const TensorView& scores);

}  // namespace verge
