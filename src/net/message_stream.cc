#include "net/message_stream.h"

#include <algorithm>
#include <utility>

#include "net/front.h"
#include "net/grpc.h"
#include "net/http2_session.h"

namespace verge::net {
namespace {

// Places in the row: one before each message's own for its early answers, one behind it.
constexpr uint64_t kOrderStep = 4;
// Answers of a stream that wait for the client, for each message that may be in progress; beyond them no early ones are added.
constexpr size_t kMostWaiting = 8;
constexpr size_t kKeep = size_t{64} << 10;  // of a pooled stream's backlog

}  // namespace

void MessageStream::open(Http2Session& session, Call* head, const StreamMethod& method) {
  session_ = &session;
  head_ = head;
  method_ = &method;
  code_ = Code::kOk;
  message_.clear();
  first_sent_ = 0;
  window_ = Http2Session::kFirstWindow;
  told = 0;
  next_order_ = 0;
  cut_ = UINT64_MAX;
  room_ = stalled_ = half_closed_ = ended_ = deferred_ = counted_receiving_ = counted_sending_ = false;
  head->messages = this;
  front_.metrics().streams.add();
  front_.metrics().streams_open.add();
  if (head->request.bounds.deadline_ns) front_.stream_deadlines.emplace(head->request.bounds.deadline_ns, this);
}

void MessageStream::take(std::string_view bytes) {
  size_t used = bytes.size();
  if (!ended_) {
    if (stalled_ || !backlog_.empty()) {
      used = 0;
    } else {
      used = parse(bytes);
    }
    if (ended_)
      used = bytes.size();
    else if (used < bytes.size())
      hold(bytes.substr(used));
  }
  if (used) session_->open_stream_window(head_->stream, used);
  note_waits();
}

// Reads messages until a place or memory lacks; how many bytes were read.
size_t MessageStream::parse(std::string_view bytes) {
  const size_t all = bytes.size();
  while (!bytes.empty() && !ended_) {
    if (!current_ && !begin_message()) break;
    if (current_->prefix_bytes < kGrpcPrefixBytes && !read_prefix(&bytes)) break;
    Call* call = current_;
    if (!room_ && !make_room(bytes)) break;
    const size_t n = std::min(bytes.size(), call->message_bytes - call->body.size());
    call->body.append(bytes.data(), n);
    bytes.remove_prefix(n);
    if (call->body.size() == call->message_bytes) complete();
  }
  return all - bytes.size();
}

bool MessageStream::begin_message() {
  if (!backed_ && !back_window(window_)) {
    front_.metrics().count_shed(Shed::kReceiveBudget);
    end(resource_exhausted("no receive memory left for the stream's messages; try again"));
    return false;
  }
  Call* call = count_ < front_.options().max_stream_messages ? front_.acquire_call() : nullptr;
  if (!call) {
    // A stream whose own messages take the places waits for them; one that has none would wait for ever.
    if (count_)
      stalled_ = true;
    else
      end(resource_exhausted("too many requests in progress; try again"));
    return false;
  }
  adopt(call);
  current_ = call;
  room_ = false;
  return true;
}

// True when the prefix is complete and can be served.
bool MessageStream::read_prefix(std::string_view* bytes) {
  Call* call = current_;
  const size_t n = std::min(bytes->size(), kGrpcPrefixBytes - call->prefix_bytes);
  std::memcpy(call->prefix + call->prefix_bytes, bytes->data(), n);
  call->prefix_bytes += static_cast<uint32_t>(n);
  bytes->remove_prefix(n);
  if (call->prefix_bytes < kGrpcPrefixBytes) return false;
  const unsigned char* p = call->prefix;
  call->message_bytes = size_t{p[1]} << 24 | size_t{p[2]} << 16 | size_t{p[3]} << 8 | size_t{p[4]};
  if (Status s = Http2Session::check_prefix(call); !s.ok()) {
    end(s);
    return false;
  }
  return true;
}

bool MessageStream::make_room(std::string_view bytes) {
  Call* call = current_;
  // A large message is placed by where its tensor lies, which its first bytes tell.
  if (call->message_bytes > Http2Session::kAlignFrom && bytes.empty()) return false;
  bool too_large = false;
  const size_t aligned_at = call->message_bytes > Http2Session::kAlignFrom && !call->compressed ? find_raw_input(bytes, Http2Session::kAlignFrom) : 0;
  Status s = session_->reserve(call, call->message_bytes, aligned_at, &too_large);
  if (s.ok()) {
    room_ = true;
    return true;
  }
  if (count_ && !too_large)
    stalled_ = true;
  else
    end(s);
  return false;
}

void MessageStream::complete() {
  Call* call = std::exchange(current_, nullptr);
  call->request_complete = true;
  front_.tell_arrival(call->request);
  push(call);
  front_.service().handle(call);
}

// The window bounds what waits, and twice that the buffer: what was read of it is let go of now and then.
void MessageStream::hold(std::string_view bytes) {
  if (backlog_at_ && backlog_at_ >= backlog_.size() / 2) {
    const size_t left = backlog_.size() - backlog_at_;
    std::memmove(backlog_.data(), backlog_.data() + backlog_at_, left);
    backlog_.truncate(left);
    backlog_at_ = 0;
  }
  backlog_.append(bytes);
}

bool MessageStream::back_window(size_t window) {
  if (window > backed_ && !front_.budget().take(static_cast<int64_t>(window - backed_))) return false;
  window_ = std::max(window, window_);
  backed_ = std::max(window, backed_);
  return true;
}

void MessageStream::pump() {
  stalled_ = false;
  if (!backlog_.empty() && !ended_) {
    const size_t used = parse(backlog_.view().substr(backlog_at_));
    if (!ended_) {
      backlog_at_ += used;
      if (used) session_->open_stream_window(head_->stream, used);
      if (backlog_at_ == backlog_.size()) {
        backlog_.clear();
        backlog_at_ = 0;
      }
    }
  }
  maybe_end();
  note_waits();
}

void MessageStream::half_close() {
  half_closed_ = true;
  maybe_end();
  note_waits();
}

void MessageStream::maybe_end() {
  if (!half_closed_ || ended_ || !backlog_.empty()) return;
  if (current_) {
    end(internal_error("the last message ends early"));
  } else if (!told) {
    ended_ = true;
    wake();
  }
}

// No more messages are taken; those in the row are answered, then comes the status.
void MessageStream::end(const Status& status) {
  ended_ = true;
  code_ = status.ok() ? Code::kUnknown : status.code();
  message_.clear();
  percent_encode(status.message(), &message_);
  drop_input();
  wake();
}

void MessageStream::drop_input() {
  stalled_ = false;
  if (current_) front_.recycle(std::exchange(current_, nullptr));
  backlog_.clear();
  backlog_.shrink(kKeep);
  backlog_at_ = 0;
}

// Lets go of the messages from `order` on.
void MessageStream::cut(uint64_t order) {
  if (order >= cut_) return;
  cut_ = order;
  // Giving one up may answer others at once, so that the row is looked at anew each time.
  while (last_ && last_->order >= order) {
    Call* call = last_;
    unlink(call);
    let_go(call);
  }
}

void MessageStream::end_with(Call* call, const Status& status) {
  if (call->order < cut_) {
    end(status);
    cut(call->order);
  }
  wake();
  note_waits();
}

void MessageStream::stop() {
  if (ended_) return;
  front_.metrics().count_shed(Shed::kStopping);
  end(unavailable("the server is stopping"));
  note_waits();
}

void MessageStream::expired() {
  // Answers that stand are still sent: one may be half on its way.
  const Call* from = first_;
  while (from && from->answered) from = from->next;
  if (!from && ended_) return;
  end({Code::kDeadlineExceeded, "the stream's deadline has passed"});
  if (from) cut(from->order);
  wake();
  note_waits();
}

void MessageStream::close() {
  if (method_->closed) method_->closed(front_.service(), this);
  ended_ = true;
  deferred_ = false;
  drop_input();
  cut(0);
  note_waits();
  session_->forget(this);
  if (const uint64_t deadline = head_->request.bounds.deadline_ns) front_.stream_deadlines.erase({deadline, this});
  front_.metrics().streams_open.sub();
  head_->messages = nullptr;
  front_.recycle(this);
}

void MessageStream::send_reply(Call* call) {
  call->answered = true;
  if (call == first_) wake();
  note_waits();
}

Call* MessageStream::add_answer() {
  Call* call = ended_ ? nullptr : front_.acquire_call();
  if (!call) return nullptr;
  adopt(call);
  push(call);
  return call;
}

Call* MessageStream::add_before(Call* call) { return add_beside(call, false); }

Call* MessageStream::add_after(Call* call) { return add_beside(call, true); }

Call* MessageStream::add_beside(Call* call, bool behind) {
  if (count_ >= kMostWaiting * front_.options().max_stream_messages) return nullptr;
  Call* other = front_.acquire_call();
  if (!other) return nullptr;
  adopt(other);
  Call* before = behind ? call : call->prev;
  Call* after = behind ? call->next : call;
  other->order = behind ? call->order + 1 : call->order - 1;
  other->prev = before;
  other->next = after;
  (before ? before->next : first_) = other;
  (after ? after->prev : last_) = other;
  ++count_;
  return other;
}

void MessageStream::drop(Call* call) {
  unlink(call);
  let_go(call);
  wake();
}

// A call becomes one of this stream's.
void MessageStream::adopt(Call* call) {
  call->protocol = Protocol::kGrpc;
  call->is_grpc = true;
  call->method = Method::kPost;
  call->encoding = head_->encoding;
  call->service = head_->service;
  call->transport = this;
  call->peer = head_->peer;
  call->token = head_->token;
  call->stream = head_->stream;
  call->part_of = this;
  call->request.bounds.deadline_ns = head_->request.bounds.deadline_ns;
  call->request.tenant = head_->request.tenant;
  call->request.flow = head_->request.flow;
  front_.tell_arrival(call->request);
}

void MessageStream::push(Call* call) {
  call->order = next_order_ += kOrderStep;
  call->next = nullptr;
  call->prev = last_;
  (last_ ? last_->next : first_) = call;
  last_ = call;
  ++count_;
}

void MessageStream::unlink(Call* call) {
  if (call == first_) first_sent_ = 0;
  (call->prev ? call->prev->next : first_) = call->next;
  (call->next ? call->next->prev : last_) = call->prev;
  call->prev = call->next = nullptr;
  --count_;
  if (stalled_) session_->want_pump(this);
}

void MessageStream::let_go(Call* call) {
  call->transport = nullptr;
  if (call->in_runtime)
    front_.service().cancel(call);
  else if (call->has_views)
    session_->connection().queue().mark(call);
  else
    front_.recycle(call);
}

// Tells nghttp2 when what it waited for is there.
void MessageStream::wake() {
  if (!deferred_ || !(first_ ? first_->answered : ended_)) return;
  deferred_ = false;
  session_->resume(head_->stream);
}

// Which timeouts apply to the connection, and whether its window needs memory.
void MessageStream::note_waits() {
  if (backed_ && (ended_ || (!count_ && !current_ && backlog_.empty()))) front_.budget().give(static_cast<int64_t>(std::exchange(backed_, 0)));
  const bool receiving = current_ && !stalled_ && backlog_.empty();
  const bool sending = first_ ? first_->answered : ended_;
  if (receiving != counted_receiving_) session_->count_receiving((counted_receiving_ = receiving) ? 1 : -1);
  if (sending != counted_sending_) session_->count_sending((counted_sending_ = sending) ? 1 : -1);
}

ssize_t MessageStream::read(size_t length, uint32_t* flags) {
  size_t n = 0, sent = first_sent_;
  const Call* call = first_;
  for (; call && call->answered && n < length; call = call->next) n += call->reply.body_bytes - std::exchange(sent, 0);
  const bool last = !call && n <= length && ended_;
  if (!n && !last) {
    deferred_ = true;
    return NGHTTP2_ERR_DEFERRED;
  }
  *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
  if (last) {
    *flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
    session_->submit_status(head_->stream, code_, message_.view());
  }
  return static_cast<ssize_t>(std::min(n, length));
}

void MessageStream::send(size_t length) {
  WriteQueue& queue = session_->connection().queue();
  session_->connection().note_served();
  while (length) {
    Call* call = first_;
    const size_t n = Http2Session::queue_reply(queue, call, length);
    length -= n;
    first_sent_ += n;
    if (first_sent_ < call->reply.body_bytes) break;
    unlink(call);
    let_go(call);
  }
  note_waits();
}

}  // namespace verge::net
