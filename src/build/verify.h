// Verdicts: what a variant answered against what the reference answered, in numbers.
//
// Rules, each with its number in the reason of a rejection. The first that is broken decides.
//   1. Answers have the reference's shape, and no NaN or infinity where the reference has a number.
//   2. |variant - reference| <= limits.max_abs_diff where the recipe gives it; else, for variants asked for as f32,
//      <= 1e-4 * max(1, largest |reference|).
//   3. The answers follow the reference's: root mean square of the difference <= half the standard deviation of the reference's answers.
//      A converter that answers a constant fails here whatever the metric says.
//   4. With evaluation data: the metric is at most limits.max_accuracy_loss worse than the reference's (default 0.02; MAE and RMSE:
//      0.02 of the range of the reference's answers). Without: the class answers agree on at least 0.98 of the golden samples, where
//      these are real data and the first output is a vector of scores.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "core/manifest.h"
#include "core/profile.h"
#include "core/status.h"
#include "core/tensor.h"

namespace verge::build {

inline constexpr double kDefaultAccuracyLoss = 0.02;
inline constexpr double kExactTolerance = 1e-4;
inline constexpr double kFollowsRatio = 0.5;
inline constexpr double kLeastAgreement = 0.98;

// What variants are compared with.
struct Reference {
  Signature network;
  std::map<std::string, Tensor> outputs;  // network output -> its answers, samples leading: on the evaluation data, or golden samples
  bool evaluation = false;  // the outputs are those of the evaluation data
  bool real_samples = true;  // false: noise
  Metric metric;
  Limits limits;             // negative: not given
  Tensor labels;             // of the evaluation data; empty: none
  double accuracy = -1;      // the reference's own
};

// The default accuracy limit for this reference, in the metric's unit.
double default_accuracy_loss(const Reference& reference);

// The metric of `outputs` (network output -> answers); the reference's own answers serve agreement.
Result<double> accuracy_of(const Reference& reference, const std::map<std::string, Tensor>& outputs);

// Fills in verdict, reason, accuracy, max_abs_diff and counts. `precision` is what the variant was asked for.
void judge(const Reference& reference, const std::string& precision, const std::map<std::string, Tensor>& outputs, VariantProfile& profile);

// The same for a chain of exits, each against the reference's same exit: the first that is broken decides. `exits`: their names, as many as references;
// accuracy is that of the last exit.
void judge_exits(const std::vector<Reference>& references, const std::vector<std::string>& exits, const std::string& precision,
                 const std::map<std::string, Tensor>& outputs, VariantProfile& profile);

// "0.0123", four significant digits.
std::string short_number(double value);

}  // namespace verge::build
