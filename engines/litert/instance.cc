#include "instance.h"

#include <cstdlib>
#include <cstring>
#include <new>

using verge::litert::AlignedBuffer;
using verge::litert::kLrtOk;
using verge::litert::LrtLayout;
using verge::litert::LrtRankedType;
using verge::litert::LrtTensorBuffer;
using verge::litert::Port;
using verge_plugin::fail;
using verge_plugin::invalid;

namespace verge::litert {

void AlignedBuffer::reserve(size_t bytes) {
  if (bytes <= capacity) return;
  std::free(data);
  capacity = 0;
  const size_t rounded = (bytes + kLrtReadPast + kLrtAlignment - 1) / kLrtAlignment * kLrtAlignment;
  data = std::aligned_alloc(kLrtAlignment, rounded);
  if (!data) throw std::bad_alloc();
  std::memset(data, 0, rounded);
  capacity = bytes;
}

AlignedBuffer::~AlignedBuffer() { std::free(data); }

Port::~Port() { forget(); }

void Port::forget() {
  for (Binding& b : bindings) {
    if (b.buffer) api->DestroyTensorBuffer(b.buffer);
    b = {};
  }
}

LrtTensorBuffer Port::bind(void* memory, size_t capacity) {
  for (Binding& b : bindings)
    if (b.buffer && b.memory == memory) return b.buffer;
  Binding& slot = bindings[next];
  next = (next + 1) % bindings.size();
  if (slot.buffer) api->DestroyTensorBuffer(slot.buffer);
  slot = {};
  LrtTensorBuffer buffer = nullptr;
  const LrtStatus status = api->CreateTensorBufferFromHostMemory(&type, memory, capacity, nullptr, &buffer);
  if (status != kLrtOk)
    ::verge_plugin::fail(
        VERGE_INTERNAL, std::string("LiteRT refuses a buffer of ") + std::to_string(capacity) + " bytes (" + lrt_status_name(status) + ")");
  slot = {memory, buffer};
  return buffer;
}

namespace {

// LiteRT wants aligned memory, and XNNPACK may read a few bytes past its end, which must not reach a page that is not there.
bool usable_in_place(const void* memory, size_t bytes) {
  const auto address = reinterpret_cast<uintptr_t>(memory);
  if (address % kLrtAlignment) return false;
  const uintptr_t last = address + (bytes ? bytes - 1 : 0);
  return last / 4096 == (last + kLrtReadPast) / 4096;
}

// The interpreter's number for a type of the file.
int32_t element_type(int32_t dtype) {
  switch (dtype) {
    case VERGE_FP32: return 1;
    case VERGE_INT32: return 2;
    case VERGE_UINT8: return 3;
    case VERGE_INT64: return 4;
    case VERGE_BOOL: return 6;
    case VERGE_INT16: return 7;
    case VERGE_INT8: return 9;
    case VERGE_FP16: return 10;
    case VERGE_FP64: return 11;
    case VERGE_UINT64: return 13;
    case VERGE_UINT32: return 16;
    case VERGE_UINT16: return 17;
    case VERGE_BF16: return 19;
    default: return 0;
  }
}

bool overlap(const void* a, size_t a_bytes, const void* b, size_t b_bytes) {
  const auto x = reinterpret_cast<uintptr_t>(a), y = reinterpret_cast<uintptr_t>(b);
  return x < y + b_bytes && y < x + a_bytes;
}

}  // namespace
}  // namespace verge::litert

verge_instance::verge_instance(verge_model* owner, const verge_plugin::Placement& placement) : model(owner) {
  const auto& api = model->engine->api;
  if (!model->spare.empty() && model->spare_placement == placement) {
    compiled = std::move(model->spare);
    model->spare.clear();
  } else {
    for (const auto& file : model->files)
      compiled.push_back(std::make_unique<verge::litert::Compiled>(api, model->engine->environment, file->model, placement));
    for (const auto& file : model->files) file->bytes->drop_pages();
  }
  sets.resize(model->files.size());
  for (size_t f = 0; f < sets.size(); ++f) {
    auto& set = sets[f];
    const auto& graph = model->files[f]->graph();
    for (const auto& info : model->inputs) {
      auto& port = set.inputs.emplace_back(std::make_unique<Port>());
      port->api = &api;
      port->type.element_type = verge::litert::element_type(info.dtype);
    }
    for (size_t i = 0; i < model->outputs.size(); ++i) {
      auto& port = set.outputs.emplace_back(std::make_unique<Port>());
      port->api = &api;
      port->type.element_type = verge::litert::element_type(model->outputs[i].dtype);
      for (size_t k = 0; k < graph.inputs.size(); ++k)
        if (graph.inputs[k] == graph.outputs[i]) port->same_as_input = static_cast<int>(k);
      for (size_t k = 0; k < i && port->same_as_output < 0; ++k)
        if (graph.outputs[k] == graph.outputs[i]) port->same_as_output = static_cast<int>(k);
    }
    set.input_buffers.resize(model->inputs.size());
    set.output_buffers.resize(model->outputs.size());
    set.layouts.resize(model->outputs.size());
  }
}

