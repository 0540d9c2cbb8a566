// Load on a gRPC or HTTP/1.1 server from one thread, closed or open, as one JSON line. It never sleeps, unless --sleep 1 asks for it: on a virtual
// machine, waking a halted core takes longer than all that the server does, and the client's core has nothing else to do.
//
// Closed: a number of requests is kept in flight. Open (--rate): requests have a time at which they are meant to be sent, from a Poisson
// process, whatever the server does; latencies count from that time, so that a server which stalls pays for all who waited (no coordinated
// omission). With --timeout-us each request carries what is left of its time as grpc-timeout; what has none left is not sent and counted.
//
//   load --address HOST:PORT --protocol grpc|http1 --path PATH --body FILE [--header NAME:VALUE]… [--connections 1] [--in-flight 1]
//        [--rate 0] [--timeout-us 0] [--sleep 0] [--seconds 1] [--warm 0.2] [--core -1] [--seed 1] [--expect-bytes]
//
// --in-flight counts all connections together; on HTTP/1.1 it is at most the number of connections. With --cancel-every N, each Nth gRPC
// request is reset right after it was sent.
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <fstream>
#include <map>
#include <memory>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "h2_frames.h"
#include "os/process.h"

using namespace verge;
using namespace verge::bench;

namespace {

struct Options {
  std::string address, protocol = "grpc", path, body_file;
  std::vector<std::pair<std::string, std::string>> headers;
  int connections = 1, in_flight = 1, core = -1, cancel_every = 0;
  bool sleep = false;
  double rate = 0, seconds = 1, warm = 0.2;
  uint64_t timeout_us = 0, seed = 1;
};

struct Results {
  std::vector<float> times_us;           // of what was answered OK, from the intended sending time
  uint64_t sent = 0, ok = 0, in_time = 0, never_sent = 0, cancelled = 0;
  std::map<std::string, uint64_t> failures;
};

struct Job {
  uint64_t intended = 0;
};

class Connection;

// Where finished requests go.
class Sink {
 public:
  Sink(const Options& o, uint64_t warm_end) : options_(o), warm_end_(warm_end) {}
  void done(const Job& job, bool ok, const std::string& why) {
    const uint64_t now = os::monotonic_ns();
    --outstanding;
    last_answer = now;
    if (job.intended < warm_end_) return;
    if (!ok) {
      ++results.failures[why];
      return;
    }
    ++results.ok;
    const uint64_t took = now - job.intended;
    if (!options_.timeout_us || took <= options_.timeout_us * 1000) ++results.in_time;
    results.times_us.push_back(static_cast<float>(took) / 1e3f);
  }
  void count_sent(const Job& job) { results.sent += job.intended >= warm_end_; }
  Results results;
  int outstanding = 0;
  uint64_t last_answer = 0;
  bool measures(const Job& job) const { return job.intended >= warm_end_; }

 private:
  const Options& options_;
  uint64_t warm_end_;
};

class Connection {
 public:
  Connection(int fd, Sink& sink) : fd_(fd), sink_(sink) {}
  virtual ~Connection() { close(fd_); }
  virtual bool free() const = 0;
  virtual void send(const Job& job) = 0;
  int fd() const { return fd_; }

  bool receive(char* buffer, size_t capacity) {
    const ssize_t n = recv(fd_, buffer, capacity, MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN) return true;
    if (n <= 0) return fail("the server closed the connection");
    in_.append(buffer, static_cast<size_t>(n));
    return read();
  }
  bool flush() {
    while (sent_ < out_.size()) {
      const ssize_t n = ::send(fd_, out_.data() + sent_, out_.size() - sent_, MSG_NOSIGNAL | MSG_DONTWAIT);
      if (n < 0 && errno == EAGAIN) return true;
      if (n <= 0) return fail("the server closed the connection");
      sent_ += static_cast<size_t>(n);
    }
    out_.clear();
    sent_ = 0;
    return true;
  }
  const std::string& error() const { return error_; }

