// A load client for streams: a fixed number of messages in flight on each of N gRPC streams over M connections (closed loop), or so many a second on each
// (open: latencies count from the time at which a message was meant to be sent), the same message again and again. Counts answers and those that are errors, and charges the server's CPU time to them. Prints one JSON line.
//
//   stream_load HOST:PORT infer|assist MODEL INPUT SHAPE CONNECTIONS STREAMS IN_FLIGHT SECONDS CORE [SERVER_PID [RATE]]
//
// STREAMS are those of each connection, IN_FLIGHT is of each stream, CORE is where this program runs (-1: anywhere). `infer` sends FP32 data raw
// to ModelStreamInfer; `assist` sends int_val of DT_INT16 under the key INPUT, as the wearables do, with MODEL as metadata. The first fifth of the time is
// warm-up.
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <nghttp2/nghttp2.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "net/wire.h"
#include "os/process.h"

using namespace verge;

namespace {

std::string field(uint32_t number, std::string_view value) {
  net::ByteBuffer b;
  net::wire::add_bytes(b, number, value);
  return std::string(b.view());
}
std::string number(uint32_t n, uint64_t value) {
  net::ByteBuffer b;
  net::wire::add_tag(b, n, net::wire::kVarint);
  net::wire::add_varint(b, value);
  return std::string(b.view());
}

std::vector<uint64_t> parse_shape(const std::string& text) {
  std::vector<uint64_t> dims;
  std::stringstream s(text);
  for (std::string d; std::getline(s, d, ',');) dims.push_back(std::strtoull(d.c_str(), nullptr, 10));
  return dims;
}

std::string infer_message(const std::string& model, const std::string& input, const std::vector<uint64_t>& dims) {
  net::ByteBuffer shape;
  size_t elements = 1;
  for (uint64_t d : dims) {
    net::wire::add_varint(shape, d);
    elements *= d;
  }
  return field(1, model) + field(5, field(1, input) + field(2, "FP32") + field(3, shape.view())) + field(7, std::string(elements * 4, '\0'));
}

std::string assist_message(const std::string& input, const std::vector<uint64_t>& dims) {
  std::string shape;
  net::ByteBuffer values;
  size_t elements = 1;
  for (uint64_t d : dims) {
    shape += field(2, number(1, d));
    elements *= d;
  }
  for (size_t i = 0; i < elements; ++i) net::wire::add_varint(values, static_cast<uint64_t>(static_cast<int64_t>(i * 37 % 300) - 150));
  return number(1, 7) + field(2, field(1, input) + field(2, number(1, 5) + field(2, shape) + field(7, values.view())));
}

std::string framed(const std::string& message) {
  std::string out(5, '\0');
  for (int i = 0; i < 4; ++i) out[static_cast<size_t>(i + 1)] = static_cast<char>(message.size() >> (24 - 8 * i));
  return out + message;
}

uint64_t cpu_ticks(int pid) {
  std::ifstream in("/proc/" + std::to_string(pid) + "/stat");
  std::string text((std::istreambuf_iterator<char>(in)), {});
  std::stringstream rest(text.substr(text.rfind(')') + 2));
  std::string skipped;
  for (int i = 0; i < 11; ++i) rest >> skipped;
  uint64_t user = 0, system = 0;
  rest >> user >> system;
  return user + system;
}

struct Load {
  std::string message;
  std::string path;
  std::string model;
  bool assist = false;
  int in_flight = 1;
  double rate = 0;  // messages a second of each stream; 0: as many as are answered
  bool measuring = false;
  uint64_t answers = 0, errors = 0, ended = 0, late = 0;
  std::vector<float> latencies_us;
} load;

constexpr uint64_t kLateNs = 50'000'000;

struct Stream {
  int32_t id = 0;
  uint64_t next_ns = 0;            // open load: when the next message is meant to be sent
  std::deque<uint64_t> meant_ns;   // of those to send
  int to_send = 0;           // whole messages
  size_t offset = 0;         // of the one that is half sent
  std::deque<uint64_t> sent_ns;
  unsigned char head[6] = {};
  size_t head_bytes = 0, left = 0;

