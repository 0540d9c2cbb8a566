// Names of compressions in headers, and the choice among them.
#pragma once

#include <cstdint>
#include <string_view>

namespace verge::net {

enum class Encoding : uint8_t { kIdentity, kGzip, kDeflate, kUnknown };

Encoding encoding_from_name(std::string_view name);  // "gzip", "deflate", "identity", ""
std::string_view encoding_name(Encoding e);
// The one to answer with, of a list as in Accept-Encoding or grpc-accept-encoding: gzip, then deflate, else identity.
Encoding best_encoding(std::string_view accepted);
inline constexpr std::string_view kGrpcEncodings = "identity,deflate,gzip";

}  // namespace verge::net
