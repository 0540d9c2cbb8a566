#include "net/connection.h"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>

#include "net/front.h"
#include "net/http1_session.h"
#include "net/http2_session.h"
#include "net/tls.h"

namespace verge::net {
namespace {

constexpr std::string_view kPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
constexpr int kReadsPerTurn = 4;    // then the other connections have their turn
constexpr int kTlsReadsPerTurn = 16;  // of one record each
constexpr size_t kSmallRead = size_t{2} << 10;  // a dozen requests that are taken back at once: less than a tenth of a millisecond
constexpr size_t kStrangersRead = size_t{16} << 10;
constexpr std::string_view kSpeakTls =
    "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: 50\r\n\r\n"
    "{\"error\":\"this listener speaks TLS; use https://\"}";
constexpr std::string_view kSpeakPlain =
    "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: 56\r\n\r\n"
    "{\"error\":\"this listener speaks plain HTTP; use http://\"}";
constexpr char kTlsRecord = 0x16;  // the first byte of a TLS handshake
constexpr int64_t kLongestUnreadNs = 10'000'000'000;  // believed of what waited in a socket
constexpr int kRoundsPerTurn = 16;  // of producing and writing

}  // namespace

Connection::Connection(Front& front, int fd, const Peer& peer, std::unique_ptr<TlsStream> tls)
    : front_(front), fd_(fd), peer_(peer), tls_(std::move(tls)), queue_(front), handshaking_(tls_ != nullptr) {}

Connection::~Connection() { TimerList::cancel(*this); }

bool Connection::open() {
  interest_ = EPOLLIN | EPOLLRDHUP;
  if (!front_.loop().add(fd_, interest_, this, place_).ok()) return false;
  begun_ns_ = front_.loop().now();
  update_timer();
  return true;
}

void Connection::introduce(Call* call, Transport* transport) {
  call->service = &front_.service();
  call->transport = transport;
  call->peer = &peer_;
  call->request.flow = peer_.number;
}

void Connection::take_authorization(Call* call, std::string_view value) {
  const AuthOptions& auth = front_.options().auth;
  if (!auth.enabled) return;
  if (std::exchange(call->has_authorization, true)) {
    call->head_error = invalid_argument("more than one Authorization header");
    return;
  }
  call->token = tokens_.look_up(auth, value);
  if (call->token) call->request.tenant = call->token->tenant;
}

void Connection::take_tenant(Call* call, std::string_view name) {
  if (front_.options().auth.enabled) return;  // the token tells
  const auto& tenants = front_.options().tenants;
  const auto at = std::find(tenants.begin(), tenants.end(), name);
  if (at != tenants.end())
    call->request.tenant = static_cast<uint32_t>(at - tenants.begin());
  else
    call->head_error = invalid_argument("verge-tenant names no tenant of this server");
}

void Connection::touch() { front_.mark_dirty(this); }

void Connection::on_event(uint32_t events) {
  if (events & (EPOLLERR | EPOLLHUP)) {
    if (closing_) drop_received();
    close_now();
    return;
  }
  if (handshaking_) {
    front_.queue_handshake(this);
    return;
  }
  touch();
  const bool resume = (events & EPOLLOUT) && std::exchange(read_blocked_, false);
  if (events & EPOLLOUT) blocked_ = false;
  if ((events & EPOLLIN) || resume) {
    read();
    if (answered_) settle_now();
  } else if (events & EPOLLRDHUP) {
    peer_closed();
  }
}

void Connection::read() {
  tls_more_ = false;
  const int limit = tls_ ? kTlsReadsPerTurn : kReadsPerTurn;
  for (int i = 0; i < limit && fd_ >= 0; ++i) {
    if (session_ && !lingering_ && !session_->wants_bytes()) break;
    const bool small = !session_ || (!closing_ && session_->only_costs());  // a stranger's first bytes too
    if (i && (small || place_ == Loop::Place::kAside)) break;
    std::span<char> room;
    if (session_ && !closing_) room = session_->direct_room();
    const bool direct = !room.empty();
    if (!direct) room = {front_.read_buffer(), small ? kSmallRead : place_ == Loop::Place::kAside ? kStrangersRead : Front::kReadBytes};
    const ssize_t n = receive(room);
    if (n == 0) {
      peer_closed();
      return;
    }
    if (n < 0) {
      if (errno == EINTR) continue;
      if (errno != EAGAIN && errno != EWOULDBLOCK) {
        close_now();
      } else if (tls_ && tls_->read_wants_write()) {
        read_blocked_ = blocked_ = true;
      }
      return;
    }
    const auto got = static_cast<size_t>(n);
    front_.metrics().received_bytes.add(got);
    if (closing_) continue;  // dropped
    if (direct)
      session_->on_direct(got);
    else
      feed({room.data(), got});
    front_.arrival.noted_ns = 0;
    if (fd_ >= 0 && front_.arrival.wanted && !stamps_asked_ && !tls_) {
      stamps_asked_ = true;
      stamps_ = front_.stamp(fd_);
    }
    if (tls_ ? !tls_->pending() : got < room.size()) return;
  }
  if (tls_ && fd_ >= 0) tls_more_ = tls_->pending();
}

// As recv(). Notes in the front when the last of the bytes came, where the socket tells: the stamp is that of the last segment of what is read.
ssize_t Connection::receive(std::span<char> room) {
  front_.arrival = {};
  if (tls_) return tls_->read(room.data(), room.size());
  if (!stamps_ || closing_) return recv(fd_, room.data(), room.size(), MSG_DONTWAIT);
  iovec vector{room.data(), room.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(timespec))];
  msghdr message{};
  message.msg_iov = &vector;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  const ssize_t n = recvmsg(fd_, &message, MSG_DONTWAIT);
  if (n <= 0) return n;
  for (cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr; c = CMSG_NXTHDR(&message, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_TIMESTAMPNS || c->cmsg_len < CMSG_LEN(sizeof(timespec))) continue;
    timespec then, now;
    std::memcpy(&then, CMSG_DATA(c), sizeof then);
    clock_gettime(CLOCK_REALTIME, &now);
    // The clock of the day may have been set meanwhile: what was unread then seems to have waited for up to ten seconds.
    const int64_t waited = (int64_t{now.tv_sec} - then.tv_sec) * 1'000'000'000 + (now.tv_nsec - then.tv_nsec);
    front_.arrival.noted_ns = now_ns() - static_cast<uint64_t>(std::clamp<int64_t>(waited, 0, kLongestUnreadNs));
  }
  return n;
}

