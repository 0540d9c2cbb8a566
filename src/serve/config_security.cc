#include "serve/config_security.h"

#include <algorithm>
#include <charconv>

#include "core/manifest.h"
#include "net/bounds.h"
#include "os/files.h"

namespace verge::serve {
namespace {

using Kind = YamlNode::Kind;

std::string at(const std::string& file, const YamlNode& node, const std::string& field) { return file + ":" + std::to_string(node.line) + ": " + field; }

Json described(const char* type, const char* description) { return Json{{"type", type}, {"description", description}}; }

Json object(Json properties) { return Json{{"type", "object"}, {"additionalProperties", false}, {"properties", std::move(properties)}}; }

// "0660", as chmod takes it.
bool parse_mode(const std::string& text, mode_t* out) {
  unsigned mode = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), mode, 8);
  if (error != std::errc() || end != text.data() + text.size() || text.size() > 4 || mode > 0777) return false;
  *out = mode;
  return true;
}

Status read_listener(const YamlNode& node, const std::string& field, const std::string& file, ListenerConfig* out) {
  if (node.kind != Kind::kMap) return invalid_argument("a map with 'address', 'role', 'tls' and 'mode' is expected").prefixed(at(file, node, field));
  bool has_address = false, has_mode = false;
  for (const auto& [key, value] : node.fields) {
    const std::string where = at(file, value, field + "." + key);
    if (key == "address") {
      if (value.kind != Kind::kScalar) return invalid_argument("HOST:PORT or unix:/path is expected").prefixed(where);
      if (Status s = parse_listen(value.text, out->options.address, out->options.port); !s.ok()) return s.prefixed(where);
      has_address = true;
    } else if (key == "role") {
      bool known = false;
      for (const net::Role role : {net::Role::kAll, net::Role::kInference, net::Role::kManagement}) {
        if (value.kind != Kind::kScalar || value.text != net::role_name(role)) continue;
        out->options.role = role;
        out->has_role = known = true;
      }
      if (!known) return invalid_argument("all, inference or management is expected").prefixed(where);
    } else if (key == "tls") {
      if (!yaml_boolean(value, out->options.tls)) return invalid_argument("true or false is expected").prefixed(where);
    } else if (key == "mode") {
      if (value.kind != Kind::kScalar || !parse_mode(value.text, &out->options.mode))
        return invalid_argument("permissions such as 0660 are expected").prefixed(where);
      has_mode = true;
    } else {
      return invalid_argument("unknown field; known are address, role, tls, mode").prefixed(where);
    }
  }
  if (!has_address) return invalid_argument("there is no 'address'").prefixed(at(file, node, field));
  if (has_mode && !out->options.address.starts_with("unix:")) return invalid_argument("'mode' is for unix:/path").prefixed(at(file, node, field));
  return {};
}

Status read_listeners(Config& config, const YamlNode& node, const std::string& file) {
  if (node.kind != Kind::kList || node.items.empty()) return invalid_argument("a list of listeners is expected").prefixed(at(file, node, "listeners"));
  if (node.items.size() > 64) return invalid_argument("there are more than 64 listeners").prefixed(at(file, node, "listeners"));
  for (size_t i = 0; i < node.items.size(); ++i) {
    ListenerConfig listener;
    VERGE_RETURN_IF_ERROR(read_listener(node.items[i], "listeners[" + std::to_string(i) + "]", file, &listener));
    config.listeners.push_back(std::move(listener));
  }
  return {};
}

