// The settings of what is served: models, their versions, engines.
#pragma once

#include <span>

#include "serve/config_security.h"

namespace verge::serve {

std::span<const Section> model_sections();

// Threads of engine instances: "auto" (-1), 0, 1, …
Status read_threads(const YamlNode& node, int64_t& out);
Json threads_schema(const char* description);

}  // namespace verge::serve
