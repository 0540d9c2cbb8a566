// Sessions: reading models, their names and shapes, and in what precision they run.
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/onnx_facts.h"
#include "onnxruntime/ort_engine.h"

using verge_plugin::fail;
using verge_plugin::invalid;

namespace verge_ort {
namespace {

constexpr off_t kMaxInspectedBytes = off_t{1} << 30;

// Operators that compute in integers, and those that compute in floats and do the bulk of a network's arithmetic.
constexpr const char* kInt8Operators[] = {"QLinearConv",  "ConvInteger", "QLinearMatMul",         "MatMulInteger",        "QGemm",
                                          "QAttention",   "QLinearConvTranspose", "MatMulIntegerToFloat", "DynamicQuantizeMatMul",
                                          "DynamicQuantizeLSTM"};
constexpr const char* kFloatOperators[] = {"Conv",        "FusedConv", "NhwcFusedConv", "ConvTranspose", "MatMul",   "FusedMatMul",
                                           "Gemm",        "FusedGemm", "LSTM",          "GRU",           "RNN",      "Attention",
                                           "MultiHeadAttention", "MatMulNBits", "NchwcConv"};

int count(const verge_plugin::OnnxFacts& facts, const char* const* begin, const char* const* end) {
  int n = 0;
  for (; begin != end; ++begin) {
    auto it = facts.operators.find(*begin);
    if (it != facts.operators.end()) n += it->second;
  }
  return n;
}

bool has_quantization(const verge_plugin::OnnxFacts& facts) {
  for (const char* op : {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"}) {
    if (facts.operators.count(op)) return true;
  }
  return count(facts, std::begin(kInt8Operators), std::end(kInt8Operators)) > 0;
}

void set_precision(verge_model& m, const verge_plugin::OnnxFacts& facts, const char* graph) {
  int in_int8 = count(facts, std::begin(kInt8Operators), std::end(kInt8Operators));
  int in_float = count(facts, std::begin(kFloatOperators), std::end(kFloatOperators));
  std::string where = std::string(graph) + ": convolution, matrix and recurrent nodes: ";
  if (in_int8 + in_float == 0) {
    m.precision = "f32";
    m.precision_source = std::string(graph) + " has no convolution, matrix or recurrent node; ONNX Runtime's CPU kernels compute in f32";
    return;
  }
  m.precision = in_float == 0 ? "int8" : in_int8 == 0 ? "f32" : "mixed";
  m.precision_source = where + (in_int8 ? std::to_string(in_int8) + " in int8" : "") + (in_int8 && in_float ? ", " : "") +
                       (in_float ? std::to_string(in_float) + " in f32" : "");
}

// A file in memory that ONNX Runtime can open by path.
class MemoryFile {
 public:
  MemoryFile() : fd_(memfd_create("verge-onnx", MFD_CLOEXEC)) {}
  ~MemoryFile() {
    if (fd_ >= 0) ::close(fd_);
  }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;
  std::string path() const { return fd_ < 0 ? "" : "/proc/self/fd/" + std::to_string(fd_); }

 private:
  int fd_;
};

struct Described {
  verge_tensor_info info;
  std::string symbol;  // name of a free first dimension, where the file gives one
};

Described describe(verge_model& m, OrtSession* session, bool is_output, size_t index) {
  const OrtApi* api = m.engine->api;
  char* raw_name = nullptr;
  check(api, is_output ? api->SessionGetOutputName(session, index, m.engine->allocator, &raw_name)
                       : api->SessionGetInputName(session, index, m.engine->allocator, &raw_name));
  m.names.emplace_back(raw_name);
  check(api, api->AllocatorFree(m.engine->allocator, raw_name));
  const std::string what = std::string(is_output ? "output '" : "input '") + m.names.back() + "'";

  Described d{verge_plugin::empty_info(), ""};
  d.info.name = m.names.back().c_str();
  OrtTypeInfo* raw_type = nullptr;
  check(api, is_output ? api->SessionGetOutputTypeInfo(session, index, &raw_type) : api->SessionGetInputTypeInfo(session, index, &raw_type));
  TypeInfo type(raw_type, {api});
  const OrtTensorTypeAndShapeInfo* tensor = nullptr;
  check(api, api->CastTypeInfoToTensorInfo(type.get(), &tensor));
  if (!tensor) {
    fail(VERGE_UNIMPLEMENTED, what + ": is no tensor but a sequence, map or optional value; export the model with tensors only (for "
                                     "scikit-learn's converters: zipmap=False)");
  }
  ONNXTensorElementDataType element;
  check(api, api->GetTensorElementType(tensor, &element));
  d.info.dtype = dtype_of(element);
  if (d.info.dtype == VERGE_DTYPE_INVALID) {
    fail(VERGE_UNIMPLEMENTED, what + ": ONNX element type " + std::to_string(element) + " cannot be served");
  }
  size_t rank = 0;
  check(api, api->GetDimensionsCount(tensor, &rank));
  if (rank > VERGE_MAX_RANK) fail(VERGE_UNIMPLEMENTED, what + ": has more than " + std::to_string(VERGE_MAX_RANK) + " dimensions");
  d.info.rank = static_cast<int32_t>(rank);
  check(api, api->GetDimensions(tensor, d.info.dims, rank));
  for (size_t i = 0; i < rank; ++i) {
    if (d.info.dims[i] < 0) d.info.dims[i] = -1;
  }
  if (rank > 0) {
    std::vector<const char*> symbols(rank, "");
    check(api, api->GetSymbolicDimensions(tensor, symbols.data(), rank));
    d.symbol = symbols[0] ? symbols[0] : "";
  }
  return d;
}

// Converters that have no name for a dimension make one up for each tensor.
bool made_up(const std::string& symbol) {
  return symbol.empty() || symbol.rfind("unk__", 0) == 0 || symbol.rfind("unk_", 0) == 0 || symbol.rfind("?", 0) == 0;
}

// The batch axis is the first where it is free in an input and in every output, under one name as far as names are given, or where it is
// the same fixed size everywhere: 1, or what the artifact says. Another size everywhere is what the network is about (a window of 9 readings).
// Sets the axes and returns the fixed size, 0 for a free one or none.
int64_t find_batch_axis(std::vector<Described>& all, size_t inputs, int64_t stated) {
  if (all.empty() || inputs == 0) return 0;
  std::string symbol;
  bool free = false, fixed = all[0].info.rank > 0;
  for (size_t i = 0; i < all.size(); ++i) {
    const Described& d = all[i];
    const bool leads_free = d.info.rank > 0 && d.info.dims[0] == -1;
    fixed = fixed && d.info.rank > 0 && d.info.dims[0] >= 1 && d.info.dims[0] == all[0].info.dims[0];
    if (i < inputs) {
      free = free || leads_free;
    } else if (!leads_free) {
      free = false;
    }
    if (!leads_free || made_up(d.symbol)) continue;
    if (!symbol.empty() && symbol != d.symbol) return 0;
    symbol = d.symbol;
  }
  const int64_t size = fixed ? all[0].info.dims[0] : 0;
  if (!free && size != 1 && (size == 0 || size != stated)) return 0;
  for (Described& d : all) {
    if (!fixed && (d.info.rank == 0 || d.info.dims[0] != -1)) continue;
    d.info.batch_axis = 0;
    d.info.dims[0] = -1;
  }
  return size;
}

}  // namespace

void check(const OrtApi* api, OrtStatus* status) {
  if (!status) return;
  OrtErrorCode ort_code = api->GetErrorCode(status);
  std::string message = api->GetErrorMessage(status);
  api->ReleaseStatus(status);
  verge_code code = VERGE_INTERNAL;
  switch (ort_code) {
    case ORT_INVALID_ARGUMENT:
    case ORT_INVALID_GRAPH:
    case ORT_INVALID_PROTOBUF:
      code = VERGE_INVALID_ARGUMENT;
      break;
    case ORT_NO_SUCHFILE:
    case ORT_NO_MODEL:
      code = VERGE_NOT_FOUND;
      break;
    case ORT_NOT_IMPLEMENTED:
      code = VERGE_UNIMPLEMENTED;
      break;
    default:
      break;
  }
  // Source positions ("/path/file.cc:12 function ") say nothing to a user.
  if (size_t at = message.find(".cc:"); at != std::string::npos && at < 200) {
    size_t space = message.find(' ', at);
    if (space != std::string::npos) message.erase(0, space + 1);
  }
  for (char& c : message) {
    if (c == '\n' || c == '\r') c = ' ';
  }
  if (message.size() > 500) message.resize(500);
  fail(code, "ONNX Runtime: " + message);
}

int32_t dtype_of(ONNXTensorElementDataType type) {
  switch (type) {
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT: return VERGE_FP32;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8: return VERGE_UINT8;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8: return VERGE_INT8;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT16: return VERGE_UINT16;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT16: return VERGE_INT16;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32: return VERGE_INT32;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64: return VERGE_INT64;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING: return VERGE_BYTES;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL: return VERGE_BOOL;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16: return VERGE_FP16;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE: return VERGE_FP64;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT32: return VERGE_UINT32;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT64: return VERGE_UINT64;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16: return VERGE_BF16;
    default: return VERGE_DTYPE_INVALID;
  }
}

ONNXTensorElementDataType element_type(int32_t dtype) {
  switch (dtype) {
    case VERGE_BOOL: return ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL;
    case VERGE_UINT8: return ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8;
    case VERGE_UINT16: return ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT16;
    case VERGE_UINT32: return ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT32;
    case VERGE_UINT64: return ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT64;
    case VERGE_INT8: return ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8;
    case VERGE_INT16: return ONNX_TENSOR_ELEMENT_DATA_TYPE_INT16;
    case VERGE_INT32: return ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32;
    case VERGE_INT64: return ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64;
    case VERGE_FP16: return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16;
    case VERGE_FP32: return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
    case VERGE_FP64: return ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE;
    case VERGE_BF16: return ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16;
    case VERGE_BYTES: return ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING;
    default: return ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
  }
}

}  // namespace verge_ort

std::shared_ptr<OrtSession> verge_model::make_session(verge_engine* engine, const std::string& path, const verge_plugin::Placement& placement,
                                                      const std::string& optimized_path) {
  using namespace verge_ort;
  const OrtApi* api = engine->api;
  OrtSessionOptions* raw = nullptr;
  check(api, api->CreateSessionOptions(&raw));
  SessionOptions options(raw, {api});
  check(api, api->SetIntraOpNumThreads(raw, placement.threads));
  check(api, api->SetInterOpNumThreads(raw, 1));
  check(api, api->SetSessionExecutionMode(raw, ORT_SEQUENTIAL));
  check(api, api->SetSessionGraphOptimizationLevel(raw, ORT_ENABLE_ALL));
  // Cores are shared with the server and with other lanes.
  check(api, api->AddSessionConfigEntry(raw, "session.intra_op.allow_spinning", "0"));
  // Weights outside the arena, which grows by doubling.
  check(api, api->AddSessionConfigEntry(raw, "session.use_device_allocator_for_initializers", "1"));
  if (!optimized_path.empty()) {
    check(api, api->SetOptimizedModelFilePath(raw, optimized_path.c_str()));
    check(api, api->AddSessionConfigEntry(raw, "session.save_model_format", "ONNX"));
  }
  verge_plugin::ScopedAffinity affinity(placement);
  OrtSession* session = nullptr;
  check(api, api->CreateSession(engine->env.get(), path.c_str(), raw, &session));
  return std::shared_ptr<OrtSession>(session, [api](OrtSession* s) { api->ReleaseSession(s); });
}

std::unique_ptr<verge_model> verge_model::load(verge_engine* engine, const verge_artifact& artifact, verge_plugin::Options options,
                                               const verge_plugin::Placement& placement) {
  using namespace verge_ort;
  options.refuse_rest("");
  if (std::string_view(artifact.format) != "onnx") invalid("format '" + std::string(artifact.format) + "' is not read; known: onnx");
  if (artifact.signature && *artifact.signature) invalid("an ONNX model has no signature '" + std::string(artifact.signature) + "'");
  auto model = std::make_unique<verge_model>();
  model->engine = engine;
  model->placement = placement;
  const OrtApi* api = engine->api;

  for (uint32_t f = 0; f < artifact.count; ++f) {
    const std::string path = artifact.files[f].path;
    struct stat s;
    if (stat(path.c_str(), &s) != 0) fail(VERGE_NOT_FOUND, path + ": no such file");
    if (!S_ISREG(s.st_mode) || s.st_size == 0) fail(VERGE_INVALID_ARGUMENT, path + ": no file, or empty");
    const bool ort_format = path.size() > 4 && path.compare(path.size() - 4, 4, ".ort") == 0;
    verge_plugin::OnnxFacts facts;
    if (!ort_format) facts = verge_plugin::read_onnx_facts(path);

    Part part;
    part.path = path;
    // What a quantised network runs in is decided by the optimiser: look at its result.
    MemoryFile optimized;
    const bool inspect = !ort_format && has_quantization(facts) && s.st_size <= kMaxInspectedBytes;
    part.session = make_session(engine, path, placement, inspect ? optimized.path() : "");
    if (f == 0) {
      if (ort_format) {
        model->precision_source = "a file in ONNX Runtime's own format does not tell";
      } else if (inspect && !optimized.path().empty()) {
        set_precision(*model, verge_plugin::read_onnx_facts(optimized.path()), "the graph that ONNX Runtime runs");
      } else {
        set_precision(*model, facts, "the model's graph");
      }
      model->info.weight_bytes = facts.weight_bytes;
    }

    size_t inputs = 0, outputs = 0;
    check(api, api->SessionGetInputCount(part.session.get(), &inputs));
    check(api, api->SessionGetOutputCount(part.session.get(), &outputs));
    if (inputs > 4096 || outputs > 4096) invalid(path + ": has more than 4096 inputs or outputs");
    std::vector<Described> all;
    for (size_t i = 0; i < inputs; ++i) all.push_back(describe(*model, part.session.get(), false, i));
    for (size_t i = 0; i < outputs; ++i) all.push_back(describe(*model, part.session.get(), true, i));
    part.batch = find_batch_axis(all, inputs, artifact.files[f].batch);
    if (f == 0) {
      for (size_t i = 0; i < all.size(); ++i) (i < inputs ? model->inputs : model->outputs).push_back(all[i].info);
    } else {
      bool equal = inputs == model->inputs.size() && outputs == model->outputs.size();
      for (size_t i = 0; equal && i < all.size(); ++i) {
        const verge_tensor_info& a = i < inputs ? model->inputs[i] : model->outputs[i - inputs];
        const verge_tensor_info& b = all[i].info;
        equal = a.dtype == b.dtype && a.rank == b.rank && std::strcmp(a.name, b.name) == 0 && std::equal(a.dims, a.dims + a.rank, b.dims);
      }
      if (!equal) invalid(path + ": its inputs and outputs differ from those of the artifact's first file");
    }
    for (const Part& other : model->parts) {
      if (other.batch == part.batch) invalid(path + ": a second file of the same batch size");
    }
    model->parts.push_back(std::move(part));
    if (model->parts.back().batch == 0) {
      if (f > 0) model->parts.erase(model->parts.begin(), model->parts.end() - 1);
      break;
    }
  }
  std::sort(model->parts.begin(), model->parts.end(), [](const Part& a, const Part& b) { return a.batch < b.batch; });
  for (const Part& p : model->parts) {
    if (p.batch > 0) model->fixed_batches.push_back(p.batch);
  }
  for (const verge_tensor_info& i : model->inputs) model->input_names.push_back(i.name);
  for (const verge_tensor_info& i : model->outputs) model->output_names.push_back(i.name);

  verge_model_info& info = model->info;
  info.size = sizeof info;
  info.input_count = static_cast<uint32_t>(model->inputs.size());
  info.output_count = static_cast<uint32_t>(model->outputs.size());
  info.inputs = model->inputs.data();
  info.outputs = model->outputs.data();
  info.fixed_batch_count = static_cast<uint32_t>(model->fixed_batches.size());
  info.fixed_batches = model->fixed_batches.data();
  info.executed_precision = model->precision.c_str();
  info.executed_precision_source = model->precision_source.c_str();
  return model;
}