Status read_tls(Config& config, const YamlNode& node, const std::string& file) {
  if (node.kind != Kind::kMap) return invalid_argument("a map with 'certificate', 'key', 'client_ca' and 'clients' is expected").prefixed(at(file, node, "tls"));
  net::TlsOptions& tls = config.tls;
  bool has_clients = false;
  for (const auto& [key, value] : node.fields) {
    const std::string where = at(file, value, "tls." + key);
    std::string* path = key == "certificate" ? &tls.certificate : key == "key" ? &tls.key : key == "client_ca" ? &tls.client_ca : nullptr;
    if (path) {
      if (value.kind != Kind::kScalar || value.text.empty()) return invalid_argument("the path of a PEM file is expected").prefixed(where);
      *path = value.text[0] == '/' ? value.text : os::join(os::dir_name(file), value.text);
    } else if (key == "clients") {
      if (value.kind != Kind::kScalar || (value.text != "require" && value.text != "optional"))
        return invalid_argument("require or optional is expected").prefixed(where);
      tls.clients = value.text == "require" ? net::ClientCertificates::kRequire : net::ClientCertificates::kOptional;
      has_clients = true;
    } else {
      return invalid_argument("unknown field; known are certificate, key, client_ca, clients").prefixed(where);
    }
  }
  if (tls.certificate.empty() || tls.key.empty()) return invalid_argument("'certificate' and 'key' must be given").prefixed(at(file, node, "tls"));
  if (has_clients && tls.client_ca.empty()) return invalid_argument("'clients' needs 'client_ca'").prefixed(at(file, node, "tls"));
  if (!has_clients && !tls.client_ca.empty()) tls.clients = net::ClientCertificates::kRequire;
  return {};
}

Json tls_schema() {
  Json out = object({{"certificate", described("string", "PEM file: the server's certificate, then the chain to its authority")},
                     {"key", described("string", "PEM file of the certificate's private key, without a pass phrase")},
                     {"client_ca", described("string", "PEM file of the authorities whose client certificates are accepted")},
                     {"clients", Json{{"enum", {"require", "optional"}}, {"description", "whether a client must show a certificate; default require, where there is a client_ca"}}}});
  out["required"] = {"certificate", "key"};
  out["description"] = "for listeners with TLS; files are read again when they change";
  return out;
}

bool parse_sha256(const std::string& text, std::array<uint8_t, 32>* out) {
  if (text.size() != 64) return false;
  for (size_t i = 0; i < out->size(); ++i) {
    const char* p = text.data() + 2 * i;
    if (std::from_chars(p, p + 2, (*out)[i], 16).ptr != p + 2) return false;
  }
  return true;
}

Status read_token(const YamlNode& node, const std::string& field, const std::string& file, TokenConfig* out) {
  if (node.kind != Kind::kMap) return invalid_argument("a map with 'sha256', 'tenant', 'models' and 'rights' is expected").prefixed(at(file, node, field));
  bool has_hash = false;
  for (const auto& [key, value] : node.fields) {
    const std::string where = at(file, value, field + "." + key);
    if (key == "sha256") {
      has_hash = value.kind == Kind::kScalar && parse_sha256(value.text, &out->token.sha256);
      if (!has_hash) return invalid_argument("64 hexadecimal digits are expected; `verge token` makes them").prefixed(where);
    } else if (key == "tenant") {
      if (value.kind != Kind::kScalar || !valid_name(value.text)) return invalid_argument("a tenant's name is expected").prefixed(where);
      out->tenant = value.text;
    } else if (key == "models") {
      if (value.kind != Kind::kList || value.items.empty()) return invalid_argument("a list of model names, with * and ?, is expected").prefixed(where);
      for (const YamlNode& item : value.items) {
        if (item.kind != Kind::kScalar || item.text.empty() || item.text.size() > 256)
          return invalid_argument("a list of model names, with * and ?, is expected").prefixed(where);
        out->token.models.push_back(item.text);
      }
      if (std::find(out->token.models.begin(), out->token.models.end(), "*") != out->token.models.end()) out->token.models.clear();
    } else if (key == "rights") {
      const Status bad = invalid_argument("a list of infer, manage and metrics is expected").prefixed(where);
      if (value.kind != Kind::kList || value.items.empty()) return bad;
      out->token.rights = 0;
      for (const YamlNode& item : value.items) {
        const uint8_t right = item.text == "infer" ? net::kRightInfer : item.text == "manage" ? net::kRightManage : item.text == "metrics" ? net::kRightMetrics : 0;
        if (!right) return bad;
        out->token.rights |= right;
      }
    } else {
      return invalid_argument("unknown field; known are sha256, tenant, models, rights").prefixed(where);
    }
  }
  if (!has_hash) return invalid_argument("there is no 'sha256'").prefixed(at(file, node, field));
  return {};
}

