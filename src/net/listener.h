// A listening TCP socket and its address.
#pragma once

#include <cstdint>
#include <string>

#include "core/status.h"

namespace verge::net {

class Listener {
 public:
  // `address` is numeric IPv4 or IPv6, or "localhost" (127.0.0.1); port 0 takes a free one.
  static Result<Listener> open(const std::string& address, int port);
  Listener(Listener&& o) noexcept : fd_(o.fd_), port_(o.port_), text_(std::move(o.text_)) { o.fd_ = -1; }
  Listener& operator=(Listener&&) = delete;
  ~Listener() { close(); }

  int fd() const { return fd_; }
  int port() const { return port_; }
  const std::string& text() const { return text_; }  // "127.0.0.1:8000", "[::1]:8000"
  // The next connection, ready for the loop; -1 where none waits or the machine has no more descriptors (*exhausted).
  int accept(bool* exhausted);
  void close();

 private:
  Listener() = default;
  int fd_ = -1;
  int port_ = 0;
  std::string text_;
};

}  // namespace verge::net
