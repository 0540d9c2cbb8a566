// Data sets of arrays: npy, npz, IDX, raw, with labels in an array or in a text.
#include <optional>

#include "data/arrays.h"
#include "data/convert.h"
#include "data/source.h"

namespace verge::data {
namespace {

class ArraySource : public Source {
 public:
  struct Input {
    const TensorSpec* spec;
    Array array;
  };
  int64_t samples() const override { return inputs.front().array.samples(); }
  Status read(int64_t first, int64_t count, Dataset* out) const override {
    for (const Input& in : inputs) {
      VERGE_ASSIGN(Tensor t, in.array.read(first, count));
      VERGE_ASSIGN(out->inputs[in.spec->name], fit_input(std::move(t), *in.spec, in.array.what()));
    }
    if (labels) {
      VERGE_ASSIGN(Tensor t, labels->read(first, count));
      VERGE_ASSIGN(out->labels, fit_labels(std::move(t), labels->what()));
    } else if (label_texts) {
      const auto from = label_texts->begin() + first;
      VERGE_ASSIGN(out->labels, labels_from_text({from, from + count}, label_names, label_file));
    }
    return {};
  }

  std::vector<Input> inputs;
  std::optional<Array> labels;
  std::optional<std::vector<std::string>> label_texts;
  std::string label_file;
  std::vector<std::string> label_names;
};

bool is_idx_name(const std::string& path) {
  return path.ends_with(".gz") || path.ends_with(".idx") || path.ends_with("-ubyte");
}

Result<Array> open_file(const SourceContext& context, const std::string& format, const std::string& path, const TensorSpec& input) {
  if (format == "npy") return open_npy(path);
  if (format == "idx") return open_idx(path);
  const DType dtype = context.spec.dtype == DType::kInvalid ? input.dtype : context.spec.dtype;
  Shape shape = context.spec.shape;
  if (shape.rank() == 0) {
    shape = input.shape;
    if (input.batch_axis == 0) shape.erase(0);
  }
  return open_raw(path, dtype, shape);
}

// Keys to try for the only input of an npz: its name, or the one array that is not the labels.
std::string only_key(const ZipArchive& zip, const TensorSpec& input, const std::string& labels) {
  if (zip.find(input.name + ".npy")) return input.name;
  std::string key = input.name;
  int others = 0;
  for (const auto& m : zip.members()) {
    const std::string name = m.name.ends_with(".npy") ? m.name.substr(0, m.name.size() - 4) : m.name;
    if (name == labels) continue;
    ++others;
    key = name;
  }
  return others == 1 ? key : input.name;
}

Status open_labels(const SourceContext& context, const ZipArchive* zip, ArraySource* source) {
  const std::string& labels = context.spec.labels;
  if (labels.empty()) return {};
  if (zip && (zip->find(labels + ".npy") || !os::exists(labels))) {
    VERGE_ASSIGN(source->labels, open_npz(*zip, context.spec.path, labels));
  } else if (labels.ends_with(".npy")) {
    VERGE_ASSIGN(source->labels, open_npy(labels));
  } else if (is_idx_name(labels)) {
    VERGE_ASSIGN(source->labels, open_idx(labels));
  } else if (labels.ends_with(".txt") || labels.ends_with(".csv")) {
    VERGE_ASSIGN(source->label_texts, read_lines(labels));
    source->label_file = labels;
    source->label_names = context.label_names;
  } else {
    VERGE_ASSIGN(source->labels, open_raw(labels, DType::kUint8, Shape{1}));
  }
  const auto n = source->labels ? source->labels->samples() : static_cast<int64_t>(source->label_texts->size());
  if (n == source->samples()) return {};
  return invalid_argument(labels + ": has " + std::to_string(n) + " labels, but " + source->inputs.front().array.what() + " has " +
                          std::to_string(source->samples()) + " samples");
}

}  // namespace

OpenedSource open_arrays(const SourceContext& context, const std::string& format) {
  const DatasetSpec& spec = context.spec;
  auto source = std::make_unique<ArraySource>();
  std::optional<ZipArchive> zip;
  if (format == "npz") {
    VERGE_ASSIGN(zip, ZipArchive::open(spec.path));
  }
  auto open = [&](const TensorSpec& input, const std::string& from) -> Status {
    Result<Array> array = zip ? open_npz(*zip, spec.path, from) : open_file(context, format, from, input);
    if (!array.ok()) return array.status();
    source->inputs.push_back({&input, std::move(*array)});
    return {};
  };
  for (const auto& [name, from] : spec.inputs) {
    bool known = false;
    for (const TensorSpec& input : context.inputs) known = known || input.name == name;
    if (!known) return invalid_argument("data names input '" + name + "', which the model does not have");
  }
  if (spec.inputs.empty() && (!zip || context.inputs.size() == 1)) {
    VERGE_ASSIGN(const TensorSpec* input, only_input(context));
    VERGE_RETURN_IF_ERROR(open(*input, zip ? only_key(*zip, *input, spec.labels) : spec.path));
  } else {
    for (const TensorSpec& input : context.inputs) {
      const auto it = spec.inputs.find(input.name);
      if (it == spec.inputs.end() && !zip) return invalid_argument("data names no file for input '" + input.name + "'");
      VERGE_RETURN_IF_ERROR(open(input, it == spec.inputs.end() ? input.name : it->second));
    }
  }
  if (source->inputs.empty()) return invalid_argument("the model has no inputs");
  for (const auto& in : source->inputs)
    if (in.array.samples() != source->samples())
      return invalid_argument(in.array.what() + ": has " + std::to_string(in.array.samples()) + " samples, but " +
                              source->inputs.front().array.what() + " has " + std::to_string(source->samples()));
  VERGE_RETURN_IF_ERROR(open_labels(context, zip ? &*zip : nullptr, source.get()));
  return std::unique_ptr<Source>(std::move(source));
}

}  // namespace verge::data
