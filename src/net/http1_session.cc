#include "net/http1_session.h"

#include <algorithm>
#include <charconv>

#include "net/access.h"
#include "net/front.h"

namespace verge::net {
namespace {

constexpr size_t kDirectFrom = size_t{32} << 10;  // missing body bytes that are read straight to their place

std::string_view reason_phrase(int status) {
  switch (status) {
    case 200: return "OK";
    case 400: return "Bad Request";
    case 401: return "Unauthorized";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 409: return "Conflict";
    case 413: return "Content Too Large";
    case 415: return "Unsupported Media Type";
    case 417: return "Expectation Failed";
    case 429: return "Too Many Requests";
    case 431: return "Request Header Fields Too Large";
    case 499: return "Client Closed Request";
    case 500: return "Internal Server Error";
    case 501: return "Not Implemented";
    case 503: return "Service Unavailable";
    case 504: return "Gateway Timeout";
    case 505: return "HTTP Version Not Supported";
    default: return "Error";
  }
}

// Text of a reply's head, at most kHeadBytes.
class HeadWriter {
 public:
  static constexpr size_t kHeadBytes = 1024;
  HeadWriter& operator<<(std::string_view s) {
    std::memcpy(at_, s.data(), s.size());
    at_ += s.size();
    return *this;
  }
  HeadWriter& operator<<(int64_t v) {
    at_ = std::to_chars(at_, at_ + 24, v).ptr;
    return *this;
  }
  size_t size() const { return static_cast<size_t>(at_ - text_); }
  const char* data() const { return text_; }

