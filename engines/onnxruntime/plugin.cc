// The plugin's function table, and ONNX Runtime opened by path.
#include <dlfcn.h>

#include "onnxruntime/ort_engine.h"

namespace {

using verge_plugin::guard;

void ORT_API_CALL log(void* param, OrtLoggingLevel severity, const char* category, const char*, const char*, const char* message) {
  const auto* host = static_cast<const verge_host_api*>(param);
  if (!host || !host->log) return;
  try {
    std::string line = std::string("onnxruntime: ") + (category ? category : "") + ": " + (message ? message : "");
    int32_t level = severity >= ORT_LOGGING_LEVEL_ERROR     ? VERGE_LOG_ERROR
                    : severity == ORT_LOGGING_LEVEL_WARNING ? VERGE_LOG_WARNING
                                                            : VERGE_LOG_DEBUG;
    host->log(host->context, level, line.c_str());
  } catch (...) {
    // A log line that finds no memory is lost.
  }
}

constexpr unsigned char kWarmUpModel[] = {
#include "onnxruntime_warm_up.inc"
};

// Runs a network of two operators, so that what ONNX Runtime sets up at its first counts as a cost of the engine and not of a model.
void warm_up(const verge_engine& engine) {
  const OrtApi* api = engine.api;
  OrtSessionOptions* raw_options = nullptr;
  verge_ort::check(api, api->CreateSessionOptions(&raw_options));
  verge_ort::SessionOptions options(raw_options, {api});
  verge_ort::check(api, api->SetIntraOpNumThreads(raw_options, 1));
  OrtSession* raw_session = nullptr;
  verge_ort::check(api, api->CreateSessionFromArray(engine.env.get(), kWarmUpModel, sizeof kWarmUpModel, raw_options, &raw_session));
  verge_ort::Session session(raw_session, {api});
  float x[3] = {};
  const int64_t shape[2] = {1, 3};
  OrtValue* raw_input = nullptr;
  verge_ort::check(api, api->CreateTensorWithDataAsOrtValue(engine.memory.get(), x, sizeof x, shape, 2, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT,
                                                            &raw_input));
  verge_ort::Value input(raw_input, {api});
  const char* const input_names[] = {"x"};
  const char* const output_names[] = {"y"};
  OrtValue* raw_output = nullptr;
  verge_ort::check(api, api->Run(raw_session, nullptr, input_names, &raw_input, 1, output_names, 1, &raw_output));
  verge_ort::Value output(raw_output, {api});
}

verge_code create(const verge_host_api* host, const verge_options* config, verge_engine** out, verge_status* status) {
  return guard(status, [&] {
    verge_plugin::Options options(config);
    std::string library = options.take_library("libonnxruntime.so");
    options.refuse_rest("library.libonnxruntime.so.*");
    if (library.empty()) verge_plugin::fail(VERGE_UNAVAILABLE, "the path of libonnxruntime.so was not given");
    const uint64_t before = verge_plugin::resident_bytes();
    void* handle = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!handle) {
      const char* why = dlerror();
      verge_plugin::fail(VERGE_UNAVAILABLE, library + " cannot be loaded: " + (why ? why : "unknown reason"));
    }
    auto get_base = reinterpret_cast<const OrtApiBase*(ORT_API_CALL*)()>(dlsym(handle, "OrtGetApiBase"));
    if (!get_base) verge_plugin::fail(VERGE_UNAVAILABLE, library + ": is no ONNX Runtime");
    const OrtApiBase* base = get_base();
    auto engine = std::make_unique<verge_engine>();
    engine->host = host;
    engine->version = base->GetVersionString();
    engine->api = base->GetApi(ORT_API_VERSION);
    if (!engine->api) {
      verge_plugin::fail(VERGE_UNAVAILABLE, library + ": is ONNX Runtime " + engine->version + ", which does not offer interface version " +
                                                std::to_string(ORT_API_VERSION));
    }
    const OrtApi* api = engine->api;
    OrtEnv* env = nullptr;
    // Errors come back as statuses; its warnings speak of graph details nobody asked about.
    verge_ort::check(api, api->CreateEnvWithCustomLogger(log, const_cast<verge_host_api*>(host), ORT_LOGGING_LEVEL_FATAL, "verge", &env));
    engine->env = verge_ort::Env(env, {api});
    OrtMemoryInfo* memory = nullptr;
    verge_ort::check(api, api->CreateCpuMemoryInfo(OrtDeviceAllocator, OrtMemTypeDefault, &memory));
    engine->memory = verge_ort::MemoryInfo(memory, {api});
    verge_ort::check(api, api->GetAllocatorWithDefaultOptions(&engine->allocator));
    warm_up(*engine);
    const uint64_t after = verge_plugin::resident_bytes();
    engine->fixed_cost = after > before ? after - before : 0;
    *out = engine.release();
  });
}

void destroy(verge_engine* engine) { delete engine; }

const char* version(verge_engine* engine) { return engine->version.c_str(); }

uint64_t fixed_cost_bytes(verge_engine* engine) { return engine->fixed_cost; }

verge_code query_device(verge_engine* engine, void (*sink)(void*, const char*, const char*), void* arg, verge_status* status) {
  return guard(status, [&] {
    char** providers = nullptr;
    int count = 0;
    verge_ort::check(engine->api, engine->api->GetAvailableProviders(&providers, &count));
    std::string all;
    for (int i = 0; i < count; ++i) all += (i ? " " : "") + std::string(providers[i]);
    verge_ort::check(engine->api, engine->api->ReleaseAvailableProviders(providers, count));
    sink(arg, "onnxruntime.providers", all.c_str());
  });
}

verge_code model_load(verge_engine* engine, const verge_artifact* artifact, const verge_options* options, const verge_placement* placement,
                      verge_model*, verge_model** out, verge_status* status) {
  return guard(status, [&] {
    verge_plugin::check_artifact(artifact);
    *out = verge_model::load(engine, *artifact, verge_plugin::Options(options), verge_plugin::Placement(placement)).release();
  });
}

const verge_model_info* model_info(verge_model* model) { return &model->info; }

void model_unload(verge_model* model) { delete model; }

verge_code instance_create(verge_model* model, const verge_placement* placement, verge_instance** out, verge_status* status) {
  return guard(status, [&] { *out = verge_instance::make(model, verge_plugin::Placement(placement)).release(); });
}

verge_code instance_preferred_buffer(verge_instance* instance, int32_t is_output, uint32_t index, int64_t batch,
                                     verge_buffer_preference* out, verge_status* status) {
  return guard(status, [&] { instance->preferred(is_output != 0, index, batch, out); });
}

verge_code instance_run(verge_instance* instance, const verge_tensor* inputs, uint32_t input_count, verge_tensor* outputs,
                        uint32_t output_count, verge_status* status) {
  return guard(status, [&] { instance->run(inputs, input_count, outputs, output_count); });
}

void instance_cancel(verge_instance* instance) { instance->cancel(); }

void instance_destroy(verge_instance* instance) { delete instance; }

}  // namespace

extern "C" const verge_engine_vtable* verge_engine_get(const verge_host_api*, uint32_t abi_major) {
  static const verge_engine_vtable vtable = [] {
    verge_engine_vtable v{};
    v.size = sizeof v;
    v.abi_major = VERGE_ENGINE_ABI_MAJOR;
    v.abi_minor = VERGE_ENGINE_ABI_MINOR;
    v.name = "onnxruntime";
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