void Connection::feed(std::string_view bytes) {
  if (!session_ && !sniff(bytes)) return;
  session_->on_bytes(bytes);
}

// True when the session stands and has seen all bytes before `bytes`.
bool Connection::sniff(std::string_view bytes) {
  if (!first_bytes_ && bytes[0] == kTlsRecord) {
    front_.metrics().count_shed(Shed::kProtocolError);
    refuse(kSpeakPlain);
    return false;
  }
  const size_t n = std::min(kPreface.size() - first_bytes_, bytes.size());
  const bool may_be_http2 = bytes.substr(0, n) == kPreface.substr(first_bytes_, n);
  if (may_be_http2 && first_bytes_ + n < kPreface.size()) {
    std::copy_n(bytes.data(), n, first_ + first_bytes_);
    first_bytes_ = static_cast<uint8_t>(first_bytes_ + n);
    return false;
  }
  if (may_be_http2)
    session_ = std::make_unique<Http2Session>(*this);
  else
    session_ = std::make_unique<Http1Session>(*this);
  if (first_bytes_) session_->on_bytes({first_, first_bytes_});
  return true;
}

// The whole answer, and the end. What the client has sent after its first bytes is dropped: closed with that unread, the answer might not arrive.
void Connection::refuse(std::string_view answer) {
  session_ = std::make_unique<Http1Session>(*this);
  queue_.append(answer.data(), answer.size());
  close_when_written();
  touch();
}

