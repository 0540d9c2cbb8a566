#include "net/http2_session.h"

#include <algorithm>
#include <charconv>

#include "net/access.h"
#include "net/assist.h"
#include "net/front.h"
#include "net/grpc.h"

namespace verge::net {
namespace {

constexpr size_t kLargestWindow = size_t{4} << 20;    // of a stream
constexpr size_t kConnectionWindow = size_t{1} << 20;
constexpr size_t kLargestConnectionWindow = size_t{16} << 20;
constexpr uint32_t kMaxFrame = 64 << 10;              // of DATA frames in, as we advertise
constexpr size_t kMaxFrameOut = 64 << 10;
constexpr uint32_t kCheapFrames = 10'000;             // a second that a client may send
constexpr uint32_t kSuspicious = 50;                  // in one second: from there on they are read in small steps
constexpr uint64_t kSecond = 1'000'000'000;
constexpr std::string_view kModelInferPath = "/inference.GRPCInferenceService/ModelInfer";

// One set of callbacks and options serves all sessions; nghttp2 only reads them.
struct Setup {
  Setup() {
    nghttp2_session_callbacks_new(&callbacks);
    nghttp2_option_new(&option);
  }
  Setup(const Setup&) = delete;
  Setup& operator=(const Setup&) = delete;
  nghttp2_session_callbacks* callbacks = nullptr;
  nghttp2_option* option = nullptr;
  ~Setup() {
    nghttp2_session_callbacks_del(callbacks);
    nghttp2_option_del(option);
  }
};

bool parse_size(std::string_view s, int64_t* out) {
  if (s.empty() || s.size() > 18 || s.front() == '-') return false;
  const auto [end, error] = std::from_chars(s.data(), s.data() + s.size(), *out);
  return error == std::errc() && end == s.data() + s.size();
}

}  // namespace

struct Http2Session::Callbacks {
  static Http2Session* self(void* p) { return static_cast<Http2Session*>(p); }
  static std::string_view text(nghttp2_rcbuf* b) {
    const nghttp2_vec v = nghttp2_rcbuf_get_buf(b);
    return {reinterpret_cast<const char*>(v.base), v.len};
  }

  static const Setup& setup() {
    static const struct Filled : Setup {
      Filled() { fill(*this); }
    } s;
    return s;
  }

  static void fill(Setup& made) {
    auto* c = made.callbacks;
    nghttp2_session_callbacks_set_on_begin_headers_callback(
        c, [](nghttp2_session*, const nghttp2_frame* f, void* u) { return self(u)->on_begin_headers(f); });
    nghttp2_session_callbacks_set_on_header_callback2(
        c, [](nghttp2_session*, const nghttp2_frame* f, nghttp2_rcbuf* n, nghttp2_rcbuf* v, uint8_t, void* u) {
          return self(u)->on_header(f, text(n), text(v));
        });
    nghttp2_session_callbacks_set_on_frame_recv_callback(
        c, [](nghttp2_session*, const nghttp2_frame* f, void* u) { return self(u)->on_frame(f); });
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(
        c, [](nghttp2_session*, uint8_t, int32_t stream, const uint8_t* p, size_t n, void* u) {
          return self(u)->on_data(stream, {reinterpret_cast<const char*>(p), n});
        });
    nghttp2_session_callbacks_set_on_stream_close_callback(
        c, [](nghttp2_session*, int32_t stream, uint32_t, void* u) { return self(u)->on_stream_close(stream); });
    nghttp2_session_callbacks_set_on_frame_send_callback(
        c, [](nghttp2_session*, const nghttp2_frame* f, void* u) {
          return f->hd.type == NGHTTP2_HEADERS || f->hd.type == NGHTTP2_DATA ? self(u)->on_sent(f) : 0;
        });
    nghttp2_session_callbacks_set_send_data_callback(
        c, [](nghttp2_session*, nghttp2_frame*, const uint8_t* head, size_t n, nghttp2_data_source* source, void* u) {
          return self(u)->send_data(static_cast<Call*>(source->ptr), head, n);
        });
    nghttp2_session_callbacks_set_data_source_read_length_callback(
        c, [](nghttp2_session*, uint8_t, int32_t, int32_t connection, int32_t stream, uint32_t frame, void*) -> ssize_t {
          return std::max<ssize_t>(1, std::min({static_cast<size_t>(std::max(connection, 1)), static_cast<size_t>(std::max(stream, 1)),
                                                static_cast<size_t>(frame), kMaxFrameOut}));
        });
    nghttp2_option_set_no_closed_streams(made.option, 1);
    nghttp2_option_set_no_auto_window_update(made.option, 1);  // a stream with too much in progress must not send more
    // Counted by flooded(), together with the other frames that only cost.
    nghttp2_option_set_stream_reset_rate_limit(made.option, 2 * kCheapFrames, 2 * kCheapFrames);
    nghttp2_option_set_max_settings(made.option, 16);
    nghttp2_option_set_max_outbound_ack(made.option, 256);
    nghttp2_option_set_max_deflate_dynamic_table_size(made.option, 4096);
  }
};

Http2Session::Http2Session(Connection& connection) : connection_(connection) {
  Front& front = connection.front();
  const Setup& setup = Callbacks::setup();
  nghttp2_session_server_new3(&session_, setup.callbacks, this, setup.option, front.http2_memory().mem());
  const nghttp2_settings_entry settings[] = {
      {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, front.options().max_streams},
      {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, static_cast<uint32_t>(kFirstWindow)},
      {NGHTTP2_SETTINGS_MAX_FRAME_SIZE, kMaxFrame},
      {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, front.options().max_header_bytes},
  };
  nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, settings, std::size(settings));
  connection_window_ = kConnectionWindow;
  nghttp2_session_set_local_window_size(session_, NGHTTP2_FLAG_NONE, 0, static_cast<int32_t>(connection_window_));
}

