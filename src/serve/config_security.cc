#include "serve/config_security.h"

#include <algorithm>
#include <charconv>

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
  };
  return sections;
}

Status check_security(const Config& config) {
  if (config.has_listen && !config.listeners.empty()) return invalid_argument("'listen' and 'listeners' are both given; one of them says where to listen");
  for (const ListenerConfig& l : config.listeners)
    if (l.options.tls && config.tls.certificate.empty()) return invalid_argument("listeners: TLS on " + l.options.address + " needs a certificate; set 'tls'");
  if (!config.tls.certificate.empty() && std::none_of(config.listeners.begin(), config.listeners.end(), [](const ListenerConfig& l) { return l.options.tls; }))
    return invalid_argument("tls: no listener has 'tls: true'");
  return {};
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