void Connection::step_handshake() {
  if (fd_ < 0 || !handshaking_) return;
  const TlsStream::Handshake step = tls_->handshake();
  switch (step) {
    case TlsStream::Handshake::kDone: handshake_done(); return;
    case TlsStream::Handshake::kWantRead:
    case TlsStream::Handshake::kWantWrite:
      handshake_wants_write_ = step == TlsStream::Handshake::kWantWrite;
      update_interest();
      return;
    case TlsStream::Handshake::kPlainHttp:
      front_.metrics().count_shed(Shed::kProtocolError);
      front_.handshake_ended(0);
      handshaking_ = false;
      tls_.reset();
      refuse(kSpeakTls);
      return;
    case TlsStream::Handshake::kFailed: front_.metrics().count_shed(Shed::kHandshakeFailed); break;
  }
  close_now();
}

void Connection::handshake_done() {
  handshaking_ = false;
  front_.handshake_ended(now_ns() - begun_ns_);
  if (tls_->negotiated("h2"))
    session_ = std::make_unique<Http2Session>(*this);
  else if (tls_->negotiated("http/1.1"))
    session_ = std::make_unique<Http1Session>(*this);
  touch();
  read();  // what came with the last message of the handshake
}

void Connection::peer_closed() {
  peer_closed_ = true;
  if (!session_ || lingering_) {
    close_now();
    return;
  }
  session_->on_peer_closed();
}

// The peer sends no more. A socket that is closed with bytes unread is reset, and what the kernel has not sent yet of the answers is lost.
void Connection::drop_received() {
  constexpr int kMost = 64;
  for (int i = 0; i < kMost && recv(fd_, nullptr, size_t{1} << 20, MSG_DONTWAIT | MSG_TRUNC) > 0; ++i) continue;
}

void Connection::settle() {
  dirty = false;
  settle_now();
}

// What was refused or answered while it was read is sent before the next connection is looked at: its memory is then used again while the caches
// still have it.
void Connection::settle_now() {
  answered_ = false;
  if (fd_ < 0) return;
  if (tls_more_ && may_read()) read();
  if (fd_ < 0) return;
  const bool waiting = !queue_.empty();
  for (int round = 0; session_ && !lingering_; ++round) {
    const size_t before = queue_.pending();
    if (before < kHighWater) session_->produce();
    if (fd_ < 0) return;
    if (queue_.empty() || blocked_) break;
    uint64_t written = 0;
    if (!queue_.flush(fd_, tls_.get(), &written)) {
      close_now();
      return;
    }
    if (written) progress_ = true;
    if (waiting) moved_ += written;  // else it is the first of what this turn made: control frames are no progress
    front_.metrics().sent_bytes.add(written);
    if (!queue_.empty()) {
      blocked_ = true;
      break;
    }
    if (round == kRoundsPerTurn) {
      touch();
      front_.loop().again();
      break;
    }
  }
  if (closing_ && queue_.empty() && !lingering_) {
    if (peer_closed_) {
      drop_received();
      close_now();
      return;
    }
    if (tls_) tls_->close_notify();
    shutdown(fd_, SHUT_WR);
    lingering_ = true;
  }
  if (tls_more_ && may_read()) touch();
  update_place();
  if (fd_ < 0) return;
  update_interest();
  update_timer();
}

bool Connection::may_read() const { return lingering_ || !session_ || (session_->wants_bytes() && queue_.pending() < kHighWater); }

// A stranger, and who lately only costs, does not hold up the others.
void Connection::update_place() {
  const bool aside = !served_ || !session_ || session_->only_costs();
  const Loop::Place place = aside ? Loop::Place::kAside : Loop::Place::kFirst;
  if (place == place_ || closing_) return;
  front_.loop().remove(fd_, this, place_);
  place_ = place;
  if (!front_.loop().add(fd_, interest_, this, place_).ok()) close_now();
}

void Connection::update_interest() {
  uint32_t want = 0;
  const bool reads = may_read() && !read_blocked_;
  if (handshaking_)
    want = handshake_wants_write_ ? EPOLLOUT : EPOLLIN | EPOLLRDHUP;
  else if (!peer_closed_) want |= EPOLLRDHUP | (reads ? static_cast<uint32_t>(EPOLLIN) : 0);
  if (blocked_) want |= EPOLLOUT;
  if (want == interest_) return;
  interest_ = want;
  front_.loop().modify(fd_, want, this, place_);
}