 protected:
  virtual bool read() = 0;
  bool fail(const std::string& why) {
    error_ = why;
    return false;
  }
  int fd_;
  Sink& sink_;
  std::string in_, out_;
  size_t sent_ = 0;
  std::string error_;
};

class Http1Connection final : public Connection {
 public:
  Http1Connection(int fd, Sink& sink, const std::string& request) : Connection(fd, sink), request_(request) {}
  bool free() const override { return !busy_; }
  void send(const Job& job) override {
    job_ = job;
    busy_ = true;
    out_ += request_;
  }

 private:
  bool read() override {
    const size_t head = in_.find("\r\n\r\n");
    if (head == std::string::npos) return true;
    size_t length = 0;
    for (size_t line = in_.find("\r\n"); line < head; line = in_.find("\r\n", line + 2))
      if (strncasecmp(in_.data() + line + 2, "content-length:", 15) == 0) length = std::strtoull(in_.data() + line + 17, nullptr, 10);
    if (in_.size() < head + 4 + length) return true;
    const std::string status = in_.substr(9, 3);
    in_.erase(0, head + 4 + length);
    busy_ = false;
    sink_.done(job_, status == "200", status);
    return true;
  }
  const std::string& request_;
  Job job_;
  bool busy_ = false;
};

class Http2Connection final : public Connection {
 public:
  static constexpr int kMostStreams = 250;
  Http2Connection(int fd, Sink& sink, const Options& o, const RequestHead& head, const std::string& body)
      : Connection(fd, sink), options_(o), head_(head), body_(body), jobs_(1 << 16) {
    out_ = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    put_frame_head(out_, 6, kSettings, 0, 0);
    out_ += std::string("\0\x04", 2);
    put_u32(out_, 16 << 20);  // initial window
    put_frame_head(out_, 4, kWindowUpdate, 0, 0);
    put_u32(out_, (1u << 30));
  }
  bool free() const override {
    return open_ < kMostStreams && send_window_ >= static_cast<int64_t>(body_.size()) && static_cast<int64_t>(body_.size()) <= stream_window_;
  }
  void send(const Job& job) override {
    const uint32_t stream = next_;
    next_ += 2;
    Slot& slot = jobs_[stream / 2 % jobs_.size()];
    if (slot.stream) {
      sink_.done(job, false, "client: a stream stays open for too long");
      return;
    }
    slot = {stream, job, -1, 0};
    ++open_;
    const std::string& fixed = head_.block(first_);
    first_ = false;
    if (options_.timeout_us) {
      const int64_t left = static_cast<int64_t>(options_.timeout_us) - static_cast<int64_t>((os::monotonic_ns() - job.intended) / 1000);
      block_ = fixed;
      put_plain_field(block_, "grpc-timeout", std::to_string(std::max<int64_t>(left, 1)) + "u");
      put_frame_head(out_, block_.size(), kHeaders, kEndHeaders, stream);
      out_ += block_;
    } else {
      put_frame_head(out_, fixed.size(), kHeaders, kEndHeaders, stream);
      out_ += fixed;
    }
    for (size_t at = 0; at < body_.size(); at += 16384) {
      const size_t n = std::min<size_t>(16384, body_.size() - at);
      put_frame_head(out_, n, kData, at + n == body_.size() ? kEndStream : 0, stream);
      out_.append(body_, at, n);
    }
    send_window_ -= static_cast<int64_t>(body_.size());
    if (options_.cancel_every && ++count_ % static_cast<uint64_t>(options_.cancel_every) == 0) {
      put_frame_head(out_, 4, kRstStream, 0, stream);
      put_u32(out_, 8);
      ++sink_.results.cancelled;
      slot.stream = 0;
      --open_;
      --sink_.outstanding;
    }
  }

 private:
  struct Slot {
    uint32_t stream = 0;
    Job job;
    int status = -1;
    int http = 0;
  };

