// gRPC's own texts: timeouts, percent-encoded messages, and how statuses map to HTTP.
#pragma once

#include <cstdint>
#include <string_view>

#include "core/status.h"
#include "net/bytes.h"

namespace verge::net {

inline constexpr size_t kGrpcPrefixBytes = 5;

// "100m" in nanoseconds; 0 where it is none (1 to 8 digits and one of H M S m u n). At least 1 for a valid one.
uint64_t parse_grpc_timeout(std::string_view text);

// Appends `message` as grpc-message wants it, cut at 4 KiB.
void percent_encode(std::string_view message, ByteBuffer* out);

// "0" … "16".
std::string_view code_digits(Code code);

// The REST status of an error.
int http_status_of(Code code);

inline void put_grpc_prefix(char* at, size_t message_bytes) {
  at[0] = 0;
  for (int i = 0; i < 4; ++i) at[1 + i] = static_cast<char>(message_bytes >> (24 - 8 * i));
}

}  // namespace verge::net
