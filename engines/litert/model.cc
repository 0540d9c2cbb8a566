#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "instance.h"

namespace verge::litert {

using verge_plugin::fail;
using verge_plugin::invalid;

MappedFile::MappedFile(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) fail(errno == ENOENT || errno == ENOTDIR ? VERGE_NOT_FOUND : VERGE_PERMISSION_DENIED, path + ": " + std::strerror(errno));
  struct stat info{};
  if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
    close(fd);
    invalid(path + ": is not a regular file");
  }
  size_ = static_cast<size_t>(info.st_size);
  if (size_ > 0) data_ = mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, fd, 0);
  close(fd);
  if (size_ == 0) invalid(path + ": is empty");
  if (data_ == MAP_FAILED) fail(VERGE_RESOURCE_EXHAUSTED, path + ": cannot be mapped: " + std::strerror(errno));
}

MappedFile::~MappedFile() {
  if (data_ && data_ != MAP_FAILED) munmap(data_, size_);
}

void MappedFile::drop_pages() const { madvise(data_, size_, MADV_DONTNEED); }

LoadedFile::~LoadedFile() {
  if (model) api->DestroyModel(model);
}

Engine::~Engine() {
  if (environment) api.DestroyEnvironment(environment);
}

Compiled::Compiled(const LrtApi& api, LrtEnvironment environment, LrtModel model, const verge_plugin::Placement& placement) : api_(api) {
  const verge_plugin::ScopedAffinity affinity(placement);
  LrtOptions options = nullptr;
  if (api.CreateOptions(&options) != kLrtOk) ::verge_plugin::fail(VERGE_RESOURCE_EXHAUSTED, "LiteRT cannot make compile options");
  api.SetOptionsHardwareAccelerators(options, kLrtCpu);
  auto add = [&](const char* identifier, const std::string& text) {
    LrtOpaqueOptions opaque = nullptr;
    if (api.CreateOpaqueOptions(identifier, strdup(text.c_str()), std::free, &opaque) == kLrtOk &&
        api.AddOpaqueOptions(options, opaque) != kLrtOk)
      api.DestroyOpaqueOptions(opaque);
  };
  add("xnnpack", "num_threads = " + std::to_string(placement.threads) + "\n");
  // Keep messages in a buffer, to be asked for, instead of printing them.
  add("runtime_options_string", "error_reporter_mode = 2\n");
  const LrtStatus status = api.CreateCompiledModel(environment, model, options, &handle_);
  api.DestroyOptions(options);
  if (status != kLrtOk)
    ::verge_plugin::fail(VERGE_UNIMPLEMENTED, std::string("LiteRT cannot prepare this model (") + lrt_status_name(status) +
                                                  "): it has an operator or a combination of types that LiteRT does not run");
}

Compiled::~Compiled() {
  if (handle_) api_.DestroyCompiledModel(handle_);
}

void Compiled::fail(verge_code code, const std::string& what, LrtStatus status) const {
  std::string message = what + " (" + lrt_status_name(status) + ")";
  char* text = nullptr;
  if (api_.CompiledModelGetErrorMessages(handle_, &text) == kLrtOk && text) {
    if (std::strstr(text, "allocation_type =="))
      message = "an output's size is decided while the model runs, and LiteRT then gives no access to it; convert with fixed shapes";
    else if (*text)
      message += std::string(": ") + text;
    std::free(text);
  }
  api_.CompiledModelClearErrors(handle_);
  ::verge_plugin::fail(code, std::move(message));
}

