#include "h2_client.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "net/wire.h"

namespace verge::test {
namespace {

nghttp2_nv field(std::string_view name, std::string_view value) {
  return {reinterpret_cast<uint8_t*>(const_cast<char*>(name.data())), reinterpret_cast<uint8_t*>(const_cast<char*>(value.data())), name.size(),
          value.size(), 0};
}

}  // namespace

// A process that was stopped and goes on has its calls with a time limit interrupted.
ssize_t receive(int fd, void* to, size_t size) {
  ssize_t n;
  while ((n = recv(fd, to, size, 0)) < 0 && errno == EINTR) {
  }
  return n;
}

int connect_to(int port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    close(fd);
    return -1;
  }
  const timeval limit{60, 0};  // what takes longer has failed on any machine
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  return fd;
}

bool send_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return true;
}

std::string receive_until(int fd, std::string_view until) {
  std::string out;
  char c[4096];
  while (until.empty() || out.find(until) == std::string::npos) {
    const ssize_t n = receive(fd, c, sizeof c);
    if (n <= 0) break;
    out.append(c, static_cast<size_t>(n));
  }
  return out;
}

std::string receive_all(int fd) { return receive_until(fd, ""); }

H2Client::H2Client(int port, uint32_t window) : fd_(connect_to(port)) {
  nghttp2_session_callbacks* callbacks;
  nghttp2_session_callbacks_new(&callbacks);
  nghttp2_session_callbacks_set_on_header_callback(
      callbacks, [](nghttp2_session*, const nghttp2_frame* f, const uint8_t* n, size_t nn, const uint8_t* v, size_t vn, uint8_t, void* self) {
        static_cast<H2Client*>(self)->answers_[f->hd.stream_id].headers[std::string(reinterpret_cast<const char*>(n), nn)] =
            std::string(reinterpret_cast<const char*>(v), vn);
        return 0;
      });
  nghttp2_session_callbacks_set_on_data_chunk_recv_callback(
      callbacks, [](nghttp2_session*, uint8_t, int32_t id, const uint8_t* p, size_t n, void* self) {
        static_cast<H2Client*>(self)->answers_[id].body.append(reinterpret_cast<const char*>(p), n);
        return 0;
      });
  nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, [](nghttp2_session*, int32_t id, uint32_t error, void* self) {
    Answer& a = static_cast<H2Client*>(self)->answers_[id];
    a.closed = true;
    a.error = error;
    return 0;
  });
  nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, [](nghttp2_session*, const nghttp2_frame* f, void* self) {
    if (f->hd.type == NGHTTP2_GOAWAY) {
      ++static_cast<H2Client*>(self)->goaways_;
      static_cast<H2Client*>(self)->goaway_error_ = f->goaway.error_code;
    }
    return 0;
  });
  nghttp2_session_client_new(&session_, callbacks, this);
  nghttp2_session_callbacks_del(callbacks);
  const nghttp2_settings_entry settings[] = {{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, window}};
  nghttp2_submit_settings(session_, 0, settings, 1);
  if (window > 65535) nghttp2_session_set_local_window_size(session_, 0, 0, 64 << 20);
}

H2Client::~H2Client() {
  nghttp2_session_del(session_);
  if (fd_ >= 0) close(fd_);
}

int32_t H2Client::start(std::string_view path, std::vector<std::pair<std::string, std::string>> headers, std::string body, bool complete) {
  std::vector<nghttp2_nv> fields = {field(":method", body.empty() && complete ? "GET" : "POST"), field(":scheme", "http"), field(":path", path),
                                    field(":authority", "test")};
  for (const auto& [name, value] : headers) fields.push_back(field(name, value));
  auto* upload = new Upload{std::move(body), 0, complete};
  nghttp2_data_provider provider;
  provider.source.ptr = upload;
  provider.read_callback = [](nghttp2_session*, int32_t, uint8_t* out, size_t length, uint32_t* flags, nghttp2_data_source* source, void*) {
    auto* u = static_cast<Upload*>(source->ptr);
    const size_t n = std::min(length, u->body.size() - u->sent);
    if (!n && !u->complete) return static_cast<ssize_t>(NGHTTP2_ERR_DEFERRED);
    std::memcpy(out, u->body.data() + u->sent, n);
    u->sent += n;
    if (u->sent == u->body.size() && u->complete) *flags |= NGHTTP2_DATA_FLAG_EOF;
    return static_cast<ssize_t>(n);
  };
  const bool has_body = !upload->body.empty() || !complete;
  const int32_t id = nghttp2_submit_request(session_, nullptr, fields.data(), fields.size(), has_body ? &provider : nullptr, nullptr);
  uploads_.emplace_back(upload);
  flush();
  return id;
}

