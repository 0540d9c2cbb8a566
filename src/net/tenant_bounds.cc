// /v2/verge/tenants: what requests of a tenant are bounded by where they do not say it themselves, told and changed while the server runs.
#include <algorithm>
#include <string>

#include "net/bounds.h"
#include "net/front.h"
#include "net/management.h"
#include "net/rest_reply.h"
#include "net/utf8.h"

namespace verge::net {
namespace {

constexpr size_t kMaxBody = size_t{16} << 10;

Result<Json> bounds_of(Service& service, uint32_t tenant) {
  VERGE_ASSIGN(const runtime::BoundsDefaults bounds, service.runtime().bounds(tenant));
  return bounds_to_json(bounds);
}

Status replace_bounds(Service& service, const Call& call, uint32_t tenant, const std::string& name) {
  VERGE_ASSIGN(const Json json, parse_json(call.body.text(), "the request", kMaxBody));
  auto bounds = bounds_from_json(json);
  if (!bounds.ok()) return bounds.status().prefixed("tenant '" + name + "'");
  return service.runtime().set_bounds(tenant, std::move(bounds).value());  // names the tenant in its errors
}

}  // namespace

void tenants(Service& service, Call* call) {
  Json all = Json::object();
  const std::vector<std::string>& names = service.front().options().tenants;
  for (uint32_t i = 0; i < names.size(); ++i) {
    auto bounds = bounds_of(service, i);
    if (!bounds.ok()) return service.fail(call, bounds.status());
    all[names[i]] = {{"bounds", std::move(bounds).value()}};
  }
  answer_json(service, call, all);
}

void tenant_bounds(Service& service, Call* call, std::string_view name) {
  const std::vector<std::string>& names = service.front().options().tenants;
  const auto found = std::find(names.begin(), names.end(), name);
  if (found == names.end()) return service.fail(call, not_found("there is no tenant '" + (valid_utf8(name) ? std::string(name.substr(0, 128)) : "?") + "'"));
  const auto tenant = static_cast<uint32_t>(found - names.begin());
  if (call->method == Method::kPut) {
    if (Status s = replace_bounds(service, *call, tenant, *found); !s.ok()) return service.fail(call, std::move(s));
  }
  auto bounds = bounds_of(service, tenant);
  if (!bounds.ok()) return service.fail(call, bounds.status());
  answer_json(service, call, *bounds);
}

}  // namespace verge::net