namespace {

int32_t dtype_of(int8_t type) {
  switch (type) {
    case kFloat32: return VERGE_FP32;
    case kFloat16: return VERGE_FP16;
    case kFloat64: return VERGE_FP64;
    case kBfloat16: return VERGE_BF16;
    case kInt8: return VERGE_INT8;
    case kUint8: return VERGE_UINT8;
    case kInt16: return VERGE_INT16;
    case kUint16: return VERGE_UINT16;
    case kInt32: return VERGE_INT32;
    case kUint32: return VERGE_UINT32;
    case kInt64: return VERGE_INT64;
    case kUint64: return VERGE_UINT64;
    case kBool: return VERGE_BOOL;
    default: return VERGE_DTYPE_INVALID;
  }
}

verge_tensor_info describe_tensor(const TensorDef& t, const char* what) {
  verge_tensor_info info = verge_plugin::empty_info();
  info.dtype = dtype_of(t.type);
  if (info.dtype == VERGE_DTYPE_INVALID)
    fail(VERGE_UNIMPLEMENTED, std::string(what) + " '" + std::string(t.name) + "' is of type " + type_name(t.type) +
                                  ", which this engine does not serve; the TensorFlow engine serves strings");
  info.rank = static_cast<int32_t>(t.signature.size());
  for (int i = 0; i < info.rank; ++i) info.dims[i] = t.signature[static_cast<size_t>(i)];
  if (!t.blockwise && t.scales && t.scales.size() == 1) {
    info.quantization.present = 1;
    info.quantization.scale = t.scales.at<float>(0);
    info.quantization.zero_point = t.zero_points && t.zero_points.size() > 0 ? t.zero_points.at<int64_t>(0) : 0;
  }
  return info;
}

// Names must be there and differ; files without signatures have the graph's own, which need not.
std::string unique_name(const std::string& wanted, const char* kind, size_t index, const std::vector<verge_tensor_info>& taken) {
  std::string name = wanted.empty() ? std::string(kind) + "_" + std::to_string(index) : wanted;
  for (const verge_tensor_info& other : taken)
    if (name == other.name) return unique_name(name + "_" + std::to_string(index), kind, index, taken);
  return name;
}

}  // namespace
}  // namespace verge::litert

using verge::litert::Compiled;
using verge::litert::LoadedFile;
using verge::litert::LrtLayout;
using verge_plugin::fail;
using verge_plugin::invalid;

void verge_model::read_file(const verge_artifact_file& entry, const char* signature) {
  auto file = std::make_unique<LoadedFile>();
  file->path = entry.path;
  file->batch = entry.batch;
  file->bytes = std::make_unique<verge::litert::MappedFile>(file->path);
  std::string wrong = verge::litert::parse_tflite(file->bytes->data(), file->bytes->size(), file->parsed);
  if (wrong.empty()) wrong = verge::litert::check_tflite(file->parsed);
  if (!wrong.empty()) invalid(file->path + ": " + wrong);
  const auto& signatures = file->parsed.signatures;
  if (signature && *signature) {
    size_t i = 0;
    while (i < signatures.size() && signatures[i].key != signature) ++i;
    if (i == signatures.size()) {
      std::string known;
      for (const auto& s : signatures) known += (known.empty() ? "" : ", ") + s.key.substr(0, 64);
      invalid(file->path + ": has no signature '" + signature + "'; it has: " + (known.empty() ? "none" : known));
    }
    file->signature = i;
  } else {
    for (size_t i = 0; i < signatures.size(); ++i)
      if (signatures[i].key == "serving_default") file->signature = i;
  }
  if (file->graph().outputs.empty()) invalid(file->path + ": the signature has no outputs");
  file->api = &engine->api;
  const int status = engine->api.CreateModelFromBuffer(engine->environment, file->bytes->data(), file->bytes->size(), &file->model);
  if (status != verge::litert::kLrtOk) {
    file->model = nullptr;
    invalid(file->path + ": LiteRT cannot read it (" + verge::litert::lrt_status_name(status) + ")");
  }
  files.push_back(std::move(file));
}

