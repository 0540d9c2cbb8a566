// HTTP/1.1 request heads and chunked bodies: strict parsers over bytes in memory. Where two readers could understand a message
// differently, it is refused.
#pragma once

#include <cstdint>
#include <string_view>

#include "net/call.h"

namespace verge::net {

struct Http1Head {
  Method method = Method::kOther;
  std::string_view target;       // origin form: path and query
  bool keep_alive = true;
  bool chunked = false;
  bool expect_continue = false;
  Encoding encoding = Encoding::kIdentity;  // Content-Encoding
  Encoding accepts = Encoding::kIdentity;   // Accept-Encoding: what to answer with
  std::string_view trace_parent, trace_state;
  std::string_view authorization, tenant;  // headers; empty: not given
  int64_t content_length = -1;   // -1: not given
  int64_t json_bytes = -1;       // Inference-Header-Content-Length
  uint64_t timeout_ns = 0;       // grpc-timeout
};

struct Http1Error {
  int status = 0;  // 0: none
  std::string_view reason;
};

// Looks for the end of a head in `bytes`, of which the first *scanned hold none; returns its length with the empty line, or 0 where it is
// not complete yet (*scanned then says how far it was looked at).
size_t find_http1_head(std::string_view bytes, size_t* scanned);

// `head` is a request line and header fields with the empty line at the end.
Http1Error parse_http1_head(std::string_view head, Http1Head* out);

// Decodes a chunked body piece by piece.
class ChunkedDecoder {
 public:
  void reset() { *this = ChunkedDecoder(); }
  // Takes bytes from the front of *in. Returns the next piece of content, which may be empty when more bytes are needed, the end was
  // reached (done()) or the bytes are no chunks (failed()).
  std::string_view next(std::string_view* in);
  bool done() const { return state_ == State::kDone; }
  bool failed() const { return state_ == State::kFailed; }

 private:
  enum class State : uint8_t { kSize, kExtension, kSizeLf, kData, kDataCr, kDataLf, kLine, kTrailer, kTrailerLf, kEndLf, kDone, kFailed };
  static constexpr uint32_t kMaxExtension = 256;   // bytes, of one chunk
  static constexpr uint32_t kMaxTrailer = 8 << 10;  // bytes, of all trailers
  State state_ = State::kSize;
  uint8_t digits_ = 0;
  uint32_t extra_ = 0;
  uint64_t left_ = 0;
};

}  // namespace verge::net
