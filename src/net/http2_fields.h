// Header fields as nghttp2 takes them.
#pragma once

#include <nghttp2/nghttp2.h>

#include <string_view>

namespace verge::net {

inline nghttp2_nv field(std::string_view name, std::string_view value) {
  auto* n = reinterpret_cast<uint8_t*>(const_cast<char*>(name.data()));
  auto* v = reinterpret_cast<uint8_t*>(const_cast<char*>(value.data()));
  return {n, v, name.size(), value.size(), NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE};
}

// Values that live on the stack must be copied by nghttp2.
inline nghttp2_nv copied_field(std::string_view name, std::string_view value) {
  nghttp2_nv f = field(name, value);
  f.flags = NGHTTP2_NV_FLAG_NO_COPY_NAME;
  return f;
}

}  // namespace verge::net
