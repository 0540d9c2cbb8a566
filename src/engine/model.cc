// Owners of a plugin's engine, model and instance objects.
#include <algorithm>

#include "engine/plugin.h"

namespace verge::engine {
namespace {

constexpr uint32_t kMaxTensors = 4096;

struct CPlacement {
  CPlacement(const std::vector<int>& cores, int threads) : cores_(cores.begin(), cores.end()) {
    placement = {sizeof(verge_placement), static_cast<uint32_t>(cores_.size()), cores_.data(), threads};
  }
  CPlacement(const CPlacement&) = delete;
  verge_placement placement;

 private:
  std::vector<int32_t> cores_;
};

Status read_tensors(const verge_tensor_info* array, uint32_t count, const char* what, std::vector<TensorSpec>& out) {
  if (count > kMaxTensors) return internal_error("more than " + std::to_string(kMaxTensors) + " " + what + "s");
  if (count > 0 && !array) return internal_error(std::string("no description of the ") + what + "s");
  for (uint32_t i = 0; i < count; ++i) {
    VERGE_ASSIGN(TensorSpec spec, tensor_spec(info_at(array, i), what));
    for (const TensorSpec& other : out) {
      if (other.name == spec.name) return invalid_argument(std::string("two ") + what + "s are called '" + spec.name + "'");
    }
    out.push_back(std::move(spec));
  }
  return {};
}

// One run is one sample: the dimensions are what the artifact's file has.
void without_batch(Signature& s, std::vector<int64_t>& fixed) {
  for (auto* tensors : {&s.inputs, &s.outputs}) {
    for (TensorSpec& t : *tensors) {
      if (t.batch_axis >= 0 && fixed.size() == 1) t.shape[t.batch_axis] = fixed[0];
      t.batch_axis = -1;
    }
  }
  fixed.clear();
}

}  // namespace

Engine::~Engine() {
  if (handle_) vtable_->destroy(handle_);
}

std::string Engine::version() const {
  const char* v = vtable_->version(handle_);
  return v ? v : "";
}

uint64_t Engine::fixed_cost_bytes() const { return vtable_->fixed_cost_bytes(handle_); }

Result<std::map<std::string, std::string>> Engine::device_facts() const {
  std::map<std::string, std::string> facts;
  StatusBuffer status;
  auto sink = [](void* arg, const char* key, const char* value) {
    if (key && value) (*static_cast<std::map<std::string, std::string>*>(arg))[key] = value;
  };
  verge_code code = vtable_->query_device(handle_, sink, &facts, status.get());
  if (code != VERGE_OK) return status.take(code, "asking for the device").prefixed("engine " + name_);
  return facts;
}

Result<std::shared_ptr<Model>> Engine::load(const LoadSpec& spec) {
  if (spec.files.empty()) return invalid_argument("engine " + name_ + ": no file to load");
  std::vector<verge_artifact_file> files;
  for (const auto& [path, batch] : spec.files) files.push_back({path.c_str(), batch});
  verge_artifact artifact{};
  artifact.size = sizeof artifact;
  artifact.count = static_cast<uint32_t>(files.size());
  artifact.files = files.data();
  artifact.format = spec.format.c_str();
  artifact.signature = spec.signature.empty() ? nullptr : spec.signature.c_str();
  artifact.cache_dir = spec.cache_dir.empty() ? nullptr : spec.cache_dir.c_str();
  COptions options(spec.options);
  CPlacement placement(spec.cores, spec.threads);

  std::shared_ptr<Model> model(new Model());
  model->engine_ = shared_from_this();
  StatusBuffer status;
  verge_code code;
  {
    std::unique_lock lock(load_mutex_, std::defer_lock);
    if (!(capabilities() & VERGE_CAP_REENTRANT)) lock.lock();
    code = vtable_->model_load(handle_, &artifact, options.get(), &placement.placement, nullptr, &model->handle_, status.get());
  }
  if (code != VERGE_OK) {
    model->handle_ = nullptr;
    trim_memory();
    return status.take(code, "loading").prefixed(name_);
  }
  if (!model->handle_) return internal_error(name_ + ": the load succeeded without a model");

  const verge_model_info* info = vtable_->model_info(model->handle_);
  if (!info || info->size < sizeof(verge_model_info)) return internal_error(name_ + ": the plugin's description of the model is too short");
  Status read = read_tensors(info->inputs, info->input_count, "input", model->signature_.inputs);
  if (read.ok()) read = read_tensors(info->outputs, info->output_count, "output", model->signature_.outputs);
  if (read.ok() && model->signature_.outputs.empty()) read = invalid_argument("the model has no outputs");
  if (!read.ok()) return read.prefixed(name_);
  if (info->fixed_batch_count > 0 && info->fixed_batch_count <= kMaxTensors && info->fixed_batches) {
    model->fixed_batches_.assign(info->fixed_batches, info->fixed_batches + info->fixed_batch_count);
  }
  if (spec.no_batch) without_batch(model->signature_, model->fixed_batches_);
  if (info->executed_precision) model->executed_precision_ = info->executed_precision;
  if (info->executed_precision_source) model->executed_precision_source_ = info->executed_precision_source;
  model->weight_bytes_ = info->weight_bytes;
  // Reading a file leaves free pages behind, often as much as the model itself.
  trim_memory();
  return model;
}

Model::~Model() {
  if (!handle_) return;
  {
    std::unique_lock lock(engine_->load_mutex_, std::defer_lock);
    if (!(engine_->capabilities() & VERGE_CAP_REENTRANT)) lock.lock();
    engine_->vtable_->model_unload(handle_);
  }
  trim_memory();
}

Result<std::unique_ptr<Instance>> Model::create_instance(const std::vector<int>& cores, int threads) const {
  CPlacement placement(cores, threads);
  StatusBuffer status;
  verge_instance* handle = nullptr;
  verge_code code;
  {
    std::unique_lock lock(engine_->load_mutex_, std::defer_lock);
    if (!(engine_->capabilities() & VERGE_CAP_REENTRANT)) lock.lock();
    code = engine_->vtable_->instance_create(handle_, &placement.placement, &handle, status.get());
  }
  if (code != VERGE_OK) return status.take(code, "making an instance").prefixed(engine_->name());
  if (!handle) return internal_error(engine_->name() + ": instance_create succeeded without an instance");
  return std::unique_ptr<Instance>(new Instance(shared_from_this(), handle));
}

Instance::~Instance() {
  std::unique_lock lock(model_->engine_->load_mutex_, std::defer_lock);
  if (!(model_->engine_->capabilities() & VERGE_CAP_REENTRANT)) lock.lock();
  model_->engine_->vtable_->instance_destroy(handle_);
}

Status Instance::run(std::span<const verge_tensor> inputs, std::span<verge_tensor> outputs) {
  StatusBuffer status;
  verge_code code = model_->engine_->vtable_->instance_run(handle_, inputs.data(), static_cast<uint32_t>(inputs.size()), outputs.data(),
                                                           static_cast<uint32_t>(outputs.size()), status.get());
  if (code != VERGE_OK) return status.take(code, "running").prefixed(model_->engine_->name());
  for (const verge_tensor& t : outputs) {
    bool sound = t.rank >= 0 && t.rank <= VERGE_MAX_RANK && t.dtype > VERGE_DTYPE_INVALID && t.dtype <= VERGE_BYTES &&
                 (t.data || t.byte_size == 0) && (t.dtype != VERGE_BYTES || t.offsets);
    if (!sound) return internal_error(model_->engine_->name() + ": the plugin returned an output without a sound description");
  }
  return {};
}

Result<verge_buffer_preference> Instance::preferred_buffer(bool output, uint32_t index, int64_t batch) const {
  StatusBuffer status;
  verge_buffer_preference preference{};
  preference.size = sizeof preference;
  verge_code code =
      model_->engine_->vtable_->instance_preferred_buffer(handle_, output ? 1 : 0, index, batch, &preference, status.get());
  if (code != VERGE_OK) return status.take(code, "asking for a buffer").prefixed(model_->engine_->name());
  if (preference.alignment == 0 || (preference.alignment & (preference.alignment - 1))) {
    return internal_error(model_->engine_->name() + ": the plugin prefers an alignment that is no power of two");
  }
  return preference;
}

void Instance::cancel() {
  const verge_engine_vtable* v = model_->engine_->vtable_;
  if ((v->capabilities & VERGE_CAP_CANCEL) && v->instance_cancel) v->instance_cancel(handle_);
}

}  // namespace verge::engine