Status read_auth(Config& config, const YamlNode& node, const std::string& file) {
  if (node.kind != Kind::kMap) return invalid_argument("a map with 'tokens' and 'open_health' is expected").prefixed(at(file, node, "auth"));
  config.auth = true;
  for (const auto& [key, value] : node.fields) {
    const std::string where = at(file, value, "auth." + key);
    if (key == "tokens") {
      if (value.kind != Kind::kList || value.items.empty()) return invalid_argument("a list of tokens is expected").prefixed(where);
      if (value.items.size() > 1024) return invalid_argument("there are more than 1024 tokens").prefixed(where);
      for (size_t i = 0; i < value.items.size(); ++i) {
        TokenConfig token;
        VERGE_RETURN_IF_ERROR(read_token(value.items[i], "auth.tokens[" + std::to_string(i) + "]", file, &token));
        config.tokens.push_back(std::move(token));
      }
    } else if (key == "open_health") {
      if (!yaml_boolean(value, config.open_health)) return invalid_argument("true or false is expected").prefixed(where);
    } else {
      return invalid_argument("unknown field; known are tokens, open_health").prefixed(where);
    }
  }
  if (config.tokens.empty()) return invalid_argument("'tokens' must be given").prefixed(at(file, node, "auth"));
  return {};
}

Json auth_schema() {
  Json out = object(
      {{"open_health", described("boolean", "health needs no token; default true")},
       {"tokens",
        Json{{"type", "array"},
             {"minItems", 1},
             {"maxItems", 1024},
             {"items", object({{"sha256", described("string", "of the token's text, in hexadecimal")},
                               {"tenant", described("string", "whose requests these are; default the tenant 'default'")},
                               {"models", Json{{"type", "array"}, {"items", {{"type", "string"}}}, {"description", "names, with * and ?; default all"}}},
                               {"rights", Json{{"type", "array"}, {"items", {{"enum", {"infer", "manage", "metrics"}}}}, {"description", "default infer"}}}})}}}});
  out["description"] = "bearer tokens; without it everything is allowed";
  return out;
}

Status read_bounds(const YamlNode& node, const std::string& file, const std::string& field, runtime::BoundsDefaults* bounds) {
  if (node.kind == Kind::kNull) return {};
  if (node.kind != Kind::kMap) return invalid_argument("a map of bounds is expected").prefixed(at(file, node, field));
  for (const auto& [name, value] : node.fields)
    VERGE_RETURN_IF_ERROR(net::set_default_bound(name, yaml_to_json(value), bounds).prefixed(at(file, value, field)));
  return {};
}

Status read_tenants(Config& config, const YamlNode& node, const std::string& file) {
  if (node.kind != Kind::kMap) return invalid_argument("a map from tenants' names to settings is expected").prefixed(at(file, node, "tenants"));
  for (const auto& [name, settings] : node.fields) {
    const std::string field = "tenants." + name;
    if (!valid_name(name)) return invalid_argument("this is no tenant's name").prefixed(at(file, settings, field));
    if (settings.kind != Kind::kMap && settings.kind != Kind::kNull)
      return invalid_argument("a map with 'weight', 'queue_limit' and 'bounds' is expected").prefixed(at(file, settings, field));
    if (name != "default") config.tenants.push_back({});
    runtime::TenantOptions& tenant = name == "default" ? config.tenants.front() : config.tenants.back();
    tenant.name = name;
    for (const auto& [key, value] : settings.fields) {
      const std::string where = at(file, value, field + "." + key);
      int64_t limit = 0;
      if (key == "weight") {
        if (!yaml_number(value, tenant.weight) || tenant.weight < 0.001 || tenant.weight > 1000)
          return invalid_argument("a number from 0.001 to 1000 is expected").prefixed(where);
      } else if (key == "queue_limit") {
        if (!yaml_integer(value, limit) || limit < 0 || limit > 1 << 20)
          return invalid_argument("a whole number from 0 to 1048576 is expected").prefixed(where);
        tenant.queue_limit = static_cast<uint32_t>(limit);
      } else if (key == "bounds") {
        VERGE_RETURN_IF_ERROR(read_bounds(value, file, field + ".bounds", &tenant.bounds));
      } else {
        return invalid_argument("unknown field; known are weight, queue_limit, bounds").prefixed(where);
      }
    }
  }
  if (config.tenants.size() > runtime::kMostTenants)
    return invalid_argument("there are more than " + std::to_string(runtime::kMostTenants) + " tenants").prefixed(at(file, node, "tenants"));
  return {};
}

