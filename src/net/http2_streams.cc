// What a connection's streaming calls ask of their HTTP/2 session; the calls themselves are in message_stream.cc.
#include <algorithm>

#include "net/front.h"
#include "net/grpc.h"
#include "net/http2_fields.h"
#include "net/http2_session.h"

namespace verge::net {

void Http2Session::open_stream(Call* call, const StreamMethod& method) {
  --receiving_;  // it waits for messages, each of which counts by itself
  connection_.front().acquire_stream()->open(*this, call, method);
  nghttp2_data_provider body;
  body.source.ptr = call;
  body.read_callback = [](nghttp2_session*, int32_t, uint8_t*, size_t length, uint32_t* flags, nghttp2_data_source* source,
                          void*) -> ssize_t { return static_cast<Call*>(source->ptr)->messages->read(length, flags); };
  nghttp2_nv fields[4] = {field(":status", "200"), field("content-type", "application/grpc")};
  size_t n = 2;
  // Answers are compressed one by one, where their messages were.
  if (call->encoding == Encoding::kGzip || call->encoding == Encoding::kDeflate)
    fields[n++] = field("grpc-encoding", encoding_name(call->encoding));
  if (call->reply.name_encodings) fields[n++] = field("grpc-accept-encoding", kGrpcEncodings);
  if (nghttp2_submit_response(session_, call->stream, fields, n, &body) != 0)
    nghttp2_submit_rst_stream(session_, NGHTTP2_FLAG_NONE, call->stream, NGHTTP2_INTERNAL_ERROR);
}

void Http2Session::resume(int32_t stream) {
  nghttp2_session_resume_data(session_, stream);
  connection_.touch();
}

void Http2Session::open_stream_window(int32_t stream, size_t bytes) { nghttp2_session_consume_stream(session_, stream, bytes); }

void Http2Session::submit_status(int32_t stream, Code code, std::string_view message) {
  const nghttp2_nv fields[2] = {field("grpc-status", code_digits(code)), field("grpc-message", message)};
  nghttp2_submit_trailer(session_, stream, fields, message.empty() ? 1 : 2);
}

void Http2Session::want_pump(MessageStream* stream) {
  if (std::find(to_pump_.begin(), to_pump_.end(), stream) == to_pump_.end()) to_pump_.push_back(stream);
  connection_.touch();
}

void Http2Session::forget(MessageStream* stream) { std::erase(to_pump_, stream); }

}  // namespace verge::net
