#include "net/http1.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>

#include "net/grpc.h"

namespace verge::net {
namespace {

constexpr auto kToken = [] {
  std::array<bool, 256> t{};
  for (int c = '0'; c <= '9'; ++c) t[static_cast<size_t>(c)] = true;
  for (int c = 'a'; c <= 'z'; ++c) t[static_cast<size_t>(c)] = t[static_cast<size_t>(c - 32)] = true;
  for (char c : std::string_view("!#$%&'*+-.^_`|~")) t[static_cast<unsigned char>(c)] = true;
  return t;
}();

bool is_token(std::string_view s) {
  return !s.empty() && std::all_of(s.begin(), s.end(), [](char c) { return kToken[static_cast<unsigned char>(c)]; });
}

// Field values: visible characters, spaces, tabs, and bytes above ASCII.
bool is_value(std::string_view s) {
  return std::all_of(s.begin(), s.end(), [](char ch) {
    const auto c = static_cast<unsigned char>(ch);
    return c == '\t' || (c >= 0x20 && c != 0x7f);
  });
}

bool is_target(std::string_view s) {
  return std::all_of(s.begin(), s.end(), [](char ch) {
    const auto c = static_cast<unsigned char>(ch);
    return c > 0x20 && c < 0x7f;
  });
}

bool equal_ignoring_case(std::string_view a, std::string_view lower) {
  if (a.size() != lower.size()) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    const char c = a[i] >= 'A' && a[i] <= 'Z' ? static_cast<char>(a[i] + 32) : a[i];
    if (c != lower[i]) return false;
  }
  return true;
}

std::string_view trim(std::string_view s) {
  while (!s.empty() && (s.front() == ' ' || s.front() == '\t')) s.remove_prefix(1);
  while (!s.empty() && (s.back() == ' ' || s.back() == '\t')) s.remove_suffix(1);
  return s;
}

// Digits alone, no sign, at most 18.
bool parse_size(std::string_view s, int64_t* out) {
  if (s.empty() || s.size() > 18) return false;
  for (char c : s)
    if (c < '0' || c > '9') return false;
  std::from_chars(s.data(), s.data() + s.size(), *out);
  return true;
}

bool list_has(std::string_view list, std::string_view lower) {
  while (!list.empty()) {
    const size_t comma = std::min(list.find(','), list.size());
    if (equal_ignoring_case(trim(list.substr(0, comma)), lower)) return true;
    list.remove_prefix(std::min(comma + 1, list.size()));
  }
  return false;
}

Http1Error bad(std::string_view reason) { return {400, reason}; }

Http1Error parse_request_line(std::string_view line, Http1Head* out, bool* is_1_1) {
  const size_t a = line.find(' ');
  const size_t b = a == std::string_view::npos ? a : line.find(' ', a + 1);
  if (b == std::string_view::npos || line.find(' ', b + 1) != std::string_view::npos) return bad("malformed request line");
  const std::string_view method = line.substr(0, a), version = line.substr(b + 1);
  std::string_view target = line.substr(a + 1, b - a - 1);
  if (!is_token(method)) return bad("malformed method");
  if (version == "HTTP/1.1") {
    *is_1_1 = true;
  } else if (version == "HTTP/1.0") {
    *is_1_1 = false;
  } else if (version.size() == 8 && version.starts_with("HTTP/")) {
    return {505, "HTTP version not supported"};
  } else {
    return bad("malformed HTTP version");
  }
  if (!is_target(target)) return bad("malformed request target");
  if (target.starts_with("http://")) {
    // Absolute form: the path after the authority.
    const size_t slash = target.find('/', 7);
    if (slash == 7) return bad("malformed request target");
    target = slash == std::string_view::npos ? std::string_view("/") : target.substr(slash);
  }
  if (!target.starts_with('/') && target != "*") return bad("malformed request target");
  out->target = target;
  out->method = method == "GET" ? Method::kGet : method == "POST" ? Method::kPost : method == "HEAD" ? Method::kHead : method == "PUT" ? Method::kPut : Method::kOther;
  return {};
}

}  // namespace

size_t find_http1_head(std::string_view bytes, size_t* scanned) {
  size_t at = *scanned > 3 ? *scanned - 3 : 0;
  while (true) {
    at = bytes.find('\n', at);
    if (at == std::string_view::npos) break;
    // The empty line ends a head; lone line feeds are left to the parser, which refuses them.
    if (at >= 3 && bytes[at - 1] == '\r' && bytes[at - 2] == '\n' && bytes[at - 3] == '\r') return at + 1;
    if (at >= 1 && bytes[at - 1] == '\n') return at + 1;
    ++at;
  }
  *scanned = bytes.size();
  return 0;
}

