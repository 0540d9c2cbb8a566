// Fitting what a file holds to what is asked for, without losing anything in silence.
#pragma once

#include <string>
#include <vector>

#include "core/status.h"
#include "core/tensor.h"

namespace verge::data {

// The samples of `t` in the type and shape of a served input. Numbers of another type are converted where every value survives (FP64 may
// round to FP32); axes of size 1 may be missing or too many.
Result<Tensor> fit_input(Tensor t, const TensorSpec& input, const std::string& what);

// Labels as a Dataset holds them: whole numbers, [n], [n,1] or one-hot [n,k], become INT64 [n]; other floats FP32/FP64.
Result<Tensor> fit_labels(Tensor t, const std::string& what);

// Labels written as text: each a whole number, or one of `label_names` (then its place there); where one is a decimal number all are FP64.
Result<Tensor> labels_from_text(const std::vector<std::string>& texts, const std::vector<std::string>& label_names,
                                const std::string& what);

// A whole text as a number; blanks around it are allowed.
bool parse_number(std::string_view text, double* value);

}  // namespace verge::data
