#include "build/recipe_fields.h"

#include "core/sequence.h"

namespace verge::build {
namespace {

constexpr FieldDoc kInputFields[] = {
    {"name", FieldType::kString, true, "name that clients use"},
    {"dtype", FieldType::kDtype, false, "what clients send; default: the network input's. Required where there are steps"},
    {"shape", FieldType::kShape, false,
     "of one sample, without the batch axis, -1 for a free dimension; default: the network input's. Required where there are steps"},
    {"feeds", FieldType::kString, false, "the network's input; default: the one of the same name, or the only one"},
    {"steps", FieldType::kSteps, false, "transforms from what clients send to the network's input"},
};
constexpr ObjectDoc kInput{"input", kInputFields};

constexpr FieldDoc kOutputFields[] = {
    {"name", FieldType::kString, true, "name that clients see"},
    {"from", FieldType::kString, false, "the network's output; default: the one of the same name, or the only one"},
    {"steps", FieldType::kSteps, false, "transforms from the network's output to the answer"},
};
constexpr ObjectDoc kOutput{"output", kOutputFields};

constexpr FieldDoc kControlFields[] = {
    {"start", FieldType::kString, false, "network input that is 1 in a sequence's first request, else 0: BOOL, INT32 or FP32, one element a sample"},
    {"end", FieldType::kString, false, "the same for its last request"},
    {"ready", FieldType::kString, false, "network input that is 1 for every sample"},
    {"id", FieldType::kString, false, "network input that is the sequence's id: INT32, UINT32, INT64, UINT64 or BYTES"},
};
constexpr ObjectDoc kControls{"controls", kControlFields};

constexpr FieldDoc kStateFields[] = {
    {"input", FieldType::kString, true, "network input that takes the state"},
    {"output", FieldType::kString, true, "network output that gives the next one"},
    {"initial", FieldType::kString, false, "what a sequence begins with", "zeros"},
};
constexpr ObjectDoc kState{"state", kStateFields};

constexpr FieldDoc kSequenceFields[] = {
    {"controls", FieldType::kObject, false, "network inputs that tell where a sequence begins and ends; clients do not see them", "", &kControls},
    {"state", FieldType::kObjects, false, "what goes from one request of a sequence to the next; clients do not see it", "", &kState},
    {"limit", FieldType::kInteger, false, "sequences in progress at a time; default 1024", "", nullptr, 1, kMostSequences},
    {"idle_seconds", FieldType::kNumber, false, "a sequence without a request for so long is forgotten; default 60", "", nullptr, 0.001, 86'400},
};
constexpr ObjectDoc kSequence{"sequence", kSequenceFields};

constexpr FieldDoc kDatasetFields[] = {
    {"path", FieldType::kString, false, "file, or folder of images, relative to this file"},
    {"format", FieldType::kString, false, "default: from the file's name; raw must be said", "npy|npz|idx|csv|raw|images"},
    {"inputs", FieldType::kStringMap, false, "several inputs: served input name -> file (npy, raw, idx) or key (npz)"},
    {"labels", FieldType::kString, false, "file (npy, idx, raw uint8, text with one a line), npz key, or CSV column; images: default folder names"},
    {"dtype", FieldType::kDtype, false, "raw files: the element type; default: the served input's"},
    {"shape", FieldType::kShape, false, "raw and CSV: of one sample; default: the served input's"},
    {"columns", FieldType::kStrings, false, "CSV: the feature columns; default: all but the label"},
    {"samples", FieldType::kSamples, false, "which samples, both ends included: 0-199, or 200- for all from 200 on; default: all"},
};
constexpr ObjectDoc kDataset{"dataset", kDatasetFields};

constexpr FieldDoc kDataFields[] = {
    {"calibration", FieldType::kObject, false, "representative samples for static int8; without them no static int8 variant is made", "", &kDataset},
    {"evaluation", FieldType::kObject, false, "labelled samples for the metric; must not overlap with calibration", "", &kDataset},
};
constexpr ObjectDoc kData{"data", kDataFields};

constexpr FieldDoc kMetricFields[] = {
    {"kind", FieldType::kString, true, "what accuracy means", "top1|topk|mae|rmse|auc|agreement"},
    {"k", FieldType::kInteger, false, "topk only; default 5", "", nullptr, 1, 1000},
    {"output", FieldType::kString, false, "the network's output it is computed on; default: the first"},
};
constexpr ObjectDoc kMetric{"metric", kMetricFields};

constexpr FieldDoc kLimitFields[] = {
    {"max_accuracy_loss", FieldType::kNumber, false,
     "most that a variant may lose against the reference, in the metric's unit; default 0.02 (mae, rmse: 0.02 of the outputs' range)", "", nullptr,
     0, 1e300},
    {"max_abs_diff", FieldType::kNumber, false,
     "largest |variant - reference| of any output element; default: 1e-4 * max(1, largest |reference|) for f32 variants, none for others", "",
     nullptr, 0, 1e300},
};
constexpr ObjectDoc kLimits{"limits", kLimitFields};

constexpr FieldDoc kTargetFields[] = {
    {"include", FieldType::kStrings, false, "variant ids to make, '*' for any text; default: all that apply"},
    {"exclude", FieldType::kStrings, false, "variant ids to leave out, '*' for any text"},
    {"batches", FieldType::kIntegers, false, "batch sizes of formats that fix them (tflite); default: 1 and 8, and 64 where a run is mostly the cost of the call", "", nullptr, 1, 1024},
};
constexpr ObjectDoc kTargets{"targets", kTargetFields};

constexpr FieldDoc kExitFields[] = {
    {"name", FieldType::kString, true, "name that clients and policies use, [A-Za-z0-9._-]"},
    {"output", FieldType::kString, false, "the network's output that answers at this exit; of a stage of its own: default its only one"},
    {"model", FieldType::kString, false,
     "the stage that ends with this exit, a SavedModel of its own, relative to this file; in place of the recipe's model, and then for every exit"},
};
constexpr ObjectDoc kExit{"exit", kExitFields};

constexpr FieldDoc kRecipeFields[] = {
    {"name", FieldType::kString, false, "the model's name, [A-Za-z0-9._-]; default: from the model's file name"},
    {"version", FieldType::kInteger, false, "version to publish; default: the next one", "", nullptr, 1, 1e9},
    {"description", FieldType::kString, false, "free text"},
    {"family", FieldType::kString, false, "models that take and give the same and carry the same family are offered together under this name"},
    {"model", FieldType::kString, false,
     "the trained network: SavedModel folder, .keras, .h5, .onnx, .tflite or OpenVINO .xml, relative to this file. Required unless each exit has its own"},
    {"kind", FieldType::kString, false, "default: from the file", "saved_model|keras|h5|onnx|tflite|openvino-ir"},
    {"signature", FieldType::kString, false, "SavedModel signature; default: serving_default, or the only one"},
    {"batch", FieldType::kString, false,
     "whether the first dimension is the batch, also where it is fixed, or none is, also where it is free; default: where it is free, or 1 in every input and output", "first|none"},
    {"inputs", FieldType::kObjects, false, "the served inputs; default: the network's own", "", &kInput},
    {"outputs", FieldType::kObjects, false, "the served outputs; default: the network's own", "", &kOutput},
    {"exits", FieldType::kObjects, false, "a network that can answer early: where, in the order of their cost; TensorFlow networks only", "", &kExit},
    {"sequence", FieldType::kObject, false, "a stateful model: requests belong to sequences", "", &kSequence},
    {"labels", FieldType::kString, false, "text file of class names, one a line"},
    {"data", FieldType::kObject, false, "data sets", "", &kData},
    {"metric", FieldType::kObject, false, "how accuracy is measured; default top1 where evaluation data have class ids", "", &kMetric},
    {"limits", FieldType::kObject, false, "what a variant may lose before it is rejected", "", &kLimits},
    {"targets", FieldType::kObject, false, "which variants to make", "", &kTargets},
};
constexpr ObjectDoc kRecipe{"recipe", kRecipeFields};

}  // namespace

const ObjectDoc& recipe_object() { return kRecipe; }

const FieldDoc* ObjectDoc::find(std::string_view field) const {
  for (const FieldDoc& f : fields) {
    if (f.name == field) return &f;
  }
  return nullptr;
}

}  // namespace verge::build