Http2Session::~Http2Session() {
  TimerList::cancel(notice_timer_);
  nghttp2_session_del(session_);
}

void Http2Session::on_bytes(std::string_view bytes) {
  const ssize_t n = nghttp2_session_mem_recv(session_, reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
  if (n >= 0) return;
  connection_.front().metrics().count_shed(n == NGHTTP2_ERR_FLOODED ? Shed::kResetFlood : Shed::kProtocolError);
  connection_.close_when_written();
}

int Http2Session::on_begin_headers(const nghttp2_frame* frame) {
  if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST) return 0;
  Call* call = connection_.front().acquire_call();
  if (!call) {
    nghttp2_submit_rst_stream(session_, NGHTTP2_FLAG_NONE, frame->hd.stream_id, NGHTTP2_REFUSED_STREAM);
    return 0;
  }
  call->protocol = Protocol::kHttp2;
  connection_.introduce(call, this);
  call->stream = frame->hd.stream_id;
  calls_.add(call);
  ++receiving_;
  nghttp2_session_set_stream_user_data(session_, frame->hd.stream_id, call);
  head_of_ = call;
  return 0;
}

int Http2Session::on_header(const nghttp2_frame* frame, std::string_view name, std::string_view value) {
  Call* call = head_of_;
  if (!call || call->stream != frame->hd.stream_id) return 0;
  call->header_bytes += name.size() + value.size() + 32;
  const uint32_t limit = connection_.front().options().max_header_bytes;
  if (call->header_bytes > limit) {
    if (call->head_error.ok()) {
      connection_.front().metrics().count_shed(Shed::kHeaderSize);
      call->head_error = resource_exhausted("request header is larger than " + std::to_string(limit) + " bytes");
    }
    return 0;
  }
  switch (name.size()) {
    case 5:
      if (name == ":path") call->path.assign(value);
      break;
    case 7:
      if (name == ":method")
        call->method = value == "POST"  ? Method::kPost
                       : value == "GET" ? Method::kGet
                       : value == "HEAD" ? Method::kHead
                       : value == "PUT" ? Method::kPut
                                         : Method::kOther;
      break;
    case 12:
      if (name == "content-type") {
        call->is_grpc = value.starts_with("application/grpc");
        if (call->is_grpc) {
          const std::string_view rest = value.substr(16);
          call->grpc_type_known = rest.empty() || rest == "+proto" || rest.front() == ';';
          call->protocol = Protocol::kGrpc;
        }
      } else if (name == "grpc-timeout") {
        const uint64_t timeout = parse_grpc_timeout(value);
        if (timeout)
          call->request.bounds.deadline_ns = connection_.front().arrival_ns() + timeout;
        else
          call->head_error = invalid_argument("grpc-timeout '" + std::string(value.substr(0, 32)) + "' is none");
      } else if (name == "verge-tenant") {
        connection_.take_tenant(call, value);
      }
      break;
    case 10:
      if (name == "tracestate" && connection_.front().log_lines()) call->trace.take_state(value);
      break;
    case 11:
      if (name == "traceparent" && connection_.front().log_lines()) call->trace.take_parent(value);
      if (name == kAssistModelHeader) call->model_header.assign(value);
      break;
    case 13:
      if (name == "grpc-encoding") call->encoding = encoding_from_name(value);
      if (name == "authorization") connection_.take_authorization(call, value);
      break;
    case 14:
      if (name == "content-length" && !parse_size(value, &call->content_length))
        call->head_error = invalid_argument("malformed content-length");
      break;
    case 15:
      if (name == "accept-encoding") call->accepts = best_encoding(value);
      break;
    case 16:
      if (name == "content-encoding")
        call->encoding = call->encoding == Encoding::kIdentity ? encoding_from_name(value) : Encoding::kUnknown;
      break;
    case 20:
      if (name == "grpc-accept-encoding") call->reply.name_encodings = true;
      break;
    case 31:
      if (name == "inference-header-content-length" && !parse_size(value, &call->json_bytes))
        call->head_error = invalid_argument("malformed Inference-Header-Content-Length");
      break;
    default: break;
  }
  return 0;
}

