// The settings of who may reach the server and what they may do: sections of the configuration beside its table of fields.
#pragma once

#include <span>
#include <string>

#include "core/json.h"
#include "core/yaml.h"
#include "serve/config.h"

namespace verge::serve {

struct Section {
  const char* name;
  Json schema;
  Status (*read)(Config& config, const YamlNode& node, const std::string& file);
};

std::span<const Section> security_sections();

// What has to hold of these settings together.
Status check_security(const Config& config);

// The listeners to open, in order: those of `listeners`, else that of `listen`. Beside a listener for management the others are for
// inference, unless their role is given.
std::vector<net::ListenOptions> listeners_of(const Config& config);

// Tokens, with the tenants' numbers.
net::AuthOptions auth_of(const Config& config);
// Names in the order of Config::tenants.
std::vector<std::string> tenant_names(const Config& config);

}  // namespace verge::serve
