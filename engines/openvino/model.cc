// Reading, reshaping and compiling networks.
#include <sys/stat.h>

#include <fstream>
#include <openvino/op/constant.hpp>
#include <set>

#include "common/onnx_facts.h"
#include "openvino/openvino_engine.h"

namespace verge_openvino {
namespace {

using verge_plugin::fail;
using verge_plugin::invalid;

// A port may have several names; the one a person gave it is wanted: the node's own name where it is among them, else the shortest.
std::string port_name(const ov::Output<const ov::Node>& port, bool is_output, size_t index) {
  const auto& names = port.get_names();
  const ov::Node* node = port.get_node();
  if (names.empty()) {
    std::string name = is_output && node->get_input_size() == 1 ? node->get_input_node_ptr(0)->get_friendly_name() : node->get_friendly_name();
    return name.empty() ? (is_output ? "output_" : "input_") + std::to_string(index) : name;
  }
  if (names.count(node->get_friendly_name())) return node->get_friendly_name();
  std::string best;
  for (const std::string& name : names) {
    if (best.empty() || name.size() < best.size() || (name.size() == best.size() && name < best)) best = name;
  }
  return best;
}

std::vector<ov::PartialShape> shapes_of(const std::vector<ov::Output<ov::Node>>& ports) {
  std::vector<ov::PartialShape> shapes;
  for (const auto& p : ports) shapes.push_back(p.get_partial_shape());
  return shapes;
}

bool leads_with(const std::vector<ov::PartialShape>& shapes, int64_t batch) {
  for (const ov::PartialShape& s : shapes) {
    if (s.rank().is_dynamic() || s.rank().get_length() == 0) return false;
    if (batch < 0 ? s[0].is_static() : (s[0].is_dynamic() || s[0].get_length() != batch)) return false;
  }
  return !shapes.empty();
}

// Whether shape inference proves that every output leads with the batch size that those inputs lead with whose first dimension is free.
// OpenVINO answers wrongly, and reports success, where a buffer of another shape than the network's output is lent to it; so no buffer of a
// free shape is lent without this proof.
bool batch_proved(const ov::Model& network) {
  constexpr int64_t kProbe = 7;
  try {
    std::shared_ptr<ov::Model> copy = network.clone();
    std::map<size_t, ov::PartialShape> shapes;
    bool any = false;
    for (size_t i = 0; i < copy->inputs().size(); ++i) {
      ov::PartialShape s = copy->input(i).get_partial_shape();
      if (s.rank().is_dynamic()) return false;
      if (s.rank().get_length() > 0 && s[0].is_dynamic()) {
        s[0] = kProbe;
        any = true;
      }
      shapes[i] = s;
    }
    if (!any) return false;
    copy->reshape(shapes);
    return leads_with(shapes_of(copy->outputs()), kProbe);
  } catch (const std::exception&) {
    return false;
  }
}

bool equal_behind_batch(const std::vector<ov::PartialShape>& a, const std::vector<ov::PartialShape>& b) {
  for (size_t i = 0; i < a.size(); ++i) {
    if (b[i].rank() != a[i].rank()) return false;
    for (int64_t d = 1; d < a[i].rank().get_length(); ++d) {
      if (a[i][d] != b[i][d]) return false;
    }
  }
  return true;
}

// Gives a network whose inputs and outputs all lead with the same fixed batch size, 1 or what the artifact says, a free batch axis, where every
// output then leads with a free one and nothing else changes. Returns the network, with its fixed batch size or 0. Another size is none of a batch:
// it is what the network is about (a window of 9 readings).
std::pair<std::shared_ptr<ov::Model>, int64_t> free_batch(const std::shared_ptr<ov::Model>& network, int64_t stated, bool wanted) {
  auto in = shapes_of(network->inputs());
  auto out = shapes_of(network->outputs());
  if (in.empty() || in[0].rank().is_dynamic() || in[0].rank().get_length() == 0 || in[0][0].is_dynamic()) return {network, 0};
  int64_t fixed = in[0][0].get_length();
  if (fixed < 1 || (fixed != 1 && fixed != stated) || !leads_with(in, fixed) || !leads_with(out, fixed)) return {network, 0};
  if (!wanted) return {network, fixed};
  try {
    std::shared_ptr<ov::Model> copy = network->clone();
    std::map<size_t, ov::PartialShape> shapes;
    for (size_t i = 0; i < in.size(); ++i) {
      ov::PartialShape s = in[i];
      s[0] = ov::Dimension::dynamic();
      shapes[i] = s;
    }
    copy->reshape(shapes);
    auto new_out = shapes_of(copy->outputs());
    if (leads_with(new_out, -1) && equal_behind_batch(out, new_out)) return {copy, 0};
  } catch (const std::exception&) {
    // The network cannot be reshaped: its fixed batch size it is.
  }
  return {network, fixed};
}

// Engines report a missing file in many words, and some only when they need it.
void check_readable(const std::string& path, bool folder) {
  struct stat s;
  if (stat(path.c_str(), &s) != 0) fail(VERGE_NOT_FOUND, path + ": no such file");
  if (folder != S_ISDIR(s.st_mode)) invalid(path + (folder ? ": a folder is expected" : ": a file is expected"));
  if (!folder && s.st_size == 0) fail(VERGE_DATA_LOSS, path + ": the file is empty");
}

std::string first_bytes(const std::string& path, size_t n) {
  std::ifstream in(path, std::ios::binary);
  std::string bytes(n, '\0');
  in.read(bytes.data(), static_cast<std::streamsize>(n));
  bytes.resize(static_cast<size_t>(std::max<std::streamsize>(in.gcount(), 0)));
  return bytes;
}

// OpenVINO offers a file to every reader it has; one that is not what the artifact says is refused before.
void check_content(const std::string& path, const std::string& format) {
  if (format == "openvino-ir") {
    std::string head = first_bytes(path, 64);
    size_t start = head.rfind("\xEF\xBB\xBF", 0) == 0 ? 3 : 0;
    start = head.find_first_not_of(" \t\r\n", start);
    if (start == std::string::npos || head[start] != '<') fail(VERGE_DATA_LOSS, path + ": is no OpenVINO IR, whose first file is XML");
  } else if (format == "onnx") {
    verge_plugin::read_onnx_facts(path);
  } else if (format == "tflite") {
    std::string head = first_bytes(path, 8);
    if (head.size() < 8 || head.substr(4) != "TFL3") fail(VERGE_DATA_LOSS, path + ": is no TFLite file, or is damaged or cut off");
  } else if (format == "saved_model") {
    struct stat s;
    if (stat((path + "/saved_model.pb").c_str(), &s) != 0 || !S_ISREG(s.st_mode)) {
      fail(VERGE_NOT_FOUND, path + ": holds no saved_model.pb");
    }
  }
}

std::shared_ptr<ov::Model> read(verge_engine& engine, const std::string& path, const std::string& format) {
  check_readable(path, format == "saved_model");
  check_content(path, format);
  std::string weights;
  if (format == "openvino-ir") {
    size_t dot = path.rfind('.');
    struct stat s;
    std::string beside = (dot == std::string::npos ? path : path.substr(0, dot)) + ".bin";
    if (stat(beside.c_str(), &s) == 0) weights = beside;
  }
  std::shared_ptr<ov::Model> network;
  try {
    network = engine.core.read_model(path, weights);
  } catch (const std::exception& e) {
    if (format == "tflite" && std::string_view(e.what()).find("VARIANT") != std::string_view::npos) {
      fail(VERGE_UNIMPLEMENTED, path + ": OpenVINO does not read TFLite files with TensorList operators (a loop over variant tensors): convert "
                                       "from the SavedModel, or unroll the loop");
    }
    throw;
  }
  if (!network) invalid(path + ": no network was read");
  return network;
}

void check_format(const std::string& format, const char* signature) {
  for (const char* known : {"openvino-ir", "onnx", "tflite", "saved_model", "openvino-blob"}) {
    if (format != known) continue;
    if (signature && *signature && !(format == "saved_model" && std::string_view(signature) == "serving_default")) {
      fail(VERGE_UNIMPLEMENTED, std::string("OpenVINO reads the default signature only, not '") + signature + "'");
    }
    return;
  }
  invalid("format '" + format + "' is not read; known: openvino-ir, onnx, tflite, saved_model, openvino-blob");
}

verge_tensor_info describe(verge_model& model, const ov::Output<const ov::Node>& port, bool is_output, size_t index) {
  verge_tensor_info info = verge_plugin::empty_info();
  std::string name = port_name(port, is_output, index);
  const std::string what = std::string(is_output ? "output '" : "input '") + name + "'";
  info.dtype = dtype_of(port.get_element_type());
  if (info.dtype == VERGE_DTYPE_INVALID) {
    fail(VERGE_UNIMPLEMENTED, what + ": OpenVINO on the CPU does not serve elements of type " + port.get_element_type().get_type_name());
  }
  const ov::PartialShape& shape = port.get_partial_shape();
  info.rank = -1;
  if (shape.rank().is_static()) {
    if (shape.rank().get_length() > VERGE_MAX_RANK) {
      fail(VERGE_UNIMPLEMENTED, what + ": has more than " + std::to_string(VERGE_MAX_RANK) + " dimensions");
    }
    info.rank = static_cast<int32_t>(shape.rank().get_length());
    for (int i = 0; i < info.rank; ++i) info.dims[i] = shape[i].is_static() ? shape[i].get_length() : -1;
  }
  model.names.push_back(std::move(name));
  info.name = model.names.back().c_str();
  return info;
}

bool is_free(const verge_tensor_info& i) { return i.rank > 0 && i.dims[0] == -1; }

void describe_all(verge_model& m) {
  const ov::CompiledModel& compiled = m.parts[0].compiled;
  for (size_t i = 0; i < compiled.inputs().size(); ++i) m.inputs.push_back(describe(m, compiled.inputs()[i], false, i));
  for (size_t i = 0; i < compiled.outputs().size(); ++i) m.outputs.push_back(describe(m, compiled.outputs()[i], true, i));
  const bool fixed = m.parts[0].batch > 0;
  if (fixed) {
    for (const Part& p : m.parts) m.fixed_batches.push_back(p.batch);
    for (verge_tensor_info& i : m.inputs) i.dims[0] = -1;
    for (verge_tensor_info& i : m.outputs) i.dims[0] = -1;
  }
  // A blob has no network to prove it on; it was exported from one whose outputs follow, or have no free dimension.
  const bool blob = !m.parts[0].network && std::any_of(m.inputs.begin(), m.inputs.end(), is_free) &&
                    std::all_of(m.outputs.begin(), m.outputs.end(), is_free);
  if (!fixed && !blob && !m.outputs_follow_batch) return;
  for (verge_tensor_info& i : m.inputs) i.batch_axis = is_free(i) ? 0 : -1;
  for (verge_tensor_info& i : m.outputs) i.batch_axis = 0;
}

uint64_t constant_bytes(const ov::Model& network) {
  uint64_t bytes = 0;
  std::set<const void*> seen;
  for (const auto& node : network.get_ops()) {
    auto constant = ov::as_type_ptr<ov::op::v0::Constant>(node);
    if (constant && seen.insert(constant->get_data_ptr()).second) bytes += constant->get_byte_size();
  }
  return bytes;
}

// Bytes of all tensors of a network of fixed shapes; UINT64_MAX where a shape is free. What a compiled one holds is less: tensors share memory.
uint64_t tensor_bytes(const ov::Model& network) {
  uint64_t bytes = 0;
  for (const auto& node : network.get_ops()) {
    for (const auto& out : node->outputs()) {
      if (out.get_partial_shape().is_dynamic()) return UINT64_MAX;
      bytes += ov::shape_size(out.get_shape()) * out.get_element_type().size();
    }
  }
  return bytes;
}

// A network of a free batch size looks at the shapes of every node again in every run, and prepares nodes anew when the size changes: tens of
// microseconds, which counts where a run takes hundreds. Small networks are therefore compiled for the sizes that come most as well, each when it
// comes first, which in a server is while it warms up.
constexpr int64_t kFixedSizes[] = {1, 2, 4};
constexpr uint64_t kMostFixedBytes = uint64_t{16} << 20;  // of one size

bool can_fix_sizes(const verge_model& m) {
  const auto only_batch_free = [](const verge_tensor_info& i) {
    return i.batch_axis == 0 && std::all_of(i.dims + 1, i.dims + i.rank, [](int64_t d) { return d >= 0; });
  };
  return m.outputs_follow_batch && std::all_of(m.inputs.begin(), m.inputs.end(), only_batch_free);
}

ov::element::Type precision_type(verge_engine& engine, const std::string& asked) {
  if (asked == "f32") return ov::element::f32;
  if (asked == "bf16") {
    if (!engine.has_bf16) fail(VERGE_UNIMPLEMENTED, "this CPU has no bf16 arithmetic: ask for f32");
    return ov::element::bf16;
  }
  if (asked == "f16") {
    if (!engine.has_f16) fail(VERGE_UNIMPLEMENTED, "this CPU has no f16 arithmetic: ask for f32");
    return ov::element::f16;
  }
  invalid("option 'inference_precision': '" + asked + "' is none of f32, bf16, f16");
}

ov::AnyMap compile_config(verge_engine& engine, const std::string& precision, const verge_plugin::Placement& placement, const char* cache_dir) {
  ov::AnyMap config = {
      ov::hint::performance_mode(ov::hint::PerformanceMode::LATENCY),
      ov::hint::inference_precision(precision_type(engine, precision)),
      ov::hint::dynamic_quantization_group_size(0),
      ov::hint::enable_cpu_pinning(false),
      ov::num_streams(1),
      ov::inference_num_threads(placement.threads),
  };
  if (cache_dir && *cache_dir) config.insert(ov::cache_dir(std::string(cache_dir)));
  return config;
}

ov::CompiledModel import_blob(verge_engine& engine, const std::string& path, const ov::AnyMap& config) {
  check_readable(path, false);
  std::ifstream in(path, std::ios::binary);
  if (!in) fail(VERGE_NOT_FOUND, path + ": cannot be read");
  return engine.core.import_model(in, "CPU", config);
}

}  // namespace
}  // namespace verge_openvino

