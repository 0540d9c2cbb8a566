// The identity engine: output i is input i. Its artifact is a JSON file:
//   {"tensors": [{"name": "x", "output": "y", "dtype": "FP32", "shape": [-1, 4], "batch_axis": 0}], "delay_us": 0}
// `output` is by default the input's name; `batch_axis` by default 0 where the first dimension is free, else -1. The load option
// "delay_us" overrides the file's: each run then takes that much longer, asleep, so that scheduling can be seen.
#include <chrono>
#include <condition_variable>
#include <deque>
#include <fstream>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>

#include "common/plugin.h"

struct verge_engine {};

struct verge_model {
  std::deque<std::string> names;
  std::vector<verge_tensor_info> inputs, outputs;
  verge_model_info info{};
  int64_t delay_us = 0;
};

struct verge_instance {
  struct Buffer {
    std::vector<uint64_t> data;  // for its alignment
    std::vector<uint64_t> offsets;
  };
  verge_model* model = nullptr;
  std::vector<Buffer> buffers;
  std::mutex mutex;
  std::condition_variable wake;
  bool cancelled = false;
};

namespace {

using verge_plugin::guard;
using verge_plugin::invalid;

constexpr std::streamoff kMaxFileBytes = 1 << 20;
constexpr int64_t kMaxDelayUs = 60'000'000;
constexpr size_t kMaxTensors = 256;

int32_t dtype_of(const std::string& name) {
  for (int32_t t = VERGE_BOOL; t <= VERGE_BYTES; ++t) {
    if (name == verge_plugin::dtype_name(t)) return t;
  }
  return VERGE_DTYPE_INVALID;
}

nlohmann::json read_json(const std::string& path) {
  std::ifstream in(path, std::ios::binary | std::ios::ate);
  if (!in) verge_plugin::fail(VERGE_NOT_FOUND, path + ": cannot be read");
  std::streamoff size = in.tellg();
  if (size < 0 || size > kMaxFileBytes) invalid(path + ": larger than " + std::to_string(kMaxFileBytes) + " bytes");
  in.seekg(0);
  std::string text(static_cast<size_t>(size), '\0');
  if (!in.read(text.data(), size)) verge_plugin::fail(VERGE_DATA_LOSS, path + ": cannot be read to its end");
  // The parser recurses; nothing sensible is nested deeper than a few levels.
  int depth = 0;
  for (char c : text) {
    if (c == '[' || c == '{') ++depth;
    if (c == ']' || c == '}') --depth;
    if (depth > 32) invalid(path + ": nested too deeply");
  }
  nlohmann::json json = nlohmann::json::parse(text, nullptr, false);
  if (json.is_discarded() || !json.is_object()) invalid(path + ": no JSON object");
  return json;
}

void add_tensor(verge_model& model, const nlohmann::json& json, const std::string& where) {
  auto text = [&](const char* key, const std::string* fallback) -> std::string {
    auto it = json.find(key);
    if (it == json.end() && fallback) return *fallback;
    if (it == json.end() || !it->is_string() || it->get_ref<const std::string&>().empty()) invalid(where + ": '" + key + "' must be a text");
    return it->get<std::string>();
  };
  if (!json.is_object()) invalid(where + ": must be an object");
  std::string name = text("name", nullptr);
  std::string output = text("output", &name);
  verge_tensor_info info = verge_plugin::empty_info();
  std::string dtype = text("dtype", nullptr);
  info.dtype = dtype_of(dtype);
  if (info.dtype == VERGE_DTYPE_INVALID) invalid(where + ": no element type '" + dtype + "'");
  auto shape = json.find("shape");
  if (shape == json.end() || !shape->is_array() || shape->size() > VERGE_MAX_RANK) {
    invalid(where + ": 'shape' must be a list of at most " + std::to_string(VERGE_MAX_RANK) + " dimensions");
  }
  info.rank = static_cast<int32_t>(shape->size());
  for (int i = 0; i < info.rank; ++i) {
    const nlohmann::json& d = (*shape)[static_cast<size_t>(i)];
    if (!d.is_number_integer() || (d.is_number_unsigned() && d.get<uint64_t>() > (uint64_t{1} << 40)) || d.get<int64_t>() < -1) {
      invalid(where + ": a dimension must be a whole number from -1");
    }
    info.dims[i] = d.get<int64_t>();
  }
  info.batch_axis = info.rank > 0 && info.dims[0] == -1 ? 0 : -1;
  if (auto axis = json.find("batch_axis"); axis != json.end()) {
    if (!axis->is_number_integer() || axis->get<int64_t>() < -1 || axis->get<int64_t>() >= info.rank) {
      invalid(where + ": 'batch_axis' is out of range");
    }
    info.batch_axis = axis->get<int32_t>();
    if (info.batch_axis >= 0) info.dims[info.batch_axis] = -1;
  }
  for (const verge_tensor_info& other : model.inputs) {
    if (name == other.name) invalid(where + ": a second input '" + name + "'");
  }
  for (const verge_tensor_info& other : model.outputs) {
    if (output == other.name) invalid(where + ": a second output '" + output + "'");
  }
  info.name = model.names.emplace_back(std::move(name)).c_str();
  model.inputs.push_back(info);
  info.name = model.names.emplace_back(std::move(output)).c_str();
  model.outputs.push_back(info);
}

verge_code create(const verge_host_api*, const verge_options* config, verge_engine** out, verge_status* status) {
  return guard(status, [&] {
    verge_plugin::Options options(config);
    options.take_library("");
    options.refuse_rest("");
    *out = new verge_engine();
  });
}

void destroy(verge_engine* engine) { delete engine; }
const char* version(verge_engine*) { return "1"; }
uint64_t fixed_cost_bytes(verge_engine*) { return 0; }

verge_code query_device(verge_engine*, void (*sink)(void*, const char*, const char*), void* arg, verge_status* status) {
  return guard(status, [&] { sink(arg, "identity.copies", "memcpy"); });
}

verge_code model_load(verge_engine*, const verge_artifact* artifact, const verge_options* load_options, const verge_placement* placement,
                      verge_model*, verge_model** out, verge_status* status) {
  return guard(status, [&] {
    verge_plugin::check_artifact(artifact);
    verge_plugin::Placement checked(placement);
    verge_plugin::Options options(load_options);
    int64_t delay = options.take_integer("delay_us", -1, 0, kMaxDelayUs);
    options.refuse_rest("delay_us");
    std::string path = artifact->files[0].path;
    if (std::string_view(artifact->format) != "identity") invalid("format '" + std::string(artifact->format) + "' is not read; known: identity");
    if (artifact->count != 1) invalid("an identity artifact is one file");
    if (artifact->signature && *artifact->signature) invalid("an identity artifact has no signature '" + std::string(artifact->signature) + "'");
    nlohmann::json json = read_json(path);
    auto model = std::make_unique<verge_model>();
    auto tensors = json.find("tensors");
    if (tensors == json.end() || !tensors->is_array() || tensors->empty() || tensors->size() > kMaxTensors) {
      invalid(path + ": 'tensors' must be a list of 1 to " + std::to_string(kMaxTensors));
    }
    for (size_t i = 0; i < tensors->size(); ++i) add_tensor(*model, (*tensors)[i], path + ": tensors[" + std::to_string(i) + "]");
    if (auto it = json.find("delay_us"); it != json.end()) {
      if (!it->is_number_unsigned() || it->get<uint64_t>() > static_cast<uint64_t>(kMaxDelayUs)) invalid(path + ": 'delay_us' is out of range");
      model->delay_us = it->get<int64_t>();
    }
    if (delay >= 0) model->delay_us = delay;
    model->info.size = sizeof(verge_model_info);
    model->info.input_count = static_cast<uint32_t>(model->inputs.size());
    model->info.output_count = static_cast<uint32_t>(model->outputs.size());
    model->info.inputs = model->inputs.data();
    model->info.outputs = model->outputs.data();
    model->info.executed_precision = "f32";
    model->info.executed_precision_source = "values are copied, none is computed";
    *out = model.release();
  });
}

const verge_model_info* model_info(verge_model* model) { return &model->info; }
void model_unload(verge_model* model) { delete model; }

verge_code instance_create(verge_model* model, const verge_placement* placement, verge_instance** out, verge_status* status) {
  return guard(status, [&] {
    verge_plugin::Placement checked(placement);
    auto instance = std::make_unique<verge_instance>();
    instance->model = model;
    instance->buffers.resize(model->outputs.size());
    *out = instance.release();
  });
}

verge_code instance_preferred_buffer(verge_instance* instance, int32_t is_output, uint32_t index, int64_t batch,
                                     verge_buffer_preference* out, verge_status* status) {
  return guard(status, [&] {
    const auto& infos = is_output ? instance->model->outputs : instance->model->inputs;
    if (index >= infos.size()) invalid("there is no such input or output");
    if (batch < 0) invalid("the batch size is negative");
    verge_tensor_info info = infos[index];
    if (info.batch_axis >= 0) info.dims[info.batch_axis] = batch;
    int64_t n = info.dtype == VERGE_BYTES ? -1 : verge_plugin::element_count(info.dims, info.rank);
    out->space = {VERGE_SPACE_HOST, 0};
    out->alignment = 64;
    out->bytes = n < 0 ? 0 : static_cast<uint64_t>(n) * verge_plugin::dtype_size(info.dtype);
  });
}

void wait(verge_instance& instance) {
  std::unique_lock lock(instance.mutex);
  instance.cancelled = false;
  if (instance.model->delay_us == 0) return;
  if (instance.wake.wait_for(lock, std::chrono::microseconds(instance.model->delay_us), [&] { return instance.cancelled; })) {
    verge_plugin::fail(VERGE_CANCELLED, "cancelled");
  }
}

verge_code instance_run(verge_instance* instance, const verge_tensor* inputs, uint32_t input_count, verge_tensor* outputs,
                        uint32_t output_count, verge_status* status) {
  return guard(status, [&] {
    const verge_model& model = *instance->model;
    if (input_count != model.inputs.size() || output_count != model.outputs.size()) {
      invalid("the model has " + std::to_string(model.inputs.size()) + " inputs and " + std::to_string(model.outputs.size()) +
              " outputs, " + std::to_string(input_count) + " and " + std::to_string(output_count) + " were passed");
    }
    for (uint32_t i = 0; i < input_count; ++i) verge_plugin::check_input(inputs[i], model.inputs[i]);
    wait(*instance);
    for (uint32_t i = 0; i < input_count; ++i) {
      const verge_tensor& in = inputs[i];
      verge_tensor& out = outputs[i];
      verge_instance::Buffer& own = instance->buffers[i];
      int64_t n = verge_plugin::element_count(in.dims, in.rank);
      const char* from = static_cast<const char*>(in.data);
      uint64_t bytes = in.byte_size;
      out.offsets = nullptr;
      if (in.dtype == VERGE_BYTES) {
        own.offsets.resize(static_cast<size_t>(n) + 1);
        for (int64_t k = 0; k <= n; ++k) own.offsets[static_cast<size_t>(k)] = in.offsets[k] - in.offsets[0];
        bytes = own.offsets[static_cast<size_t>(n)];
        if (bytes) from += in.offsets[0];
        out.offsets = own.offsets.data();
      }
      if (!out.data || out.byte_size < bytes) {
        own.data.resize(static_cast<size_t>((bytes + 7) / 8));
        out.data = own.data.data();
      }
      // The host may lend the input's own memory.
      if (bytes) std::memmove(out.data, from, bytes);
      out.dtype = in.dtype;
      out.rank = in.rank;
      out.has_strides = 0;
      std::memcpy(out.dims, in.dims, sizeof out.dims);
      out.byte_size = bytes;
      out.space = {VERGE_SPACE_HOST, 0};
      out.owner = nullptr;
      out.release = nullptr;
      out.ready_event = nullptr;
    }
  });
}

void instance_cancel(verge_instance* instance) {
  std::lock_guard lock(instance->mutex);
  instance->cancelled = true;
  instance->wake.notify_all();
}

void instance_destroy(verge_instance* instance) { delete instance; }

}  // namespace

