#pragma once

#include <string_view>

namespace verge {

inline constexpr std::string_view kVersion = VERGE_VERSION;

}  // namespace verge
