// What changes the server while it runs: gRPC methods and REST paths beside inference and what describes models.
#pragma once

#include <string_view>

#include "net/service.h"

namespace verge::net {

// False: there is no such method (the last part of gRPC's path), no such path ("/v2/" removed).
bool handle_grpc_management(Service& service, Call* call, std::string_view method);
bool handle_rest_management(Service& service, Call* call, std::string_view path);

// The model repository extension; each for both protocols. `model`: REST's, from the path; gRPC names it in the message.
void repository_index(Service& service, Call* call);
void repository_change(Service& service, Call* call, bool load, std::string_view model);

// POST /verge/reload: what `verge reload` asks for.
void repository_reload(Service& service, Call* call);

// Bounds of tenants: those of all of them, and those of one, which PUT replaces as a whole.
void tenants(Service& service, Call* call);
void tenant_bounds(Service& service, Call* call, std::string_view name);

// The shared memory extensions. `name` likewise, of a region; empty: all of them.
void shared_memory_status(Service& service, Call* call, std::string_view name);
void shared_memory_register(Service& service, Call* call, std::string_view name);
void shared_memory_unregister(Service& service, Call* call, std::string_view name);
void cuda_memory(Service& service, Call* call, std::string_view verb);

// The trace extension (`model`: of that model, empty: of the server), or the logging extension.
void settings(Service& service, Call* call, bool trace, std::string_view model);

}  // namespace verge::net
