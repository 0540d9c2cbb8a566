// The hot path: after the buffers have been seen once, a run makes no heap call of ours.
#include "onnxruntime/ort_engine.h"

using verge_ort::check;
using verge_plugin::invalid;

std::unique_ptr<verge_instance> verge_instance::make(verge_model* model, const verge_plugin::Placement& placement) {
  auto instance = std::make_unique<verge_instance>();
  const OrtApi* api = model->engine->api;
  instance->model = model;
  instance->parts = model->parts;
  // With one thread a session computes in the caller's, so all instances can share it.
  const bool share = placement == model->placement || (placement.threads == 1 && model->placement.threads == 1);
  if (!share) {
    for (verge_ort::Part& p : instance->parts) p.session = verge_model::make_session(model->engine, p.path, placement, "");
  }
  OrtRunOptions* raw = nullptr;
  check(api, api->CreateRunOptions(&raw));
  instance->run_options = verge_ort::RunOptions(raw, {api});
  // A failed run says why by its status.
  check(api, api->RunOptionsSetRunLogSeverityLevel(raw, ORT_LOGGING_LEVEL_FATAL));
  instance->inputs.resize(model->inputs.size());
  instance->outputs.resize(model->outputs.size());
  instance->in_values.resize(model->inputs.size());
  instance->out_values.resize(model->outputs.size());
  instance->lent.resize(model->outputs.size());
  return instance;
}

OrtSession* verge_instance::session_for(const verge_tensor* in) const {
  if (parts[0].batch == 0) return parts[0].session.get();
  const int64_t batch = in[0].dims[0];
  for (const verge_ort::Part& p : parts) {
    if (p.batch == batch) return p.session.get();
  }
  std::string known;
  for (const verge_ort::Part& p : parts) known += (known.empty() ? "" : ", ") + std::to_string(p.batch);
  invalid("this network runs batches of " + known + " only, not " + std::to_string(batch));
}

OrtValue* verge_instance::kept_value(Port& port, int32_t dtype, void* data, uint64_t bytes, const int64_t* dims, int32_t rank) {
  for (Kept& k : port.kept) {
    if (k.data == data && k.rank == rank && std::equal(dims, dims + rank, k.dims)) return k.value.get();
  }
  Kept& k = port.kept[port.next];
  port.next = (port.next + 1) % Port::kKept;
  k.rank = -1;
  const OrtApi* api = model->engine->api;
  OrtValue* raw = nullptr;
  // An empty tensor needs an address too.
  static char nothing;
  check(api, api->CreateTensorWithDataAsOrtValue(model->engine->memory.get(), data ? data : &nothing, bytes, dims, static_cast<size_t>(rank),
                                                 verge_ort::element_type(dtype), &raw));
  k.value = verge_ort::Value(raw, {api});
  k.data = data;
  k.rank = rank;
  std::copy(dims, dims + rank, k.dims);
  return raw;
}

const OrtValue* verge_instance::input_value(size_t i, const verge_tensor& t, int64_t elements) {
  Port& port = inputs[i];
  if (t.dtype != VERGE_BYTES) return kept_value(port, t.dtype, t.data, t.byte_size, t.dims, t.rank);
  const OrtApi* api = model->engine->api;
  Kept& k = port.kept[0];
  if (k.rank != t.rank || !std::equal(t.dims, t.dims + t.rank, k.dims)) {
    OrtValue* raw = nullptr;
    check(api, api->CreateTensorAsOrtValue(model->engine->allocator, t.dims, static_cast<size_t>(t.rank), ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING,
                                           &raw));
    k.value = verge_ort::Value(raw, {api});
    k.rank = t.rank;
    std::copy(t.dims, t.dims + t.rank, k.dims);
  }
  // By buffer, because the other ways end a string at its first NUL.
  for (int64_t e = 0; e < elements; ++e) {
    const uint64_t length = t.offsets[e + 1] - t.offsets[e];
    char* buffer = nullptr;
    check(api, api->GetResizedStringTensorElementBuffer(k.value.get(), static_cast<size_t>(e), length, &buffer));
    if (length) std::memcpy(buffer, static_cast<const char*>(t.data) + t.offsets[e], length);
  }
  return k.value.get();
}

// A value over the lent buffer where the output's shape is known beforehand and fits; else NULL, and ONNX Runtime allocates.
OrtValue* verge_instance::output_value(size_t i, const verge_tensor& t, int64_t batch) {
  const verge_tensor_info& info = model->outputs[i];
  if (!external_outputs || !t.data || info.dtype == VERGE_BYTES) return nullptr;
  int64_t dims[VERGE_MAX_RANK];
  for (int d = 0; d < info.rank; ++d) dims[d] = d == info.batch_axis ? batch : info.dims[d];
  int64_t n = verge_plugin::element_count(dims, info.rank);
  uint64_t bytes = n <= 0 ? 0 : static_cast<uint64_t>(n) * verge_plugin::dtype_size(info.dtype);
  if (n <= 0 || bytes > t.byte_size) return nullptr;
  return kept_value(outputs[i], info.dtype, t.data, bytes, dims, info.rank);
}

void verge_instance::read_strings(Port& port, const OrtValue* value, size_t count, verge_tensor& t) {
  const OrtApi* api = model->engine->api;
  static_assert(sizeof(size_t) == sizeof(uint64_t));
  size_t length = 0;
  check(api, api->GetStringTensorDataLength(value, &length));
  port.offsets.resize(count + 1);
  port.blob.resize(length + 1);
  if (count > 0) {
    check(api, api->GetStringTensorContent(value, port.blob.data(), length, reinterpret_cast<size_t*>(port.offsets.data()), count));
  }
  port.offsets[count] = length;
  t.data = port.blob.data();
  t.byte_size = length;
  t.offsets = port.offsets.data();
}