// The file for these inputs; all that have a batch axis must agree.
size_t verge_instance::choose(const verge_tensor* inputs, int64_t& batch) const {
  batch = -1;
  for (size_t i = 0; i < model->inputs.size(); ++i) {
    const int axis = model->inputs[i].batch_axis;
    if (axis < 0) continue;
    if (batch >= 0 && inputs[i].dims[axis] != batch)
      invalid("the inputs have different batch sizes, " + std::to_string(batch) + " and " + std::to_string(inputs[i].dims[axis]));
    batch = inputs[i].dims[axis];
  }
  if (batch == 0) invalid("the batch is empty");
  if (model->fixed_batches.empty() || batch < 0) return 0;
  for (size_t f = 0; f < model->fixed_batches.size(); ++f)
    if (model->fixed_batches[f] == batch) return f;
  std::string known;
  for (int64_t b : model->fixed_batches) known += (known.empty() ? "" : ", ") + std::to_string(b);
  invalid("batch size " + std::to_string(batch) + " is not among the artifact's: " + known);
}

void verge_instance::shape(size_t f, const verge_tensor* inputs, int64_t batch) {
  auto& set = sets[f];
  bool same = set.shaped;
  for (size_t i = 0; same && i < model->inputs.size(); ++i) {
    const LrtLayout& now = set.inputs[i]->type.layout;
    for (int d = 0; d < inputs[i].rank && same; ++d) same = now.dimensions[d] == inputs[i].dims[d];
  }
  if (same) return;
  set.shaped = false;
  const auto& api = model->engine->api;
  const auto handle = compiled[f]->handle();
  const size_t signature = model->files[f]->signature;
  for (size_t i = 0; i < model->inputs.size(); ++i) {
    Port& port = *set.inputs[i];
    port.forget();
    port.type.layout = {};
    port.type.layout.rank = static_cast<unsigned>(inputs[i].rank) & 0x7f;
    bool free = false;
    for (int d = 0; d < inputs[i].rank; ++d) {
      if (inputs[i].dims[d] < 1 || inputs[i].dims[d] > INT32_MAX)
        invalid(std::string("input '") + model->inputs[i].name + "': a dimension of " + std::to_string(inputs[i].dims[d]) +
                " cannot be run");
      port.type.layout.dimensions[d] = static_cast<int32_t>(inputs[i].dims[d]);
      free = free || model->inputs[i].dims[d] < 0;
    }
    port.bytes = inputs[i].byte_size;
    if (!free || !model->fixed_batches.empty()) continue;
    const int status =
        api.CompiledModelResizeInputTensor(handle, signature, i, port.type.layout.dimensions, static_cast<size_t>(inputs[i].rank));
    if (status != kLrtOk)
      compiled[f]->fail(VERGE_INVALID_ARGUMENT,
                        std::string("LiteRT cannot give input '") + model->inputs[i].name + "' the shape " +
                            verge_plugin::dims_string(inputs[i].dims, inputs[i].rank),
                        status);
  }
  const int status = api.GetCompiledModelOutputTensorLayouts(handle, signature, set.layouts.size(), set.layouts.data(), true);
  if (status != kLrtOk) compiled[f]->fail(VERGE_INVALID_ARGUMENT, "LiteRT cannot run these input shapes", status);
  set.deferred = false;
  for (size_t i = 0; i < model->outputs.size(); ++i) {
    Port& port = *set.outputs[i];
    port.forget();
    const verge_tensor_info& info = model->outputs[i];
    if (info.batch_axis == 0 && batch > 0 &&
        (set.layouts[i].rank != static_cast<unsigned>(info.rank) || set.layouts[i].dimensions[0] != batch)) {
      set.deferred = true;
      set.layouts[i].rank = static_cast<unsigned>(info.rank) & 0x7f;
      for (int d = 0; d < info.rank; ++d) set.layouts[i].dimensions[d] = static_cast<int32_t>(d == 0 ? batch : info.dims[d]);
    }
    port.type.layout = set.layouts[i];
    port.type.layout.has_strides = 0;
    int64_t dims[VERGE_MAX_RANK] = {};
    const int rank = static_cast<int>(set.layouts[i].rank);
    if (rank > VERGE_MAX_RANK) fail(VERGE_UNIMPLEMENTED, std::string("output '") + model->outputs[i].name + "' has more than 8 dimensions");
    for (int d = 0; d < rank; ++d) dims[d] = set.layouts[i].dimensions[d];
    const int64_t count = verge_plugin::element_count(dims, rank);
    if (count < 0)
      fail(VERGE_UNIMPLEMENTED,
           std::string("output '") + model->outputs[i].name + "' has a shape that depends on the data, which this engine does not serve");
    port.bytes = static_cast<size_t>(count) * verge_plugin::dtype_size(model->outputs[i].dtype);
    port.most_bytes = std::max(port.most_bytes, port.bytes);
  }
  set.shaped = true;
}

