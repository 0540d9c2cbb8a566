#include "model.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace verge::tensorflow {

using verge_plugin::fail;
using verge_plugin::invalid;

namespace {

// Protobuf's own limit.
constexpr off_t kMaxGraphBytes = (off_t{1} << 31) - 1;

verge_code code_of(TF_Code code) {
  // TensorFlow's codes are gRPC's.
  return code >= TF_CANCELLED && code <= TF_UNAUTHENTICATED ? static_cast<verge_code>(code) : VERGE_INTERNAL;
}

void read_graph_file(const std::string& path, SavedModel& out) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) fail(errno == ENOENT || errno == ENOTDIR ? VERGE_NOT_FOUND : VERGE_PERMISSION_DENIED, path + ": " + std::strerror(errno));
  struct stat info{};
  void* data = MAP_FAILED;
  const bool regular = fstat(fd, &info) == 0 && S_ISREG(info.st_mode) && info.st_size > 0 && info.st_size <= kMaxGraphBytes;
  if (regular) data = mmap(nullptr, static_cast<size_t>(info.st_size), PROT_READ, MAP_PRIVATE, fd, 0);
  close(fd);
  if (!regular) invalid(path + ": is not a file of 1 byte to 2 GiB");
  if (data == MAP_FAILED) fail(VERGE_RESOURCE_EXHAUSTED, path + ": cannot be mapped");
  std::string wrong;
  try {
    wrong = read_saved_model({static_cast<const char*>(data), static_cast<size_t>(info.st_size)}, out);
  } catch (...) {
    munmap(data, static_cast<size_t>(info.st_size));
    throw;
  }
  munmap(data, static_cast<size_t>(info.st_size));
  if (!wrong.empty()) invalid(path + ": " + wrong);
}

void put_varint(std::string& out, uint64_t value) {
  for (; value >= 0x80; value >>= 7) out.push_back(static_cast<char>(value | 0x80));
  out.push_back(static_cast<char>(value));
}

void put_field(std::string& out, uint32_t field, int64_t value) {
  put_varint(out, field << 3);
  put_varint(out, static_cast<uint64_t>(value));
}

}  // namespace

void TfStatus::check(const std::string& what) const {
  if (ok()) return;
  std::string message = api_.TF_Message(status_);
  message = message.substr(0, message.find('\n'));
  fail(code_of(api_.TF_GetCode(status_)), what + ": " + message);
}

std::string session_config(int threads) {
  std::string config;
  // device_count {"GPU": 0}
  std::string entry("\x0a\x03GPU", 5);
  put_field(entry, 2, 0);
  put_varint(config, (1 << 3) | 2);
  put_varint(config, entry.size());
  config += entry;
  put_field(config, 2, threads);                      // intra_op_parallelism_threads
  put_field(config, 5, threads == 1 ? -1 : threads);  // inter_op_parallelism_threads; negative: in the caller's thread
  if (threads != 1) put_field(config, 9, 1);          // use_per_session_threads
  return config;
}

Session::Session(const TfApi& api, const std::string& folder, const verge_plugin::Placement& placement) : api_(api) {
  const verge_plugin::ScopedAffinity affinity(placement);
  TfStatus status(api);
  TF_SessionOptions* options = api.TF_NewSessionOptions();
  const std::string config = session_config(placement.threads);
  api.TF_SetConfig(options, config.data(), config.size(), status.get());
  graph_ = api.TF_NewGraph();
  const char* tags[] = {"serve"};
  if (status.ok()) session_ = api.TF_LoadSessionFromSavedModel(options, nullptr, folder.c_str(), tags, 1, graph_, nullptr, status.get());
  api.TF_DeleteSessionOptions(options);
  if (status.ok()) return;
  api.TF_DeleteGraph(graph_);
  status.check(folder + ": TensorFlow cannot load it");
}

Session::~Session() {
  TfStatus status(api_);
  api_.TF_CloseSession(session_, status.get());
  api_.TF_DeleteSession(session_, status.get());
  api_.TF_DeleteGraph(graph_);
}

