#include "instance.h"

#include <cstring>

using verge::tensorflow::TfStatus;
using verge_plugin::fail;
using verge_plugin::invalid;

namespace {

// Eigen's; TensorFlow copies what is aligned less.
constexpr uint64_t kAlignment = 64;

struct OutputOwner {
  const verge::tensorflow::TfApi* api;
  TF_Tensor* tensor;
};

void release_output(void* owner) {
  auto* o = static_cast<OutputOwner*>(owner);
  o->api->TF_DeleteTensor(o->tensor);
  delete o;
}

void keep_memory(void*, size_t, void*) {}

}  // namespace

verge_instance::verge_instance(verge_model* owner, const verge_plugin::Placement& placement)
    : model(owner), session(owner->session(placement)) {
  for (const auto& t : model->signature->inputs) {
    inputs.emplace_back().port = session->output(t.tensor);
    input_ports_.push_back(inputs.back().port);
  }
  for (const auto& t : model->signature->outputs) {
    outputs.emplace_back().port = session->output(t.tensor);
    output_ports_.push_back(outputs.back().port);
  }
  input_tensors_.resize(inputs.size());
  output_tensors_.resize(outputs.size());
}

verge_instance::~verge_instance() {
  for (Input& i : inputs) unbind(i);
}

void verge_instance::unbind(Input& input) {
  if (!input.tensor) return;
  const auto& api = model->engine->api;
  if (api.TF_TensorType(input.tensor) == TF_STRING) {
    auto* strings = static_cast<TF_TString*>(api.TF_TensorData(input.tensor));
    int64_t count = 1;
    for (int d = 0; d < input.rank; ++d) count *= input.dims[d];
    for (int64_t i = 0; i < count; ++i) api.TF_StringDealloc(&strings[i]);
  }
  api.TF_DeleteTensor(input.tensor);
  input.tensor = nullptr;
  input.rank = -1;
}

void verge_instance::bind(Input& input, const verge_tensor& t, int64_t count) {
  const auto& api = model->engine->api;
  if (!input.own && input.tensor && input.memory == t.data && input.rank == t.rank &&
      std::memcmp(input.dims, t.dims, sizeof(int64_t) * static_cast<size_t>(t.rank)) == 0)
    return;
  unbind(input);
  const TF_DataType type = verge::tensorflow::tf_type_of(t.dtype);
  if (t.dtype == VERGE_BYTES) {
    input.own = true;
    input.tensor = api.TF_AllocateTensor(type, t.dims, t.rank, static_cast<size_t>(count) * sizeof(TF_TString));
    if (!input.tensor) throw std::bad_alloc();
    auto* strings = static_cast<TF_TString*>(api.TF_TensorData(input.tensor));
    const char* bytes = static_cast<const char*>(t.data);
    for (int64_t i = 0; i < count; ++i) {
      api.TF_StringInit(&strings[i]);
      api.TF_StringCopy(&strings[i], bytes ? bytes + t.offsets[i] : "", t.offsets[i + 1] - t.offsets[i]);
    }
  } else if (model->parsed.keeps_state || t.byte_size == 0 || reinterpret_cast<uintptr_t>(t.data) % kAlignment) {
    // The graph may keep the tensor, or TensorFlow would copy it anyway.
    input.own = true;
    input.tensor = api.TF_AllocateTensor(type, t.dims, t.rank, t.byte_size);
    if (!input.tensor) throw std::bad_alloc();
    if (t.byte_size) std::memcpy(api.TF_TensorData(input.tensor), t.data, t.byte_size);
  } else {
    input.own = false;
    input.tensor = api.TF_NewTensor(type, t.dims, t.rank, t.data, t.byte_size, keep_memory, nullptr);
    if (!input.tensor) throw std::bad_alloc();
  }
  input.memory = t.data;
  input.rank = t.rank;
  std::memcpy(input.dims, t.dims, sizeof input.dims);
}

