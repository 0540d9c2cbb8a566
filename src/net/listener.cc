#include "net/listener.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <utility>

namespace verge::net {
namespace {

constexpr int kBacklog = 4096;

// Whether somebody accepts connections at this Unix socket.
bool answers(const sockaddr_un& address) {
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return true;
  const int r = connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address);
  const bool refused = r != 0 && errno == ECONNREFUSED;
  close(fd);
  return !refused;
}

}  // namespace

std::string_view role_name(Role role) {
  switch (role) {
    case Role::kAll: return "all";
    case Role::kInference: return "inference";
    case Role::kManagement: return "management";
  }
  return "";
}

Listener::Listener(Listener&& o) noexcept
    : fd_(std::exchange(o.fd_, -1)), port_(o.port_), text_(std::move(o.text_)), path_(std::exchange(o.path_, {})), device_(o.device_),
      inode_(o.inode_), options_(std::move(o.options_)) {}

Result<Listener> Listener::open(const ListenOptions& options) {
  constexpr std::string_view kUnix = "unix:";
  if (options.address.starts_with(kUnix)) return open_unix(options, options.address.substr(kUnix.size()));
  return open_tcp(options);
}

Result<Listener> Listener::open_unix(const ListenOptions& options, const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path[0] != '/' || path.find('\0') != std::string::npos)
    return invalid_argument("'" + options.address + "' is no Unix socket; write unix:/absolute/path");
  if (path.size() >= sizeof address.sun_path)
    return invalid_argument("the path of a Unix socket has at most " + std::to_string(sizeof address.sun_path - 1) + " bytes: " + path);
  if (options.mode & ~mode_t{0777}) return invalid_argument("the mode of " + path + " has more than permission bits");
  std::memcpy(address.sun_path, path.data(), path.size());
  auto failed = [&](const char* what) { return unavailable(std::string("cannot ") + what + " " + path + ": " + std::strerror(errno)); };

  struct stat at {};
  if (lstat(path.c_str(), &at) == 0) {
    if (!S_ISSOCK(at.st_mode)) return unavailable("cannot listen on " + path + ": it exists and is no socket; remove it or take another path");
    if (answers(address)) return unavailable("cannot listen on " + path + ": another process listens there");
    if (unlink(path.c_str()) != 0 && errno != ENOENT) return failed("remove the stale socket");
  } else if (errno != ENOENT) {
    return failed("look at");
  }
  Listener out;
  out.fd_ = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (out.fd_ < 0) return failed("open a socket for");
  // Before bind(): the file never has more than these permissions, whatever the umask is.
  if (fchmod(out.fd_, options.mode) != 0) return failed("set the mode of");
  if (bind(out.fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) return failed("listen on");
  // From here on the file is ours to remove.
  if (lstat(path.c_str(), &at) != 0 || !S_ISSOCK(at.st_mode)) return failed("look at");
  out.path_ = path;
  out.device_ = at.st_dev;
  out.inode_ = at.st_ino;
  // Puts back what the umask took.
  if ((at.st_mode & 0777) != options.mode && fchmodat(AT_FDCWD, path.c_str(), options.mode, AT_SYMLINK_NOFOLLOW) != 0)
    return failed("set the mode of");
  if (listen(out.fd_, kBacklog) != 0) return failed("listen on");
  out.options_ = options;
  out.text_ = options.address;
  return out;
}

Result<Listener> Listener::open_tcp(const ListenOptions& options) {
  const std::string& address = options.address;
  const int port = options.port;
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
    return invalid_argument("'" + address + "' is neither a numeric IPv4 or IPv6 address, nor \"localhost\", nor \"unix:/path\"");
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
  if (listen(out.fd_, kBacklog) != 0) return failed("listen on");
  if (getsockname(out.fd_, reinterpret_cast<sockaddr*>(&storage), &length) != 0) return failed("listen on");
  out.port_ = ntohs(is_v4 ? v4->sin_port : v6->sin6_port);
  out.text_ = shown + ":" + std::to_string(out.port_);
  out.options_ = options;
  return out;
}

int Listener::accept(PeerAddress* from, bool* exhausted) {
  *exhausted = false;
  while (true) {
    from->length = sizeof from->storage;
    const int fd = accept4(fd_, reinterpret_cast<sockaddr*>(&from->storage), &from->length, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
      if (is_unix()) return fd;
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
  struct stat at {};
  if (!path_.empty() && lstat(path_.c_str(), &at) == 0 && at.st_dev == device_ && at.st_ino == inode_) unlink(path_.c_str());
  path_.clear();
}

}  // namespace verge::net
