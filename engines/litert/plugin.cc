// The LiteRT engine: .tflite files on the CPU, through XNNPACK. An artifact is one file whose batch is free, or several of fixed batch.
#include <unistd.h>

#include <cstdio>
#include <filesystem>

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

// The library cannot be asked; a Python environment says it in the name of the folder beside the package.
std::string find_version(const std::string& library) {
  std::error_code error;
  const auto packages = std::filesystem::path(library).parent_path().parent_path();
  for (std::filesystem::directory_iterator it(packages, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    if (name.starts_with("ai_edge_litert-") && name.ends_with(".dist-info")) return name.substr(15, name.size() - 25);
  }
  return "2.3";
}

// x + x, one element; made by check/generate.py.
alignas(16) constexpr unsigned char kWarmUpModel[] = {
#include "warm_up_model.inc"
};

// Compiles a model of one operator, so that what XNNPACK sets up at its first counts as a cost of the engine and not of a model.
void warm_up(const verge::litert::Engine& engine) {
  verge::litert::LrtModel model = nullptr;
  if (engine.api.CreateModelFromBuffer(engine.environment, kWarmUpModel, sizeof kWarmUpModel, &model) != verge::litert::kLrtOk)
    verge_plugin::fail(VERGE_UNAVAILABLE, "LiteRT does not read a model of one operator");
  struct Unload {
    const verge::litert::LrtApi& api;
    verge::litert::LrtModel model;
    ~Unload() { api.DestroyModel(model); }
  } unload{engine.api, model};
  const verge::litert::Compiled compiled(engine.api, engine.environment, model, verge_plugin::Placement());
}

verge_code create(const verge_host_api* host, const verge_options* config, verge_engine** out, verge_status* status) {
  return guard(status, [&] {
    verge_plugin::Options options(config);
    const std::string library = options.take_library("libLiteRt.so");
    options.refuse_rest("library.libLiteRt.so");
    if (library.empty()) invalid("the setting library.libLiteRt.so is missing");
    auto engine = std::make_unique<verge_engine>();
    const uint64_t before = resident_bytes();
    if (std::string wrong = verge::litert::load_litert(library, engine->api); !wrong.empty()) verge_plugin::fail(VERGE_UNAVAILABLE, wrong);
    const verge_plugin::Quiet quiet(host, {"INFO: "});
    // Only the CPU; others would look for GPUs. No messages on standard error.
    verge::litert::LrtEnvironmentOption environment[2] = {};
    environment[0].tag = verge::litert::kLrtTagAccelerators;
    environment[0].value.type = verge::litert::kLrtAnyInt;
    environment[0].value.integer = verge::litert::kLrtCpu;
    environment[1].tag = verge::litert::kLrtTagLogSeverity;
    environment[1].value.type = verge::litert::kLrtAnyInt;
    environment[1].value.integer = verge::litert::kLrtSilent;
    const int made = engine->api.CreateEnvironment(2, environment, &engine->environment);
    if (made != verge::litert::kLrtOk) {
      engine->environment = nullptr;
      verge_plugin::fail(VERGE_UNAVAILABLE, std::string("LiteRT does not start: ") + verge::litert::lrt_status_name(made));
    }
    warm_up(*engine);
    const uint64_t after = resident_bytes();
    engine->fixed_cost = after > before ? after - before : 0;
    engine->version = find_version(library);
    *out = engine.release();
  });
}

void destroy(verge_engine* engine) { delete engine; }
const char* version(verge_engine* engine) { return engine->version.c_str(); }
uint64_t fixed_cost_bytes(verge_engine* engine) { return engine->fixed_cost; }

verge_code query_device(verge_engine*, void (*sink)(void*, const char*, const char*), void* arg, verge_status* status) {
  return guard(status, [&] {
    auto fact = [&](const char* key, bool yes) { sink(arg, key, yes ? "yes" : "no"); };
#if defined(__x86_64__)
    __builtin_cpu_init();
    fact("cpu.avx2", __builtin_cpu_supports("avx2"));
    fact("cpu.avx512", __builtin_cpu_supports("avx512f"));
    fact("cpu.avx512_vnni", __builtin_cpu_supports("avx512vnni"));
#elif defined(__aarch64__)
    fact("cpu.neon", true);
#else
    (void)fact;
#endif
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
    v.name = "litert";
    v.capabilities = VERGE_CAP_DYNAMIC_BATCH | VERGE_CAP_EXTERNAL_OUTPUTS;
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