void verge_instance::give(size_t index, TF_Tensor* tensor, verge_tensor& out, const verge_tensor* in) {
  const auto& api = model->engine->api;
  Output& output = outputs[index];
  out.dtype = verge::tensorflow::dtype_of(api.TF_TensorType(tensor));
  out.rank = api.TF_NumDims(tensor);
  if (out.rank > VERGE_MAX_RANK)
    fail(VERGE_UNIMPLEMENTED, std::string("output '") + model->outputs[index].name + "' has more than 8 dimensions");
  int64_t count = 1;
  for (int d = 0; d < out.rank; ++d) count *= out.dims[d] = api.TF_Dim(tensor, d);
  out.has_strides = 0;
  out.offsets = nullptr;
  out.space = {VERGE_SPACE_HOST, 0};
  out.owner = nullptr;
  out.release = nullptr;
  out.ready_event = nullptr;
  char* data = static_cast<char*>(api.TF_TensorData(tensor));
  if (out.dtype == VERGE_BYTES) {
    const auto* strings = reinterpret_cast<const TF_TString*>(data);
    output.bytes.clear();
    output.offsets.assign(1, 0);
    for (int64_t i = 0; i < count; ++i) {
      const char* text = api.TF_StringGetDataPointer(&strings[i]);
      output.bytes.insert(output.bytes.end(), text, text + api.TF_StringGetSize(&strings[i]));
      output.offsets.push_back(output.bytes.size());
    }
    out.byte_size = output.bytes.size();
    output.bytes.push_back(0);
    out.data = output.bytes.data();
    out.offsets = output.offsets.data();
    api.TF_DeleteTensor(tensor);
    return;
  }
  out.byte_size = api.TF_TensorByteSize(tensor);
  bool of_the_host = out.byte_size == 0;
  for (size_t i = 0; i < inputs.size(); ++i) {
    const char* memory = static_cast<const char*>(in[i].data);
    of_the_host = of_the_host || (!inputs[i].own && data < memory + in[i].byte_size && memory < data + out.byte_size);
  }
  if (of_the_host) {
    output.bytes.assign(data, data + out.byte_size);
    output.bytes.push_back(0);
    out.data = output.bytes.data();
    api.TF_DeleteTensor(tensor);
    return;
  }
  out.data = data;
  out.owner = new OutputOwner{&api, tensor};
  out.release = release_output;
}

void verge_instance::run(const verge_tensor* in, uint32_t input_count, verge_tensor* out, uint32_t output_count) {
  if (input_count != inputs.size() || output_count != outputs.size())
    invalid("the model has " + std::to_string(inputs.size()) + " inputs and " + std::to_string(outputs.size()) + " outputs, " +
            std::to_string(input_count) + " and " + std::to_string(output_count) + " were passed");
  const auto& api = model->engine->api;
  int64_t batch = -1;
  for (uint32_t i = 0; i < input_count; ++i) {
    const int64_t count = verge_plugin::check_input(in[i], model->inputs[i]);
    if (model->inputs[i].batch_axis == 0) {
      if (batch >= 0 && in[i].dims[0] != batch)
        invalid("the inputs have different batch sizes, " + std::to_string(batch) + " and " + std::to_string(in[i].dims[0]));
      batch = in[i].dims[0];
      if (batch == 0) invalid("the batch is empty");
      if (!model->fixed_batches.empty() && model->fixed_batches[0] != batch)
        invalid("batch size " + std::to_string(batch) + " is not the model's: " + std::to_string(model->fixed_batches[0]));
    }
    bind(inputs[i], in[i], count);
    input_tensors_[i] = inputs[i].tensor;
  }
  std::fill(output_tensors_.begin(), output_tensors_.end(), nullptr);
  TfStatus status(api);
  api.TF_SessionRun(session->get(), nullptr, input_ports_.data(), input_tensors_.data(), static_cast<int>(input_count),
                    output_ports_.data(), output_tensors_.data(), static_cast<int>(output_count), nullptr, 0, nullptr, status.get());
  uint32_t given = 0;
  try {
    status.check("TensorFlow failed to run the model");
    for (; given < output_count; ++given) give(given, output_tensors_[given], out[given], in);
  } catch (...) {
    // What was not handed out, or was and cannot be any more.
    for (uint32_t i = 0; i < output_count; ++i) {
      if (i < given && out[i].release) out[i].release(out[i].owner);
      if (i < given) out[i].owner = nullptr, out[i].release = nullptr;
      if (i >= given && output_tensors_[i]) api.TF_DeleteTensor(output_tensors_[i]);
    }
    throw;
  }
  for (Input& i : inputs)
    if (i.own) unbind(i);
}

void verge_instance::preferred_buffer(bool is_output, uint32_t index, int64_t batch, verge_buffer_preference* out) const {
  const auto& infos = is_output ? model->outputs : model->inputs;
  if (index >= infos.size()) invalid("there is no such input or output");
  if (batch < 0) invalid("the batch size is negative");
  verge_tensor_info info = infos[index];
  if (info.batch_axis >= 0) info.dims[info.batch_axis] = batch;
  const int64_t count = info.dtype == VERGE_BYTES || info.rank < 0 ? -1 : verge_plugin::element_count(info.dims, info.rank);
  out->space = {VERGE_SPACE_HOST, 0};
  out->alignment = kAlignment;
  out->bytes = count < 0 ? 0 : static_cast<uint64_t>(count) * verge_plugin::dtype_size(info.dtype);
}