Http1Error parse_http1_head(std::string_view head, Http1Head* out) {
  *out = Http1Head();
  bool first = true, is_1_1 = true, has_host = false, has_encoding = false, close = false, keep = false;
  while (!head.empty()) {
    const size_t cr = head.find('\r');
    if (cr == std::string_view::npos || cr + 1 >= head.size() || head[cr + 1] != '\n') return bad("line does not end in CR LF");
    const std::string_view line = head.substr(0, cr);
    head.remove_prefix(cr + 2);
    if (line.find('\n') != std::string_view::npos) return bad("line does not end in CR LF");
    if (first) {
      first = false;
      if (const Http1Error e = parse_request_line(line, out, &is_1_1); e.status) return e;
      continue;
    }
    if (line.empty()) break;
    if (line.front() == ' ' || line.front() == '\t') return bad("folded header line");
    const size_t colon = line.find(':');
    if (colon == std::string_view::npos || !is_token(line.substr(0, colon))) return bad("malformed header name");
    const std::string_view name = line.substr(0, colon), value = trim(line.substr(colon + 1));
    if (!is_value(value)) return bad("control character in a header value");
    switch (name.size()) {
      case 4:
        if (equal_ignoring_case(name, "host")) {
          if (has_host) return bad("more than one Host");
          has_host = true;
        }
        break;
      case 6:
        if (equal_ignoring_case(name, "expect")) {
          if (!equal_ignoring_case(value, "100-continue")) return {417, "unknown expectation"};
          out->expect_continue = true;
        }
        break;
      case 10:
        if (equal_ignoring_case(name, "tracestate")) {
          out->trace_state = value;
        } else if (equal_ignoring_case(name, "connection")) {
          close = close || list_has(value, "close");
          keep = keep || list_has(value, "keep-alive");
        }
        break;
      case 11:
        if (equal_ignoring_case(name, "traceparent")) out->trace_parent = value;
        break;
      case 12:
        if (equal_ignoring_case(name, "grpc-timeout")) {
          out->timeout_ns = parse_grpc_timeout(value);
          if (!out->timeout_ns) return bad("malformed grpc-timeout");
        } else if (equal_ignoring_case(name, "verge-tenant")) {
          out->tenant = value;
        }
        break;
      case 13:
        if (equal_ignoring_case(name, "authorization")) {
          if (!out->authorization.empty()) return bad("more than one Authorization");
          out->authorization = value;
        }
        break;
      case 14:
        if (equal_ignoring_case(name, "content-length")) {
          if (out->content_length >= 0) return bad("more than one Content-Length");
          if (!parse_size(value, &out->content_length)) return bad("malformed Content-Length");
        }
        break;
      case 15:
        if (equal_ignoring_case(name, "accept-encoding")) out->accepts = best_encoding(value);
        break;
      case 16:
        if (equal_ignoring_case(name, "content-encoding")) out->encoding = out->encoding == Encoding::kIdentity ? encoding_from_name(value) : Encoding::kUnknown;
        break;
      case 17:
        if (equal_ignoring_case(name, "transfer-encoding")) {
          if (has_encoding) return bad("more than one Transfer-Encoding");
          has_encoding = true;
          if (!equal_ignoring_case(value, "chunked")) return {501, "Transfer-Encoding other than chunked"};
          out->chunked = true;
        }
        break;
      case 31:
        if (equal_ignoring_case(name, "inference-header-content-length")) {
          if (out->json_bytes >= 0) return bad("more than one Inference-Header-Content-Length");
          if (!parse_size(value, &out->json_bytes)) return bad("malformed Inference-Header-Content-Length");
        }
        break;
      default: break;
    }
  }
  if (first) return bad("empty request");
  if (out->chunked && out->content_length >= 0) return bad("both Transfer-Encoding and Content-Length");
  if (out->chunked && !is_1_1) return bad("Transfer-Encoding in HTTP/1.0");
  if (is_1_1 && !has_host) return bad("no Host");
  out->keep_alive = !close && (is_1_1 || keep);
  if (!is_1_1) out->expect_continue = false;
  return {};
}

std::string_view ChunkedDecoder::next(std::string_view* in) {
  auto fail = [this] {
    state_ = State::kFailed;
    return std::string_view();
  };
  while (!in->empty() && state_ != State::kDone && state_ != State::kFailed) {
    if (state_ == State::kData) {
      const auto n = static_cast<size_t>(std::min<uint64_t>(left_, in->size()));
      const std::string_view piece = in->substr(0, n);
      in->remove_prefix(n);
      left_ -= n;
      if (!left_) state_ = State::kDataCr;
      return piece;
    }
    const char c = in->front();
    in->remove_prefix(1);
    switch (state_) {
      case State::kSize: {
        int digit = -1;
        if (c >= '0' && c <= '9') digit = c - '0';
        else if (c >= 'a' && c <= 'f') digit = c - 'a' + 10;
        else if (c >= 'A' && c <= 'F') digit = c - 'A' + 10;
        if (digit >= 0) {
          if (++digits_ > 12) return fail();
          left_ = left_ * 16 + static_cast<uint64_t>(digit);
        } else if (!digits_) {
          return fail();
        } else if (c == '\r') {
          state_ = State::kSizeLf;
        } else if (c == ';') {
          state_ = State::kExtension;
        } else {
          return fail();
        }
        break;
      }
      case State::kExtension:
        if (c == '\r') state_ = State::kSizeLf;
        else if (++extra_ > kMaxExtension || c == '\n' || (static_cast<unsigned char>(c) < 0x20 && c != '\t')) return fail();
        break;
      case State::kSizeLf:
        if (c != '\n') return fail();
        state_ = left_ ? State::kData : State::kLine;
        digits_ = 0;
        extra_ = 0;
        break;
      case State::kDataCr:
        if (c != '\r') return fail();
        state_ = State::kDataLf;
        break;
      case State::kDataLf:
        if (c != '\n') return fail();
        state_ = State::kSize;
        break;
      case State::kLine:  // the start of a trailer, or of the empty line
        if (c == '\r') {
          state_ = State::kEndLf;
          break;
        }
        state_ = State::kTrailer;
        [[fallthrough]];
      case State::kTrailer:
        if (c == '\r') state_ = State::kTrailerLf;
        else if (++extra_ > kMaxTrailer || c == '\n' || (static_cast<unsigned char>(c) < 0x20 && c != '\t')) return fail();
        break;
      case State::kTrailerLf:
        if (c != '\n') return fail();
        state_ = State::kLine;
        break;
      case State::kEndLf:
        if (c != '\n') return fail();
        state_ = State::kDone;
        break;
      case State::kData:
      case State::kDone:
      case State::kFailed: break;
    }
  }
  return {};
}

}  // namespace verge::net
