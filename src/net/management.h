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

}  // namespace verge::net
