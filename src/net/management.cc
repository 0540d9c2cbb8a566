#include "net/management.h"

#include <string>

#include "net/rest_reply.h"
#include "net/utf8.h"

namespace verge::net {
namespace {

// "index", or "models/NAME/load" and "models/NAME/unload".
bool handle_repository(Service& service, Call* call, std::string_view path) {
  if (path == "index") {
    if (allow(service, call, Allowed::kPost)) repository_index(service, call);
    return true;
  }
  if (next_part(&path) != "models") return false;
  std::string_view name = next_part(&path);
  if (name.empty() || (path != "load" && path != "unload")) return false;
  if (!allow(service, call, Allowed::kPost)) return true;
  if (name.find('%') != std::string_view::npos) {
    if (!percent_decode(name, &call->name) || !valid_utf8(call->name)) {
      service.fail(call, invalid_argument("malformed percent-encoding in the path"));
      return true;
    }
    name = call->name;
  }
  repository_change(service, call, path == "load", name);
  return true;
}

}  // namespace

bool handle_grpc_management(Service& service, Call* call, std::string_view method) {
  if (method == "RepositoryIndex") {
    repository_index(service, call);
  } else if (method == "RepositoryModelLoad") {
    repository_change(service, call, true, {});
  } else if (method == "RepositoryModelUnload") {
    repository_change(service, call, false, {});
  } else {
    return false;
  }
  return true;
}

bool handle_rest_management(Service& service, Call* call, std::string_view path) {
  const std::string_view area = next_part(&path);
  if (area == "repository") return handle_repository(service, call, path);
  return false;
}

}  // namespace verge::net
