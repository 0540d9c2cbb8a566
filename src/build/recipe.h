// model.yaml: what the user says of a model. Strict: an unknown field is refused with a suggestion, and every error reads
// "model.yaml:12: data.calibration.samples: what is wrong and what is expected".
//
//   name: resnet8                  # default: from the model's file name
//   model: pretrainedResnet.h5     # relative to this file
//   inputs:                        # what clients send; default: the network's own inputs
//     - name: image
//       dtype: UINT8
//       shape: [32, 32, 3]         # of one sample, without the batch axis
//       feeds: input_1             # the network's input; default: the same name, or the only one
//       steps: [{cast: {dtype: FP32}}]
//   batch: none                    # or first: which dimension is the batch, where the shapes do not tell
//   family: cifar10                # models offered together; default: none
//   exits:                         # a network that can answer early
//     - {name: early, output: probabilities_1}
//     - {name: late, output: probabilities_2}
//   outputs:
//     - name: class
//       from: Identity
//       steps: [{softmax: {}}, {topk: {k: 5, output: labels}}]
//   labels: labels.txt             # one a line
//   data:
//     calibration: {path: images.uint8, format: raw, dtype: UINT8, shape: [32, 32, 3], samples: 0-199}
//     evaluation:  {path: images.uint8, format: raw, dtype: UINT8, shape: [32, 32, 3], labels: labels.uint8, samples: 200-999}
//   metric: {kind: top1}
//   limits: {max_accuracy_loss: 0.02}
//   targets: {include: ["openvino-*"], batches: [1, 8]}
//
// The whole list of fields is the table in recipe_fields.h, which `verge schema` publishes.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/manifest.h"
#include "core/status.h"
#include "data/dataset.h"

namespace verge::build {

struct RecipeInput {
  std::string name;
  DType dtype = DType::kInvalid;  // kInvalid: the network input's
  std::optional<Shape> shape;     // of one sample; absent: the network input's
  std::string feeds;
  std::vector<StepSpec> steps;
};

struct RecipeOutput {
  std::string name;
  std::string from;
  std::vector<StepSpec> steps;
};

// Where a network can answer early.
struct RecipeExit {
  std::string name;
  std::string output;  // of the network, or of `model`; empty: its only one
  std::string model;   // absolute path of the stage that ends here; empty: the recipe's model is cut
};

// Which variants to make. Patterns are variant ids with '*' for any text; an empty include means all.
struct TargetChoice {
  std::vector<std::string> include;
  std::vector<std::string> exclude;
  std::vector<int64_t> batches;  // of formats with a fixed batch size, ascending; empty: 1 and 8, and 64 where that pays

  bool wants(std::string_view variant_id) const;
};

struct Recipe {
  std::string file;   // as errors name it; empty for a bare path
  std::string name;
  int64_t version = 0;  // 0: the next free one
  std::string description;
  std::string family;
  std::string model;      // absolute path; of a recipe whose exits have models of their own: the last one's
  std::string kind;       // source kind; empty: from the file
  std::string signature;  // SavedModel signature; empty: the default one
  std::string batch;      // "first": the first dimension of every tensor, "none": no dimension; empty: as the network's shapes tell
  std::vector<RecipeInput> inputs;
  std::vector<RecipeOutput> outputs;
  std::vector<RecipeExit> exits;
  SequenceSpec sequence;
  std::string labels;  // absolute path; empty: none
  std::optional<data::DatasetSpec> calibration;
  std::optional<data::DatasetSpec> evaluation;
  Metric metric;
  std::optional<double> max_accuracy_loss;
  std::optional<double> max_abs_diff;
  TargetChoice targets;

  std::map<std::string, int> lines;  // field path -> line of `file`

  bool stage_models() const { return !exits.empty() && !exits[0].model.empty(); }  // one network a stage, rather than one that is cut

  // An error about a field, found after parsing: "FILE:LINE: path: message".
  Status error(std::string_view path, std::string_view message) const;
};

// `dir` is what relative paths are relative to, `file` the name that errors use.
Result<Recipe> parse_recipe(std::string_view text, const std::string& file, const std::string& dir);
Result<Recipe> read_recipe(const std::string& path);

// The recipe as one canonical JSON value without names, paths and line numbers: what of it decides the bytes of a package. Data sets
// and labels stand in the build key by content (build_key.h).
Json normalised_recipe(const Recipe& recipe);

// Whether `text` fits a pattern in which '*' stands for any text.
bool matches_pattern(std::string_view pattern, std::string_view text);

}  // namespace verge::build
