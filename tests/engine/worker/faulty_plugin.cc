// A plugin that does what no plugin may: its artifact is a text that says at which moment to do what. "at=load do=segv".
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <memory>
#include <new>
#include <string>
#include <thread>
#include <vector>

#include "common/plugin.h"

struct verge_engine {};
struct verge_model {
  std::string script;
  verge_tensor_info input = verge_plugin::empty_info(), output = verge_plugin::empty_info();
  int64_t one = 1;
  verge_model_info info{};
};
struct verge_instance {
  verge_model* model;
  std::vector<float> result;
  int runs = 0;
};

namespace {

using verge_plugin::guard;

void misbehave(const std::string& script, const std::string& moment) {
  if (script.find("at=" + moment + " ") == std::string::npos) return;
  auto wants = [&](const char* what) { return script.find(std::string("do=") + what) != std::string::npos; };
  if (wants("segv")) {
    ::signal(SIGSEGV, SIG_DFL);
    ::raise(SIGSEGV);
  }
  if (wants("exit")) std::_Exit(7);
  if (wants("hang")) std::this_thread::sleep_for(std::chrono::hours(1));
  if (wants("error")) verge_plugin::invalid("node 'Conv_7' has no kernel");
  if (wants("allocate")) {
    std::vector<std::unique_ptr<char[]>> blocks;
    for (int i = 0; i < 4096; ++i) {
      blocks.emplace_back(new char[size_t{1} << 20]);
      blocks.back()[4096] = 1;
    }
  }
  if (wants("garble")) {
    const char text[] = "{\"event\":\"result\",\"result\":{\"profile\":17}}\n";
    if (::write(3, text, sizeof text - 1) < 0) std::abort();
  }
}

verge_code create(const verge_host_api*, const verge_options*, verge_engine** out, verge_status* status) {
  return guard(status, [&] { *out = new verge_engine(); });
}
void destroy(verge_engine* e) { delete e; }
const char* version(verge_engine*) { return "faulty 1"; }
uint64_t fixed_cost(verge_engine*) { return 0; }
verge_code query_device(verge_engine*, void (*)(void*, const char*, const char*), void*, verge_status* status) {
  return guard(status, [] {});
}

verge_code model_load(verge_engine*, const verge_artifact* a, const verge_options*, const verge_placement*, verge_model*, verge_model** out,
                      verge_status* status) {
  return guard(status, [&] {
    auto m = std::make_unique<verge_model>();
    std::ifstream in(a->files[0].path);
    m->script.assign(std::istreambuf_iterator<char>(in), {});
    if (a->cache_dir && m->script.find("cache") != std::string::npos) std::ofstream(std::string(a->cache_dir) + "/blob") << "compiled";
    misbehave(m->script, "load");
    m->input.name = "x";
    m->input.dtype = VERGE_FP32;
    m->input.rank = 2;
    m->input.dims[0] = -1;
    m->input.dims[1] = 2;
    m->input.batch_axis = 0;
    m->output = m->input;
    m->output.name = "y";
    m->info.size = sizeof m->info;
    m->info.input_count = m->info.output_count = 1;
    m->info.inputs = &m->input;
    m->info.outputs = &m->output;
    m->info.executed_precision = "f32";
    m->info.executed_precision_source = "said so";
    if (m->script.find("batch=1") != std::string::npos) {
      m->info.fixed_batches = &m->one;
      m->info.fixed_batch_count = 1;
    }
    *out = m.release();
  });
}
const verge_model_info* model_info(verge_model* m) { return &m->info; }
void model_unload(verge_model* m) { delete m; }
verge_code instance_create(verge_model* m, const verge_placement*, verge_instance** out, verge_status* status) {
  return guard(status, [&] { *out = new verge_instance{m, {}, 0}; });
}
verge_code preferred_buffer(verge_instance*, int32_t, uint32_t, int64_t, verge_buffer_preference*, verge_status* status) {
  return guard(status, [] {});
}
verge_code run(verge_instance* i, const verge_tensor* in, uint32_t, verge_tensor* out, uint32_t, verge_status* status) {
  return guard(status, [&] {
    misbehave(i->model->script, "run" + std::to_string(++i->runs));
    if (i->model->script.find("batch=1") != std::string::npos && in->dims[0] != 1) verge_plugin::invalid("only batch 1");
    auto* from = static_cast<const float*>(in->data);
    i->result.assign(from, from + in->dims[0] * in->dims[1]);
    if (i->model->script.find("nan") != std::string::npos) i->result.back() = NAN;
    if (i->model->script.find("off") != std::string::npos) i->result[0] += 0.25f;
    *out = verge_tensor{};
    out->size = sizeof *out;
    out->dtype = VERGE_FP32;
    out->rank = 2;
    out->dims[0] = in->dims[0];
    out->dims[1] = in->dims[1];
    out->data = i->result.data();
    out->byte_size = i->result.size() * sizeof(float);
    if (i->model->script.find("short") != std::string::npos) out->byte_size -= 4;
  });
}
void instance_destroy(verge_instance* i) { delete i; }

}  // namespace

extern "C" const verge_engine_vtable* verge_engine_get(const verge_host_api*, uint32_t abi_major) {
  static const verge_engine_vtable vtable = [] {
    verge_engine_vtable v{};
    v.size = sizeof v;
    v.abi_major = VERGE_ENGINE_ABI_MAJOR;
    v.name = "faulty";
    v.capabilities = VERGE_CAP_DYNAMIC_BATCH;
    v.create = create;
    v.destroy = destroy;
    v.version = version;
    v.fixed_cost_bytes = fixed_cost;
    v.query_device = query_device;
    v.model_load = model_load;
    v.model_info = model_info;
    v.model_unload = model_unload;
    v.instance_create = instance_create;
    v.instance_preferred_buffer = preferred_buffer;
    v.instance_run = run;
    v.instance_destroy = instance_destroy;
    return v;
  }();
  return abi_major == VERGE_ENGINE_ABI_MAJOR ? &vtable : nullptr;
}
