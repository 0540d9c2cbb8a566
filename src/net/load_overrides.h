// The parameter `config` of a load: a model configuration of which this server takes what does not touch the package.
#pragma once

#include <string_view>

#include "core/status.h"
#include "runtime/api.h"

namespace verge::net {

inline constexpr size_t kMaxLoadConfig = 64 << 10;

// `text` is the configuration as JSON, valid UTF-8. Errors do not name the model.
Result<runtime::Repository::Overrides> read_load_config(std::string_view text);

}  // namespace verge::net
