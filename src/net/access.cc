#include "net/access.h"

#include <string>

#include "net/peer.h"

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
    case Need::kHealth:
    case Need::kMetadata: return true;
    case Need::kInfer: return role != Role::kManagement;
    case Need::kStatistics:
    case Need::kManage:
    case Need::kMetrics: return role != Role::kInference;
  }
  return false;
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
    return {Code::kPermissionDenied, "this is not served on the server's " + std::string(role_name(peer.role)) + " listener"};
  return {};
}

}  // namespace verge::net
