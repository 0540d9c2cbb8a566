// The value of a parameter of an inference request, whichever protocol carried it.
#pragma once

#include <bit>
#include <cstdint>
#include <string_view>

namespace verge::net {

// A value as it was sent. Strings are views into the request.
struct ParameterValue {
  enum class Kind : uint8_t { kNone, kBool, kInt, kUint, kDouble, kString };
  Kind kind = Kind::kNone;
  bool flag = false;        // kBool
  uint64_t bits = 0;        // kUint; kInt: two's complement; kDouble: as in memory
  std::string_view text;    // kString

  // Whether it is a whole number of at least 0, and which.
  bool natural(uint64_t* out) const {
    if (kind != Kind::kUint && (kind != Kind::kInt || static_cast<int64_t>(bits) < 0)) return false;
    *out = bits;
    return true;
  }
  // Whether it is a number of any kind, and which.
  bool number(double* out) const {
    switch (kind) {
      case Kind::kInt: *out = static_cast<double>(static_cast<int64_t>(bits)); return true;
      case Kind::kUint: *out = static_cast<double>(bits); return true;
      case Kind::kDouble: *out = std::bit_cast<double>(bits); return true;
      default: return false;
    }
  }
};

}  // namespace verge::net
