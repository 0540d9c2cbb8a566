// Data sets for calibration and evaluation: npy/npz, IDX (gz), CSV, raw with labels, image folder.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/json.h"
#include "core/npy.h"  // parse_npy, print_npy
#include "core/status.h"
#include "core/tensor.h"

namespace verge::data {

// As written in model.yaml under data.calibration and data.evaluation. Paths are absolute by now.
struct DatasetSpec {
  std::string format;  // "npy", "npz", "idx", "csv", "raw", "images"; empty: from the file's name
  std::string path;    // file, or folder of images
  std::map<std::string, std::string> inputs;  // served input name -> file (npy, raw, idx) or key (npz); empty: one input from `path`
  std::string labels;  // file (npy, idx, raw uint8, text with one a line), npz key, or CSV column; images: empty takes folder names
  DType dtype = DType::kInvalid;  // raw only
  Shape shape;                    // raw: of one sample. csv: of one sample, reshaped from `columns`
  std::vector<std::string> columns;  // csv: the feature columns; empty: all but the label
  int64_t first = 0;   // samples first … last, both included
  int64_t last = -1;   // -1: to the end
};

// Samples in memory: one tensor a served input, the batch axis leading.
struct Dataset {
  std::map<std::string, Tensor> inputs;  // BYTES tensors for encoded images
  Tensor labels;                         // INT64 [n] class ids, or FP32/FP64 [n, …] targets; empty if there are none
  int64_t samples = 0;
  // Identity of each sample: the SHA-256 of its bytes as served, whatever file they came from. Sets overlap where they share an id.
  std::vector<std::string> ids;
  std::string digest;       // SHA-256 of all samples in order and of their labels, for build keys
  std::string description;  // "test1000-images.uint8 200-999"
};

// Reads samples first … last (at most max_samples of them) of the files that `spec` names, and nothing of what it skips stays in memory.
// `inputs` are the served inputs, so that one array goes to the right one and its type and shape are checked. `label_names` maps text
// labels and folder names to ids. max_samples < 0: all. Values of another numeric type than the input's are converted where each of them
// survives (FP64 may round to FP32); axes of size 1 may be missing or too many. docs/datasets.md has the rules of each format.
Result<Dataset> load_dataset(const DatasetSpec& spec, const std::vector<TensorSpec>& inputs, const std::vector<std::string>& label_names,
                             int64_t max_samples);

}  // namespace verge::data