TF_Output Session::output(const std::string& tensor) const {
  const size_t colon = tensor.rfind(':');
  const std::string name = tensor.substr(0, colon);
  int index = 0;
  if (colon != std::string::npos) {
    auto [end, error] = std::from_chars(tensor.data() + colon + 1, tensor.data() + tensor.size(), index);
    if (error != std::errc() || end != tensor.data() + tensor.size() || index < 0)
      invalid("the signature names the tensor '" + tensor + "'");
  }
  TF_Operation* operation = api_.TF_GraphOperationByName(graph_, name.c_str());
  if (!operation || index >= api_.TF_OperationNumOutputs(operation))
    invalid("the signature names the tensor '" + tensor + "', which the graph does not have");
  return {operation, index};
}

int32_t dtype_of(int tf_type) {
  switch (tf_type) {
    case TF_FLOAT: return VERGE_FP32;
    case TF_DOUBLE: return VERGE_FP64;
    case TF_HALF: return VERGE_FP16;
    case TF_BFLOAT16: return VERGE_BF16;
    case TF_INT8: return VERGE_INT8;
    case TF_INT16: return VERGE_INT16;
    case TF_INT32: return VERGE_INT32;
    case TF_INT64: return VERGE_INT64;
    case TF_UINT8: return VERGE_UINT8;
    case TF_UINT16: return VERGE_UINT16;
    case TF_UINT32: return VERGE_UINT32;
    case TF_UINT64: return VERGE_UINT64;
    case TF_BOOL: return VERGE_BOOL;
    case TF_STRING: return VERGE_BYTES;
    default: return VERGE_DTYPE_INVALID;
  }
}

TF_DataType tf_type_of(int32_t dtype) {
  for (int t = TF_FLOAT; t <= TF_UINT64; ++t)
    if (dtype_of(t) == dtype) return static_cast<TF_DataType>(t);
  return TF_FLOAT;
}

}  // namespace verge::tensorflow

using verge_plugin::fail;
using verge_plugin::invalid;

void verge_model::describe(int64_t stated_batch) {
  auto tensors = [](const std::vector<verge::tensorflow::TensorEntry>& entries, const char* what) {
    std::vector<verge_tensor_info> list;
    for (const auto& e : entries) {
      verge_tensor_info t = verge_plugin::empty_info();
      t.name = e.name.c_str();
      t.dtype = verge::tensorflow::dtype_of(e.dtype);
      if (t.dtype == VERGE_DTYPE_INVALID)
        fail(VERGE_UNIMPLEMENTED,
             std::string(what) + " '" + e.name + "' is of type " + verge::tensorflow::tf_type_name(e.dtype) + ", which is not served");
      t.rank = e.unknown_rank ? -1 : static_cast<int32_t>(e.dims.size());
      for (int d = 0; d < t.rank; ++d) t.dims[d] = e.dims[static_cast<size_t>(d)];
      list.push_back(t);
    }
    return list;
  };
  inputs = tensors(signature->inputs, "input");
  outputs = tensors(signature->outputs, "output");
  auto leading = [](const std::vector<verge_tensor_info>& list, int64_t dim) {
    for (const verge_tensor_info& t : list)
      if (t.rank < 1 || t.dims[0] != dim) return false;
    return !list.empty();
  };
  bool free_batch = leading(outputs, -1);
  bool fed = false;
  for (const verge_tensor_info& t : inputs) fed = fed || (t.rank > 0 && t.dims[0] == -1);
  free_batch = free_batch && fed;
  if (free_batch) {
    for (auto* list : {&inputs, &outputs})
      for (verge_tensor_info& t : *list)
        if (t.rank > 0 && t.dims[0] == -1) t.batch_axis = 0;
    return;
  }
  const int64_t size = inputs.empty() || inputs[0].rank < 1 ? -1 : inputs[0].dims[0];
  if (size < 1 || (size != 1 && size != stated_batch) || !leading(inputs, size) || !leading(outputs, size)) {
    // Nothing that all tensors share, or a size that nobody calls a batch: one run is one sample.
    fixed_batches = {1};
    return;
  }
  fixed_batches = {size};
  for (auto* list : {&inputs, &outputs}) {
    for (verge_tensor_info& t : *list) {
      t.batch_axis = 0;
      t.dims[0] = -1;
    }
  }
}