void verge_model::describe() {
  const LoadedFile& first = *files[0];
  const auto& graph = first.graph();
  const auto& signature = first.parsed.signatures[first.signature];
  for (size_t i = 0; i < graph.inputs.size(); ++i) {
    verge_tensor_info t = verge::litert::describe_tensor(graph.tensors[static_cast<size_t>(graph.inputs[i])], "input");
    t.name = names.emplace_back(verge::litert::unique_name(signature.input_names[i], "input", i, inputs)).c_str();
    inputs.push_back(t);
  }
  for (size_t i = 0; i < graph.outputs.size(); ++i) {
    verge_tensor_info t = verge::litert::describe_tensor(graph.tensors[static_cast<size_t>(graph.outputs[i])], "output");
    t.name = names.emplace_back(verge::litert::unique_name(signature.output_names[i], "output", i, outputs)).c_str();
    outputs.push_back(t);
  }
  auto leading = [](const std::vector<verge_tensor_info>& list, int64_t dim) {
    for (const verge_tensor_info& t : list)
      if (t.rank < 1 || t.dims[0] != dim) return false;
    return !list.empty();
  };
  const bool stated = files.size() > 1 || files[0]->batch > 0;
  if (!stated && leading(inputs, -1)) {
    for (auto* list : {&inputs, &outputs}) {
      for (verge_tensor_info& t : *list) {
        if (t.rank < 1) continue;
        t.dims[0] = -1;
        t.batch_axis = 0;
      }
    }
    return;
  }
  fix_batches(stated);
}

void verge_model::fix_batches(bool stated) {
  const LoadedFile& first = *files[0];
  auto leading = [](const std::vector<verge_tensor_info>& list, int64_t dim) {
    for (const verge_tensor_info& t : list)
      if (t.rank < 1 || t.dims[0] != dim) return false;
    return !list.empty();
  };
  if (!stated) {
    // One file of fixed size: its leading dimension is the batch where all tensors agree on it and it is 1, or was free when the file was made.
    const auto free_first = [&](int32_t i) { return !first.graph().tensors[static_cast<size_t>(i)].signature.empty() && first.graph().tensors[static_cast<size_t>(i)].signature[0] == -1; };
    const bool was_free = std::all_of(first.graph().inputs.begin(), first.graph().inputs.end(), free_first);
    if (inputs.empty() || inputs[0].rank < 1 || (inputs[0].dims[0] != 1 && !was_free) || !leading(inputs, inputs[0].dims[0]) || !leading(outputs, inputs[0].dims[0])) {
      fixed_batches = {1};
      return;
    }
    files[0]->batch = inputs[0].dims[0];
    fixed_batches = {files[0]->batch};
  } else {
    for (const auto& file : files) {
      const auto& g = file->graph();
      if (g.inputs.size() != inputs.size() || g.outputs.size() != outputs.size())
        invalid(file->path + ": has other inputs or outputs than " + first.path);
      for (const auto* list : {&g.inputs, &g.outputs}) {
        const auto& known = list == &g.inputs ? inputs : outputs;
        for (size_t i = 0; i < list->size(); ++i) {
          const auto& t = g.tensors[static_cast<size_t>((*list)[i])];
          bool same = verge::litert::dtype_of(t.type) == known[i].dtype && static_cast<int>(t.shape.size()) == known[i].rank;
          for (size_t d = 1; same && d < t.shape.size(); ++d) same = t.signature[d] == known[i].dims[d];
          if (!same) invalid(file->path + ": tensor '" + std::string(t.name) + "' has another type or shape than in " + first.path);
          if (list == &g.inputs && (t.shape.empty() || t.shape[0] != file->batch))
            invalid(file->path + ": is said to have batch size " + std::to_string(file->batch) + ", but input '" + std::string(t.name) +
                    "' has a leading dimension of " + (t.shape.empty() ? "none" : std::to_string(t.shape[0])));
        }
      }
      if (!fixed_batches.empty() && fixed_batches.back() == file->batch)
        invalid(file->path + ": a second file of batch size " + std::to_string(file->batch));
      fixed_batches.push_back(file->batch);
    }
  }
  for (auto* list : {&inputs, &outputs}) {
    for (size_t i = 0; i < list->size(); ++i) {
      verge_tensor_info& t = (*list)[i];
      if (t.rank < 1 || (list == &outputs && t.dims[0] != files[0]->batch && t.dims[0] != -1)) continue;
      t.dims[0] = -1;
      t.batch_axis = 0;
    }
  }
}

