#include "bench/channel.h"

#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>

#include "os/process.h"

namespace verge::bench {
namespace {

Status no_server(const Target& t, const std::string& why) {
  return unavailable("no server at " + t.text() + ": " + why + ". Start one (`verge serve ZOO`), or name its address: verge bench HOST:PORT");
}

Result<int> connect_unix(const Target& t) {
  sockaddr_un to{};
  to.sun_family = AF_UNIX;
  const std::string path = t.host.substr(5);
  if (path.size() >= sizeof to.sun_path) return invalid_argument(path + ": too long for a Unix socket");
  std::memcpy(to.sun_path, path.data(), path.size());
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd >= 0 && ::connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to) == 0) return fd;
  const std::string why = std::strerror(errno);
  if (fd >= 0) ::close(fd);
  return no_server(t, why);
}

Result<int> connect_tcp(const Target& t) {
  addrinfo hints{}, *found = nullptr;
  hints.ai_socktype = SOCK_STREAM;
  if (const int e = ::getaddrinfo(t.host.c_str(), std::to_string(t.port).c_str(), &hints, &found); e != 0) return no_server(t, ::gai_strerror(e));
  int fd = -1, error = 0;
  for (const addrinfo* a = found; a && fd < 0; a = a->ai_next) {
    fd = ::socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, a->ai_protocol);
    if (fd >= 0 && ::connect(fd, a->ai_addr, a->ai_addrlen) == 0) break;
    error = errno;
    if (fd >= 0) ::close(fd);
    fd = -1;
  }
  ::freeaddrinfo(found);
  if (fd < 0) return no_server(t, std::strerror(error));
  const int one = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  return fd;
}

}  // namespace

std::string Target::text() const { return port ? host + ":" + std::to_string(port) : host; }

Result<Target> parse_target(const std::string& address, bool grpc, TlsOptions tls) {
  Target t;
  t.grpc = grpc;
  std::string a = address;
  for (const std::string scheme : {"grpc://", "http://", "grpcs://", "https://"})
    if (a.starts_with(scheme)) {
      a = a.substr(scheme.size());
      tls.on |= scheme.ends_with("s://");
      break;
    }
  if (tls.wanted()) {
    VERGE_ASSIGN(t.tls, TlsClient::create(tls));
  }
  if (a.starts_with("unix:")) {
    t.host = a;
    return t;
  }
  while (a.ends_with('/')) a.pop_back();
  const size_t colon = a.rfind(':');
  const std::string port = colon == std::string::npos ? "" : a.substr(colon + 1);
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), t.port);
  if (port.empty() || error != std::errc() || end != port.data() + port.size() || t.port < 1 || t.port > 65535)
    return invalid_argument("address '" + address + "': must be HOST:PORT or unix:/path");
  t.host = a.substr(0, colon);
  if (t.host.starts_with('[') && t.host.ends_with(']')) t.host = t.host.substr(1, t.host.size() - 2);
  if (t.host.empty()) t.host = "127.0.0.1";
  return t;
}

Channel::~Channel() { ::close(fd_); }

Result<std::unique_ptr<Channel>> Channel::open(const Target& t) {
  const bool local = t.host.starts_with("unix:");
  VERGE_ASSIGN(const int fd, local ? connect_unix(t) : connect_tcp(t));
  std::unique_ptr<net::TlsStream> tls;
  if (t.tls) {
    auto made = t.tls->connect(fd, local ? "localhost" : t.host, t.grpc ? "h2" : "http/1.1");
    if (!made.ok()) {
      ::close(fd);
      return made.status().prefixed("server at " + t.text());
    }
    tls = std::move(*made);
  }
  return t.grpc ? make_http2_channel(fd, std::move(tls), t) : make_http1_channel(fd, std::move(tls), t);
}

ssize_t Channel::read_some(void* p, size_t n) { return tls_ ? tls_->read(p, n) : ::recv(fd_, p, n, MSG_DONTWAIT); }

bool Channel::write_out() {
  while (written_ < out_.size()) {
    const iovec left{out_.data() + written_, out_.size() - written_};
    const ssize_t n = tls_ ? tls_->write(&left, 1) : ::send(fd_, left.iov_base, left.iov_len, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
      blocked_ = true;
      return true;
    }
    if (n <= 0) return false;
    written_ += static_cast<size_t>(n);
  }
  out_.clear();
  written_ = 0;
  blocked_ = false;
  return true;
}

Status call_once(Channel& c, Exchange& e, double seconds) {
  const uint64_t end = os::monotonic_ns() + static_cast<uint64_t>(seconds * 1e9);
  c.send(&e);
  std::vector<Exchange*> done;
  while (done.empty()) {
    if (!c.flush()) return unavailable("the server closed the connection");
    const uint64_t now = os::monotonic_ns();
    if (now >= end) return Status(Code::kDeadlineExceeded, "the server did not answer within " + std::to_string(static_cast<int>(seconds)) + " s");
    pollfd p{c.fd(), static_cast<short>(POLLIN | (c.wants_to_write() ? POLLOUT : 0)), 0};
    if (::poll(&p, 1, static_cast<int>((end - now) / 1'000'000) + 1) < 0 && errno != EINTR) return unavailable(std::strerror(errno));
    if (p.revents & (POLLIN | POLLHUP | POLLERR) && !c.receive(done) && done.empty()) return unavailable("the server closed the connection without an answer");
  }
  return e.broken ? unavailable(e.broken) : Status();
}

}  // namespace verge::bench