bool Http2Session::only_costs() const { return cheap_frames_ >= kSuspicious && connection_.front().loop().now() - cheap_since_ns_ <= kSecond; }

bool Http2Session::flooded() {
  const uint64_t now = connection_.front().loop().now();
  if (now - cheap_since_ns_ > kSecond) {
    cheap_since_ns_ = now;
    cheap_frames_ = 0;
  }
  if (++cheap_frames_ < kCheapFrames) return false;
  if (cheap_frames_ == kCheapFrames) {
    connection_.front().metrics().count_shed(Shed::kResetFlood);
    nghttp2_session_terminate_session(session_, NGHTTP2_ENHANCE_YOUR_CALM);
    connection_.close_when_written();
  }
  return true;
}

int Http2Session::on_frame(const nghttp2_frame* frame) {
  switch (frame->hd.type) {
    case NGHTTP2_SETTINGS:
      saw_settings_ = true;
      if (!(frame->hd.flags & NGHTTP2_FLAG_ACK)) flooded();
      break;
    case NGHTTP2_PING:
      if (!(frame->hd.flags & NGHTTP2_FLAG_ACK))
        flooded();
      else if (notice_timer_.armed())
        final_goaway();
      break;
    case NGHTTP2_RST_STREAM:
    case NGHTTP2_PRIORITY: flooded(); break;
    case NGHTTP2_HEADERS:
      if (head_of_ && head_of_->stream == frame->hd.stream_id) {
        Call* call = std::exchange(head_of_, nullptr);
        if (call->head_error.ok()) call->head_error = admit(*call);
        if (!call->head_error.ok()) {
          refuse(call, std::move(call->head_error));
          return 0;
        }
        if (call->is_grpc && call->grpc_type_known && call->method == Method::kPost) {
          if (const StreamMethod* method = find_stream_method(path_of(*call))) open_stream(call, *method);
        } else if (!call->is_grpc && !(frame->hd.flags & NGHTTP2_FLAG_END_STREAM) && call->content_length > 0)
          make_room(call, static_cast<size_t>(call->content_length), static_cast<size_t>(std::max<int64_t>(call->json_bytes, 0)));
      }
      [[fallthrough]];
    case NGHTTP2_DATA:
      if (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) {
        Call* call = call_of(frame->hd.stream_id);
        if (call && !call->request_complete) request_complete(call);
      }
      break;
    default: break;
  }
  return 0;
}

int Http2Session::on_data(int32_t stream, std::string_view bytes) {
  Call* call = call_of(stream);
  if (call && call->messages) {
    nghttp2_session_consume_connection(session_, bytes.size());
    connection_.moved(bytes.size());
    call->messages->take(bytes);
    return 0;
  }
  nghttp2_session_consume(session_, stream, bytes.size());
  if (!call || call->answered) return 0;
  connection_.moved(bytes.size());
  if (call->is_grpc)
    take_grpc_data(call, bytes);
  else
    take_body(call, bytes);
  return 0;
}

