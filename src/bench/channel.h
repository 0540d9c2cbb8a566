// A connection that requests go out on and answers come back on. One thread's own; nothing here waits but open().
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bench/tls.h"
#include "core/status.h"
#include "net/bytes.h"

namespace verge::bench {

// Where a server is, and how it is spoken to.
struct Target {
  std::string host;  // or "unix:/path"
  int port = 0;
  bool grpc = true;
  std::shared_ptr<const TlsClient> tls;  // nullptr: without
  std::string text() const;
  const char* scheme() const { return tls ? "https" : "http"; }
};
// "https://" and "grpcs://" before the address ask for TLS too.
Result<Target> parse_target(const std::string& address, bool grpc, TlsOptions tls = {});

// What a request needs beside its body; outlives the requests made of it.
struct Form {
  std::string path;  // "/inference.GRPCInferenceService/ModelInfer", "/v2/models/m/infer"
  std::string method = "POST";
  std::vector<std::pair<std::string, std::string>> fields;  // lower-case names, beyond what the protocol itself demands
};

// A request under way. Slots are used again; their buffers keep their memory.
struct Exchange {
  // Set by the sender.
  const Form* form = nullptr;
  std::string_view body;      // whole and framed; outlives the exchange
  uint64_t timeout_us = 0;    // gRPC: sent as grpc-timeout; 0: none
  uint32_t tenant = 0, sample = 0, source = 0;
  uint64_t intended = 0, sent = 0;
  bool measured = false;
  // Set by the channel.
  size_t body_sent = 0;
  int http_status = 0;
  int grpc_status = -1;      // -1: none came
  size_t json_bytes = 0;     // REST with binary data: length of the JSON in front; 0: all of it
  net::ByteBuffer answer;    // the body as it came, with gRPC's prefix
  net::ByteBuffer message;   // grpc-message, still percent-encoded
  const char* broken = nullptr;  // why there is no whole answer: "connection lost", "stream reset"
  size_t place = 0;  // among the channel's own

  void reset() {
    body_sent = 0;
    http_status = 0;
    grpc_status = -1;
    json_bytes = 0;
    answer.clear();
    message.clear();
    broken = nullptr;
    timeout_us = 0;
  }
};

class Channel {
 public:
  virtual ~Channel();
  static Result<std::unique_ptr<Channel>> open(const Target& target);

  int fd() const { return fd_; }
  // Whether another request can go out now.
  virtual bool free() const = 0;
  virtual void send(Exchange* e) = 0;
  // Hands what can be handed to the kernel; false: the connection is over.
  virtual bool flush() = 0;
  bool wants_to_write() const { return blocked_; }
  // Reads what is there; whoever is finished is appended to `done`. False: the connection is over.
  virtual bool receive(std::vector<Exchange*>& done) = 0;
  // Those still under way, each with `broken` set: they will not be answered.
  virtual void give_up(std::vector<Exchange*>& done, const char* why) = 0;
  // The server takes no more on this connection; once nothing is under way it is to be opened anew.
  virtual bool draining() const { return false; }
  virtual size_t under_way() const = 0;

 protected:
  Channel(int fd, std::unique_ptr<net::TlsStream> tls) : fd_(fd), tls_(std::move(tls)) {}
  bool write_out();  // out_ to the kernel
  // As recv() without waiting. Where `n` is at least 16 KiB nothing stays behind inside TLS, of which the socket would not tell.
  ssize_t read_some(void* p, size_t n);
  int fd_;
  std::unique_ptr<net::TlsStream> tls_;
  bool blocked_ = false;
  net::ByteBuffer out_;
  size_t written_ = 0;
};

std::unique_ptr<Channel> make_http1_channel(int fd, std::unique_ptr<net::TlsStream> tls, const Target& target);
std::unique_ptr<Channel> make_http2_channel(int fd, std::unique_ptr<net::TlsStream> tls, const Target& target);

// One request and its answer, waiting at most `seconds`. For what is asked before and after the load.
Status call_once(Channel& channel, Exchange& e, double seconds);

}  // namespace verge::bench
