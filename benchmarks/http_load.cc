// A lean load client: N keep-alive HTTP/1.1 connections, one request in flight on each, the same binary-tensor request again and again.
// Exists because a client that costs more than the server it measures measures itself. It never sleeps: on a virtual machine, waking a halted
// core takes longer than all that the server does, and the client's core has nothing else to do. Prints one JSON line.
//
//   http_load HOST:PORT MODEL INPUT DTYPE SHAPE CONNECTIONS SECONDS CORE     e.g. 127.0.0.1:8000 resnet input_1 FP32 1,32,32,3 1 1 1
#include <arpa/inet.h>
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

#include "core/tensor.h"
#include "os/process.h"

using namespace verge;

namespace {

struct Connection {
  int fd = -1;
  std::string received;
  size_t sent = 0;
  uint64_t started = 0;
};

std::string make_request(const std::string& host, const std::string& model, const std::string& input, const std::string& dtype,
                         const std::string& shape, const std::string& variant) {
  size_t bytes = dtype_size(dtype_from_name(dtype));
  for (size_t at = 0; at < shape.size(); at = shape.find(',', at) == std::string::npos ? shape.size() : shape.find(',', at) + 1)
    bytes *= static_cast<size_t>(std::atoll(shape.c_str() + at));
  std::string parameters = variant.empty() ? "" : "\"verge.variant\":\"" + variant + "\",";
  std::string json = "{\"parameters\":{" + parameters + "\"binary_data_output\":true},\"inputs\":[{\"name\":\"" + input + "\",\"datatype\":\"" +
                     dtype + "\",\"shape\":[" + shape + "],\"parameters\":{\"binary_data_size\":" + std::to_string(bytes) + "}}]}";
  return "POST /v2/models/" + model + "/infer HTTP/1.1\r\nHost: " + host + "\r\nContent-Type: application/octet-stream\r\n" +
         "Inference-Header-Content-Length: " + std::to_string(json.size()) + "\r\nContent-Length: " + std::to_string(json.size() + bytes) +
         "\r\n\r\n" + json + std::string(bytes, '\0');
}

// Bytes of the complete response at the front of `s`; 0 while it is incomplete, -1 if it is no 200.
long response_size(const std::string& s) {
  size_t head = s.find("\r\n\r\n");
  if (head == std::string::npos) return 0;
  if (s.compare(0, 12, "HTTP/1.1 200") != 0) return -1;
  std::string lower = s.substr(0, head);
  std::transform(lower.begin(), lower.end(), lower.begin(), ::tolower);
  // The other header with this ending, inference-header-content-length, stands after a '-', not after a line end.
  size_t at = lower.find("\ncontent-length:");
  if (at == std::string::npos) return -1;
  size_t total = head + 4 + static_cast<size_t>(std::atoll(lower.c_str() + at + 16));
  return s.size() >= total ? static_cast<long>(total) : 0;
}

int connect_to(const std::string& host, int port) {
  int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in a{};
  a.sin_family = AF_INET;
  a.sin_port = htons(static_cast<uint16_t>(port));
  ::inet_pton(AF_INET, host.c_str(), &a.sin_addr);
  if (::connect(fd, reinterpret_cast<sockaddr*>(&a), sizeof a) != 0) return -1;
  int one = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  return fd;
}

bool send_all(Connection& c, const std::string& request) {
  c.started = os::monotonic_ns();
  size_t at = 0;
  while (at < request.size()) {
    ssize_t n = ::send(c.fd, request.data() + at, request.size() - at, MSG_NOSIGNAL);
    if (n <= 0) return false;
    at += static_cast<size_t>(n);
  }
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 9) {
    std::fprintf(stderr, "usage: http_load HOST:PORT MODEL INPUT DTYPE SHAPE CONNECTIONS SECONDS CORE [VARIANT]\n");
    return 2;
  }
  const std::string address = argv[1], host = address.substr(0, address.rfind(':'));
  const int port = std::atoi(address.c_str() + address.rfind(':') + 1), count = std::atoi(argv[6]);
  if (!os::pin_thread({std::atoi(argv[8])}).ok()) return 2;
  const std::string request = make_request(address, argv[2], argv[3], argv[4], argv[5], argc > 9 ? argv[9] : "");
  int poll = ::epoll_create1(EPOLL_CLOEXEC);
  std::vector<Connection> connections(static_cast<size_t>(count));
  for (size_t i = 0; i < connections.size(); ++i) {
    connections[i].fd = connect_to(host, port);
    if (connections[i].fd < 0) {
      std::fprintf(stderr, "http_load: cannot connect to %s: %s\n", address.c_str(), std::strerror(errno));
      return 1;
    }
    epoll_event e{};
    e.events = EPOLLIN;
    e.data.u64 = i;
    ::epoll_ctl(poll, EPOLL_CTL_ADD, connections[i].fd, &e);
  }
  const double seconds = std::atof(argv[7]);
  const uint64_t begin = os::monotonic_ns(), warm = begin + static_cast<uint64_t>(0.2 * 1e9),
                 end = warm + static_cast<uint64_t>(seconds * 1e9);
  std::vector<double> times;
  uint64_t now = begin;
  for (auto& c : connections)
    if (!send_all(c, request)) return 1;
  std::vector<char> buffer(1 << 20);
  uint64_t answered = begin;
  while (now < end) {
    epoll_event events[64];
    int n = ::epoll_wait(poll, events, 64, 0);
    if (n == 0) {
      if (os::monotonic_ns() - answered > 5'000'000'000u) {
        std::fprintf(stderr, "http_load: no answer for 5 s\n");
        return 1;
      }
      continue;
    }
    for (int i = 0; i < n; ++i) {
      Connection& c = connections[events[i].data.u64];
      ssize_t got = ::recv(c.fd, buffer.data(), buffer.size(), 0);
      if (got <= 0) {
        std::fprintf(stderr, "http_load: the server closed the connection\n");
        return 1;
      }
      c.received.append(buffer.data(), static_cast<size_t>(got));
      long size = response_size(c.received);
      if (size < 0) {
        std::fprintf(stderr, "http_load: %s\n", c.received.c_str());
        return 1;
      }
      if (size == 0) continue;
      answered = now = os::monotonic_ns();
      if (now > warm) times.push_back(static_cast<double>(now - c.started) / 1e3);
      c.received.erase(0, static_cast<size_t>(size));
      if (!send_all(c, request)) return 1;
    }
  }
  for (auto& c : connections) ::close(c.fd);
  if (times.empty()) return 1;
  std::sort(times.begin(), times.end());
  std::printf("{\"n\":%zu,\"p50_us\":%.2f,\"p99_us\":%.2f,\"rate\":%.1f}\n", times.size(), times[times.size() / 2],
              times[times.size() * 99 / 100], static_cast<double>(times.size()) / (static_cast<double>(now - warm) / 1e9));
  return 0;
}
