#include "net/grpc.h"

#include <algorithm>

namespace verge::net {

uint64_t parse_grpc_timeout(std::string_view text) {
  if (text.size() < 2 || text.size() > 9) return 0;
  uint64_t n = 0;
  for (char c : text.substr(0, text.size() - 1)) {
    if (c < '0' || c > '9') return 0;
    n = n * 10 + static_cast<uint64_t>(c - '0');
  }
  uint64_t unit;
  switch (text.back()) {
    case 'H': unit = 3'600'000'000'000u; break;
    case 'M': unit = 60'000'000'000u; break;
    case 'S': unit = 1'000'000'000u; break;
    case 'm': unit = 1'000'000u; break;
    case 'u': unit = 1'000u; break;
    case 'n': unit = 1u; break;
    default: return 0;
  }
  // A century is as good as for ever, and stays far from overflow when added to a clock.
  constexpr uint64_t kLongest = uint64_t{100} * 365 * 24 * 3'600 * 1'000'000'000u;
  if (n > kLongest / unit) return kLongest;
  return std::max<uint64_t>(n * unit, 1);
}

void percent_encode(std::string_view message, ByteBuffer* out) {
  constexpr size_t kLongest = 4096;
  constexpr char kHex[] = "0123456789ABCDEF";
  message = message.substr(0, kLongest);
  const auto plain = [](char ch) { return ch >= 0x20 && ch <= 0x7e && ch != '%'; };
  while (!message.empty()) {
    const size_t run = static_cast<size_t>(std::find_if_not(message.begin(), message.end(), plain) - message.begin());
    out->append(message.substr(0, run));
    message.remove_prefix(run);
    if (message.empty()) return;
    const auto c = static_cast<unsigned char>(message.front());
    const char escaped[3] = {'%', kHex[c >> 4], kHex[c & 15]};
    out->append(escaped, 3);
    message.remove_prefix(1);
  }
}

std::string_view code_digits(Code code) {
  static constexpr std::string_view kDigits[] = {"0", "1", "2",  "3",  "4",  "5",  "6",  "7", "8",
                                                 "9", "10", "11", "12", "13", "14", "15", "16"};
  const auto i = static_cast<size_t>(code);
  return i < std::size(kDigits) ? kDigits[i] : "2";
}

int http_status_of(Code code) {
  switch (code) {
    case Code::kOk: return 200;
    case Code::kInvalidArgument:
    case Code::kOutOfRange:
    case Code::kFailedPrecondition: return 400;
    case Code::kUnauthenticated: return 401;
    case Code::kPermissionDenied: return 403;
    case Code::kNotFound: return 404;
    case Code::kAlreadyExists:
    case Code::kAborted: return 409;
    case Code::kResourceExhausted: return 429;
    case Code::kCancelled: return 499;
    case Code::kUnimplemented: return 501;
    case Code::kUnavailable: return 503;
    case Code::kDeadlineExceeded: return 504;
    default: return 500;
  }
}

}  // namespace verge::net