  bool read() override {
    size_t at = 0;
    while (in_.size() - at >= 9) {
      const char* p = in_.data() + at;
      const size_t length = get_u32(p) >> 8;
      const auto type = static_cast<uint8_t>(p[3]), flags = static_cast<uint8_t>(p[4]);
      const uint32_t stream = get_u32(p + 5) & 0x7fffffff;
      if (in_.size() - at < 9 + length) break;
      if (!frame(type, flags, stream, {p + 9, length})) return false;
      at += 9 + length;
    }
    in_.erase(0, at);
    if (received_ > (64 << 20)) {
      put_frame_head(out_, 4, kWindowUpdate, 0, 0);
      put_u32(out_, static_cast<uint32_t>(received_));
      received_ = 0;
    }
    return true;
  }

  bool frame(uint8_t type, uint8_t flags, uint32_t stream, std::string_view payload) {
    switch (type) {
      case kData:
        received_ += payload.size();
        if (flags & kEndStream) finish(stream, "");
        return true;
      case kHeaders: {
        if (!(flags & kEndHeaders)) return fail("an answer's head goes on in a second frame");
        AnswerHeads::Head head;
        if (!heads_.read(payload, &head)) return fail("an answer's head cannot be decoded");
        Slot& slot = jobs_[stream / 2 % jobs_.size()];
        if (slot.stream == stream) {
          if (head.grpc_status >= 0) slot.status = head.grpc_status;
          if (head.http_status) slot.http = head.http_status;
        }
        if (flags & kEndStream) finish(stream, "");
        return true;
      }
      case kRstStream: return finish(stream, "reset " + std::to_string(get_u32(payload.data()))), true;
      case kSettings:
        if (flags & kAck) return true;
        for (size_t i = 0; i + 6 <= payload.size(); i += 6) {
          const uint32_t id = get_u32(payload.data() + i) >> 16, value = get_u32(payload.data() + i + 2);
          if (id == 4) stream_window_ = value;
        }
        put_frame_head(out_, 0, kSettings, kAck, 0);
        return true;
      case kPing:
        if (flags & kAck) return true;
        put_frame_head(out_, 8, kPing, kAck, 0);
        out_ += payload;
        return true;
      case kWindowUpdate:
        if (stream == 0) send_window_ += get_u32(payload.data());
        return true;
      case kGoaway: return fail("the server sent GOAWAY, error " + std::to_string(get_u32(payload.data() + 4)) + " " + std::string(payload.substr(8)));
      case kContinuation: return fail("an answer's head goes on in a second frame");
      default: return true;
    }
  }

  void finish(uint32_t stream, const std::string& reset) {
    Slot& slot = jobs_[stream / 2 % jobs_.size()];
    if (slot.stream != stream) return;  // was cancelled
    slot.stream = 0;
    --open_;
    const bool ok = reset.empty() && slot.http == 200 && slot.status <= 0;
    sink_.done(slot.job, ok, !reset.empty() ? reset : "grpc-status " + std::to_string(slot.status));
  }

  const Options& options_;
  const RequestHead& head_;
  const std::string& body_;
  std::vector<Slot> jobs_;
  AnswerHeads heads_;
  std::string block_;
  uint32_t next_ = 1;
  uint64_t count_ = 0;
  int open_ = 0;
  bool first_ = true;
  int64_t send_window_ = 65535, stream_window_ = 65535;
  uint64_t received_ = 0;
};

int connect_to(const std::string& address) {
  const size_t colon = address.rfind(':');
  sockaddr_in a{};
  a.sin_family = AF_INET;
  a.sin_port = htons(static_cast<uint16_t>(std::atoi(address.c_str() + colon + 1)));
  inet_pton(AF_INET, address.substr(0, colon).c_str(), &a.sin_addr);
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
  if (connect(fd, reinterpret_cast<sockaddr*>(&a), sizeof a) != 0) return close(fd), -1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  return fd;
}

bool parse(int argc, char** argv, Options* o) {
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string name = argv[i], value = argv[i + 1];
    if (name == "--address") o->address = value;
    else if (name == "--protocol") o->protocol = value;
    else if (name == "--path") o->path = value;
    else if (name == "--body") o->body_file = value;
    else if (name == "--header") o->headers.emplace_back(value.substr(0, value.find(':')), value.substr(value.find(':') + 1));
    else if (name == "--connections") o->connections = std::atoi(value.c_str());
    else if (name == "--in-flight") o->in_flight = std::atoi(value.c_str());
    else if (name == "--core") o->core = std::atoi(value.c_str());
    else if (name == "--sleep") o->sleep = value == "1";
    else if (name == "--cancel-every") o->cancel_every = std::atoi(value.c_str());
    else if (name == "--rate") o->rate = std::atof(value.c_str());
    else if (name == "--seconds") o->seconds = std::atof(value.c_str());
    else if (name == "--warm") o->warm = std::atof(value.c_str());
    else if (name == "--timeout-us") o->timeout_us = std::strtoull(value.c_str(), nullptr, 10);
    else if (name == "--seed") o->seed = std::strtoull(value.c_str(), nullptr, 10);
    else return false;
  }
  return argc % 2 == 1 && !o->address.empty() && !o->path.empty() && (o->protocol == "grpc" || o->protocol == "http1") && o->connections > 0;
}

