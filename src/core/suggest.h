// What a mistyped word was meant to be.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace verge {

// The nearest of `candidates` to a mistyped `word`, or empty where none is near.
std::string nearest(std::string_view word, std::span<const std::string_view> candidates);
std::string did_you_mean(std::string_view word, std::span<const std::string_view> candidates);  // "; did you mean 'x'?" or ""

}  // namespace verge