std::string verge_model::blob_key() const {
  return "openvino " + engine->version + " bf16=" + (engine->has_bf16 ? "1" : "0") + " f16=" + (engine->has_f16 ? "1" : "0") + " " +
         asked_precision + " threads=" + std::to_string(placement.threads);
}

std::unique_ptr<verge_model> verge_model::load(verge_engine* engine, const verge_artifact& artifact, verge_plugin::Options options,
                                               const verge_plugin::Placement& placement) {
  using namespace verge_openvino;
  const std::string format = artifact.format;
  check_format(format, artifact.signature);
  auto model = std::make_unique<verge_model>();
  model->engine = engine;
  model->placement = placement;
  model->asked_precision = options.take("inference_precision", "f32");
  const std::string dynamic_batch = options.take("dynamic_batch", "auto");
  const std::string key = options.take("blob.key");
  options.refuse_rest("inference_precision, dynamic_batch, blob.key");
  if (dynamic_batch != "auto" && dynamic_batch != "no") invalid("option 'dynamic_batch': '" + dynamic_batch + "' is none of auto, no");
  model->config = compile_config(*engine, model->asked_precision, placement, artifact.cache_dir);
  verge_plugin::ScopedAffinity affinity(placement);

  uint64_t weights = 0;
  if (format == "openvino-blob") {
    if (artifact.count != 1) invalid("a compiled blob is one file");
    if (key != model->blob_key()) {
      fail(VERGE_FAILED_PRECONDITION, "the compiled blob is for '" + key + "', this is '" + model->blob_key() + "': compile again");
    }
    Part part;
    part.path = artifact.files[0].path;
    part.compiled = import_blob(*engine, part.path, model->config);
    part.batch = artifact.files[0].batch;
    model->parts.push_back(std::move(part));
  } else {
    for (uint32_t i = 0; i < artifact.count; ++i) {
      Part part;
      std::tie(part.network, part.batch) = free_batch(read(*engine, artifact.files[i].path, format), artifact.files[i].batch, dynamic_batch == "auto");
      if (part.batch == 0) {
        // A free batch size serves all: one file is enough.
        model->parts.clear();
        model->parts.push_back(std::move(part));
        break;
      }
      for (const Part& other : model->parts) {
        if (other.batch == part.batch) invalid(std::string(artifact.files[i].path) + ": a second file of batch " + std::to_string(part.batch));
      }
      model->parts.push_back(std::move(part));
    }
    for (Part& part : model->parts) {
      part.compiled = engine->core.compile_model(part.network, "CPU", model->config);
      weights += constant_bytes(*part.network);
    }
    std::sort(model->parts.begin(), model->parts.end(), [](const Part& a, const Part& b) { return a.batch < b.batch; });
  }
  model->outputs_follow_batch = model->parts[0].batch == 0 && model->parts[0].network && batch_proved(*model->parts[0].network);
  describe_all(*model);
  model->fixes_sizes = can_fix_sizes(*model);
  model->precision = executed_precision(model->parts[0].compiled, model->asked_precision);

  verge_model_info& info = model->info;
  info.size = sizeof info;
  info.input_count = static_cast<uint32_t>(model->inputs.size());
  info.output_count = static_cast<uint32_t>(model->outputs.size());
  info.inputs = model->inputs.data();
  info.outputs = model->outputs.data();
  info.fixed_batch_count = static_cast<uint32_t>(model->fixed_batches.size());
  info.fixed_batches = model->fixed_batches.data();
  info.executed_precision = model->precision.executed.c_str();
  info.executed_precision_source = model->precision.source.c_str();
  info.weight_bytes = weights;
  return model;
}