double quantile(const std::vector<float>& sorted, double q) {
  if (sorted.empty()) return -1;
  return static_cast<double>(sorted[std::min(sorted.size() - 1, static_cast<size_t>(q * static_cast<double>(sorted.size())))]);
}

// Nanoseconds that this thread could have run and had no core.
uint64_t kept_waiting_ns() {
  std::ifstream file("/proc/self/schedstat");
  uint64_t ran = 0, waited = 0;
  file >> ran >> waited;
  return waited;
}

void print(const Results& r, double seconds, std::vector<float> times, double kept_waiting) {
  std::sort(times.begin(), times.end());
  std::string failures;
  for (const auto& [why, n] : r.failures) failures += (failures.empty() ? "\"" : ",\"") + why + "\":" + std::to_string(n);
  std::printf("{\"sent\":%llu,\"ok\":%llu,\"in_time\":%llu,\"never_sent\":%llu,\"cancelled\":%llu,\"rate\":%.1f,\"p50_us\":%.2f,\"p90_us\":%.2f,"
              "\"p99_us\":%.2f,\"p999_us\":%.2f,\"max_us\":%.2f,\"client_kept_waiting\":%.4f,\"failures\":{%s}}\n",
              static_cast<unsigned long long>(r.sent), static_cast<unsigned long long>(r.ok), static_cast<unsigned long long>(r.in_time),
              static_cast<unsigned long long>(r.never_sent), static_cast<unsigned long long>(r.cancelled), static_cast<double>(r.ok) / seconds,
              quantile(times, .5), quantile(times, .9), quantile(times, .99), quantile(times, .999), times.empty() ? -1 : static_cast<double>(times.back()),
              kept_waiting, failures.c_str());
}