Status Http2Session::reserve(Call* call, size_t bytes, size_t aligned_at, bool* too_large) {
  Front& front = connection_.front();
  const uint64_t limit = std::min<uint64_t>(front.options().max_message_bytes, front.options().receive_budget_bytes);
  *too_large = bytes > limit;
  if (*too_large) {
    front.metrics().count_shed(Shed::kMessageSize);
    return resource_exhausted("message of " + std::to_string(bytes) + " bytes is larger than " + std::to_string(limit) + " bytes");
  }
  if (!call->body.reserve(bytes, aligned_at)) {
    front.metrics().count_shed(Shed::kReceiveBudget);
    return resource_exhausted("no receive memory left for a message of " + std::to_string(bytes) + " bytes; try again");
  }
  if (bytes > kFirstWindow) grow_windows(call, bytes);
  return {};
}

bool Http2Session::make_room(Call* call, size_t bytes, size_t aligned_at) {
  bool too_large;
  Status s = reserve(call, bytes, aligned_at, &too_large);
  if (s.ok()) return true;
  refuse(call, std::move(s), too_large ? 413 : 0);
  return false;
}

// The memory is reserved, so the client may as well send it without stopping.
void Http2Session::grow_windows(Call* call, size_t bytes) {
  const size_t window = std::min(bytes + kFirstWindow, kLargestWindow);
  if (call->part_of && !call->part_of->back_window(window)) return;  // it comes in smaller steps
  nghttp2_session_set_local_window_size(session_, NGHTTP2_FLAG_NONE, call->stream, static_cast<int32_t>(window));
  const size_t wanted = std::min(2 * window, kLargestConnectionWindow);
  if (wanted > connection_window_) {
    connection_window_ = wanted;
    nghttp2_session_set_local_window_size(session_, NGHTTP2_FLAG_NONE, 0, static_cast<int32_t>(wanted));
  }
}

void Http2Session::take_grpc_data(Call* call, std::string_view bytes) {
  if (call->prefix_bytes < kGrpcPrefixBytes) {
    const size_t n = std::min(bytes.size(), kGrpcPrefixBytes - call->prefix_bytes);
    std::memcpy(call->prefix + call->prefix_bytes, bytes.data(), n);
    call->prefix_bytes += static_cast<uint32_t>(n);
    bytes.remove_prefix(n);
    if (call->prefix_bytes < kGrpcPrefixBytes) return;
    const unsigned char* p = call->prefix;
    call->message_bytes = size_t{p[1]} << 24 | size_t{p[2]} << 16 | size_t{p[3]} << 8 | size_t{p[4]};
    if (Status s = check_prefix(call); !s.ok()) {
      refuse(call, std::move(s));
      return;
    }
    if (!bytes.empty() && !call->compressed && call->path == kModelInferPath && connection_.front().service().turn_away(call, bytes)) return;
    if (call->message_bytes <= kAlignFrom && !make_room(call, call->message_bytes, 0)) return;
  }
  if (call->message_bytes > kAlignFrom && !call->body.size()) {
    if (bytes.empty()) return;
    if (!make_room(call, call->message_bytes, call->compressed ? 0 : find_raw_input(bytes, kAlignFrom))) return;
  }
  if (bytes.size() > call->body.room()) {
    refuse(call, unimplemented("more than one message in a unary call"));
    return;
  }
  call->body.append(bytes.data(), bytes.size());
}

void Http2Session::take_body(Call* call, std::string_view bytes) {
  if (call->body.room() < bytes.size()) {
    const size_t need = call->body.size() + bytes.size();
    const size_t aligned_at = call->json_bytes > 0 ? static_cast<size_t>(call->json_bytes) : 0;
    if (!make_room(call, std::max(need, std::min(2 * need, need + (size_t{4} << 20))), aligned_at)) return;
  }
  call->body.append(bytes.data(), bytes.size());
}

void Http2Session::request_complete(Call* call) {
  call->request_complete = true;
  if (call->messages) {
    call->messages->half_close();
    return;
  }
  --receiving_;
  if (call->answered) return;
  connection_.front().tell_arrival(call->request);
  if (call->is_grpc && (call->prefix_bytes < kGrpcPrefixBytes || call->body.size() < call->message_bytes)) {
    refuse(call, internal_error(call->prefix_bytes ? "the message ends early" : "a unary call without a message"));
    return;
  }
  if (!call->is_grpc) call->compressed = call->encoding != Encoding::kIdentity && call->body.size();
  connection_.front().service().handle(call);
}