void verge_instance::confirm_shapes(size_t f) {
  auto& set = sets[f];
  std::vector<LrtLayout> actual(set.layouts.size());
  const int status = model->engine->api.GetCompiledModelOutputTensorLayouts(compiled[f]->handle(), model->files[f]->signature,
                                                                            actual.size(), actual.data(), false);
  if (status != kLrtOk) compiled[f]->fail(VERGE_INTERNAL, "LiteRT does not tell the shapes of the outputs", status);
  for (size_t i = 0; i < actual.size(); ++i) {
    bool same = actual[i].rank == set.layouts[i].rank;
    for (unsigned d = 0; same && d < actual[i].rank; ++d) same = actual[i].dimensions[d] == set.layouts[i].dimensions[d];
    if (!same)
      fail(VERGE_UNIMPLEMENTED,
           std::string("output '") + model->outputs[i].name + "' has a shape that depends on the data, which this engine does not serve");
  }
}

std::string verge_instance::probe(int64_t batch, bool accelerated) {
  std::vector<AlignedBuffer> memory(model->inputs.size());
  std::vector<verge_tensor> in(model->inputs.size()), out(model->outputs.size());
  const auto& first = model->files[0]->graph();
  for (size_t i = 0; i < in.size(); ++i) {
    const verge_tensor_info& info = model->inputs[i];
    in[i].size = sizeof(verge_tensor);
    in[i].dtype = info.dtype;
    in[i].rank = info.rank;
    for (int d = 0; d < info.rank; ++d) {
      const int32_t exported = first.tensors[static_cast<size_t>(first.inputs[i])].shape[static_cast<size_t>(d)];
      in[i].dims[d] = info.batch_axis == d ? batch : info.dims[d] < 0 ? std::max(1, exported) : info.dims[d];
    }
    in[i].byte_size = static_cast<uint64_t>(verge_plugin::element_count(in[i].dims, in[i].rank)) * verge_plugin::dtype_size(info.dtype);
    memory[i].reserve(in[i].byte_size);
    in[i].data = memory[i].data;
  }
  try {
    int64_t chosen = -1;
    const size_t f = choose(in.data(), chosen);
    shape(f, in.data(), chosen);
    auto& set = sets[f];
    if (accelerated && !set.deferred) return {};
    constexpr unsigned char kUntouched = 0xA5;
    for (const auto& port : set.outputs) {
      port->own.reserve(port->most_bytes);
      std::memset(port->own.data, kUntouched, port->bytes);
    }
    run(in.data(), static_cast<uint32_t>(in.size()), out.data(), static_cast<uint32_t>(out.size()));
    for (size_t i = 0; i < out.size(); ++i) {
      const auto* bytes = static_cast<const unsigned char*>(out[i].data);
      bool touched = out[i].byte_size == 0;
      for (uint64_t k = 0; k < out[i].byte_size && !touched; ++k) touched = bytes[k] != kUntouched;
      if (!touched)
        return std::string("output '") + model->outputs[i].name +
               "' has a size that LiteRT decides while it runs, which this engine does not serve; convert with fixed shapes";
    }
  } catch (const verge_plugin::Error& e) {
    return e.message;
  }
  return {};
}

