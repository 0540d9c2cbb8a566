#include "net/access.h"

#include <string>

#include "net/front.h"
#include "net/peer.h"
#include "net/rest_reply.h"
#include "net/wire.h"

namespace verge::net {
namespace {

struct Entry {
  std::string_view name;
  Need need;
};

constexpr std::string_view kInference = "/inference.GRPCInferenceService/";

constexpr Entry kMethods[] = {
    {"ModelInfer", Need::kInfer},
    {"ModelStreamInfer", Need::kInfer},
    {"ServerLive", Need::kHealth},
    {"ServerReady", Need::kHealth},
    {"ServerMetadata", Need::kMetadata},
    {"ModelReady", Need::kMetadata},
    {"ModelMetadata", Need::kMetadata},
    {"ModelConfig", Need::kMetadata},
    {"ModelStatistics", Need::kStatistics},
};

constexpr Entry kServices[] = {
    {"/grpc.health.v1.Health/", Need::kHealth},
    {"/grpc.reflection.v1.ServerReflection/", Need::kMetadata},
    {"/grpc.reflection.v1alpha.ServerReflection/", Need::kMetadata},
    {"/extended_inference.ExtendedInferenceService/", Need::kInfer},
};

Need need_of_grpc(std::string_view path) {
  if (path.starts_with(kInference)) {
    for (const Entry& e : kMethods)
      if (path.substr(kInference.size()) == e.name) return e.need;
    return Need::kManage;
  }
  for (const Entry& e : kServices)
    if (path.starts_with(e.name)) return e.need;
  return Need::kManage;
}

Need need_of_rest(std::string_view path) {
  constexpr std::string_view kModels = "/v2/models/";
  if (path == "/") return Need::kPage;
  if (path == "/v2/verge/status") return Need::kMetadata;
  if (path == "/metrics") return Need::kMetrics;
  if (path == "/v2" || path == "/v2/") return Need::kMetadata;
  if (path.starts_with("/v2/health/")) return Need::kHealth;
  if (path == "/v2/models/stats") return Need::kStatistics;
  if (!path.starts_with(kModels)) return Need::kManage;
  // NAME[/versions/V][/VERB]
  path.remove_prefix(kModels.size());
  auto part = [&path] {
    const std::string_view head = path.substr(0, path.find('/'));
    path.remove_prefix(std::min(path.size(), head.size() + 1));
    return head;
  };
  part();
  std::string_view verb = part();
  if (verb == "versions") {
    part();
    verb = part();
  }
  if (verb == "infer" || verb == "generate") return Need::kInfer;
  if (verb == "stats") return Need::kStatistics;
  if (verb.empty() || verb == "ready" || verb == "config") return Need::kMetadata;
  return Need::kManage;
}

bool serves(Role role, Need need) {
  switch (need) {
    case Need::kPage:
    case Need::kHealth:
    case Need::kMetadata: return true;
    case Need::kInfer: return role != Role::kManagement;
    case Need::kStatistics:
    case Need::kManage:
    case Need::kMetrics: return role != Role::kInference;
  }
  return false;
}

// Any of them.
uint8_t rights_of(Need need) {
  switch (need) {
    case Need::kPage:
    case Need::kHealth: return kRightInfer | kRightManage | kRightMetrics;
    case Need::kMetadata: return kRightInfer | kRightManage;
    case Need::kInfer: return kRightInfer;
    case Need::kStatistics: return kRightManage | kRightMetrics;
    case Need::kManage: return kRightManage;
    case Need::kMetrics: return kRightMetrics;
  }
  return 0;
}

Status denied(const Call& call, std::string why) {
  call.service->front().metrics().count_shed(Shed::kForbidden);
  return {Code::kPermissionDenied, std::move(why)};
}

// The text field of a message that names the model; empty where there is none.
std::string_view text_field(std::string_view message, uint32_t number) {
  std::string_view out;
  wire::Reader reader(message);
  wire::Field f;
  while (reader.next(&f))
    if (f.number == number && f.type == wire::kBytes) out = f.bytes;
  return out;
}

}  // namespace

Need need_of(const Call& call) {
  const std::string_view path = call.path;
  return call.is_grpc ? need_of_grpc(path) : need_of_rest(path.substr(0, path.find('?')));
}

Status admit(const Call& call) {
  const Peer& peer = *call.peer;
  if (!peer.checked) return {};
  const Need need = need_of(call);
  if (!serves(peer.role, need))
    return denied(call, "this is not served on the server's " + std::string(role_name(peer.role)) + " listener");
  const AuthOptions& auth = call.service->front().options().auth;
  if (!auth.enabled || need == Need::kPage || (need == Need::kHealth && auth.open_health)) return {};
  if (!call.token) {
    call.service->front().metrics().count_shed(Shed::kUnauthenticated);
    return {Code::kUnauthenticated, call.has_authorization ? "the bearer token is not known here" : "a bearer token is needed: authorization: Bearer TOKEN"};
  }
  if (!(call.token->rights & rights_of(need))) return denied(call, "the token has no right to this");
  return {};
}

bool may(const Call& call, Need need) {
  if (!call.peer || !call.peer->checked) return true;
  if (!serves(call.peer->role, need)) return false;
  return !call.service->front().options().auth.enabled || (call.token && (call.token->rights & rights_of(need)));
}

Status admit_model(const Call& call, std::string_view model) {
  if (call.token->may_use(model)) return {};
  return denied(call, "the token is not for model '" + std::string(model.substr(0, 128)) + "'");
}

Status admit_named_model(const Call& call) {
  const Need need = need_of(call);
  if (need == Need::kPage || need == Need::kHealth || need == Need::kMetrics) return {};
  std::string_view model;
  std::string decoded;
  const std::string_view path = path_of(call);
  if (call.is_grpc) {
    if (need == Need::kInfer) return {};
    if (!path.starts_with(kInference) || path.ends_with("/ServerMetadata")) return {};
    // model_name = 2 of RepositoryModelLoad, RepositoryModelUnload and TraceSetting, name = 1 of the others.
    // Shared memory belongs to no model; its messages have a key of the client's choice there.
    if (path.find("SharedMemory") == std::string_view::npos) model = text_field(call.body.text(), need == Need::kManage ? 2 : 1);
  } else {
    if (path == "/v2" || path == "/v2/" || path == "/v2/verge/status") return {};  // of what is shown there the others' is left out
    for (const std::string_view start : {std::string_view("/v2/models/"), std::string_view("/v2/repository/models/")})
      if (path.starts_with(start)) model = path.substr(start.size(), path.find('/', start.size()) - start.size());
    if (path == "/v2/models/stats") model = {};
    if (!percent_decode(model, &decoded)) return invalid_argument("malformed percent-encoding in the path");
    model = decoded;
  }
  if (model.empty()) return denied(call, "the token is for single models; this is about all");
  return admit_model(call, model);
}

}  // namespace verge::net
