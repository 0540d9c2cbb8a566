// Counters of the data plane. Each front has its own, written by its thread alone; a scrape adds them up.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace verge::net {

// One writer, any reader.
class Counter {
 public:
  void add(uint64_t n = 1) { v_.store(v_.load(std::memory_order_relaxed) + n, std::memory_order_relaxed); }
  void sub(uint64_t n = 1) { v_.store(v_.load(std::memory_order_relaxed) - n, std::memory_order_relaxed); }
  uint64_t get() const { return v_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> v_{0};
};

// Of durations, with fixed bounds. One writer, any reader.
class Histogram {
 public:
  static constexpr std::array<uint64_t, 14> kBoundsNs = {50'000,     100'000,    200'000,     500'000,     1'000'000,   2'000'000,     5'000'000,
                                                         10'000'000, 20'000'000, 50'000'000, 100'000'000, 200'000'000, 500'000'000, 1'000'000'000};
  void add(uint64_t ns) {
    size_t i = 0;
    while (i < kBoundsNs.size() && ns > kBoundsNs[i]) ++i;
    buckets_[i].add();
    sum_ns_.add(ns);
  }
  uint64_t bucket(size_t i) const { return buckets_[i].get(); }  // i == kBoundsNs.size(): above all bounds
  uint64_t sum_ns() const { return sum_ns_.get(); }

 private:
  std::array<Counter, kBoundsNs.size() + 1> buckets_;
  Counter sum_ns_;
};

enum class Protocol : uint8_t { kGrpc, kHttp2, kHttp1 };
inline constexpr int kProtocols = 3;
std::string_view protocol_name(Protocol p);  // "grpc", "http2", "http1"

// Why the server ended something that a client wanted.
enum class Shed : uint8_t {
  kConnections,      // limit of connections
  kPeerConnections,  // limit of connections of one peer
  kStreams,          // limit of requests in progress
  kTurnedAway,       // a request refused by its head, before it was read: too much waits before it
  kMessageSize,      // a message larger than allowed
  kReceiveBudget,    // no receive memory left
  kUnauthenticated,  // no token, or none that is known
  kForbidden,        // not served by this listener, or not allowed to this token
  kHandshakes,       // a TLS handshake gave way to a younger one
  kHandshakeTimeout, // TLS handshake not complete in time
  kHandshakeFailed,  // no common version, protocol or acceptable certificate, or no TLS at all
  kHeaderSize,       // header too large
  kHeaderTimeout,    // header not complete in time
  kBodyTimeout,      // body made no progress
  kWriteTimeout,     // answer was not read
  kIdleTimeout,      // connection without requests
  kResetFlood,       // HTTP/2 frames that only cost
  kProtocolError,    // bytes that are not the protocol
  kStopping,         // server is stopping
  kCount,
};
std::string_view shed_name(Shed reason);

struct Metrics {
  Counter connections;         // accepted
  Counter connections_open;
  Histogram handshakes;        // of TLS, from accept to their completion
  Histogram turns;             // of the loop: from the events to the end of what they brought
  Counter stalls;              // turns over 20 ms
  Counter log_drops;           // lines of the access log
  Counter received_bytes;
  Counter sent_bytes;
  Counter copied_tensors;      // inputs copied because their bytes lay unaligned, or decoded from text or varints
  Counter copied_bytes;
  Counter streams;             // gRPC calls of many messages, begun
  Counter streams_open;
  Counter early_answers;       // of exits beyond which the model went on, sent to streams
  Counter early_dropped;       // not sent: the client has too many answers to read as it is, or memory was short
  Counter cancelled;           // requests whose client went away
  std::array<std::array<Counter, 17>, kProtocols> requests;  // by protocol and status code
  std::array<Counter, static_cast<size_t>(Shed::kCount)> shed;

  void count_shed(Shed reason) { shed[static_cast<size_t>(reason)].add(); }
};

// Prometheus text exposition of the sum.
std::string metrics_text(std::span<const Metrics* const> fronts, int64_t receive_budget_used, int64_t receive_budget);

}  // namespace verge::net