  // Bytes of answers: each is a prefix and that many bytes.
  void take(const uint8_t* p, size_t n) {
    while (n) {
      if (head_bytes < 5) {
        head[head_bytes++] = *p++;
        --n;
        if (head_bytes == 5) left = size_t{head[1]} << 24 | size_t{head[2]} << 16 | size_t{head[3]} << 8 | size_t{head[4]};
        if (head_bytes == 5 && !left) answer(0);
        continue;
      }
      if (head_bytes == 5) {
        head[5] = *p;
        ++head_bytes;
      }
      const size_t k = std::min(n, left);
      p += k;
      n -= k;
      left -= k;
      if (!left) answer(head[5]);
    }
  }
  void answer(unsigned char first) {
    head_bytes = 0;
    if (load.rate <= 0) ++to_send;
    const uint64_t started = sent_ns.front();
    sent_ns.pop_front();
    if (!load.measuring) return;
    ++load.answers;
    if (!load.assist && first == 0x0a) ++load.errors;
    const uint64_t took = os::monotonic_ns() - started;
    load.late += took > kLateNs;
    load.latencies_us.push_back(static_cast<float>(took) * 1e-3f);
  }
};

struct Connection {
  int fd = -1;
  nghttp2_session* session = nullptr;
  std::vector<std::unique_ptr<Stream>> streams;
  std::vector<Stream*> touched;
};

Stream* stream_of(nghttp2_session* s, int32_t id) { return static_cast<Stream*>(nghttp2_session_get_stream_user_data(s, id)); }

ssize_t read_body(nghttp2_session*, int32_t, uint8_t* out, size_t length, uint32_t*, nghttp2_data_source* source, void*) {
  auto* s = static_cast<Stream*>(source->ptr);
  size_t n = 0;
  while (s->to_send && n < length) {
    if (!s->offset) {
      s->sent_ns.push_back(s->meant_ns.empty() ? os::monotonic_ns() : s->meant_ns.front());
      if (!s->meant_ns.empty()) s->meant_ns.pop_front();
    }
    const size_t k = std::min(length - n, load.message.size() - s->offset);
    std::memcpy(out + n, load.message.data() + s->offset, k);
    n += k;
    s->offset += k;
    if (s->offset == load.message.size()) {
      s->offset = 0;
      --s->to_send;
    }
  }
  return n ? static_cast<ssize_t>(n) : NGHTTP2_ERR_DEFERRED;
}

// The texts must outlive the request's submission.
nghttp2_nv header(std::string_view name, std::string_view value) {
  return {reinterpret_cast<uint8_t*>(const_cast<char*>(name.data())), reinterpret_cast<uint8_t*>(const_cast<char*>(value.data())), name.size(), value.size(), 0};
}

bool open(Connection& c, const std::string& host, int port, int streams) {
  c.fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in a{};
  a.sin_family = AF_INET;
  a.sin_port = htons(static_cast<uint16_t>(port));
  ::inet_pton(AF_INET, host.c_str(), &a.sin_addr);
  if (::connect(c.fd, reinterpret_cast<sockaddr*>(&a), sizeof a) != 0) return false;
  int one = 1;
  ::setsockopt(c.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  nghttp2_session_callbacks* callbacks;
  nghttp2_session_callbacks_new(&callbacks);
  nghttp2_session_callbacks_set_on_data_chunk_recv_callback(
      callbacks, [](nghttp2_session* session, uint8_t, int32_t id, const uint8_t* p, size_t n, void* self) {
        if (Stream* s = stream_of(session, id)) {
          s->take(p, n);
          static_cast<Connection*>(self)->touched.push_back(s);
        }
        return 0;
      });
  nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, [](nghttp2_session*, int32_t, uint32_t, void*) {
    ++load.ended;
    return 0;
  });
  nghttp2_session_client_new(&c.session, callbacks, &c);
  nghttp2_session_callbacks_del(callbacks);
  const nghttp2_settings_entry settings[] = {{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 4 << 20}};
  nghttp2_submit_settings(c.session, 0, settings, 1);
  nghttp2_session_set_local_window_size(c.session, 0, 0, 64 << 20);
  for (int i = 0; i < streams; ++i) {
    auto* s = c.streams.emplace_back(std::make_unique<Stream>()).get();
    s->to_send = load.rate > 0 ? 0 : load.in_flight;
    const nghttp2_nv fields[] = {header(":method", "POST"), header(":scheme", "http"), header(":path", load.path), header(":authority", host),
                                 header("content-type", "application/grpc"), header("te", "trailers"), header("verge-model", load.model)};
    nghttp2_data_provider body;
    body.source.ptr = s;
    body.read_callback = read_body;
    s->id = nghttp2_submit_request(c.session, nullptr, fields, load.assist ? 7 : 6, &body, s);
    if (s->id < 0) return false;
  }
  return true;
}

bool write_all(Connection& c) {
  static std::string out;
  out.clear();
  const uint8_t* p;
  ssize_t n;
  while ((n = nghttp2_session_mem_send(c.session, &p)) > 0) out.append(reinterpret_cast<const char*>(p), static_cast<size_t>(n));
  size_t at = 0;
  while (at < out.size()) {
    const ssize_t w = ::send(c.fd, out.data() + at, out.size() - at, MSG_NOSIGNAL);
    if (w <= 0) return false;
    at += static_cast<size_t>(w);
  }
  return n == 0;
}

bool read_some(Connection& c) {
  static uint8_t buffer[256 << 10];
  const ssize_t n = ::recv(c.fd, buffer, sizeof buffer, MSG_DONTWAIT);
  if (n <= 0) return false;
  if (nghttp2_session_mem_recv(c.session, buffer, static_cast<size_t>(n)) < 0) return false;
  for (Stream* s : c.touched) nghttp2_session_resume_data(c.session, s->id);
  c.touched.clear();
  return write_all(c);
}

// Open load: what is due by now goes out. Streams are spread over the interval, so that the server sees them one after the other. `next`: when the next one is due.
bool send_due(std::vector<Connection>& connections, uint64_t begin, uint64_t* next) {
  *next = UINT64_MAX;
  const auto interval = static_cast<uint64_t>(1e9 / load.rate);
  const uint64_t now = os::monotonic_ns();
  size_t all = 0, index = 0;
  for (const Connection& c : connections) all += c.streams.size();
  for (Connection& c : connections) {
    bool any = false;
    for (auto& s : c.streams) {
      if (!s->next_ns) s->next_ns = begin + interval * index / all;
      ++index;
      for (; s->next_ns <= now; s->next_ns += interval) {
        s->meant_ns.push_back(s->next_ns);
        ++s->to_send;
        any = true;
      }
      *next = std::min(*next, s->next_ns);
      if (s->to_send) nghttp2_session_resume_data(c.session, s->id);
    }
    if (any && !write_all(c)) return false;
  }
  return true;
}

float quantile(std::vector<float>& v, double q) {
  if (v.empty()) return 0;
  auto at = v.begin() + static_cast<ptrdiff_t>(q * static_cast<double>(v.size() - 1));
  std::nth_element(v.begin(), at, v.end());
  return *at;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 11) {
    std::fprintf(stderr, "usage: stream_load HOST:PORT infer|assist MODEL INPUT SHAPE CONNECTIONS STREAMS IN_FLIGHT SECONDS CORE [SERVER_PID [RATE]]\n");
    return 2;
  }
  const std::string address = argv[1];
  const size_t colon = address.rfind(':');
  load.assist = std::string(argv[2]) == "assist";
  load.model = argv[3];
  load.message = framed(load.assist ? assist_message(argv[4], parse_shape(argv[5])) : infer_message(argv[3], argv[4], parse_shape(argv[5])));
  load.path = load.assist ? "/extended_inference.ExtendedInferenceService/predict" : "/inference.GRPCInferenceService/ModelStreamInfer";
  load.in_flight = std::atoi(argv[8]);
  const double seconds = std::atof(argv[9]);
  const int core = std::atoi(argv[10]), pid = argc > 11 ? std::atoi(argv[11]) : 0;
  load.rate = argc > 12 ? std::atof(argv[12]) : 0;
  if (core >= 0) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(static_cast<size_t>(core), &set);
    sched_setaffinity(0, sizeof set, &set);
  }
  load.latencies_us.reserve(1 << 22);
  std::vector<Connection> connections(static_cast<size_t>(std::atoi(argv[6])));
  std::vector<pollfd> fds;
  for (Connection& c : connections) {
    if (!open(c, address.substr(0, colon), std::atoi(address.c_str() + colon + 1), std::atoi(argv[7])) || !write_all(c)) {
      std::fprintf(stderr, "stream_load: cannot connect\n");
      return 1;
    }
    fds.push_back({c.fd, POLLIN, 0});
  }
  const uint64_t begin = os::monotonic_ns(), end = begin + static_cast<uint64_t>(seconds * 1e9);
  uint64_t measured_from = 0, ticks = 0;
  for (uint64_t now = begin; now < end; now = os::monotonic_ns()) {
    if (!measured_from && now - begin > (end - begin) / 5) {
      measured_from = now;
      load.measuring = true;
      if (pid) ticks = cpu_ticks(pid);
    }
    timespec wait{0, 100'000'000};
    if (load.rate > 0) {
      uint64_t next;
      if (!send_due(connections, begin, &next)) return 1;
      // Until just then: a wait in whole milliseconds would be most of what is measured.
      now = os::monotonic_ns();
      wait.tv_nsec = next > now ? static_cast<long>(std::min<uint64_t>(next - now, 100'000'000)) : 0;
    }
    if (::ppoll(fds.data(), fds.size(), &wait, nullptr) <= 0) continue;
    for (size_t i = 0; i < fds.size(); ++i) {
      if (fds[i].revents && !read_some(connections[i])) {
        std::fprintf(stderr, "stream_load: the server closed a connection\n");
        return 1;
      }
    }
  }
  const double elapsed = static_cast<double>(os::monotonic_ns() - measured_from) * 1e-9;
  const double cpu = pid ? static_cast<double>(cpu_ticks(pid) - ticks) / static_cast<double>(sysconf(_SC_CLK_TCK)) : 0;
  const auto answers = static_cast<double>(load.answers);
  std::printf("{\"rate\": %.0f, \"answers\": %llu, \"errors\": %llu, \"streams_ended\": %llu, \"server_us\": %.2f, \"p50_us\": %.1f, \"p99_us\": %.1f, "
              "\"over_50_ms\": %llu}\n", answers / elapsed,
              static_cast<unsigned long long>(load.answers), static_cast<unsigned long long>(load.errors), static_cast<unsigned long long>(load.ended),
              answers > 0 ? cpu * 1e6 / answers : 0, static_cast<double>(quantile(load.latencies_us, 0.5)), static_cast<double>(quantile(load.latencies_us, 0.99)), static_cast<unsigned long long>(load.late));
  return load.answers && !load.errors && !load.ended ? 0 : 1;
}