void verge_instance::read_output(size_t i, OrtValue* value, verge_tensor& t) {
  const OrtApi* api = model->engine->api;
  const verge_tensor_info& info = model->outputs[i];
  OrtTensorTypeAndShapeInfo* raw = nullptr;
  int is_tensor = 0;
  check(api, api->IsTensor(value, &is_tensor));
  if (!is_tensor) invalid(std::string("output '") + info.name + "': the network returned no tensor");
  check(api, api->GetTensorTypeAndShape(value, &raw));
  verge_ort::ShapeInfo shape(raw, {api});
  size_t rank = 0;
  check(api, api->GetDimensionsCount(raw, &rank));
  if (rank > VERGE_MAX_RANK) invalid(std::string("output '") + info.name + "': has too many dimensions");
  check(api, api->GetDimensions(raw, t.dims, rank));
  t.rank = static_cast<int32_t>(rank);
  size_t elements = 0;
  check(api, api->GetTensorShapeElementCount(raw, &elements));
  if (info.dtype == VERGE_BYTES) {
    read_strings(outputs[i], value, elements, t);
    return;
  }
  check(api, api->GetTensorMutableData(value, &t.data));
  t.byte_size = elements * verge_plugin::dtype_size(info.dtype);
}

void verge_instance::run(const verge_tensor* in, uint32_t input_count, verge_tensor* out, uint32_t output_count) {
  if (input_count != inputs.size() || output_count != outputs.size()) {
    invalid("the model has " + std::to_string(inputs.size()) + " inputs and " + std::to_string(outputs.size()) + " outputs, " +
            std::to_string(input_count) + " and " + std::to_string(output_count) + " were passed");
  }
  const OrtApi* api = model->engine->api;
  int64_t batch = -1;
  for (uint32_t i = 0; i < input_count; ++i) {
    const verge_tensor_info& info = model->inputs[i];
    int64_t elements = verge_plugin::check_input(in[i], info);
    if (info.batch_axis >= 0) {
      if (batch >= 0 && in[i].dims[info.batch_axis] != batch) invalid("the inputs differ in their batch size");
      batch = in[i].dims[info.batch_axis];
    }
    in_values[i] = input_value(i, in[i], elements);
  }
  OrtSession* session = session_for(in);
  cancelled = false;
  check(api, api->RunOptionsUnsetTerminate(run_options.get()));
  bool any_lent = false;
  for (uint32_t i = 0; i < output_count; ++i) {
    outputs[i].own.reset();
    out_values[i] = output_value(i, out[i], batch);
    lent[i] = out_values[i] != nullptr;
    any_lent = any_lent || lent[i];
  }
  auto run_session = [&] {
    return api->Run(session, run_options.get(), model->input_names.data(), in_values.data(), input_count, model->output_names.data(),
                    output_count, out_values.data());
  };
  OrtStatus* status = run_session();
  if (status && any_lent && !cancelled) {
    // The network may have wanted another output shape than the batch size told.
    api->ReleaseStatus(status);
    std::fill(out_values.begin(), out_values.end(), nullptr);
    std::fill(lent.begin(), lent.end(), false);
    status = run_session();
    if (!status) external_outputs = false;
  }
  if (status && cancelled) {
    api->ReleaseStatus(status);
    verge_plugin::fail(VERGE_CANCELLED, "cancelled");
  }
  check(api, status);
  for (uint32_t i = 0; i < output_count; ++i) {
    if (!lent[i]) outputs[i].own = verge_ort::Value(out_values[i], {api});
  }
  for (uint32_t i = 0; i < output_count; ++i) {
    verge_tensor& t = out[i];
    t.offsets = nullptr;
    if (lent[i]) {
      // ONNX Runtime fails where a result's shape is not that of the value it is given.
      const verge_tensor_info& info = model->outputs[i];
      t.rank = info.rank;
      for (int d = 0; d < info.rank; ++d) t.dims[d] = d == info.batch_axis ? batch : info.dims[d];
      t.byte_size = static_cast<uint64_t>(verge_plugin::element_count(t.dims, t.rank)) * verge_plugin::dtype_size(info.dtype);
    } else {
      read_output(i, out_values[i], t);
    }
    t.dtype = model->outputs[i].dtype;
    t.has_strides = 0;
    t.space = {VERGE_SPACE_HOST, 0};
    t.owner = nullptr;
    t.release = nullptr;
    t.ready_event = nullptr;
  }
}

void verge_instance::cancel() {
  cancelled = true;
  const OrtApi* api = model->engine->api;
  if (OrtStatus* status = api->RunOptionsSetTerminate(run_options.get())) api->ReleaseStatus(status);
}

void verge_instance::preferred(bool is_output, uint32_t index, int64_t batch, verge_buffer_preference* out) const {
  const auto& infos = is_output ? model->outputs : model->inputs;
  if (index >= infos.size()) invalid("there is no such input or output");
  if (batch < 0) invalid("the batch size is negative");
  verge_tensor_info info = infos[index];
  if (info.batch_axis >= 0) info.dims[info.batch_axis] = batch;
  int64_t n = info.dtype == VERGE_BYTES ? -1 : verge_plugin::element_count(info.dims, info.rank);
  out->space = {VERGE_SPACE_HOST, 0};
  out->alignment = 64;
  out->bytes = n < 0 ? 0 : static_cast<uint64_t>(n) * verge_plugin::dtype_size(info.dtype);
}
