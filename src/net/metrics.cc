#include "net/metrics.h"

#include <cstdio>

#include "core/exposition.h"
#include "core/status.h"

namespace verge::net {

using exposition::head;
using exposition::line;
using exposition::seconds;

std::string_view protocol_name(Protocol p) {
  switch (p) {
    case Protocol::kGrpc: return "grpc";
    case Protocol::kHttp2: return "http2";
    case Protocol::kHttp1: return "http1";
  }
  return "";
}

std::string_view shed_name(Shed reason) {
  switch (reason) {
    case Shed::kConnections: return "connections";
    case Shed::kPeerConnections: return "peer_connections";
    case Shed::kStreams: return "requests_in_progress";
    case Shed::kTurnedAway: return "turned_away";
    case Shed::kMessageSize: return "message_size";
    case Shed::kReceiveBudget: return "receive_budget";
    case Shed::kUnauthenticated: return "unauthenticated";
    case Shed::kForbidden: return "forbidden";
    case Shed::kHandshakes: return "handshakes";
    case Shed::kHandshakeTimeout: return "handshake_timeout";
    case Shed::kHandshakeFailed: return "handshake_failed";
    case Shed::kHeaderSize: return "header_size";
    case Shed::kHeaderTimeout: return "header_timeout";
    case Shed::kBodyTimeout: return "body_timeout";
    case Shed::kWriteTimeout: return "write_timeout";
    case Shed::kIdleTimeout: return "idle_timeout";
    case Shed::kResetFlood: return "reset_flood";
    case Shed::kProtocolError: return "protocol_error";
    case Shed::kStopping: return "stopping";
    case Shed::kCount: break;
  }
  return "";
}

std::string metrics_text(std::span<const Metrics* const> fronts, int64_t receive_budget_used, int64_t receive_budget) {
  std::string out;
  auto sum = [&](auto get) {
    uint64_t total = 0;
    for (const Metrics* m : fronts) total += get(*m).get();
    return total;
  };
  auto single = [&](std::string_view name, std::string_view type, std::string_view help, auto get) {
    head(out, name, type, help);
    line(out, name, "", sum(get));
  };
  single("verge_net_connections_total", "counter", "Connections accepted.", [](const Metrics& m) -> auto& { return m.connections; });
  single("verge_net_connections_open", "gauge", "Connections open now.", [](const Metrics& m) -> auto& { return m.connections_open; });
  single("verge_net_received_bytes_total", "counter", "Bytes read from sockets.",
         [](const Metrics& m) -> auto& { return m.received_bytes; });
  single("verge_net_sent_bytes_total", "counter", "Bytes written to sockets.", [](const Metrics& m) -> auto& { return m.sent_bytes; });
  single("verge_net_copied_tensors_total", "counter", "Input tensors copied or decoded between receive buffer and engine.",
         [](const Metrics& m) -> auto& { return m.copied_tensors; });
  single("verge_net_copied_bytes_total", "counter", "Bytes of those tensors.", [](const Metrics& m) -> auto& { return m.copied_bytes; });
  single("verge_net_cancelled_total", "counter", "Requests whose client went away before the answer.",
         [](const Metrics& m) -> auto& { return m.cancelled; });
  single("verge_net_streams_total", "counter", "Streaming gRPC calls begun.", [](const Metrics& m) -> auto& { return m.streams; });
  single("verge_net_early_answers_total", "counter", "Answers of exits beyond which the model went on, sent to streams.", [](const Metrics& m) -> auto& { return m.early_answers; });
  single("verge_net_early_dropped_total", "counter", "Such answers not sent, since the client has too many to read or memory was short.",
         [](const Metrics& m) -> auto& { return m.early_dropped; });
  single("verge_net_streams_open", "gauge", "Streaming gRPC calls open now.", [](const Metrics& m) -> auto& { return m.streams_open; });
  single("verge_net_loop_stall_total", "counter", "Turns of a front's loop that took more than 20 ms.", [](const Metrics& m) -> auto& { return m.stalls; });
  single("verge_net_access_log_dropped_total", "counter", "Lines of the access log that found its buffer full.",
         [](const Metrics& m) -> auto& { return m.log_drops; });
  auto histogram = [&](std::string_view name, std::string_view help, const std::string& labels, auto get, bool first) {
    if (first) head(out, name, "histogram", help);
    const std::string prefix = labels.empty() ? "" : labels + ",";
    uint64_t count = 0;
    for (size_t i = 0; i <= Histogram::kBoundsNs.size(); ++i) {
      count += get(i);
      char bound[32] = "+Inf";
      if (i < Histogram::kBoundsNs.size()) std::snprintf(bound, sizeof bound, "%g", static_cast<double>(Histogram::kBoundsNs[i]) / 1e9);
      line(out, std::string(name) + "_bucket", prefix + "le=\"" + bound + "\"", count);
    }
    return count;
  };
  auto sum_of = [&](std::string_view name, const std::string& labels, uint64_t ns, uint64_t count) {
    line(out, std::string(name) + "_sum", labels, seconds(ns));
    line(out, std::string(name) + "_count", labels, count);
  };
  for (size_t f = 0; f < fronts.size(); ++f) {
    const Histogram& h = fronts[f]->turns;
    const std::string labels = "front=\"" + std::to_string(f) + "\"";
    const uint64_t n = histogram("verge_net_turn_seconds", "Turns of each front's loop.", labels, [&](size_t i) { return h.bucket(i); }, f == 0);
    sum_of("verge_net_turn_seconds", labels, h.sum_ns(), n);
  }
  uint64_t handshake_ns = 0;
  for (const Metrics* m : fronts) handshake_ns += m->handshakes.sum_ns();
  const uint64_t handshakes = histogram("verge_net_handshake_seconds", "TLS handshakes completed, from accept.", "", [&](size_t i) {
    uint64_t total = 0;
    for (const Metrics* m : fronts) total += m->handshakes.bucket(i);
    return total;
  }, true);
  sum_of("verge_net_handshake_seconds", "", handshake_ns, handshakes);
  head(out, "verge_net_requests_total", "counter", "Requests answered, by protocol and status code.");
  for (int p = 0; p < kProtocols; ++p) {
    for (int code = 0; code < 17; ++code) {
      const uint64_t n = sum([&](const Metrics& m) -> auto& { return m.requests[static_cast<size_t>(p)][static_cast<size_t>(code)]; });
      if (!n && code) continue;
      line(out, "verge_net_requests_total",
             "protocol=\"" + std::string(protocol_name(static_cast<Protocol>(p))) + "\",code=\"" +
                 std::string(code_name(static_cast<Code>(code))) + "\"",
             n);
    }
  }
  head(out, "verge_net_shed_total", "counter", "Connections and requests refused or ended by the server, by reason.");
  for (size_t i = 0; i < static_cast<size_t>(Shed::kCount); ++i)
    line(out, "verge_net_shed_total", "reason=\"" + std::string(shed_name(static_cast<Shed>(i))) + "\"",
           sum([&](const Metrics& m) -> auto& { return m.shed[i]; }));
  head(out, "verge_net_receive_budget_bytes", "gauge", "Memory that requests being received or waiting may hold, and what they hold.");
  line(out, "verge_net_receive_budget_bytes", "state=\"limit\"", static_cast<uint64_t>(receive_budget));
  line(out, "verge_net_receive_budget_bytes", "state=\"used\"", static_cast<uint64_t>(receive_budget_used));
  return out;
}

}  // namespace verge::net
