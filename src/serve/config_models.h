// The settings of what is served: models, their versions, engines.
#pragma once

#include <span>

#include "serve/config_security.h"

namespace verge::serve {

std::span<const Section> model_sections();

}  // namespace verge::serve
