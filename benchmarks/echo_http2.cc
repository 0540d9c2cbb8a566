// The bare echo that the data plane is compared with: nghttp2 on one epoll loop that sends every gRPC body back, and does nothing else. No
// parsing, no limits, no timeouts, no metrics.
//   echo_http2 [PORT]     prints {"address": …}; ends when standard input is closed.
#include <nghttp2/nghttp2.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

namespace {

struct Stream {
  std::string body;
  size_t sent = 0;
};

struct Connection {
  int fd;
  nghttp2_session* session;
  std::string out;
};

std::vector<Stream*> free_streams;

nghttp2_nv field(const char* name, const char* value) {
  return {reinterpret_cast<uint8_t*>(const_cast<char*>(name)), reinterpret_cast<uint8_t*>(const_cast<char*>(value)), std::strlen(name),
          std::strlen(value), NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE};
}

ssize_t read_body(nghttp2_session* session, int32_t id, uint8_t* buffer, size_t length, uint32_t* flags, nghttp2_data_source* source, void*) {
  auto* s = static_cast<Stream*>(source->ptr);
  const size_t n = std::min(length, s->body.size() - s->sent);
  std::memcpy(buffer, s->body.data() + s->sent, n);
  s->sent += n;
  if (s->sent == s->body.size()) {
    *flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
    const nghttp2_nv trailer = field("grpc-status", "0");
    nghttp2_submit_trailer(session, id, &trailer, 1);
  }
  return static_cast<ssize_t>(n);
}

nghttp2_session* new_session(Connection* c) {
  static nghttp2_session_callbacks* callbacks = [] {
    nghttp2_session_callbacks* made;
    nghttp2_session_callbacks_new(&made);
    nghttp2_session_callbacks_set_on_begin_headers_callback(made, [](nghttp2_session* session, const nghttp2_frame* f, void*) {
      if (f->hd.type != NGHTTP2_HEADERS || f->headers.cat != NGHTTP2_HCAT_REQUEST) return 0;
      if (free_streams.empty()) free_streams.push_back(new Stream);
      Stream* s = free_streams.back();
      free_streams.pop_back();
      s->body.clear();
      s->sent = 0;
      nghttp2_session_set_stream_user_data(session, f->hd.stream_id, s);
      return 0;
    });
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(
        made, [](nghttp2_session* session, uint8_t, int32_t id, const uint8_t* p, size_t n, void*) {
          auto* s = static_cast<Stream*>(nghttp2_session_get_stream_user_data(session, id));
          if (s) s->body.append(reinterpret_cast<const char*>(p), n);
          return 0;
        });
    nghttp2_session_callbacks_set_on_frame_recv_callback(made, [](nghttp2_session* session, const nghttp2_frame* f, void*) {
      if (!(f->hd.flags & NGHTTP2_FLAG_END_STREAM) || (f->hd.type != NGHTTP2_DATA && f->hd.type != NGHTTP2_HEADERS)) return 0;
      auto* s = static_cast<Stream*>(nghttp2_session_get_stream_user_data(session, f->hd.stream_id));
      if (!s) return 0;
      const nghttp2_nv head[] = {field(":status", "200"), field("content-type", "application/grpc")};
      nghttp2_data_provider body;
      body.source.ptr = s;
      body.read_callback = read_body;
      return nghttp2_submit_response(session, f->hd.stream_id, head, 2, &body);
    });
    nghttp2_session_callbacks_set_on_stream_close_callback(made, [](nghttp2_session* session, int32_t id, uint32_t, void*) {
      if (auto* s = static_cast<Stream*>(nghttp2_session_get_stream_user_data(session, id))) free_streams.push_back(s);
      return 0;
    });
    return made;
  }();
  nghttp2_session* session;
  nghttp2_session_server_new(&session, callbacks, c);
  const nghttp2_settings_entry settings[] = {{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 256}};
  nghttp2_submit_settings(session, 0, settings, 1);
  nghttp2_session_set_local_window_size(session, 0, 0, 1 << 20);
  return session;
}

bool serve(Connection* c, char* buffer, size_t capacity) {
  const ssize_t n = recv(c->fd, buffer, capacity, MSG_DONTWAIT);
  if (n == 0 || (n < 0 && errno != EAGAIN)) return false;
  if (n > 0 && nghttp2_session_mem_recv(c->session, reinterpret_cast<uint8_t*>(buffer), static_cast<size_t>(n)) < 0) return false;
  const uint8_t* p;
  ssize_t size;
  while ((size = nghttp2_session_mem_send(c->session, &p)) > 0) c->out.append(reinterpret_cast<const char*>(p), static_cast<size_t>(size));
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
  Connection of_listener{listener, nullptr, {}}, of_input{0, nullptr, {}};
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
        auto* made = new Connection{fd, nullptr, {}};
        made->session = new_session(made);
        epoll_event e{};
        e.events = EPOLLIN;
        e.data.ptr = made;
        epoll_ctl(loop, EPOLL_CTL_ADD, fd, &e);
      } else if (!serve(c, buffer, sizeof buffer)) {
        close(c->fd);
        nghttp2_session_del(c->session);
        delete c;
      }
    }
  }
}
