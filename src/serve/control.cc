#include "serve/control.h"

#include <netdb.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <charconv>
#include <cstdio>
#include <cstring>

#include "core/json.h"
#include "core/status.h"
#include "os/files.h"
#include "serve/config.h"

namespace verge::serve {
namespace {

constexpr size_t kMaxAnswerBytes = size_t{16} << 20;
constexpr size_t kMaxTokenBytes = 4096;

class Socket {
 public:
  Socket() = default;
  Socket(const Socket&) = delete;
  ~Socket() {
    if (fd >= 0) ::close(fd);
  }
  int fd = -1;
};

Status connect_unix(const std::string& path, Socket& s) {
  sockaddr_un to{};
  to.sun_family = AF_UNIX;
  if (path.size() >= sizeof to.sun_path) return invalid_argument(path + ": the path of a Unix socket has at most " + std::to_string(sizeof to.sun_path - 1) + " bytes");
  std::memcpy(to.sun_path, path.data(), path.size());
  s.fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (s.fd < 0 || ::connect(s.fd, reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0) return unavailable("no server at unix:" + path + ": " + std::strerror(errno));
  return {};
}

Status connect_tcp(const std::string& host, int port, Socket& s) {
  addrinfo hints{}, *found = nullptr;
  hints.ai_socktype = SOCK_STREAM;
  if (const int e = ::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found); e != 0) return invalid_argument(host + ": " + ::gai_strerror(e));
  int error = 0;
  for (const addrinfo* a = found; a != nullptr; a = a->ai_next) {
    Socket one;
    one.fd = ::socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, a->ai_protocol);
    if (one.fd >= 0 && ::connect(one.fd, a->ai_addr, a->ai_addrlen) == 0) {
      std::swap(s.fd, one.fd);
      break;
    }
    error = errno;
  }
  ::freeaddrinfo(found);
  return s.fd >= 0 ? Status() : unavailable("no server at " + host + ":" + std::to_string(port) + ": " + std::strerror(error));
}

// One POST without a body; the answer's body. HTTP/1.1 with "Connection: close": the answer ends with the connection.
Result<std::string> post(const ReloadOptions& o, const std::string& path, int* status) {
  std::string host;
  int port = 0;
  VERGE_RETURN_IF_ERROR(parse_listen(o.address, host, port));
  std::string token;
  if (!o.token_file.empty()) {
    VERGE_ASSIGN(token, os::read_file(o.token_file, kMaxTokenBytes));
    while (!token.empty() && (token.back() == '\n' || token.back() == '\r' || token.back() == ' ')) token.pop_back();
    for (const char c : token) {
      if (c <= ' ' || c == 0x7f) return invalid_argument(o.token_file + ": a token is one word");
    }
  }
  Socket s;
  VERGE_RETURN_IF_ERROR(host.starts_with("unix:") ? connect_unix(host.substr(5), s) : connect_tcp(host, port, s));
  std::string request = "POST " + path + " HTTP/1.1\r\nHost: " + (host.starts_with("unix:") ? "localhost" : o.address) + "\r\nContent-Length: 0\r\nConnection: close\r\n";
  if (!token.empty()) request += "Authorization: Bearer " + token + "\r\n";
  request += "\r\n";
  for (size_t sent = 0; sent < request.size();) {
    const ssize_t n = ::send(s.fd, request.data() + sent, request.size() - sent, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return unavailable(o.address + ": the connection broke: " + std::strerror(errno));
    sent += static_cast<size_t>(n);
  }
  std::string answer;
  char buffer[16 << 10];
  while (true) {
    const ssize_t n = ::recv(s.fd, buffer, sizeof buffer, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return unavailable(o.address + ": the connection broke: " + std::strerror(errno));
    if (n == 0) break;
    answer.append(buffer, static_cast<size_t>(n));
    if (answer.size() > kMaxAnswerBytes) return data_loss(o.address + ": the answer is too long to be a Verge server's");
  }
  const size_t end = answer.find("\r\n\r\n");
  if (!answer.starts_with("HTTP/1.") || end == std::string::npos || std::from_chars(answer.data() + 9, answer.data() + 12, *status).ec != std::errc()) {
    return unavailable(o.address + ": no HTTP server answers there without TLS, or it stopped before it answered");
  }
  return answer.substr(end + 4);
}

}  // namespace

int reload_main(const ReloadOptions& options) {
  int status = 0;
  const auto body = post(options, "/verge/reload", &status);
  if (!body.ok()) {
    std::fprintf(stderr, "verge reload: %s\n", body.status().message().c_str());
    return body.status().code() == Code::kUnavailable ? 3 : 2;
  }
  const Json report = Json::parse(*body, nullptr, false);
  if (status != 200 || !report.is_object() || !report.contains("changed") || !report.contains("refused")) {
    const bool said = report.is_object() && report.contains("error") && report["error"].is_string();
    std::fprintf(stderr, "verge reload: %s\n", said ? report["error"].get<std::string>().c_str() : ("the server answered with HTTP status " + std::to_string(status)).c_str());
    return 3;
  }
  if (options.json) {
    std::printf("%s\n", report.dump(-1, ' ', false, Json::error_handler_t::replace).c_str());
  } else {
    for (const Json& line : report["changed"]) std::printf("%s\n", line.is_string() ? line.get<std::string>().c_str() : "?");
    for (const Json& line : report["refused"]) std::fprintf(stderr, "refused: %s\n", line.is_string() ? line.get<std::string>().c_str() : "?");
    if (report["changed"].empty() && report["refused"].empty()) std::printf("nothing has changed\n");
  }
  return report["refused"].empty() ? 0 : 1;
}

}  // namespace verge::serve
