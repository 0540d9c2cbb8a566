#include "net/listener.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace verge::net {

Result<Listener> Listener::open(const std::string& address, int port) {
  if (port < 0 || port > 65535) return invalid_argument("port " + std::to_string(port) + " is not between 0 and 65535");
  const std::string numeric = address == "localhost" ? "127.0.0.1" : address;
  sockaddr_storage storage{};
  socklen_t length;
  auto* v4 = reinterpret_cast<sockaddr_in*>(&storage);
  auto* v6 = reinterpret_cast<sockaddr_in6*>(&storage);
  const bool is_v4 = inet_pton(AF_INET, numeric.c_str(), &v4->sin_addr) == 1;
  if (is_v4) {
    v4->sin_family = AF_INET;
    v4->sin_port = htons(static_cast<uint16_t>(port));
    length = sizeof *v4;
  } else if (inet_pton(AF_INET6, numeric.c_str(), &v6->sin6_addr) == 1) {
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(static_cast<uint16_t>(port));
    length = sizeof *v6;
  } else {
    return invalid_argument("'" + address + "' is neither a numeric IPv4 or IPv6 address nor \"localhost\"");
  }
  const std::string shown = is_v4 ? numeric : "[" + numeric + "]";
  auto failed = [&](const char* what) {
    const int error = errno;
    std::string message = std::string("cannot ") + what + " " + shown + ":" + std::to_string(port) + ": " + std::strerror(error);
    if (error == EADDRINUSE) message += "; another process listens there, or take port 0 for a free one";
    return unavailable(std::move(message));
  };
  Listener out;
  out.fd_ = socket(storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (out.fd_ < 0) return failed("open a socket for");
  const int one = 1;
  setsockopt(out.fd_, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (bind(out.fd_, reinterpret_cast<sockaddr*>(&storage), length) != 0) return failed("listen on");
  if (listen(out.fd_, 4096) != 0) return failed("listen on");
  if (getsockname(out.fd_, reinterpret_cast<sockaddr*>(&storage), &length) != 0) return failed("listen on");
  out.port_ = ntohs(is_v4 ? v4->sin_port : v6->sin6_port);
  out.text_ = shown + ":" + std::to_string(out.port_);
  return out;
}

int Listener::accept(bool* exhausted) {
  *exhausted = false;
  while (true) {
    const int fd = accept4(fd_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
      const int one = 1;
      setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
      return fd;
    }
    if (errno == EINTR || errno == ECONNABORTED) continue;
    *exhausted = errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM;
    return -1;
  }
}

void Listener::close() {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

}  // namespace verge::net
