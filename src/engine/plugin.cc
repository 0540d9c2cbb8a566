#include "engine/plugin.h"

#include <dlfcn.h>

#include <cstddef>
#include <cstring>

namespace verge::engine {
namespace {

Result<void*> open_library(const std::string& path) {
  void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!handle) {
    const char* why = dlerror();
    return unavailable(path + " cannot be loaded: " + (why ? why : "unknown reason"));
  }
  return handle;
}

// Plugin messages are shown to people and in JSON: bytes that are no text become '?'.
std::string printable(const char* text, size_t capacity) {
  std::string out(text, strnlen(text, capacity));
  for (char& c : out) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = c == '\n' || c == '\t' ? ' ' : '?';
  }
  while (!out.empty() && out.back() == ' ') out.pop_back();
  return out;
}

// Names go into answers and messages of every protocol, which are text.
bool is_text(std::string_view s) {
  for (size_t i = 0; i < s.size();) {
    const auto lead = static_cast<unsigned char>(s[i]);
    if (lead < 0x20 || lead == 0x7F) return false;
    const size_t length = lead < 0x80 ? 1 : lead >= 0xC2 && lead < 0xE0 ? 2 : lead >= 0xE0 && lead < 0xF0 ? 3 : lead >= 0xF0 && lead < 0xF5 ? 4 : 0;
    if (length == 0 || s.size() - i < length) return false;
    for (size_t k = 1; k < length; ++k) {
      if ((static_cast<unsigned char>(s[i + k]) & 0xC0) != 0x80) return false;
    }
    i += length;
  }
  return true;
}

constexpr size_t kMaxNameBytes = 1024;

}  // namespace

Status StatusBuffer::take(verge_code code, std::string_view what) const {
  if (code == VERGE_OK) return {};
  int number = static_cast<int>(code);
  Code c = number >= 1 && number <= 16 ? static_cast<Code>(number) : Code::kUnknown;
  std::string message = printable(message_, sizeof message_);
  if (message.empty()) message = std::string(what) + " failed without a message";
  return {c, std::move(message)};
}

Status check_vtable(const verge_engine_vtable* v, std::string_view engine) {
  std::string where = std::string(engine) + ": ";
  if (!v) return failed_precondition(where + "the plugin does not speak engine interface " + std::to_string(VERGE_ENGINE_ABI_MAJOR));
  // Everything up to instance_destroy is version 1.0; what comes after may be absent.
  constexpr size_t kLeast = offsetof(verge_engine_vtable, instance_destroy) + sizeof(void*);
  if (v->size < kLeast) {
    return failed_precondition(where + "the plugin's function table has " + std::to_string(v->size) + " bytes, at least " +
                               std::to_string(kLeast) + " are needed");
  }
  if (v->abi_major != VERGE_ENGINE_ABI_MAJOR) {
    return failed_precondition(where + "the plugin's function table is of interface " + std::to_string(v->abi_major) + ", not " +
                               std::to_string(VERGE_ENGINE_ABI_MAJOR));
  }
  if (!v->name || v->name != engine) {
    return failed_precondition(where + "the plugin calls itself '" + (v->name ? v->name : "") + "', its descriptor '" +
                               std::string(engine) + "'");
  }
  auto need = [&](bool present, const char* function) {
    return present ? Status() : failed_precondition(where + "the plugin's function table lacks " + function);
  };
  VERGE_RETURN_IF_ERROR(need(v->create, "create"));
  VERGE_RETURN_IF_ERROR(need(v->destroy, "destroy"));
  VERGE_RETURN_IF_ERROR(need(v->version, "version"));
  VERGE_RETURN_IF_ERROR(need(v->fixed_cost_bytes, "fixed_cost_bytes"));
  VERGE_RETURN_IF_ERROR(need(v->query_device, "query_device"));
  VERGE_RETURN_IF_ERROR(need(v->model_load, "model_load"));
  VERGE_RETURN_IF_ERROR(need(v->model_info, "model_info"));
  VERGE_RETURN_IF_ERROR(need(v->model_unload, "model_unload"));
  VERGE_RETURN_IF_ERROR(need(v->instance_create, "instance_create"));
  VERGE_RETURN_IF_ERROR(need(v->instance_preferred_buffer, "instance_preferred_buffer"));
  VERGE_RETURN_IF_ERROR(need(v->instance_run, "instance_run"));
  VERGE_RETURN_IF_ERROR(need(v->instance_destroy, "instance_destroy"));
  if (v->capabilities & VERGE_CAP_EXPORT) VERGE_RETURN_IF_ERROR(need(v->model_export, "model_export, which VERGE_CAP_EXPORT promises"));
  if (v->capabilities & VERGE_CAP_ASYNC) VERGE_RETURN_IF_ERROR(need(v->instance_submit, "instance_submit, which VERGE_CAP_ASYNC promises"));
  if (v->capabilities & VERGE_CAP_CANCEL) VERGE_RETURN_IF_ERROR(need(v->instance_cancel, "instance_cancel, which VERGE_CAP_CANCEL promises"));
  if (v->capabilities & VERGE_CAP_STATEFUL) {
    VERGE_RETURN_IF_ERROR(need(v->instance_reset_state, "instance_reset_state, which VERGE_CAP_STATEFUL promises"));
  }
  return {};
}

