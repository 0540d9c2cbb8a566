// The data plane as a whole: fronts (one thread each) that serve HTTP/1.1, HTTP/2 and gRPC on one port, over a Runtime.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/json.h"
#include "core/status.h"
#include "net/auth.h"
#include "net/listener.h"
#include "net/tls_options.h"
#include "runtime/api.h"

namespace verge::net {

struct ServerOptions {
  std::vector<ListenOptions> listeners = {{}};
  TlsOptions tls;                     // of the listeners that have it
  AuthOptions auth;
  std::vector<std::string> tenants = {"default"};  // names, as RuntimeOptions::tenants; at most runtime::kMostTenants
  int fronts = 1;                     // threads
  std::vector<int> front_cores;       // front i runs on front_cores[i % size]; empty: anywhere
  std::string name = "verge";         // told by server metadata, as is the version
  std::string version = "0";

  // Limits. A request beyond them is refused with a status, a connection is closed; each has a counter (verge_net_shed_total).
  int max_connections = 10'000;                        // of the server
  uint32_t max_peer_connections = 0;                   // of one address, or one IPv6 /64; not over Unix sockets; 0: no limit
  uint32_t max_handshakes = 1024;                      // of TLS in progress; one more ends the oldest
  uint32_t max_streams = 256;                          // requests in progress on one HTTP/2 connection
  uint32_t max_stream_messages = 64;                   // in progress on one gRPC stream; more wait in the client
  uint32_t max_requests = 65'536;                      // requests in progress on one front
  uint32_t max_header_bytes = 32 << 10;
  uint64_t max_message_bytes = uint64_t{512} << 20;
  uint64_t receive_budget_bytes = uint64_t{640} << 20;  // all requests being received or waiting; bounds max_message_bytes too
  double handshake_timeout_s = 10;                     // of TLS, from accept
  double header_timeout_s = 10;                        // from accept, or from the first byte of a request, to the end of its header
  double body_timeout_s = 30;                          // in which an unfinished body came on by less than 1 KiB a second
  double write_timeout_s = 30;                         // in which less than 1 KiB a second was taken by a client whose answer waits
  double idle_timeout_s = 300;                         // connection without requests
  double drain_timeout_s = 30;                         // after begin_stop(), connections are closed however they stand

  bool shared_memory = false;                          // whether clients may name shared memory objects of this machine
  std::string log_level = "info";                      // "debug", "info", "warning", "error": told by the log settings
  Json lanes;                                          // how many, of how many cores, and why: told by /v2/verge/status
  std::string assist_model;                            // whom extended_inference asks where a call names no model; empty: the only one
  runtime::Repository* repository = nullptr;           // loads and unloads models; nullptr: that is answered with UNIMPLEMENTED
  // Gets the access log, whole JSON lines, on a thread of its own; empty: none.
  std::function<void(std::string_view lines)> access_log;
};

class Server {
 public:
  // Listens and serves at once. kUnavailable where the address is taken, kInvalidArgument where it is none. The runtime must outlive it.
  static Result<std::unique_ptr<Server>> start(ServerOptions options, runtime::Runtime& runtime);
  // Closes what is open, cancels what runs, and waits for it to come back.
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // Of the first listener: "127.0.0.1:8000", "[::1]:8000", with the port that was taken; "unix:/path" with port 0.
  const std::string& address() const;
  int port() const;
  // Of all, in the order of the options.
  std::vector<std::string> addresses() const;

  // Stops taking connections and requests; what was accepted is answered (HTTP/2: GOAWAY twice; HTTP/1.1: Connection: close). Then, or
  // when drain_timeout_s is over, calls `drained` from a front's thread. Any thread, once.
  void begin_stop(std::function<void()> drained);
  // Waits for the end of that.
  void join();

  // Reads the certificate, the key and the client authority again. On an error, which names the file, what was in use stays; connections
  // that are open are left alone either way. Any thread.
  Status reload_tls();
  // Seconds since 1970: the end of the certificate in use; 0 without TLS.
  int64_t tls_valid_until() const;

  // The net layer's part of /metrics.
  std::string metrics_text() const;

 private:
  Server();
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace verge::net
