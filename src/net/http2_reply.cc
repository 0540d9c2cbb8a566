// How a session sends answers: their heads, their bodies as views into the call, their trailers.
#include <algorithm>
#include <charconv>
#include <string_view>

#include "net/front.h"
#include "net/grpc.h"
#include "net/http2_fields.h"
#include "net/http2_session.h"

namespace verge::net {
namespace {

constexpr size_t kRepeatedMessage = 128;  // error texts up to this size that come twice in a row are put into the header table

}  // namespace

void Http2Session::send_reply(Call* call) {
  Reply& reply = call->reply;
  call->answered = true;
  ++sending_;
  connection_.touch();
  connection_.note_answer();
  if (reply.code == Code::kOk && reply.http_status < 400) connection_.note_served();
  nghttp2_data_provider body;
  body.source.ptr = call;
  body.read_callback = [](nghttp2_session*, int32_t, uint8_t*, size_t length, uint32_t* flags, nghttp2_data_source* source,
                          void* self) { return static_cast<Http2Session*>(self)->read_body(static_cast<Call*>(source->ptr), length, flags); };
  int result;
  if (call->is_grpc && reply.body_bytes == 0) {
    // Trailers only.
    nghttp2_nv fields[5] = {field(":status", "200"), field("content-type", "application/grpc"),
                            field("grpc-status", code_digits(reply.code))};
    size_t n = 3;
    if (!reply.message.empty()) {
      // Seldom are two the same: in the table they would only drive out what comes again. Refusals under overload are.
      const std::string_view message = reply.message.view();
      fields[n] = field("grpc-message", message);
      if (message != last_message_) {
        last_message_.assign(message.substr(0, kRepeatedMessage));
        fields[n].flags |= NGHTTP2_NV_FLAG_NO_INDEX;
      }
      ++n;
    }
    if (reply.name_encodings) fields[n++] = field("grpc-accept-encoding", kGrpcEncodings);
    result = nghttp2_submit_response(session_, call->stream, fields, n, nullptr);
  } else if (call->is_grpc) {
    nghttp2_nv fields[4] = {field(":status", "200"), field("content-type", "application/grpc")};
    size_t n = 2;
    if (reply.encoding != Encoding::kIdentity) fields[n++] = field("grpc-encoding", encoding_name(reply.encoding));
    if (reply.name_encodings) fields[n++] = field("grpc-accept-encoding", kGrpcEncodings);
    result = nghttp2_submit_response(session_, call->stream, fields, n, &body);
  } else {
    char status[24], length[24], json[24];
    auto digits = [](char* at, int64_t v) { return std::string_view(at, static_cast<size_t>(std::to_chars(at, at + 24, v).ptr - at)); };
    nghttp2_nv fields[12] = {copied_field(":status", digits(status, reply.http_status)),
                            copied_field("content-length", digits(length, static_cast<int64_t>(reply.body_bytes)))};
    size_t n = 2;
    if (!reply.content_type.empty()) fields[n++] = field("content-type", reply.content_type);
    if (reply.json_bytes >= 0) fields[n++] = copied_field("inference-header-content-length", digits(json, reply.json_bytes));
    if (reply.encoding != Encoding::kIdentity) fields[n++] = field("content-encoding", encoding_name(reply.encoding));
    if (!reply.allow.empty()) fields[n++] = field("allow", reply.allow);
    if (!reply.page_policy.empty()) {
      fields[n++] = field("content-security-policy", reply.page_policy);
      fields[n++] = field("x-content-type-options", "nosniff");
      fields[n++] = field("referrer-policy", "no-referrer");
      fields[n++] = field("cache-control", "no-cache");
    }
    if (reply.authenticate) fields[n++] = field("www-authenticate", "Bearer realm=\"verge\"");
    if (reply.retry_after) fields[n++] = field("retry-after", "1");
    const bool has_body = reply.body_bytes && call->method != Method::kHead;
    result = nghttp2_submit_response(session_, call->stream, fields, n, has_body ? &body : nullptr);
  }
  if (result != 0) nghttp2_submit_rst_stream(session_, NGHTTP2_FLAG_NONE, call->stream, NGHTTP2_INTERNAL_ERROR);
}

ssize_t Http2Session::read_body(Call* call, size_t length, uint32_t* flags) {
  // Says how much the next frame carries; send_data() then moves it.
  const Reply& reply = call->reply;
  size_t left = 0;
  for (size_t i = call->sent_segment; i < reply.segments.size() && left < length; ++i)
    left += reply.segments[i].size - (i == call->sent_segment ? call->sent_offset : 0);
  const size_t n = std::min(left, length);
  *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
  // More may follow when the sum stopped at `length` exactly.
  bool last = left <= length;
  if (last && left == length) {
    size_t all = 0;
    for (size_t i = call->sent_segment; i < reply.segments.size(); ++i)
      all += reply.segments[i].size - (i == call->sent_segment ? call->sent_offset : 0);
    last = all == length;
  }
  if (last) {
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    if (call->is_grpc) {
      *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
      const nghttp2_nv trailer = field("grpc-status", code_digits(reply.code));
      nghttp2_submit_trailer(session_, call->stream, &trailer, 1);
    }
  }
  return static_cast<ssize_t>(n);
}

int Http2Session::send_data(Call* call, const uint8_t* frame_head, size_t length) {
  const size_t moved = length;
  WriteQueue& queue = connection_.queue();
  if (queue.pending() >= Connection::kHighWater) return NGHTTP2_ERR_WOULDBLOCK;
  queue.append(frame_head, 9);
  if (call->messages)
    call->messages->send(length);
  else
    queue_reply(queue, call, length);
  connection_.moved(moved);
  return 0;
}

size_t Http2Session::queue_reply(WriteQueue& queue, Call* call, size_t length) {
  const size_t wanted = length;
  const Reply& reply = call->reply;
  while (length && call->sent_segment < reply.segments.size()) {
    const Segment& s = reply.segments[call->sent_segment];
    const size_t n = std::min(length, s.size - call->sent_offset);
    const char* p = reply.bytes(s) + call->sent_offset;
    if (n < SegmentWriter::kCopyBelow || call->in_runtime) {  // a call that a lane still has goes when that brings it back
      queue.append(p, n);
    } else {
      queue.append_view(p, n);
      call->has_views = true;
    }
    length -= n;
    call->sent_offset += n;
    if (call->sent_offset == s.size) {
      ++call->sent_segment;
      call->sent_offset = 0;
    }
  }
  return wanted - length;
}

}  // namespace verge::net
