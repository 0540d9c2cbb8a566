// HTTP/1.1 heads and chunked bodies. A body means the same however it is cut, and what a head says lies in its bytes.
#include "fuzz.h"
#include "net/http1.h"

using namespace verge;
using namespace verge::net;
using verge::fuzz::require;

namespace {

struct Decoded {
  std::string content;
  size_t used = 0;
  bool done = false, failed = false;
};

// Fed in pieces of `step` bytes.
Decoded decode(std::string_view bytes, size_t step) {
  ChunkedDecoder decoder;
  Decoded out;
  size_t at = 0;
  while (at < bytes.size() && !decoder.done() && !decoder.failed()) {
    std::string_view piece = bytes.substr(at, step);
    const size_t before = piece.size();
    while (!piece.empty() && !decoder.done() && !decoder.failed()) {
      const size_t left = piece.size();
      const std::string_view content = decoder.next(&piece);
      out.content += content;
      if (piece.size() == left && content.empty()) require(piece.empty() || decoder.done() || decoder.failed(), "the decoder goes on");
    }
    at += before - piece.size();
  }
  out.used = at;
  out.done = decoder.done();
  out.failed = decoder.failed();
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input = fuzz::text_of(data, size);
  size_t scanned = 0, stepwise = 0, found = 0;
  const size_t length = find_http1_head(input, &scanned);
  for (size_t n = 1; n <= input.size() && !found; ++n) found = find_http1_head(input.substr(0, n), &stepwise);
  require(found == length, "the end of a head depends on how it arrives");
  if (length) {
    // A copy of its own size, so that reading past its end is seen.
    const std::string head(input.substr(0, length));
    Http1Head out;
    const Http1Error error = parse_http1_head(head, &out);
    if (error.status) {
      require(error.status >= 400 && error.status < 600, "an error's status");
    } else {
      // An absolute form without a path means "/".
      require(out.target == "/" || (out.target.data() >= head.data() && !out.target.empty() && out.target.data() + out.target.size() <= head.data() + head.size()),
              "the target lies in the head");
      require(!(out.chunked && out.content_length >= 0), "one length only");
      require(out.content_length >= -1 && out.json_bytes >= -1, "lengths");
    }
  }
  const std::string_view body = input.substr(length);
  const Decoded whole = decode(body, body.size() + 1), bytewise = decode(body, 1);
  require(whole.done == bytewise.done && whole.failed == bytewise.failed, "how chunks end depends on how they arrive");
  if (!whole.failed) require(whole.content == bytewise.content && whole.used == bytewise.used, "chunks depend on how they arrive");
  return 0;
}