Json tenants_schema() {
  Json bounds = net::bounds_schema();
  bounds["description"] = "of requests that do not name their own";
  return {{"type", "object"},
          {"description", "who shares the server, by name; 'default' is everybody else"},
          {"additionalProperties",
           object({{"weight", Json{{"type", "number"}, {"minimum", 0.001}, {"maximum", 1000}, {"description", "share of lane time under contention; default 1"}}},
                   {"queue_limit", Json{{"type", "integer"}, {"minimum", 0}, {"maximum", 1 << 20}, {"description", "requests of it that may wait for lanes; 0: no limit of its own"}}},
                   {"bounds", std::move(bounds)}})}};
}

Json listeners_schema() {
  return {{"type", "array"},
          {"minItems", 1},
          {"maxItems", 64},
          {"description", "where to listen, instead of 'listen'"},
          {"items", object({{"address", described("string", "HOST:PORT or unix:/absolute/path")},
                            {"role", Json{{"enum", {"all", "inference", "management"}},
                                          {"description", "what is served there; default all, or inference where another listener is for management"}}},
                            {"tls", described("boolean", "default false; the certificate is that of 'tls'")},
                            {"mode", Json{{"type", Json::array({"string", "integer"})}, {"description", "permissions of a Unix socket; default 0660"}}}})}};
}

}  // namespace

std::span<const Section> security_sections() {
  static const std::vector<Section> sections = {
      {"listeners", listeners_schema(), read_listeners},
      {"tls", tls_schema(), read_tls},
      {"auth", auth_schema(), read_auth},
      {"tenants", tenants_schema(), read_tenants},
  };
  return sections;
}

Status check_security(const Config& config) {
  if (config.has_listen && !config.listeners.empty()) return invalid_argument("'listen' and 'listeners' are both given; one of them says where to listen");
  for (const ListenerConfig& l : config.listeners)
    if (l.options.tls && config.tls.certificate.empty()) return invalid_argument("listeners: TLS on " + l.options.address + " needs a certificate; set 'tls'");
  if (!config.tls.certificate.empty() && std::none_of(config.listeners.begin(), config.listeners.end(), [](const ListenerConfig& l) { return l.options.tls; }))
    return invalid_argument("tls: no listener has 'tls: true'");
  for (size_t i = 0; i < config.tokens.size(); ++i) {
    const std::vector<std::string> names = tenant_names(config);
    if (std::find(names.begin(), names.end(), config.tokens[i].tenant) == names.end())
      return invalid_argument("auth.tokens[" + std::to_string(i) + "].tenant: '" + config.tokens[i].tenant + "' is none of the tenants");
    for (size_t j = 0; j < i; ++j)
      if (config.tokens[j].token.sha256 == config.tokens[i].token.sha256)
        return invalid_argument("auth.tokens[" + std::to_string(i) + "] is the same token as auth.tokens[" + std::to_string(j) + "]");
  }
  return {};
}

net::AuthOptions auth_of(const Config& config) {
  net::AuthOptions out;
  out.enabled = config.auth;
  out.open_health = config.open_health;
  const std::vector<std::string> names = tenant_names(config);
  for (const TokenConfig& t : config.tokens) {
    out.tokens.push_back(t.token);
    out.tokens.back().tenant = static_cast<uint32_t>(std::find(names.begin(), names.end(), t.tenant) - names.begin());
  }
  return out;
}

std::vector<std::string> tenant_names(const Config& config) {
  std::vector<std::string> out;
  for (const runtime::TenantOptions& t : config.tenants) out.push_back(t.name);
  return out;
}

std::vector<net::ListenOptions> listeners_of(const Config& config) {
  std::vector<net::ListenOptions> out;
  const bool managed = std::any_of(config.listeners.begin(), config.listeners.end(),
                                   [](const ListenerConfig& l) { return l.options.role == net::Role::kManagement; });
  for (const ListenerConfig& l : config.listeners) {
    out.push_back(l.options);
    if (managed && !l.has_role) out.back().role = net::Role::kInference;
  }
  if (out.empty()) out.push_back(config.listen);
  return out;
}

}  // namespace verge::serve