extern "C" const verge_engine_vtable* verge_engine_get(const verge_host_api*, uint32_t abi_major) {
  static const verge_engine_vtable vtable = [] {
    verge_engine_vtable v{};
    v.size = sizeof v;
    v.abi_major = VERGE_ENGINE_ABI_MAJOR;
    v.abi_minor = VERGE_ENGINE_ABI_MINOR;
    v.name = "identity";
    v.capabilities =
        VERGE_CAP_DYNAMIC_BATCH | VERGE_CAP_EXTERNAL_OUTPUTS | VERGE_CAP_REENTRANT | VERGE_CAP_CANCEL | VERGE_CAP_SHARES_WEIGHTS;
    v.create = create;
    v.destroy = destroy;
    v.version = version;
    v.fixed_cost_bytes = fixed_cost_bytes;
    v.query_device = query_device;
    v.model_load = model_load;
    v.model_info = model_info;
    v.model_unload = model_unload;
    v.instance_create = instance_create;
    v.instance_preferred_buffer = instance_preferred_buffer;
    v.instance_run = instance_run;
    v.instance_cancel = instance_cancel;
    v.instance_destroy = instance_destroy;
    return v;
  }();
  return abi_major == VERGE_ENGINE_ABI_MAJOR ? &vtable : nullptr;
}
