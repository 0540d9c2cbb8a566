// One input and one output of two numbers, which it copies, and at most one fault.
#include <fcntl.h>

#include <fstream>
#include <memory>

#include "common/plugin.h"

struct verge_engine {};
struct verge_model {
  verge_tensor_info input = verge_plugin::empty_info(), output = verge_plugin::empty_info();
  verge_model_info info{};
};
struct verge_instance {
  verge_model* model;
  float buffer[2];
};

namespace {

using verge_plugin::guard;
using verge_plugin::invalid;

verge_code create(const verge_host_api*, const verge_options* config, verge_engine** out, verge_status* status) {
  return guard(status, [&] {
    verge_plugin::Options options(config);
    options.refuse_rest("");
    *out = new verge_engine();
  });
}
void destroy(verge_engine* e) { delete e; }
const char* version(verge_engine*) { return "1"; }
uint64_t fixed_cost_bytes(verge_engine*) { return 0; }
verge_code query_device(verge_engine*, void (*)(void*, const char*, const char*), void*, verge_status*) { return VERGE_OK; }

verge_code model_load(verge_engine*, const verge_artifact* artifact, const verge_options* options, const verge_placement* placement, verge_model*,
                      verge_model** out, verge_status* status) {
  return guard(status, [&] {
    verge_plugin::check_artifact(artifact);
    verge_plugin::Placement checked(placement);
#ifndef VERGE_FAULT_OPTIONS
    verge_plugin::Options(options).refuse_rest("");
#else
    (void)options;
#endif
    std::ifstream in(artifact->files[0].path);
    std::string word;
    in >> word;
#ifdef VERGE_FAULT_CRASH
    if (word != "x") *static_cast<volatile int*>(nullptr) = 1;
#endif
    if (std::string_view(artifact->format) != "anything" || word != "x") invalid(std::string(artifact->files[0].path) + ": is no model");
#ifdef VERGE_FAULT_LEAK
    (void)open("/dev/null", O_RDONLY);
#endif
    auto m = std::make_unique<verge_model>();
    m->input.dtype = VERGE_FP32;
    m->input.rank = 1;
    m->input.dims[0] = 2;
    m->output = m->input;
    m->input.name = "in";
    m->output.name = "out";
    m->info.size = sizeof m->info;
    m->info.input_count = m->info.output_count = 1;
    m->info.inputs = &m->input;
    m->info.outputs = &m->output;
    *out = m.release();
  });
}
const verge_model_info* model_info(verge_model* m) { return &m->info; }
void model_unload(verge_model* m) { delete m; }

verge_code instance_create(verge_model* m, const verge_placement* placement, verge_instance** out, verge_status* status) {
  return guard(status, [&] {
    verge_plugin::Placement checked(placement);
    *out = new verge_instance{m, {}};
  });
}
verge_code preferred(verge_instance*, int32_t, uint32_t index, int64_t, verge_buffer_preference* out, verge_status* status) {
  return guard(status, [&] {
    if (index > 0) invalid("there is no such tensor");
    out->alignment = 4;
  });
}
verge_code run(verge_instance* i, const verge_tensor* in, uint32_t in_count, verge_tensor* out, uint32_t out_count, verge_status* status) {
  return guard(status, [&] {
    if (in_count != 1 || out_count != 1) invalid("one input, one output");
    verge_plugin::check_input(in[0], i->model->input);
#ifdef VERGE_FAULT_OVERRUN
    const bool fits = out[0].data != nullptr;
#else
    const bool fits = out[0].data && out[0].byte_size >= 8;
#endif
    if (!fits) out[0].data = i->buffer;
    std::memcpy(out[0].data, in[0].data, 8);
    out[0].dtype = VERGE_FP32;
    out[0].rank = 1;
    out[0].dims[0] = 2;
    out[0].byte_size = 8;
  });
}
void instance_destroy(verge_instance* i) { delete i; }

}  // namespace

extern "C" const verge_engine_vtable* verge_engine_get(const verge_host_api*, uint32_t abi_major) {
  static const verge_engine_vtable vtable = [] {
    verge_engine_vtable v{};
    v.size = sizeof v;
    v.abi_major = VERGE_ENGINE_ABI_MAJOR;
    v.name = VERGE_NAME;
    v.capabilities = VERGE_CAP_EXTERNAL_OUTPUTS;
    v.create = create;
    v.destroy = destroy;
    v.version = version;
    v.fixed_cost_bytes = fixed_cost_bytes;
    v.query_device = query_device;
    v.model_load = model_load;
    v.model_info = model_info;
    v.model_unload = model_unload;
    v.instance_create = instance_create;
    v.instance_preferred_buffer = preferred;
    v.instance_run = run;
    v.instance_destroy = instance_destroy;
    return v;
  }();
#ifdef VERGE_FAULT_VERSION
  (void)abi_major;
  return &vtable;
#else
  return abi_major == VERGE_ENGINE_ABI_MAJOR ? &vtable : nullptr;
#endif
}
