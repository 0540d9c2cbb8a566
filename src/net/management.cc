#include "net/management.h"

#include <string>

#include "net/rest_reply.h"
#include "net/utf8.h"

namespace verge::net {
namespace {

// A name in a path, without %XX; answers where it is malformed.
bool decode_name(Service& service, Call* call, std::string_view* name) {
  if (name->find('%') == std::string_view::npos) return true;
  if (!percent_decode(*name, &call->name) || !valid_utf8(call->name)) {
    service.fail(call, invalid_argument("malformed percent-encoding in the path"));
    return false;
  }
  *name = call->name;
  return true;
}

// "index", or "models/NAME/load" and "models/NAME/unload".
bool handle_repository(Service& service, Call* call, std::string_view path) {
  if (path == "index") {
    if (allow(service, call, Allowed::kPost)) repository_index(service, call);
    return true;
  }
  if (next_part(&path) != "models") return false;
  std::string_view name = next_part(&path);
  if (name.empty() || (path != "load" && path != "unload")) return false;
  if (allow(service, call, Allowed::kPost) && decode_name(service, call, &name)) repository_change(service, call, path == "load", name);
  return true;
}

// "status", "unregister", or "region/NAME/" and one of those or "register".
bool handle_shared_memory(Service& service, Call* call, bool cuda, std::string_view path) {
  std::string_view name;
  if (path.starts_with("region/")) {
    next_part(&path);
    name = next_part(&path);
    if (name.empty()) return false;
  }
  const bool get = path == "status";
  if (!get && path != "unregister" && (path != "register" || name.empty())) return false;
  if (!allow(service, call, get ? Allowed::kGet : Allowed::kPost) || !decode_name(service, call, &name)) return true;
  if (cuda)
    cuda_memory(service, call, path);
  else if (get)
    shared_memory_status(service, call, name);
  else if (path == "register")
    shared_memory_register(service, call, name);
  else
    shared_memory_unregister(service, call, name);
  return true;
}

// "tenants", or "tenants/NAME/bounds".
bool handle_tenants(Service& service, Call* call, std::string_view path) {
  if (next_part(&path) != "tenants") return false;
  if (path.empty()) {
    if (allow(service, call, Allowed::kGet)) tenants(service, call);
    return true;
  }
  std::string_view name = next_part(&path);
  if (name.empty() || path != "bounds") return false;
  if (allow(service, call, Allowed::kGetAndPut) && decode_name(service, call, &name)) tenant_bounds(service, call, name);
  return true;
}

bool handle_settings(Service& service, Call* call, bool trace) {
  if (allow(service, call, Allowed::kGetAndPost)) settings(service, call, trace, {});
  return true;
}

}  // namespace

bool handle_grpc_management(Service& service, Call* call, std::string_view method) {
  struct Entry {
    std::string_view name;
    void (*handle)(Service&, Call*);
  };
  static constexpr Entry kMethods[] = {
      {"RepositoryIndex", repository_index},
      {"RepositoryModelLoad", [](Service& s, Call* c) { repository_change(s, c, true, {}); }},
      {"RepositoryModelUnload", [](Service& s, Call* c) { repository_change(s, c, false, {}); }},
      {"SystemSharedMemoryStatus", [](Service& s, Call* c) { shared_memory_status(s, c, {}); }},
      {"SystemSharedMemoryRegister", [](Service& s, Call* c) { shared_memory_register(s, c, {}); }},
      {"SystemSharedMemoryUnregister", [](Service& s, Call* c) { shared_memory_unregister(s, c, {}); }},
      {"CudaSharedMemoryStatus", [](Service& s, Call* c) { cuda_memory(s, c, "status"); }},
      {"CudaSharedMemoryRegister", [](Service& s, Call* c) { cuda_memory(s, c, "register"); }},
      {"CudaSharedMemoryUnregister", [](Service& s, Call* c) { cuda_memory(s, c, "unregister"); }},
      {"TraceSetting", [](Service& s, Call* c) { settings(s, c, true, {}); }},
      {"LogSettings", [](Service& s, Call* c) { settings(s, c, false, {}); }},
  };
  for (const Entry& m : kMethods) {
    if (method != m.name) continue;
    m.handle(service, call);
    return true;
  }
  return false;
}

bool handle_rest_management(Service& service, Call* call, std::string_view path) {
  if (path == "logging") return handle_settings(service, call, false);
  if (path == "trace/setting") return handle_settings(service, call, true);
  const std::string_view area = next_part(&path);
  if (area == "repository") return handle_repository(service, call, path);
  if (area == "verge") return handle_tenants(service, call, path);
  if (area == "systemsharedmemory") return handle_shared_memory(service, call, false, path);
  if (area == "cudasharedmemory") return handle_shared_memory(service, call, true, path);
  return false;
}

}  // namespace verge::net
