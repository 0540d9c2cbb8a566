// JSON text into a ByteBuffer.
#pragma once

#include <charconv>
#include <cmath>
#include <concepts>
#include <string_view>

#include "net/bytes.h"

namespace verge::net {

// A quoted string; `s` must be valid UTF-8.
void json_string(std::string_view s, ByteBuffer* out);

template <std::integral T>
void json_number(T v, ByteBuffer* out) {
  char* at = out->room(24);
  out->added(static_cast<size_t>(std::to_chars(at, at + 24, v).ptr - at));
}

// The shortest text that reads back as the same value, always with a point or an exponent; NaN, Infinity and -Infinity as Triton's clients
// read them.
template <std::floating_point T>
void json_number(T v, ByteBuffer* out) {
  if (!std::isfinite(v)) {
    out->append(std::isnan(v) ? "NaN" : v > 0 ? "Infinity" : "-Infinity");
    return;
  }
  char* at = out->room(40);
  char* end = std::to_chars(at, at + 32, v).ptr;
  bool integral = true;
  for (const char* p = at; p != end; ++p)
    if (*p == '.' || *p == 'e') integral = false;
  if (integral) {
    *end++ = '.';
    *end++ = '0';
  }
  out->added(static_cast<size_t>(end - at));
}

}  // namespace verge::net
