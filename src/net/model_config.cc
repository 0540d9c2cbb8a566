#include "net/model_config.h"

#include <algorithm>

#include "net/wire.h"

namespace verge::net {
namespace {

// DataType of the protocol: its own numbers, and STRING where others say BYTES.
struct ConfigType {
  uint32_t number;
  const char* name;
};
ConfigType config_type(DType t) {
  switch (t) {
    case DType::kBool: return {1, "TYPE_BOOL"};
    case DType::kUint8: return {2, "TYPE_UINT8"};
    case DType::kUint16: return {3, "TYPE_UINT16"};
    case DType::kUint32: return {4, "TYPE_UINT32"};
    case DType::kUint64: return {5, "TYPE_UINT64"};
    case DType::kInt8: return {6, "TYPE_INT8"};
    case DType::kInt16: return {7, "TYPE_INT16"};
    case DType::kInt32: return {8, "TYPE_INT32"};
    case DType::kInt64: return {9, "TYPE_INT64"};
    case DType::kFp16: return {10, "TYPE_FP16"};
    case DType::kFp32: return {11, "TYPE_FP32"};
    case DType::kFp64: return {12, "TYPE_FP64"};
    case DType::kBytes: return {13, "TYPE_STRING"};
    case DType::kBf16: return {14, "TYPE_BF16"};
    default: return {0, "TYPE_INVALID"};
  }
}

constexpr uint32_t kKindCpu = 2;

// A tensor's dimensions as the configuration has them: without the batch axis where the model batches. A configuration has no tensor
// without dimensions: one of them is [1], reshaped to none.
struct Dims {
  Shape shape;
  bool reshaped = false;
};
Dims dims_of(const TensorSpec& t, bool batches) {
  Dims d{t.shape};
  if (batches && t.batch_axis >= 0) d.shape.erase(t.batch_axis);
  if (d.shape.rank()) return d;
  return {Shape{1}, true};
}

// ModelInput.Format. Image clients turn their pictures by it; what says nothing of how images lie is a shape with channels at both ends or none.
struct Format {
  uint32_t number;
  const char* name;
};
Format format_of(const TensorSpec& t, const Shape& sample) {
  const auto channels = [](int64_t n) { return n == 1 || n == 3; };
  if (t.dtype == DType::kBytes || sample.rank() != 3 || channels(sample[0]) == channels(sample[2])) return {0, "FORMAT_NONE"};
  return channels(sample[2]) ? Format{1, "FORMAT_NHWC"} : Format{2, "FORMAT_NCHW"};
}

Json dims_json(const Shape& shape) {
  Json out = Json::array();
  for (int64_t d : shape.dims()) out.push_back(d);
  return out;
}

void add_dims(ByteBuffer& out, uint32_t number, const Shape& shape) {
  size_t bytes = 0;
  for (int64_t d : shape.dims()) bytes += wire::varint_size(static_cast<uint64_t>(d));
  wire::add_length(out, number, bytes);
  for (int64_t d : shape.dims()) wire::add_varint(out, static_cast<uint64_t>(d));
}

uint64_t versions_kept(const runtime::ModelDoc& doc) { return std::max<size_t>(doc.versions.size(), 1); }

}  // namespace

void write_model_config(const runtime::ModelDoc& doc, ByteBuffer* out) {
  const bool batches = doc.max_batch > 0;
  wire::add_string(*out, 1, doc.name);
  wire::add_string(*out, 2, doc.platform);
  wire::add_string(*out, 17, "verge");
  {
    const wire::Nested policy(*out, 3);
    const wire::Nested latest(*out, 1);
    wire::add_uint(*out, 1, versions_kept(doc));
  }
  wire::add_uint(*out, 4, static_cast<uint64_t>(doc.max_batch));
  for (const TensorSpec& t : doc.inputs) {
    const wire::Nested input(*out, 5);
    const Dims dims = dims_of(t, batches);
    wire::add_string(*out, 1, t.name);
    wire::add_uint(*out, 2, config_type(t.dtype).number);
    if (const Format format = format_of(t, dims.shape); format.number != 0) wire::add_uint(*out, 3, format.number);
    add_dims(*out, 4, dims.shape);
    if (dims.reshaped) wire::add_length(*out, 5, 0);
  }
  for (const TensorSpec& t : doc.outputs) {
    const wire::Nested output(*out, 6);
    const Dims dims = dims_of(t, batches);
    wire::add_string(*out, 1, t.name);
    wire::add_uint(*out, 2, config_type(t.dtype).number);
    add_dims(*out, 3, dims.shape);
    if (dims.reshaped) wire::add_length(*out, 4, 0);
  }
  {
    const wire::Nested group(*out, 7);
    wire::add_string(*out, 1, doc.name);
    wire::add_uint(*out, 2, doc.instances);
    wire::add_uint(*out, 4, kKindCpu);
  }
  {
    const wire::Nested optimization(*out, 12);
    wire::add_length(*out, 5, 0);  // input_pinned_memory and output_pinned_memory: there is none
    wire::add_length(*out, 6, 0);
  }
  if (doc.sequences) {
    const wire::Nested sequences(*out, 13);
    wire::add_length(*out, 3, 0);  // direct: a sequence stays with one instance
  } else if (batches) {
    const wire::Nested batching(*out, 11);
    wire::add_uint(*out, 4, runtime::kLowestPriority);
    wire::add_uint(*out, 5, runtime::kDefaultPriority);
  }
  if (!doc.default_variant.empty()) {
    const wire::Nested entry(*out, 14);
    wire::add_string(*out, 1, "verge.default_variant");
    const wire::Nested value(*out, 2);
    wire::add_string(*out, 1, doc.default_variant);
  }
  const wire::Nested transactions(*out, 19);
  if (doc.decoupled) wire::add_bool(*out, 1, true);
}

Json model_config_json(const runtime::ModelDoc& doc) {
  const bool batches = doc.max_batch > 0;
  Json inputs = Json::array(), outputs = Json::array();
  for (const TensorSpec& t : doc.inputs) {
    const Dims dims = dims_of(t, batches);
    Json j = {{"name", t.name}, {"data_type", config_type(t.dtype).name}, {"format", format_of(t, dims.shape).name}, {"dims", dims_json(dims.shape)}};
    if (dims.reshaped) j["reshape"] = {{"shape", Json::array()}};
    for (const char* flag : {"is_shape_tensor", "allow_ragged_batch", "optional", "is_non_linear_format_io"}) j[flag] = false;
    inputs.push_back(std::move(j));
  }
  for (const TensorSpec& t : doc.outputs) {
    const Dims dims = dims_of(t, batches);
    Json j = {{"name", t.name}, {"data_type", config_type(t.dtype).name}, {"dims", dims_json(dims.shape)}};
    if (dims.reshaped) j["reshape"] = {{"shape", Json::array()}};
    j["label_filename"] = "";
    for (const char* flag : {"is_shape_tensor", "is_non_linear_format_io"}) j[flag] = false;
    outputs.push_back(std::move(j));
  }
  Json j = {{"name", doc.name}, {"platform", doc.platform}, {"backend", "verge"}, {"runtime", ""}};
  j["version_policy"] = {{"latest", {{"num_versions", versions_kept(doc)}}}};
  j["max_batch_size"] = doc.max_batch;
  j["input"] = std::move(inputs);
  j["output"] = std::move(outputs);
  j["batch_input"] = Json::array();
  j["batch_output"] = Json::array();
  j["optimization"] = {{"priority", "PRIORITY_DEFAULT"},
                       {"input_pinned_memory", {{"enable", false}}},
                       {"output_pinned_memory", {{"enable", false}}},
                       {"gather_kernel_buffer_threshold", 0},
                       {"eager_batching", false}};
  if (doc.sequences) {
    j["sequence_batching"] = {{"direct", {{"max_queue_delay_microseconds", 0}, {"minimum_slot_utilization", 0}}},
                              {"max_sequence_idle_microseconds", 0},
                              {"control_input", Json::array()},
                              {"state", Json::array()}};
  } else if (batches) {
    j["dynamic_batching"] = {{"preferred_batch_size", Json::array()},
                             {"max_queue_delay_microseconds", 0},
                             {"preserve_ordering", false},
                             {"priority_levels", runtime::kLowestPriority},
                             {"default_priority_level", runtime::kDefaultPriority},
                             {"priority_queue_policy", Json::object()}};
  }
  j["instance_group"] = Json::array({{{"name", doc.name},
                                      {"kind", "KIND_CPU"},
                                      {"count", doc.instances},
                                      {"gpus", Json::array()},
                                      {"secondary_devices", Json::array()},
                                      {"profile", Json::array()},
                                      {"passive", false},
                                      {"host_policy", ""}}});
  j["default_model_filename"] = "";
  j["cc_model_filenames"] = Json::object();
  j["metric_tags"] = Json::object();
  j["parameters"] = Json::object();
  if (!doc.default_variant.empty()) j["parameters"]["verge.default_variant"] = {{"string_value", doc.default_variant}};
  j["model_warmup"] = Json::array();
  j["model_transaction_policy"] = {{"decoupled", doc.decoupled}};
  return j;
}

}  // namespace verge::net
