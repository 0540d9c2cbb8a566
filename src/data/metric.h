// How good a model's outputs are: metrics against labels or a reference, and the largest difference.
#pragma once

#include <vector>

#include "core/manifest.h"
#include "core/status.h"
#include "core/tensor.h"

namespace verge::data {

// `outputs` and `reference` are one network output for all samples, [n] or [n, …]; labels as in Dataset (or an empty tensor).
//   top1       share of samples whose largest output stands at the label's class. One output a sample: class 1 from 0.5 on.
//   topk       share of samples whose label is among the k largest outputs
//   mae, rmse  over all elements; labels have as many elements as outputs
//   auc        area under the ROC curve of one output a sample (of two: the second), labels 0 and 1; ties count half
//   agreement  with the reference, without labels: same class (as top1) where a sample has several outputs, else
//              |output - reference| <= 0.01 * max(1, |reference|)
// Labels may be class ids [n] or [n,1], or one-hot [n, classes]. NaN never ranks above a number; where it stands in mae or rmse the result
// is NaN.
Result<double> compute_metric(const Metric& metric, const TensorView& outputs, const TensorView& labels, const TensorView& reference);

// Class of each sample as top1 takes it.
Result<std::vector<int64_t>> top1_classes(const TensorView& outputs);

// max |a - b| over all elements; infinite where just one side is NaN, or infinite with another sign or on one side only. BYTES: 0 or
// infinite. The shapes must be equal.
Result<double> max_abs_diff(const TensorView& a, const TensorView& b);

}  // namespace verge::data
