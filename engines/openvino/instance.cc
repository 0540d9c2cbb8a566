// The hot path: after the buffers have been seen once, a run makes no heap call of ours and binds nothing again.
#include "openvino/openvino_engine.h"

using verge_plugin::invalid;

namespace {

bool same_dims(const ov::Shape& shape, const int64_t* dims, int rank) {
  if (shape.size() != static_cast<size_t>(rank)) return false;
  for (int i = 0; i < rank; ++i) {
    if (shape[static_cast<size_t>(i)] != static_cast<size_t>(dims[i])) return false;
  }
  return true;
}

// The kept tensor over this memory, made where there is none yet.
ov::Tensor& tensor_over(verge_instance::Port& port, int32_t dtype, void* data, const int64_t* dims, int rank) {
  for (verge_instance::Bound& b : port.kept) {
    if (b.data == data && b.tensor && same_dims(b.tensor.get_shape(), dims, rank)) return b.tensor;
  }
  verge_instance::Bound& b = port.kept[port.next];
  port.next = (port.next + 1) % verge_instance::Port::kKept;
  ov::Shape shape(dims, dims + rank);
  b.tensor = ov::Tensor(verge_openvino::element_type(dtype), shape, data);
  b.data = data;
  return b.tensor;
}

}  // namespace

verge_instance::Request& verge_instance::request_for(const verge_tensor* in) {
  if (requests[0].batch == 0 && !model->fixes_sizes) return requests[0];
  const int64_t batch = in[0].dims[0];
  for (Request& r : requests) {
    if (r.batch == batch) return r;
  }
  if (requests[0].batch == 0) return add_size(batch) ? requests.back() : requests[0];
  std::string known;
  for (const Request& r : requests) known += (known.empty() ? "" : ", ") + std::to_string(r.batch);
  invalid("this network runs batches of " + known + " only, not " + std::to_string(batch));
}

void verge_instance::bind_input(Request& r, size_t i, const verge_tensor& t) {
  Port& port = r.inputs[i];
  if (port.current == t.data && same_dims(port.current_shape, t.dims, t.rank)) return;
  r.request.set_input_tensor(i, tensor_over(port, t.dtype, t.data, t.dims, t.rank));
  port.current = t.data;
  port.current_shape.assign(t.dims, t.dims + t.rank);
}

void verge_instance::bind_output(Request& r, size_t i, const verge_tensor& t, int64_t batch) {
  Port& port = r.outputs[i];
  const verge_tensor_info& info = model->outputs[i];
  int64_t dims[VERGE_MAX_RANK];
  bool known = t.data && info.rank >= 0;
  for (int d = 0; known && d < info.rank; ++d) {
    dims[d] = info.dims[d];
    if (d == info.batch_axis && (model->outputs_follow_batch || r.batch > 0)) dims[d] = batch;
    known = dims[d] >= 0;
  }
  int64_t n = known ? verge_plugin::element_count(dims, info.rank) : 0;
  if (n > 0 && static_cast<uint64_t>(n) * verge_plugin::dtype_size(info.dtype) <= t.byte_size) {
    if (!port.current_own && port.current == t.data && same_dims(port.current_shape, dims, info.rank)) return;
    r.request.set_output_tensor(i, tensor_over(port, info.dtype, t.data, dims, info.rank));
    port.current = t.data;
    port.current_shape.assign(dims, dims + info.rank);
    port.current_own = false;
  } else if (!port.current_own) {
    r.request.set_output_tensor(i, port.own);
    port.current_own = true;
  }
}

void verge_instance::run(const verge_tensor* in, uint32_t input_count, verge_tensor* out, uint32_t output_count) {
  if (input_count != model->inputs.size() || output_count != model->outputs.size()) {
    invalid("the model has " + std::to_string(model->inputs.size()) + " inputs and " + std::to_string(model->outputs.size()) + " outputs, " +
            std::to_string(input_count) + " and " + std::to_string(output_count) + " were passed");
  }
  int64_t batch = -1;
  for (uint32_t i = 0; i < input_count; ++i) {
    const verge_tensor_info& info = model->inputs[i];
    int64_t n = verge_plugin::check_input(in[i], info);
    // OpenVINO reports success for an empty input without having run.
    if (n == 0) invalid(std::string("input '") + info.name + "': is empty, which OpenVINO does not run");
    if (info.batch_axis < 0) continue;
    if (batch >= 0 && in[i].dims[info.batch_axis] != batch) invalid("the inputs differ in their batch size");
    batch = in[i].dims[info.batch_axis];
  }
  Request& r = request_for(in);
  for (uint32_t i = 0; i < input_count; ++i) bind_input(r, i, in[i]);
  for (uint32_t i = 0; i < output_count; ++i) bind_output(r, i, out[i], batch);
  r.request.infer();
  for (uint32_t i = 0; i < output_count; ++i) {
    verge_tensor& t = out[i];
    // OpenVINO may have replaced a buffer of its own by a larger one.
    ov::Tensor result = r.request.get_output_tensor(i);
    const ov::Shape& shape = result.get_shape();
    if (shape.size() > VERGE_MAX_RANK) invalid(std::string("output '") + model->outputs[i].name + "': has too many dimensions");
    t.dtype = model->outputs[i].dtype;
    t.rank = static_cast<int32_t>(shape.size());
    for (size_t d = 0; d < shape.size(); ++d) t.dims[d] = static_cast<int64_t>(shape[d]);
    t.has_strides = 0;
    t.data = result.data();
    t.byte_size = result.get_byte_size();
    t.offsets = nullptr;
    t.space = {VERGE_SPACE_HOST, 0};
    t.owner = nullptr;
    t.release = nullptr;
    t.ready_event = nullptr;
  }
}

void verge_instance::preferred(bool is_output, uint32_t index, int64_t batch, verge_buffer_preference* out) const {
  const auto& infos = is_output ? model->outputs : model->inputs;
  if (index >= infos.size()) invalid("there is no such input or output");
  if (batch < 0) invalid("the batch size is negative");
  verge_tensor_info info = infos[index];
  if (info.batch_axis >= 0) info.dims[info.batch_axis] = batch;
  int64_t n = info.rank < 0 ? -1 : verge_plugin::element_count(info.dims, info.rank);
  out->space = {VERGE_SPACE_HOST, 0};
  out->alignment = 64;
  out->bytes = n < 0 ? 0 : static_cast<uint64_t>(n) * verge_plugin::dtype_size(info.dtype);
}
