// The TensorFlow engine: SavedModel folders, run by TensorFlow's own runtime through its C interface. The baseline the other engines are
// compared with, and the one that runs what they cannot. Its libraries take some 300 MB: they are mapped when the engine is created.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "common/quiet.h"
#include "instance.h"

namespace {

using verge_plugin::guard;
using verge_plugin::invalid;

uint64_t resident_bytes() {
  long pages = 0;
  if (FILE* f = std::fopen("/proc/self/statm", "re")) {
    if (std::fscanf(f, "%*s %ld", &pages) != 1) pages = 0;
    std::fclose(f);
  }
  return static_cast<uint64_t>(pages) * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

// Runs a graph of one operator, so that what TensorFlow builds at its first session counts as a cost of the engine and not of a model.
void warm_up(const verge::tensorflow::TfApi& api) {
  verge::tensorflow::TfStatus status(api);
  TF_Graph* graph = api.TF_NewGraph();
  TF_OperationDescription* placeholder = api.TF_NewOperation(graph, "Placeholder", "x");
  api.TF_SetAttrType(placeholder, "dtype", TF_FLOAT);
  TF_Operation* x = api.TF_FinishOperation(placeholder, status.get());
  TF_Operation* y = nullptr;
  if (status.ok()) {
    TF_OperationDescription* square = api.TF_NewOperation(graph, "Square", "y");
    api.TF_AddInput(square, {x, 0});
    y = api.TF_FinishOperation(square, status.get());
  }
  TF_SessionOptions* options = api.TF_NewSessionOptions();
  const std::string config = verge::tensorflow::session_config(1);
  if (status.ok()) api.TF_SetConfig(options, config.data(), config.size(), status.get());
  TF_Session* session = status.ok() ? api.TF_NewSession(graph, options, status.get()) : nullptr;
  if (status.ok()) {
    const TF_Output in{x, 0}, out{y, 0};
    TF_Tensor* value = api.TF_AllocateTensor(TF_FLOAT, nullptr, 0, sizeof(float));
    *static_cast<float*>(api.TF_TensorData(value)) = 1;
    TF_Tensor* result = nullptr;
    api.TF_SessionRun(session, nullptr, &in, &value, 1, &out, &result, 1, nullptr, 0, nullptr, status.get());
    api.TF_DeleteTensor(value);
    if (result) api.TF_DeleteTensor(result);
  }
  verge::tensorflow::TfStatus ignored(api);
  if (session) {
    api.TF_CloseSession(session, ignored.get());
    api.TF_DeleteSession(session, ignored.get());
  }
  api.TF_DeleteSessionOptions(options);
  api.TF_DeleteGraph(graph);
  status.check("TensorFlow does not run");
}

verge_code create(const verge_host_api* host, const verge_options* config, verge_engine** out, verge_status* status) {
  return guard(status, [&] {
    verge_plugin::Options options(config);
    const std::string framework = options.take("library.libtensorflow_framework.so.2");
    const std::string library = options.take("library.libtensorflow_cc.so.2");
    const std::string onednn = options.take("onednn", "on");
    options.refuse_rest("library.libtensorflow_cc.so.2, library.libtensorflow_framework.so.2, onednn");
    if (onednn != "on" && onednn != "off") invalid("setting 'onednn': 'on' or 'off' is expected, not '" + onednn + "'");
    if (framework.empty() || library.empty())
      invalid("the settings library.libtensorflow_cc.so.2 and library.libtensorflow_framework.so.2 are needed");
    // TensorFlow logs to standard error; a level that the user has set stays.
    setenv("TF_CPP_MIN_LOG_LEVEL", "3", 0);
    // Without it all sessions share the thread pool of the first one, of its size and on its cores.
    setenv("TF_OVERRIDE_GLOBAL_THREADPOOL", "1", 0);
    // TensorFlow's default, and faster on most networks; but its allocator keeps the memory of unloaded models for the next one.
    if (onednn == "off") setenv("TF_ENABLE_ONEDNN_OPTS", "0", 1);
    const verge_plugin::Quiet quiet(host, {"WARNING: All log messages before absl", "I0000 ", "W0000 "});
    auto engine = std::make_unique<verge_engine>();
    const uint64_t before = resident_bytes();
    if (std::string wrong = verge::tensorflow::load_tensorflow(framework, library, engine->api); !wrong.empty())
      verge_plugin::fail(VERGE_UNAVAILABLE, wrong);
    warm_up(engine->api);
    const uint64_t after = resident_bytes();
    engine->fixed_cost = after > before ? after - before : 0;
    *out = engine.release();
  });
}

void destroy(verge_engine* engine) { delete engine; }
const char* version(verge_engine* engine) { return engine->api.TF_Version(); }
uint64_t fixed_cost_bytes(verge_engine* engine) { return engine->fixed_cost; }

verge_code query_device(verge_engine*, void (*sink)(void*, const char*, const char*), void* arg, verge_status* status) {
  return guard(status, [&] {
    const char* onednn = std::getenv("TF_ENABLE_ONEDNN_OPTS");
    sink(arg, "tensorflow.onednn", onednn && std::string_view(onednn) == "0" ? "no" : "yes");
  });
}

verge_code model_load(verge_engine* engine, const verge_artifact* artifact, const verge_options* load_options,
                      const verge_placement* placement, verge_model*, verge_model** out, verge_status* status) {
  return guard(status, [&] {
    verge_plugin::check_artifact(artifact);
    verge_plugin::Options options(load_options);
    options.refuse_rest("");
    *out = new verge_model(engine, *artifact, verge_plugin::Placement(placement));
  });
}

const verge_model_info* model_info(verge_model* model) { return &model->info; }
void model_unload(verge_model* model) { delete model; }

verge_code instance_create(verge_model* model, const verge_placement* placement, verge_instance** out, verge_status* status) {
  return guard(status, [&] { *out = new verge_instance(model, verge_plugin::Placement(placement)); });
}

verge_code instance_preferred_buffer(verge_instance* instance, int32_t is_output, uint32_t index, int64_t batch,
                                     verge_buffer_preference* out, verge_status* status) {
  return guard(status, [&] { instance->preferred_buffer(is_output != 0, index, batch, out); });
}

verge_code instance_run(verge_instance* instance, const verge_tensor* inputs, uint32_t input_count, verge_tensor* outputs,
                        uint32_t output_count, verge_status* status) {
  return guard(status, [&] { instance->run(inputs, input_count, outputs, output_count); });
}

void instance_destroy(verge_instance* instance) { delete instance; }

}  // namespace

extern "C" const verge_engine_vtable* verge_engine_get(const verge_host_api*, uint32_t abi_major) {
  static const verge_engine_vtable vtable = [] {
    verge_engine_vtable v{};
    v.size = sizeof v;
    v.abi_major = VERGE_ENGINE_ABI_MAJOR;
    v.abi_minor = VERGE_ENGINE_ABI_MINOR;
    v.name = "tensorflow";
    v.capabilities = VERGE_CAP_DYNAMIC_BATCH | VERGE_CAP_SHARES_WEIGHTS;
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
    v.instance_destroy = instance_destroy;
    return v;
  }();
  return abi_major == VERGE_ENGINE_ABI_MAJOR ? &vtable : nullptr;
}
