// The plugin's function table: C on the outside, and where OpenVINO's exceptions end.
#include <unistd.h>

#include <fstream>
#include <openvino/op/constant.hpp>
#include <openvino/op/matmul.hpp>
#include <openvino/op/parameter.hpp>
#include <openvino/op/relu.hpp>

#include "openvino/openvino_engine.h"

namespace {

using verge_plugin::Error;

// As verge_plugin::guard, with OpenVINO's messages cut down to their cause. What OpenVINO throws while it reads a file is the file's fault.
template <typename F>
verge_code guard(verge_status* status, verge_code runtime_code, F&& f) noexcept {
  return verge_plugin::guard(status, [&] {
    try {
      f();
    } catch (const std::bad_alloc&) {
      throw;
    } catch (const ov::NotImplemented& e) {
      throw Error{VERGE_UNIMPLEMENTED, verge_openvino::cause(e.what())};
    } catch (const std::exception& e) {
      throw Error{runtime_code, verge_openvino::cause(e.what())};
    }
  });
}

// Compiles and runs a network of two operators, so that what the CPU plugin sets up at its first counts as a cost of the engine and not of a
// model.
void warm_up(ov::Core& core) {
  auto x = std::make_shared<ov::op::v0::Parameter>(ov::element::f32, ov::Shape{1, 8});
  auto w = ov::op::v0::Constant::create(ov::element::f32, ov::Shape{8, 8}, std::vector<float>(64, 0.5f));
  auto product = std::make_shared<ov::op::v0::MatMul>(x, w);
  auto y = std::make_shared<ov::op::v0::Relu>(product);
  ov::CompiledModel compiled = core.compile_model(std::make_shared<ov::Model>(ov::OutputVector{y}, ov::ParameterVector{x}), "CPU",
                                                  ov::num_streams(1), ov::inference_num_threads(1));
  compiled.create_infer_request().infer();
}

verge_code create(const verge_host_api* host, const verge_options* config, verge_engine** out, verge_status* status) {
  return guard(status, VERGE_UNAVAILABLE, [&] {
    verge_plugin::Options options(config);
    options.take_library("libopenvino.so");
    options.refuse_rest("");
    // Without it OpenVINO reads for ever: it waits for the end of a file that could not be opened.
    if (::access("/proc/cpuinfo", R_OK) != 0) {
      verge_plugin::fail(VERGE_UNAVAILABLE, "OpenVINO asks /proc/cpuinfo for the processor's cores, and it is not there: mount /proc");
    }
    const uint64_t before = verge_plugin::resident_bytes();
    auto engine = std::make_unique<verge_engine>();
    engine->host = host;
    engine->version = ov::get_openvino_version().buildNumber;
    for (const std::string& c : engine->core.get_property("CPU", ov::device::capabilities)) {
      engine->has_bf16 = engine->has_bf16 || c == ov::device::capability::BF16;
      engine->has_f16 = engine->has_f16 || c == ov::device::capability::FP16;
    }
    warm_up(engine->core);
    const uint64_t after = verge_plugin::resident_bytes();
    engine->fixed_cost = after > before ? after - before : 0;
    *out = engine.release();
  });
}

void destroy(verge_engine* engine) { delete engine; }

const char* version(verge_engine* engine) { return engine->version.c_str(); }

uint64_t fixed_cost_bytes(verge_engine* engine) { return engine->fixed_cost; }

verge_code query_device(verge_engine* engine, void (*sink)(void*, const char*, const char*), void* arg, verge_status* status) {
  return guard(status, VERGE_INTERNAL, [&] {
    sink(arg, "cpu.bf16", engine->has_bf16 ? "yes" : "no");
    sink(arg, "cpu.f16", engine->has_f16 ? "yes" : "no");
    sink(arg, "openvino.device", engine->core.get_property("CPU", ov::device::full_name).c_str());
  });
}

verge_code model_load(verge_engine* engine, const verge_artifact* artifact, const verge_options* options, const verge_placement* placement,
                      verge_model*, verge_model** out, verge_status* status) {
  return guard(status, VERGE_INVALID_ARGUMENT, [&] {
    verge_plugin::check_artifact(artifact);
    *out = verge_model::load(engine, *artifact, verge_plugin::Options(options), verge_plugin::Placement(placement)).release();
  });
}

const verge_model_info* model_info(verge_model* model) { return &model->info; }

verge_code model_export(verge_model* model, const char* path, char* key, uint64_t key_capacity, verge_status* status) {
  return guard(status, VERGE_INTERNAL, [&] {
    if (!path || !key) verge_plugin::invalid("a path and a key buffer are needed");
    if (model->parts.size() != 1) verge_plugin::fail(VERGE_UNIMPLEMENTED, "a model of several fixed batch sizes has no single compiled form");
    const std::string text = model->blob_key();
    if (key_capacity <= text.size()) verge_plugin::invalid("the key buffer needs " + std::to_string(text.size() + 1) + " bytes");
    std::ofstream out(path, std::ios::binary | std::ios::trunc);
    if (!out) verge_plugin::fail(VERGE_NOT_FOUND, std::string(path) + ": cannot be written");
    model->parts[0].compiled.export_model(out);
    out.close();
    if (!out) verge_plugin::fail(VERGE_RESOURCE_EXHAUSTED, std::string(path) + ": writing failed; is the disk full?");
    std::memcpy(key, text.c_str(), text.size() + 1);
  });
}

void model_unload(verge_model* model) { delete model; }

verge_code instance_create(verge_model* model, const verge_placement* placement, verge_instance** out, verge_status* status) {
  return guard(status, VERGE_INTERNAL, [&] { *out = verge_instance::make(model, verge_plugin::Placement(placement)).release(); });
}

verge_code instance_preferred_buffer(verge_instance* instance, int32_t is_output, uint32_t index, int64_t batch,
                                     verge_buffer_preference* out, verge_status* status) {
  return guard(status, VERGE_INTERNAL, [&] { instance->preferred(is_output != 0, index, batch, out); });
}

verge_code instance_run(verge_instance* instance, const verge_tensor* inputs, uint32_t input_count, verge_tensor* outputs,
                        uint32_t output_count, verge_status* status) {
  return guard(status, VERGE_INTERNAL, [&] { instance->run(inputs, input_count, outputs, output_count); });
}

void instance_destroy(verge_instance* instance) { delete instance; }

}  // namespace

extern "C" const verge_engine_vtable* verge_engine_get(const verge_host_api*, uint32_t abi_major) {
  static const verge_engine_vtable vtable = [] {
    verge_engine_vtable v{};
    v.size = sizeof v;
    v.abi_major = VERGE_ENGINE_ABI_MAJOR;
    v.abi_minor = VERGE_ENGINE_ABI_MINOR;
    v.name = "openvino";
    v.capabilities = VERGE_CAP_DYNAMIC_BATCH | VERGE_CAP_EXTERNAL_OUTPUTS | VERGE_CAP_REENTRANT | VERGE_CAP_EXPORT;
    v.create = create;
    v.destroy = destroy;
    v.version = version;
    v.fixed_cost_bytes = fixed_cost_bytes;
    v.query_device = query_device;
    v.model_load = model_load;
    v.model_info = model_info;
    v.model_export = model_export;
    v.model_unload = model_unload;
    v.instance_create = instance_create;
    v.instance_preferred_buffer = instance_preferred_buffer;
    v.instance_run = instance_run;
    v.instance_destroy = instance_destroy;
    return v;
  }();
  return abi_major == VERGE_ENGINE_ABI_MAJOR ? &vtable : nullptr;
}