Status Http2Session::check_prefix(Call* call) {
  if (!call->prefix[0]) return {};
  if (call->prefix[0] != 1 || call->encoding == Encoding::kIdentity)
    return internal_error("message is flagged as compressed, but no grpc-encoding was given");
  // Inflated when it is complete; a client that compresses takes answers compressed alike.
  call->compressed = call->compress_reply = true;
  call->accepts = call->encoding;
  return check_encoding(call);
}

// Answers a request that need not be complete.
void Http2Session::refuse(Call* call, Status status, int http_status) {
  connection_.front().tell_arrival(call->request);
  connection_.front().service().fail(call, std::move(status), http_status);
}

int Http2Session::on_sent(const nghttp2_frame* frame) {
  if (!(frame->hd.flags & NGHTTP2_FLAG_END_STREAM)) return 0;
  // Answered before the request was complete: the client need not send the rest.
  const Call* call = call_of(frame->hd.stream_id);
  if (call && !call->request_complete)
    nghttp2_submit_rst_stream(session_, NGHTTP2_FLAG_NONE, frame->hd.stream_id, NGHTTP2_NO_ERROR);
  return 0;
}

int Http2Session::on_stream_close(int32_t stream) {
  Call* call = call_of(stream);
  if (call) finish(call);
  return 0;
}

void Http2Session::finish(Call* call) {
  nghttp2_session_set_stream_user_data(session_, call->stream, nullptr);
  if (head_of_ == call) head_of_ = nullptr;
  calls_.remove(call);
  if (call->messages) {
    call->messages->close();
  } else {
    if (!call->request_complete) --receiving_;
    if (call->answered) --sending_;
  }
  call->transport = nullptr;
  if (call->in_runtime)
    connection_.front().service().cancel(call);
  else if (call->has_views)
    connection_.queue().mark(call);
  else
    connection_.front().recycle(call);
}

void Http2Session::produce() {
  WriteQueue& queue = connection_.queue();
  while (!to_pump_.empty()) {
    MessageStream* stream = to_pump_.back();
    to_pump_.pop_back();
    stream->pump();
  }
  while (queue.pending() < Connection::kHighWater) {
    const uint8_t* p = nullptr;
    const ssize_t n = nghttp2_session_mem_send(session_, &p);
    if (n < 0) {
      connection_.close_now();
      return;
    }
    if (n == 0) break;
    queue.append(p, static_cast<size_t>(n));
  }
  if (!nghttp2_session_want_read(session_) && !nghttp2_session_want_write(session_)) connection_.close_when_written();
}

Wait Http2Session::waits_for() const {
  if (!saw_settings_ || head_of_) return Wait::kHeader;
  if (receiving_) return Wait::kBody;
  if (sending_) return Wait::kWrite;
  return calls_.size() ? Wait::kServer : Wait::kIdle;
}

void Http2Session::begin_stop() {
  if (stopping_) return;
  stopping_ = true;
  // First a notice, so that requests under way to us are still served; the limit itself a round trip later.
  nghttp2_submit_shutdown_notice(session_);
  nghttp2_submit_ping(session_, NGHTTP2_FLAG_NONE, nullptr);
  connection_.front().notice_timers.arm(notice_timer_, connection_.front().loop().now());
}

void Http2Session::NoticeTimer::on_timer() { session.final_goaway(); }

void Http2Session::final_goaway() {
  TimerList::cancel(notice_timer_);
  for (Call* call = calls_.first(); call; call = call->next)
    if (call->messages) call->messages->stop();
  nghttp2_submit_goaway(session_, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(session_), NGHTTP2_NO_ERROR, nullptr, 0);
  connection_.touch();
}

void Http2Session::abandon() {
  TimerList::cancel(notice_timer_);
  while (Call* call = calls_.first()) {
    calls_.remove(call);
    if (call->messages) call->messages->close();
    call->transport = nullptr;
    if (call->in_runtime)
      connection_.front().service().cancel(call);
    else if (call->has_views)
      connection_.queue().mark(call);
    else
      connection_.front().recycle(call);
  }
}

}  // namespace verge::net