void verge_instance::run(const verge_tensor* inputs, uint32_t input_count, verge_tensor* outputs, uint32_t output_count) {
  if (input_count != model->inputs.size() || output_count != model->outputs.size())
    invalid("the model has " + std::to_string(model->inputs.size()) + " inputs and " + std::to_string(model->outputs.size()) +
            " outputs, " + std::to_string(input_count) + " and " + std::to_string(output_count) + " were passed");
  for (uint32_t i = 0; i < input_count; ++i) verge_plugin::check_input(inputs[i], model->inputs[i]);
  int64_t batch = -1;
  const size_t f = choose(inputs, batch);
  shape(f, inputs, batch);
  auto& set = sets[f];

  for (uint32_t i = 0; i < input_count; ++i) {
    Port& port = *set.inputs[i];
    void* memory = inputs[i].data;
    if (!verge::litert::usable_in_place(memory, port.bytes)) {
      port.own.reserve(port.bytes);
      std::memcpy(port.own.data, memory, port.bytes);
      memory = port.own.data;
    }
    set.input_buffers[i] = port.bind(memory, port.bytes);
  }
  for (uint32_t i = 0; i < output_count; ++i) {
    Port& port = *set.outputs[i];
    port.target = nullptr;
    port.lent = outputs[i].data && outputs[i].byte_size >= port.bytes;
    if (port.same_as_input >= 0) {
      set.output_buffers[i] = set.input_buffers[static_cast<size_t>(port.same_as_input)];
      continue;
    }
    if (port.same_as_output >= 0) {
      set.output_buffers[i] = set.output_buffers[static_cast<size_t>(port.same_as_output)];
      continue;
    }
    bool direct = port.lent && !set.deferred && reinterpret_cast<uintptr_t>(outputs[i].data) % verge::litert::kLrtAlignment == 0;
    for (uint32_t k = 0; direct && k < input_count; ++k)
      direct = !verge::litert::overlap(outputs[i].data, port.bytes, inputs[k].data, inputs[k].byte_size);
    const size_t capacity = direct ? port.bytes : port.most_bytes;
    if (!direct) port.own.reserve(capacity);
    port.target = direct ? outputs[i].data : port.own.data;
    set.output_buffers[i] = port.bind(port.target, capacity);
  }

  const auto& api = model->engine->api;
  const int status = api.RunCompiledModel(compiled[f]->handle(), model->files[f]->signature, input_count, set.input_buffers.data(),
                                          output_count, set.output_buffers.data());
  if (status != kLrtOk) {
    set.shaped = false;
    compiled[f]->fail(VERGE_INTERNAL, "LiteRT failed to run the model", status);
  }
  if (set.deferred) confirm_shapes(f);

  for (uint32_t i = 0; i < output_count; ++i) {
    Port& port = *set.outputs[i];
    const void* from = port.target;
    if (port.same_as_input >= 0) from = inputs[port.same_as_input].data;
    if (port.same_as_output >= 0) from = set.outputs[static_cast<size_t>(port.same_as_output)]->result;
    verge_tensor& out = outputs[i];
    if (port.lent) {
      if (from != out.data) std::memmove(out.data, from, port.bytes);
    } else if (from == port.target) {
      out.data = port.target;
    } else {
      port.own.reserve(port.bytes);
      std::memcpy(port.own.data, from, port.bytes);
      out.data = port.own.data;
    }
    port.result = out.data;
    out.dtype = model->outputs[i].dtype;
    out.rank = static_cast<int32_t>(port.type.layout.rank);
    for (int d = 0; d < out.rank; ++d) out.dims[d] = port.type.layout.dimensions[d];
    out.has_strides = 0;
    out.byte_size = port.bytes;
    out.offsets = nullptr;
    out.space = {VERGE_SPACE_HOST, 0};
    out.owner = nullptr;
    out.release = nullptr;
    out.ready_event = nullptr;
  }
}

void verge_instance::preferred_buffer(bool is_output, uint32_t index, int64_t batch, verge_buffer_preference* out) const {
  const auto& infos = is_output ? model->outputs : model->inputs;
  if (index >= infos.size()) invalid("there is no such input or output");
  if (batch < 0) invalid("the batch size is negative");
  verge_tensor_info info = infos[index];
  if (info.batch_axis >= 0) info.dims[info.batch_axis] = batch;
  const int64_t count = verge_plugin::element_count(info.dims, info.rank);
  out->space = {VERGE_SPACE_HOST, 0};
  out->alignment = verge::litert::kLrtAlignment;
  // Room for what XNNPACK may read past the end.
  out->bytes =
      count < 0 ? 0 : static_cast<uint64_t>(count) * verge_plugin::dtype_size(info.dtype) + (is_output ? 0 : verge::litert::kLrtReadPast);
}
