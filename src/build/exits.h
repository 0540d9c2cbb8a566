// When to leave a chain of exits: thresholds on how sure an exit is, chosen on calibration samples for what they may lose, and what they then cost and
// lose on evaluation samples, which had no part in the choice. Pure functions of what the exits answered.
//
// Candidates come from two sweeps. Shares (as published): exit k shall let out the share q_k ∝ p^k of all samples, the surest of those still in; p is
// swept. Prices: for a price λ of a wrong answer in units of the chain's time, each threshold in turn is set to its best value given the others', exactly,
// until none moves; λ is swept. A candidate's loss is that of thresholds found the same way on four fifths of the calibration samples, counted on the fifth
// that had no part in them, for each fifth; two standard errors are added. Of the candidates stays what no other beats in both loss and cost.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/manifest.h"
#include "core/profile.h"
#include "core/status.h"
#include "core/tensor.h"

namespace verge::build {

// What one exit answered to a set of samples.
struct ExitAnswers {
  std::vector<float> confidence;  // largest score
  std::vector<float> entropy;     // of the scores, nats
  std::vector<uint8_t> right;
};

enum class Sureness { kConfidence, kEntropy };

inline constexpr size_t kMostPoints = 32;
// Thresholds that no answer reaches, and that every answer does.
inline constexpr double kNeverByConfidence = 2, kAlwaysByConfidence = 0, kNeverByEntropy = -1, kAlwaysByEntropy = 100;

// `costs`: of reaching each exit, ascending, in any unit. `calibration` and `evaluation`: of each exit, all of the same number of samples.
std::vector<ExitPoint> exit_curve(std::span<const ExitAnswers> calibration, std::span<const ExitAnswers> evaluation, std::span<const double> costs, Sureness by);

// Where each sample leaves: shares, accuracy and cost, as a point with these thresholds.
ExitPoint measure_thresholds(std::span<const ExitAnswers> samples, std::span<const double> costs, Sureness by, std::vector<double> thresholds);

// The curve with what its points cost by newly measured stages, in ascending cost again.
void cost_again(std::vector<ExitPoint>& points, std::span<const double> costs);

// Of one exit's scores, a sample a row: how sure each is and whether it is right by `metric` (top-1 and top-k by `labels`, which are class ids; agreement
// by `labels` that are another's classes). An error where the answers are no scores of classes.
Result<ExitAnswers> exit_answers(const Tensor& scores, const Metric& metric, std::span<const int64_t> labels);

// Class ids of labels as data sets have them (ids [n] or [n,1], or one-hot); empty where they are none.
std::vector<int64_t> class_labels(const Tensor& labels);

// What reaching each exit takes: the stages' measured times, summed up. Batch 1 on one core where that was measured. Empty where nothing was.
std::vector<double> exit_costs(const VariantProfile& profile);

}  // namespace verge::build