// Runs the spare once on zeros where LiteRT cannot say before a run what comes out. Some files whose inputs have a free leading dimension
// have its size baked into a reshape; they stay at the size they were exported with. Some write outputs to memory of their own, which
// cannot be fetched; they are refused.
template <typename Compile>
void verge_model::prove(bool accelerated, const Compile& compile) {
  auto probe = [&](std::initializer_list<int64_t> batches) {
    verge_instance instance(this, spare_placement);
    std::string wrong;
    for (int64_t batch : batches)
      if (wrong.empty()) wrong = instance.probe(batch, accelerated);
    spare = std::move(instance.compiled);
    return wrong;
  };
  if (fixed_batches.empty()) {
    if (probe({1, 3, 1}).empty()) return;
    const auto& graph = files[0]->graph();
    for (auto* list : {&inputs, &outputs}) {
      const auto& tensors = list == &inputs ? graph.inputs : graph.outputs;
      for (size_t i = 0; i < list->size(); ++i) {
        verge_tensor_info& t = (*list)[i];
        t.batch_axis = -1;
        if (t.rank > 0) t.dims[0] = graph.tensors[static_cast<size_t>(tensors[i])].shape[0];
      }
    }
    fix_batches(false);
    spare.clear();
    compile();
  }
  for (int64_t batch : fixed_batches)
    if (std::string wrong = probe({batch}); !wrong.empty()) fail(VERGE_UNIMPLEMENTED, files[0]->path + ": " + wrong);
}

verge_model::verge_model(verge::litert::Engine* owner, const verge_artifact& artifact, const verge_plugin::Placement& placement)
    : engine(owner) {
  if (std::string_view(artifact.format) != "tflite") invalid("format '" + std::string(artifact.format) + "' is not read; known: tflite");
  for (uint32_t i = 0; i < artifact.count; ++i) {
    if (artifact.count > 1 && artifact.files[i].batch == 0)
      invalid(std::string(artifact.files[i].path) + ": one of several files has no batch size");
    read_file(artifact.files[i], artifact.signature);
  }
  std::sort(files.begin(), files.end(), [](const auto& a, const auto& b) { return a->batch < b->batch; });
  spare_placement = placement;
  auto compile = [&] {
    for (const auto& file : files) {
      try {
        spare.push_back(std::make_unique<Compiled>(engine->api, engine->environment, file->model, placement));
      } catch (const verge_plugin::Error& e) {
        fail(e.code, file->path + ": " + e.message);
      }
    }
  };
  compile();
  describe();
  bool accelerated = false;
  if (engine->api.CompiledModelIsFullyAccelerated(spare[0]->handle(), &accelerated) != verge::litert::kLrtOk) accelerated = false;
  prove(accelerated, compile);
  precision = verge::litert::executed_precision(files[0]->parsed);
  precision.source += accelerated ? "; XNNPACK runs the whole graph" : "; XNNPACK runs a part, LiteRT's own kernels the rest";
  // XNNPACK has packed its own copy of the weights.
  for (const auto& file : files) file->bytes->drop_pages();
  info.size = sizeof info;
  info.input_count = static_cast<uint32_t>(inputs.size());
  info.output_count = static_cast<uint32_t>(outputs.size());
  info.inputs = inputs.data();
  info.outputs = outputs.data();
  info.fixed_batch_count = static_cast<uint32_t>(fixed_batches.size());
  info.fixed_batches = fixed_batches.data();
  info.executed_precision = precision.executed.c_str();
  info.executed_precision_source = precision.source.c_str();
  for (const auto& file : files) info.weight_bytes += file->parsed.weight_bytes;
}