// Whether a wait of this kind may begin anew: a byte now and then does not hold a body or an answer open for ever.
bool Connection::came_on(Wait wait) const {
  if (wait == Wait::kBody) return moved_ >= front_.least_body_bytes;
  if (wait == Wait::kWrite) return moved_ >= front_.least_write_bytes;
  return progress_;
}

void Connection::update_timer() {
  Wait wait = Wait::kHeader;
  if (handshaking_)
    wait = Wait::kHandshake;
  else if (lingering_)
    wait = Wait::kLinger;
  else if (!queue_.empty())
    wait = Wait::kWrite;
  else if (session_)
    wait = session_->waits_for();
  // Whatever is armed was for what came before: a request that was restarted to this wait may have had no body.
  const bool from_the_start = !came_on(wait) || wait == Wait::kHandshake || wait == Wait::kHeader || wait == Wait::kLinger;
  if (wait != Wait::kServer && wait == wait_ && from_the_start && armed()) return;
  progress_ = false;
  moved_ = 0;
  wait_ = wait;
  const uint64_t now = front_.loop().now();
  switch (wait) {
    case Wait::kServer: TimerList::cancel(*this); break;
    case Wait::kHandshake: front_.handshake_timers.arm(*this, now); break;
    case Wait::kHeader: front_.header_timers.arm(*this, now); break;
    case Wait::kBody: front_.body_timers.arm(*this, now); break;
    case Wait::kWrite: front_.write_timers.arm(*this, now); break;
    case Wait::kIdle: front_.idle_timers.arm(*this, now); break;
    case Wait::kLinger: front_.linger_timers.arm(*this, now); break;
  }
}

// The socket tells of room only when a good part of its buffer is free, which with a large one takes a slow reader longer than the timeout. What it takes now tells how far
// the reader has come.
bool Connection::still_written() {
  if (queue_.empty() || !blocked_) return false;
  uint64_t written = 0;
  if (!queue_.flush(fd_, tls_.get(), &written)) return false;
  front_.metrics().sent_bytes.add(written);
  moved_ += written;
  if (!came_on(Wait::kWrite)) return false;
  blocked_ = !queue_.empty();
  touch();
  return true;
}

void Connection::on_timer() {
  // Timers fire before settle(): what this turn brought, perhaps after a long one, counts first, and settle() arms anew.
  const bool counts = wait_ == Wait::kServer || wait_ == Wait::kBody || wait_ == Wait::kWrite || wait_ == Wait::kIdle;
  if (dirty && counts && (wait_ == Wait::kServer || came_on(wait_) || (wait_ == Wait::kWrite && !queue_.empty() && !blocked_))) return;
  switch (wait_) {
    case Wait::kHandshake: front_.metrics().count_shed(Shed::kHandshakeTimeout); break;
    case Wait::kHeader: front_.metrics().count_shed(Shed::kHeaderTimeout); break;
    case Wait::kBody: front_.metrics().count_shed(Shed::kBodyTimeout); break;
    case Wait::kWrite:
      if (still_written()) return;
      front_.metrics().count_shed(Shed::kWriteTimeout);
      break;
    case Wait::kIdle:
      // The end is announced: a request that is on its way is still answered, or safely tried again.
      front_.metrics().count_shed(Shed::kIdleTimeout);
      session_->begin_stop();
      touch();
      return;
    case Wait::kServer:
    case Wait::kLinger: break;
  }
  close_now();
}

void Connection::begin_stop() {
  if (handshaking_) {
    close_now();
    return;
  }
  // What the kernel has taken from the client already counts as accepted.
  if (!session_ || session_->wants_bytes()) read();
  if (fd_ < 0) return;
  if (!session_) {
    close_now();
    return;
  }
  session_->begin_stop();
  touch();
}

void Connection::close_now() {
  if (fd_ < 0) return;
  TimerList::cancel(*this);
  front_.loop().remove(fd_, this, place_);
  if (session_) session_->abandon();
  if (handshaking_) front_.handshake_ended(0);
  close(fd_);
  fd_ = -1;
  front_.bury(this);
}

}  // namespace verge::net