verge_instance::~verge_instance() {
  requests.clear();
  if (took_compiled) model->compiled_taken = false;
}

std::unique_ptr<verge_instance> verge_instance::make(verge_model* model, const verge_plugin::Placement& placement) {
  using namespace verge_openvino;
  auto instance = std::make_unique<verge_instance>();
  instance->model = model;
  // A compiled model of one stream runs one request at a time, so only one instance may use it; others compile their own.
  if (placement == model->placement) instance->took_compiled = !model->compiled_taken.exchange(true);
  verge_plugin::ScopedAffinity affinity(placement);
  ov::AnyMap config = model->config;
  config[ov::inference_num_threads.name()] = placement.threads;
  instance->placement = placement;
  instance->requests.reserve(model->parts.size() + std::size(kFixedSizes));
  for (const Part& part : model->parts) {
    if (instance->took_compiled) {
      instance->add_request(part.batch, part.compiled);
    } else if (part.network) {
      instance->add_request(part.batch, model->engine->core.compile_model(part.network, "CPU", config));
    } else {
      instance->add_request(part.batch, import_blob(*model->engine, part.path, config));
    }
  }
  instance->config = std::move(config);
  return instance;
}

void verge_instance::add_request(int64_t batch, ov::CompiledModel compiled) {
  Request r;
  r.batch = batch;
  r.compiled = std::move(compiled);
  r.request = r.compiled.create_infer_request();
  r.inputs.resize(model->inputs.size());
  r.outputs.resize(model->outputs.size());
  for (size_t i = 0; i < r.outputs.size(); ++i) {
    r.outputs[i].own = r.request.get_output_tensor(i);
    r.outputs[i].current_own = true;
  }
  requests.push_back(std::move(r));
}

// False where the request of the free size is to serve this one.
bool verge_instance::add_size(int64_t batch) {
  using namespace verge_openvino;
  const auto* size = std::find(std::begin(kFixedSizes), std::end(kFixedSizes), batch);
  if (size == std::end(kFixedSizes)) return false;
  const uint32_t bit = 1u << (size - std::begin(kFixedSizes));
  if (tried & bit) return false;
  tried |= bit;
  try {
    std::shared_ptr<ov::Model> network;
    {
      std::lock_guard lock(model->cloning);
      network = model->parts[0].network->clone();
    }
    std::map<size_t, ov::PartialShape> shapes;
    for (size_t i = 0; i < network->inputs().size(); ++i) {
      shapes[i] = network->input(i).get_partial_shape();
      shapes[i][0] = batch;
    }
    network->reshape(shapes);
    if (tensor_bytes(*network) > kMostFixedBytes) return false;
    verge_plugin::ScopedAffinity affinity(placement);
    add_request(batch, model->engine->core.compile_model(network, "CPU", config));
    return true;
  } catch (const std::exception&) {
    return false;
  }
}