 private:
  char text_[kHeadBytes];
  char* at_ = text_;
};

}  // namespace

void Http1Session::on_bytes(std::string_view bytes) {
  if (input_.empty()) {
    const size_t used = process(bytes);
    if (!connection_.closed() && !connection_.closing()) input_.append(bytes.substr(used));
  } else {
    input_.append(bytes);
    produce();
  }
}

void Http1Session::produce() {
  if (input_.empty() || state_ == State::kServer || connection_.closing()) return;
  const size_t used = process(input_.view());
  input_.erase_front(used);
  if (input_.empty()) input_.shrink(16 << 10);
}

size_t Http1Session::process(std::string_view bytes) {
  const size_t all = bytes.size();
  while (!bytes.empty() && !connection_.closing() && !connection_.closed()) {
    switch (state_) {
      case State::kServer: return all - bytes.size();
      case State::kHead: {
        if (connection_.queue().pending() >= Connection::kHighWater) return all - bytes.size();
        if (!scanned_ && bytes.starts_with('\r')) {  // an empty line before a request line is no error
          if (bytes.size() == 1) return all - 1;
          if (bytes[1] == '\n') {
            bytes.remove_prefix(2);
            continue;
          }
        }
        const size_t limit = connection_.front().options().max_header_bytes;
        const size_t n = find_http1_head(bytes.substr(0, limit + 1), &scanned_);
        if (!n || n > limit) {
          if (bytes.size() <= limit) return all - bytes.size();
          connection_.front().metrics().count_shed(Shed::kHeaderSize);
          if (!call_) call_ = connection_.front().acquire_call();
          refuse(invalid_argument("request header is larger than " + std::to_string(limit) + " bytes"), 431);
          return all;
        }
        scanned_ = 0;
        connection_.restart_wait();
        if (!take_head(bytes.substr(0, n))) return all;
        bytes.remove_prefix(n);
        break;
      }
      case State::kSized: {
        const size_t n = std::min(bytes.size(), call_->body.room());
        call_->body.append(bytes.data(), n);
        connection_.moved(n);
        bytes.remove_prefix(n);
        if (!call_->body.room()) complete();
        break;
      }
      case State::kChunked:
        connection_.progress();
        take_chunked(&bytes);
        break;
    }
  }
  return all - bytes.size();
}

bool Http1Session::take_head(std::string_view text) {
  Front& front = connection_.front();
  Http1Head head;
  const Http1Error error = parse_http1_head(text, &head);
  call_ = front.acquire_call();
  if (!call_) {
    constexpr std::string_view kBusy =
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 1\r\nConnection: close\r\n"
        "Content-Length: 58\r\n\r\n{\"error\":\"too many requests in progress; try again later\"}";
    connection_.queue().append(kBusy.data(), kBusy.size());
    connection_.close_when_written();
    return false;
  }
  call_->protocol = Protocol::kHttp1;
  connection_.introduce(call_, this);
  keep_alive_ = head.keep_alive;
  if (error.status) {
    front.metrics().count_shed(Shed::kProtocolError);
    refuse(error.status == 501 ? unimplemented(std::string(error.reason)) : invalid_argument(std::string(error.reason)), error.status);
    return false;
  }
  call_->method = head.method;
  call_->path.assign(head.target);
  call_->content_length = head.content_length;
  call_->json_bytes = head.json_bytes;
  call_->encoding = head.encoding;
  call_->accepts = head.accepts;
  if (head.timeout_ns) call_->request.bounds.deadline_ns = connection_.front().arrival_ns() + head.timeout_ns;
  if (front.log_lines()) {
    call_->trace.take_parent(head.trace_parent);
    call_->trace.take_state(head.trace_state);
  }
  if (!head.authorization.empty()) connection_.take_authorization(call_, head.authorization);
  if (!head.tenant.empty()) connection_.take_tenant(call_, head.tenant);
  if (Status s = call_->head_error.ok() ? admit(*call_) : std::move(call_->head_error); !s.ok()) {
    refuse(std::move(s));
    return false;
  }
  if (head.chunked) {
    state_ = State::kChunked;
    chunks_.reset();
  } else if (head.content_length > 0) {
    if (!make_room(static_cast<size_t>(head.content_length))) return false;
    state_ = State::kSized;
  } else {
    complete();
    return true;
  }
  if (head.expect_continue) {
    constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
    connection_.queue().append(kContinue.data(), kContinue.size());
  }
  return true;
}

bool Http1Session::make_room(size_t bytes) {
  Front& front = connection_.front();
  const uint64_t limit = std::min<uint64_t>(front.options().max_message_bytes, front.options().receive_budget_bytes);
  if (bytes > limit) {
    front.metrics().count_shed(Shed::kMessageSize);
    refuse(resource_exhausted("request body is larger than " + std::to_string(limit) + " bytes"), 413);
    return false;
  }
  const size_t aligned_at = call_->json_bytes > 0 ? static_cast<size_t>(call_->json_bytes) : 0;
  if (!call_->body.reserve(bytes, aligned_at)) {
    front.metrics().count_shed(Shed::kReceiveBudget);
    refuse(resource_exhausted("no receive memory left for a body of " + std::to_string(bytes) + " bytes; try again"));
    return false;
  }
  return true;
}

void Http1Session::take_chunked(std::string_view* bytes) {
  while (!bytes->empty() && !chunks_.done()) {
    const std::string_view piece = chunks_.next(bytes);
    if (chunks_.failed()) {
      connection_.front().metrics().count_shed(Shed::kProtocolError);
      refuse(invalid_argument("malformed chunked body"));
      return;
    }
    const size_t need = call_->body.size() + piece.size();
    if (call_->body.room() < piece.size() && !make_room(std::max(need, std::min(2 * need, need + (size_t{4} << 20))))) return;
    call_->body.append(piece.data(), piece.size());
    connection_.moved(piece.size());
  }
  if (chunks_.done()) complete();
}

std::span<char> Http1Session::direct_room() {
  if (state_ != State::kSized || call_->body.room() < kDirectFrom) return {};
  return {reinterpret_cast<char*>(call_->body.end()), call_->body.room()};
}

void Http1Session::on_direct(size_t n) {
  call_->body.added(n);
  connection_.moved(n);
  if (!call_->body.room()) complete();
}

void Http1Session::complete() {
  state_ = State::kServer;
  connection_.front().tell_arrival(call_->request);
  call_->compressed = call_->encoding != Encoding::kIdentity && call_->body.size();
  connection_.front().service().handle(call_);
}

// Answers an error whose request is not read to its end, and ends the connection.
void Http1Session::refuse(Status status, int http_status) {
  keep_alive_ = false;
  state_ = State::kServer;
  if (!call_) {
    connection_.close_when_written();
    return;
  }
  connection_.introduce(call_, this);
  connection_.front().tell_arrival(call_->request);
  connection_.front().service().fail(call_, std::move(status), http_status);
}

void Http1Session::send_reply(Call* call) {
  Front& front = connection_.front();
  WriteQueue& queue = connection_.queue();
  const Reply& reply = call->reply;
  const bool close = !keep_alive_ || front.stopping() || peer_closed_;
  if (reply.http_status < 400) connection_.note_served();
  HeadWriter head;
  head << "HTTP/1.1 " << reply.http_status << " " << reason_phrase(reply.http_status);
  if (!reply.content_type.empty()) head << "\r\nContent-Type: " << reply.content_type;
  if (reply.json_bytes >= 0) head << "\r\nInference-Header-Content-Length: " << reply.json_bytes;
  if (reply.encoding != Encoding::kIdentity) head << "\r\nContent-Encoding: " << encoding_name(reply.encoding);
  if (!reply.allow.empty()) head << "\r\nAllow: " << reply.allow;
  if (!reply.page_policy.empty())
    head << "\r\nContent-Security-Policy: " << reply.page_policy << "\r\nX-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\nCache-Control: no-cache";
  if (reply.authenticate) head << "\r\nWWW-Authenticate: Bearer realm=\"verge\"";
  if (reply.retry_after) head << "\r\nRetry-After: 1";
  if (close) head << "\r\nConnection: close";
  head << "\r\nContent-Length: " << static_cast<int64_t>(reply.body_bytes) << "\r\n\r\n";
  queue.append(head.data(), head.size());
  bool views = false;
  if (call->method != Method::kHead) {
    for (const Segment& s : reply.segments) {
      if (s.size < SegmentWriter::kCopyBelow || call->in_runtime) {
        queue.append(reply.bytes(s), s.size);
      } else {
        queue.append_view(reply.bytes(s), s.size);
        views = true;
      }
    }
  }
  call_ = nullptr;
  state_ = State::kHead;
  if (call->in_runtime)
    call->transport = nullptr;  // answered at its deadline; its text is copied
  else if (views)
    queue.mark(call);
  else
    front.recycle(call);
  if (close) connection_.close_when_written();
  connection_.progress();
  connection_.touch();
}

void Http1Session::on_peer_closed() {
  peer_closed_ = true;
  if (state_ == State::kServer) {
    // It may only have shut its sending side: the answer is still written where there is one. No call: its end waits for what is written before it.
    if (call_) connection_.front().service().cancel(call_);
  } else if (state_ == State::kHead) {
    connection_.close_when_written();
  } else {
    connection_.close_now();
  }
}

void Http1Session::begin_stop() {
  if (state_ == State::kHead && input_.empty()) connection_.close_when_written();
}

Wait Http1Session::waits_for() const {
  switch (state_) {
    case State::kServer: return Wait::kServer;
    case State::kHead: return input_.empty() ? Wait::kIdle : Wait::kHeader;
    default: return Wait::kBody;
  }
}

void Http1Session::abandon() {
  if (!call_) return;
  Call* call = std::exchange(call_, nullptr);
  call->transport = nullptr;
  if (call->in_runtime)
    connection_.front().service().cancel(call);
  else
    connection_.front().recycle(call);
}

}  // namespace verge::net