int32_t H2Client::grpc(std::string_view method, std::string_view message, std::vector<std::pair<std::string, std::string>> headers) {
  headers.emplace_back("content-type", "application/grpc");
  headers.emplace_back("te", "trailers");
  return start("/inference.GRPCInferenceService/" + std::string(method), std::move(headers), grpc_frame(message));
}

int32_t H2Client::stream(std::string_view path, std::vector<std::pair<std::string, std::string>> headers) {
  headers.emplace_back("content-type", "application/grpc");
  headers.emplace_back("te", "trailers");
  const int32_t id = start(path, std::move(headers), "", false);
  streams_[id] = uploads_.back().get();
  return id;
}

void H2Client::more(int32_t stream, std::string_view bytes, bool complete) {
  Upload* u = streams_[stream];
  u->body.erase(0, std::exchange(u->sent, 0));
  u->body.append(bytes);
  u->complete = complete;
  nghttp2_session_resume_data(session_, stream);
  flush();
}

size_t H2Client::unsent(int32_t stream) { return streams_[stream]->body.size() - streams_[stream]->sent; }

std::vector<std::string> H2Client::messages(int32_t stream, size_t count) {
  std::vector<std::string> out;
  std::string& body = answers_[stream].body;
  while (out.size() < count) {
    size_t size = 5;
    if (body.size() >= 5)
      for (int i = 0; i < 4; ++i) size += static_cast<size_t>(static_cast<unsigned char>(body[static_cast<size_t>(i + 1)])) << (24 - 8 * i);
    if (body.size() < size || body.size() < 5) {
      if (answers_[stream].closed || !turn()) return out;
      continue;
    }
    out.push_back(body.substr(5, size - 5));
    body.erase(0, size);
  }
  return out;
}

void H2Client::reset(int32_t stream) {
  nghttp2_submit_rst_stream(session_, 0, stream, NGHTTP2_CANCEL);
  flush();
}

void H2Client::open_window(int32_t stream, int bytes) {
  nghttp2_submit_window_update(session_, 0, stream, bytes);
  flush();
}

void H2Client::ping() {
  nghttp2_submit_ping(session_, 0, nullptr);
  flush();
}

bool H2Client::flush() {
  const uint8_t* p;
  ssize_t n;
  while ((n = nghttp2_session_mem_send(session_, &p)) > 0)
    if (!send_all(fd_, {reinterpret_cast<const char*>(p), static_cast<size_t>(n)})) return false;
  return n == 0;
}

bool H2Client::turn() {
  if (!flush()) return false;
  uint8_t buffer[16384];
  const ssize_t n = receive(fd_, buffer, sizeof buffer);
  if (n <= 0) {
    ended_ = n == 0;
    return false;
  }
  return nghttp2_session_mem_recv(session_, buffer, static_cast<size_t>(n)) >= 0 && flush();
}

bool H2Client::wait(int32_t stream) {
  while (!answers_[stream].closed)
    if (!turn()) return answers_[stream].closed;
  return true;
}

bool H2Client::wait_goaways(int count) {
  while (goaways_ < count)
    if (!turn()) return false;
  return true;
}

bool H2Client::wait_end() {
  while (turn()) {
  }
  return ended_;
}

std::string infer_message(std::string_view model, size_t elements, std::string_view id) {
  net::ByteBuffer tensor, shape, out;
  net::wire::add_varint(shape, elements);
  net::wire::add_bytes(tensor, 1, "INPUT0");
  net::wire::add_bytes(tensor, 2, "FP32");
  net::wire::add_bytes(tensor, 3, shape.view());
  net::wire::add_bytes(out, 1, model);
  net::wire::add_string(out, 3, id);
  net::wire::add_bytes(out, 5, tensor.view());
  std::string data(elements * 4, '\0');
  for (size_t i = 0; i < elements; ++i) {
    const auto v = static_cast<float>(i);
    std::memcpy(data.data() + 4 * i, &v, 4);
  }
  net::wire::add_bytes(out, 7, data);
  return std::string(out.view());
}

std::string grpc_frame(std::string_view message) {
  std::string out(5, '\0');
  for (int i = 0; i < 4; ++i) out[static_cast<size_t>(i + 1)] = static_cast<char>(message.size() >> (24 - 8 * i));
  return out.append(message);
}

}  // namespace verge::test
