// A listening socket, TCP or Unix, and what is said on it.
#pragma once

#include <sys/socket.h>
#include <sys/types.h>

#include <cstdint>
#include <string>

#include "core/status.h"

namespace verge::net {

// What a listener serves; a request for the rest is answered with PERMISSION_DENIED. Health is served by all.
enum class Role : uint8_t {
  kAll,
  kInference,   // metadata and inference
  kManagement,  // metadata, repository, shared memory, settings, statistics and metrics
};
std::string_view role_name(Role role);  // "all", "inference", "management"

struct ListenOptions {
  std::string address = "127.0.0.1";  // numeric IPv4 or IPv6, "localhost" (127.0.0.1), or "unix:/absolute/path"
  int port = 8000;                    // TCP; 0 takes a free one
  Role role = Role::kAll;
  bool tls = false;
  mode_t mode = 0660;                 // Unix: permissions of the socket's file; whoever may write there may connect
};

// Where a connection comes from.
struct PeerAddress {
  sockaddr_storage storage{};
  socklen_t length = 0;
};

class Listener {
 public:
  // kUnavailable where the address is taken. A Unix socket that nobody listens on any more is replaced; anything else at its path, a
  // symbolic link above all, is left alone and refused.
  static Result<Listener> open(const ListenOptions& options);
  Listener(Listener&& o) noexcept;
  Listener& operator=(Listener&&) = delete;
  ~Listener() { close(); }

  int fd() const { return fd_; }
  int port() const { return port_; }  // 0: a Unix socket
  const std::string& text() const { return text_; }  // "127.0.0.1:8000", "[::1]:8000", "unix:/run/verge.sock"
  const ListenOptions& options() const { return options_; }
  bool is_unix() const { return !path_.empty(); }
  // The next connection, ready for the loop; -1 where none waits or the machine has no more descriptors (*exhausted).
  int accept(PeerAddress* from, bool* exhausted);
  // Removes the Unix socket's file too, if it is still this one's.
  void close();

 private:
  Listener() = default;
  static Result<Listener> open_tcp(const ListenOptions& options);
  static Result<Listener> open_unix(const ListenOptions& options, const std::string& path);
  int fd_ = -1;
  int port_ = 0;
  std::string text_;
  std::string path_;
  dev_t device_ = 0;
  ino_t inode_ = 0;
  ListenOptions options_;
};

}  // namespace verge::net