int run(const Options& o, const std::string& body, const std::string& request) {
  std::vector<std::pair<std::string, std::string>> fields = o.headers;
  fields.insert(fields.begin(), {{"content-type", "application/grpc"}, {"te", "trailers"}});
  const RequestHead head(o.path, o.address, fields);
  const uint64_t begin = os::monotonic_ns(), warm_end = begin + static_cast<uint64_t>(o.warm * 1e9),
                 end = warm_end + static_cast<uint64_t>(o.seconds * 1e9);
  Sink sink(o, warm_end);
  const int poll = epoll_create1(EPOLL_CLOEXEC);
  std::vector<std::unique_ptr<Connection>> connections;
  for (int i = 0; i < o.connections; ++i) {
    const int fd = connect_to(o.address);
    if (fd < 0) return std::fprintf(stderr, "load: cannot connect to %s: %s\n", o.address.c_str(), std::strerror(errno)), 1;
    if (o.protocol == "grpc") connections.push_back(std::make_unique<Http2Connection>(fd, sink, o, head, body));
    else connections.push_back(std::make_unique<Http1Connection>(fd, sink, request));
    epoll_event e{};
    e.events = EPOLLIN;
    e.data.u64 = static_cast<uint64_t>(i);
    epoll_ctl(poll, EPOLL_CTL_ADD, fd, &e);
  }
  std::vector<char> buffer(1 << 20);
  std::deque<Job> waiting;  // intended, not sent yet
  std::mt19937_64 random(o.seed);
  std::exponential_distribution<double> gap(o.rate > 0 ? o.rate : 1);
  uint64_t next_arrival = begin;
  size_t turn = 0;
  sink.last_answer = begin;
  uint64_t now = begin, grace = 0;
  const uint64_t waited_before = kept_waiting_ns();
  while (true) {
    now = os::monotonic_ns();
    if (now >= end) {
      // What is in flight gets a while to be answered: it was asked within the time.
      if (!grace) grace = now + 10'000'000'000;
      if (sink.outstanding == 0 || now > grace) break;
    } else if (o.rate > 0) {
      while (next_arrival <= now) {
        waiting.push_back({next_arrival});
        next_arrival += static_cast<uint64_t>(gap(random) * 1e9);
      }
    } else {
      while (sink.outstanding + static_cast<int>(waiting.size()) < o.in_flight) waiting.push_back({now});
    }
    while (!waiting.empty()) {
      if (o.timeout_us && now - waiting.front().intended >= o.timeout_us * 1000) {
        sink.results.never_sent += sink.measures(waiting.front());
        waiting.pop_front();
        continue;
      }
      size_t tried = 0;
      while (tried < connections.size() && !connections[turn]->free()) {
        turn = (turn + 1) % connections.size();
        ++tried;
      }
      if (tried == connections.size()) break;
      ++sink.outstanding;
      sink.count_sent(waiting.front());
      connections[turn]->send(waiting.front());
      turn = (turn + 1) % connections.size();
      waiting.pop_front();
    }
    for (auto& c : connections)
      if (!c->flush()) return std::fprintf(stderr, "load: %s\n", c->error().c_str()), 1;
    epoll_event events[64];
    // Until something is due, but never longer than a millisecond: a connection may wait for room to write.
    const uint64_t due = o.rate > 0 ? next_arrival : UINT64_MAX, idle = o.sleep && due > now ? std::min<uint64_t>(due - now, 1'000'000) : 0;
    const timespec most{0, static_cast<long>(idle)};
    const int n = epoll_pwait2(poll, events, 64, &most, nullptr);
    for (int i = 0; i < n; ++i) {
      Connection& c = *connections[events[i].data.u64];
      if (!c.receive(buffer.data(), buffer.size())) return std::fprintf(stderr, "load: %s\n", c.error().c_str()), 1;
    }
    if (sink.outstanding && now > sink.last_answer + 10'000'000'000) return std::fprintf(stderr, "load: no answer for 10 s\n"), 1;
  }
  if (sink.outstanding > 0) sink.results.failures["no answer"] += static_cast<uint64_t>(sink.outstanding);
  for (const Job& job : waiting) sink.results.never_sent += sink.measures(job);
  print(sink.results, o.seconds, sink.results.times_us, static_cast<double>(kept_waiting_ns() - waited_before) / static_cast<double>(os::monotonic_ns() - begin));
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  Options o;
  if (!parse(argc, argv, &o)) {
    std::fprintf(stderr, "usage: load --address HOST:PORT --protocol grpc|http1 --path PATH --body FILE …; see the head of load.cc\n");
    return 2;
  }
  if (o.core >= 0 && !os::pin_thread({o.core}).ok()) return 2;
  std::ifstream file(o.body_file, std::ios::binary);
  std::stringstream content;
  content << file.rdbuf();
  if (!file) return std::fprintf(stderr, "load: %s cannot be read\n", o.body_file.c_str()), 2;
  std::string request = "POST " + o.path + " HTTP/1.1\r\nHost: " + o.address + "\r\nContent-Length: " + std::to_string(content.str().size()) + "\r\n";
  for (const auto& [name, value] : o.headers) request += name + ": " + value + "\r\n";
  request += "\r\n" + content.str();
  if (o.protocol == "http1" && o.rate <= 0) o.in_flight = std::min(o.in_flight, o.connections);
  return run(o, content.str(), request);
}