Result<const verge_engine_vtable*> open_plugin(const Descriptor& d, const verge_host_api* host) {
  if (!d.unavailable.empty()) return unavailable("engine " + d.name + " is disabled: " + d.unavailable);
  for (const LibraryNeed& need : d.libraries) {
    if (!need.preload) continue;
    VERGE_ASSIGN([[maybe_unused]] void* handle, open_library(need.found));
  }
  VERGE_ASSIGN(void* plugin, open_library(d.plugin));
  auto get = reinterpret_cast<verge_engine_get_fn>(dlsym(plugin, "verge_engine_get"));
  if (!get) return failed_precondition(d.plugin + ": no symbol verge_engine_get: this is no engine plugin");
  const verge_engine_vtable* vtable = get(host, VERGE_ENGINE_ABI_MAJOR);
  VERGE_RETURN_IF_ERROR(check_vtable(vtable, d.name));
  return vtable;
}

const verge_tensor_info* info_at(const verge_tensor_info* array, uint32_t index) {
  if (!array) return nullptr;
  // A newer plugin's elements are longer; each says its own size, and all are equal.
  return reinterpret_cast<const verge_tensor_info*>(reinterpret_cast<const char*>(array) + size_t{array->size} * index);
}

Result<TensorSpec> tensor_spec(const verge_tensor_info* info, std::string_view what) {
  std::string where(what);
  if (!info || info->size < sizeof(verge_tensor_info)) return internal_error(where + ": the plugin's description is too short");
  TensorSpec spec;
  if (!info->name || !*info->name) return internal_error(where + ": has no name");
  spec.name.assign(info->name, strnlen(info->name, kMaxNameBytes + 1));
  if (spec.name.size() > kMaxNameBytes) return invalid_argument(where + ": its name is longer than " + std::to_string(kMaxNameBytes) + " bytes");
  if (!is_text(spec.name)) return invalid_argument(where + ": its name is no UTF-8 text, or has control characters");
  where += " '" + spec.name + "'";
  if (info->dtype <= VERGE_DTYPE_INVALID || info->dtype > VERGE_BYTES) {
    return unimplemented(where + ": its element type is none that can be served");
  }
  spec.dtype = static_cast<DType>(info->dtype);
  if (info->rank < 0) return unimplemented(where + ": its number of dimensions is unknown; convert the model with known ranks");
  if (info->rank > VERGE_MAX_RANK) return unimplemented(where + ": has more than " + std::to_string(VERGE_MAX_RANK) + " dimensions");
  VERGE_ASSIGN(spec.shape, Shape::from({info->dims, static_cast<size_t>(info->rank)}));
  if (info->batch_axis < -1 || info->batch_axis >= info->rank) return internal_error(where + ": its batch axis is out of range");
  spec.batch_axis = info->batch_axis;
  if (info->quantization.present) {
    spec.quantization.push_back({info->quantization.scale, info->quantization.zero_point, info->quantization.axis});
  }
  return spec;
}

}  // namespace verge::engine
