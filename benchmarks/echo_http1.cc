// The bare HTTP/1.1 echo that REST is compared with: one epoll loop that finds the end of the head and Content-Length, and sends the body
// back. No checks, no limits, no timeouts, no metrics.
//   echo_http1 [PORT]     prints {"address": …}; ends when standard input is closed.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

namespace {

struct Connection {
  int fd;
  std::string in, out;
};

// The end of the first complete request in `text` and where its body begins; 0: there is none yet.
size_t request_end(const std::string& text, size_t from, size_t* body) {
  const char* begin = text.data() + from;
  const auto* head_end = static_cast<const char*>(memmem(begin, text.size() - from, "\r\n\r\n", 4));
  if (!head_end) return 0;
  const auto head = static_cast<size_t>(head_end - begin);
  size_t length = 0;
  for (const char* line = begin; line < head_end;) {
    const auto* next = static_cast<const char*>(memchr(line, '\n', static_cast<size_t>(head_end - line)));
    if (strncasecmp(line, "content-length:", 15) == 0) length = static_cast<size_t>(std::strtoull(line + 15, nullptr, 10));
    if (!next) break;
    line = next + 1;
  }
  *body = from + head + 4;
  return text.size() >= *body + length ? *body + length : 0;
}

bool serve(Connection* c, char* buffer, size_t capacity) {
  const ssize_t n = recv(c->fd, buffer, capacity, MSG_DONTWAIT);
  if (n == 0 || (n < 0 && errno != EAGAIN)) return false;
  if (n > 0) c->in.append(buffer, static_cast<size_t>(n));
  size_t at = 0, body = 0, end;
  while ((end = request_end(c->in, at, &body)) != 0) {
    char head[128];
    const int length = std::snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: %zu\r\n\r\n", end - body);
    c->out.append(head, static_cast<size_t>(length));
    c->out.append(c->in, body, end - body);
    at = end;
  }
  c->in.erase(0, at);
  size_t sent = 0;
  while (sent < c->out.size()) {
    const ssize_t w = send(c->fd, c->out.data() + sent, c->out.size() - sent, MSG_NOSIGNAL);
    if (w <= 0) return false;
    sent += static_cast<size_t>(w);
  }
  c->out.clear();
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(argc > 1 ? std::atoi(argv[1]) : 0));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  if (bind(listener, reinterpret_cast<sockaddr*>(&address), length) != 0 || listen(listener, 1024) != 0) return perror("listen"), 1;
  getsockname(listener, reinterpret_cast<sockaddr*>(&address), &length);
  std::printf("{\"address\":\"127.0.0.1:%d\"}\n", ntohs(address.sin_port));
  std::fflush(stdout);

  const int loop = epoll_create1(EPOLL_CLOEXEC);
  Connection of_listener{listener, {}, {}}, of_input{0, {}, {}};
  for (Connection* c : {&of_listener, &of_input}) {
    epoll_event e{};
    e.events = EPOLLIN;
    e.data.ptr = c;
    epoll_ctl(loop, EPOLL_CTL_ADD, c->fd, &e);
  }
  static char buffer[128 << 10];
  epoll_event events[64];
  while (true) {
    const int n = epoll_wait(loop, events, 64, -1);
    for (int i = 0; i < n; ++i) {
      auto* c = static_cast<Connection*>(events[i].data.ptr);
      if (c == &of_input) {
        if (read(0, buffer, sizeof buffer) <= 0) return 0;
      } else if (c == &of_listener) {
        const int fd = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
        if (fd < 0) continue;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        epoll_event e{};
        e.events = EPOLLIN;
        e.data.ptr = new Connection{fd, {}, {}};
        epoll_ctl(loop, EPOLL_CTL_ADD, fd, &e);
      } else if (!serve(c, buffer, sizeof buffer)) {
        close(c->fd);
        delete c;
      }
    }
  }
}