void verge_model::describe_precision() {
  int total = 0;
  for (const auto& [type, count] : parsed.product_types) total += count;
  auto count = [&](int type) {
    auto it = parsed.product_types.find(type);
    return it == parsed.product_types.end() ? 0 : it->second;
  };
  if (total == 0) {
    precision = "f32";
    precision_source = "the graph has no convolution or matrix product; its arithmetic is of the types of its tensors";
    return;
  }
  const std::pair<int, const char*> kNames[] = {
      {TF_FLOAT, "f32"}, {TF_HALF, "f16"}, {TF_BFLOAT16, "bf16"}, {TF_INT8, "int8"}, {TF_QINT8, "int8"}};
  precision = "mixed";
  for (const auto& [type, name] : kNames)
    if (count(type) == total) precision = name;
  precision_source = "the " + std::to_string(total) + " convolutions and matrix products of the graph are of type";
  for (const auto& [type, n] : parsed.product_types)
    precision_source += std::string(type == parsed.product_types.begin()->first ? " " : ", ") + verge::tensorflow::tf_type_name(type);
}

verge_model::verge_model(verge::tensorflow::Engine* owner, const verge_artifact& artifact, const verge_plugin::Placement& placement)
    : engine(owner) {
  if (std::string_view(artifact.format) != "saved_model")
    invalid("format '" + std::string(artifact.format) + "' is not read; known: saved_model");
  if (artifact.count != 1) invalid("a saved_model artifact is one folder");
  folder = artifact.files[0].path;
  constexpr std::string_view kFile = "saved_model.pb";
  if (folder.size() > kFile.size() && folder.ends_with(kFile) && folder[folder.size() - kFile.size() - 1] == '/')
    folder.resize(folder.size() - kFile.size() - 1);
  verge::tensorflow::read_graph_file(folder + "/saved_model.pb", parsed);
  // TensorFlow loads a model without its values and fails when it runs.
  if (parsed.has_variables && access((folder + "/variables/variables.index").c_str(), R_OK) != 0)
    fail(VERGE_DATA_LOSS, folder + "/variables/variables.index: cannot be read: " + std::strerror(errno));
  const std::string wanted = artifact.signature && *artifact.signature ? artifact.signature : "";
  std::string known;
  for (const auto& s : parsed.signatures) {
    known += (known.empty() ? "" : ", ") + s.key;
    if (wanted.empty() ? s.key == "serving_default" : s.key == wanted) signature = &s;
  }
  if (!signature && wanted.empty() && parsed.signatures.size() == 1) signature = &parsed.signatures[0];
  if (!signature) invalid(folder + ": has no signature '" + (wanted.empty() ? "serving_default" : wanted) + "'; it has: " + known);
  if (!signature->unsupported.empty())
    fail(VERGE_UNIMPLEMENTED, folder + ": signature '" + signature->key + "' cannot be served: " + signature->unsupported);
  describe(artifact.files[0].batch);
  describe_precision();
  first_placement_ = placement;
  first_ = std::make_shared<verge::tensorflow::Session>(engine->api, folder, placement);
  for (const auto* list : {&signature->inputs, &signature->outputs})
    for (const auto& t : *list)
      if (const TF_Output o = first_->output(t.tensor); static_cast<int>(engine->api.TF_OperationOutputType(o)) != t.dtype)
        invalid(folder + ": tensor '" + t.name + "' has another type in the graph than in the signature");
  info.size = sizeof info;
  info.input_count = static_cast<uint32_t>(inputs.size());
  info.output_count = static_cast<uint32_t>(outputs.size());
  info.inputs = inputs.data();
  info.outputs = outputs.data();
  info.fixed_batch_count = static_cast<uint32_t>(fixed_batches.size());
  info.fixed_batches = fixed_batches.data();
  info.executed_precision = precision.c_str();
  info.executed_precision_source = precision_source.c_str();
  struct stat variables{};
  if (stat((folder + "/variables/variables.data-00000-of-00001").c_str(), &variables) == 0)
    info.weight_bytes = static_cast<uint64_t>(variables.st_size);
}

std::shared_ptr<verge::tensorflow::Session> verge_model::session(const verge_plugin::Placement& placement) {
  // One thread computes in the caller's, wherever that runs.
  auto same = [&](const verge_plugin::Placement& p) {
    return p.threads == placement.threads && (p.threads == 1 || p.cores == placement.cores);
  };
  std::lock_guard lock(mutex_);
  if (same(first_placement_)) return first_;
  for (Shared& s : others_) {
    if (!same(s.placement)) continue;
    if (auto alive = s.session.lock()) return alive;
    auto made = std::make_shared<verge::tensorflow::Session>(engine->api, folder, placement);
    s.session = made;
    return made;
  }
  auto made = std::make_shared<verge::tensorflow::Session>(engine->api, folder, placement);
  others_.push_back({placement, made});
  return made;
}
