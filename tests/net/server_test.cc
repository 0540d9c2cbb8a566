// A server's life and its limits: timeouts, clients that go, its end, connections and memory, several fronts, the access log.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "echo_runtime.h"
#include "eventually.h"
#include "h2_client.h"
#include "net/server.h"
#include "server_fixture.h"

namespace verge::net {
namespace {

using ServerTest = test::ServerFixture;
using test::connect_to;
using test::eventually;
using test::H2Client;
using test::infer_message;
using test::receive_all;
using test::receive_until;
using test::send_all;
using testing::HasSubstr;
using testing::StartsWith;

TEST_F(ServerTest, SlowHeadersAndBodiesEnd) {
  ServerOptions options;
  options.header_timeout_s = 1;
  options.body_timeout_s = 1;
  start(options);
  std::vector<int> stalled;  // side by side: each takes its second
  for (const char* part : {"", "PR", "GET / HTTP/1.1\r\nHost:", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc"}) {
    stalled.push_back(connect_to(server_->port()));
    EXPECT_TRUE(send_all(stalled.back(), part));
  }
  for (int fd : stalled) {
    EXPECT_EQ(receive_all(fd), "");
    close(fd);
  }
  EXPECT_EQ(metric("verge_net_shed_total{reason=\"header_timeout\"}"), 3u);
  EXPECT_EQ(metric("verge_net_shed_total{reason=\"body_timeout\"}"), 1u);
  H2Client client(server_->port());
  client.start("/inference.GRPCInferenceService/ModelInfer", {{"content-type", "application/grpc"}}, std::string("\0\0\0", 3), false);
  EXPECT_TRUE(client.wait_end());
  EXPECT_EQ(metric("verge_net_shed_total{reason=\"body_timeout\"}"), 2u);
}

TEST_F(ServerTest, IdleConnectionsAreToldToGo) {
  ServerOptions options;
  options.idle_timeout_s = 1;
  start(options);
  const int fd = connect_to(server_->port());
  ASSERT_TRUE(send_all(fd, "GET /v2/health/live HTTP/1.1\r\nHost: a\r\n\r\n"));
  EXPECT_THAT(receive_all(fd), HasSubstr("{\"live\":true}"));
  close(fd);
  H2Client client(server_->port());
  const int32_t id = client.grpc("ServerLive", "");
  ASSERT_TRUE(client.wait(id));
  EXPECT_TRUE(client.wait_end());
  EXPECT_GE(client.goaways(), 1);
  EXPECT_EQ(client.last_goaway_error(), static_cast<uint32_t>(NGHTTP2_NO_ERROR));
  EXPECT_EQ(metric("verge_net_shed_total{reason=\"idle_timeout\"}"), 2u);
}

TEST_F(ServerTest, AReaderThatStopsIsCutOff) {
  ServerOptions options;
  options.write_timeout_s = 1;
  start(options);
  H2Client client(server_->port(), 0);  // windows are never opened
  client.grpc("ModelInfer", infer_message("echo", 20'000));
  EXPECT_TRUE(client.wait_end());
  EXPECT_EQ(metric("verge_net_shed_total{reason=\"write_timeout\"}"), 1u);
  const int fd = connect_to(server_->port()), small = 64 << 10;
  setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
  const std::string big = "{\"inputs\":[{\"name\":\"x\",\"shape\":[100000],\"datatype\":\"INT8\",\"data\":[1" + [] {
    std::string s;
    for (int i = 1; i < 100'000; ++i) s += ",1";
    return s;
  }() + "]}]}";
  for (int i = 0; i < 200; ++i)
    if (!send_all(fd, post(kInfer, big))) break;
  EXPECT_TRUE(eventually([&] { return metric("verge_net_shed_total{reason=\"write_timeout\"}") == 2; })) << server_->metrics_text();
  close(fd);
}

TEST_F(ServerTest, ClientsThatGoCancelTheirRequests) {
  start();
  {
    H2Client client(server_->port());
    const int32_t id = client.grpc("ModelInfer", infer_message("slow", 4));
    client.grpc("ModelInfer", infer_message("slow", 4));
    ASSERT_TRUE(runtime_.wait_slow(2));
    client.reset(id);
    ASSERT_TRUE(runtime_.wait_cancelled(1));
  }
  ASSERT_TRUE(runtime_.wait_cancelled(2));
  const int fd = connect_to(server_->port());
  ASSERT_TRUE(send_all(fd, post("/v2/models/slow/infer", request_)));
  ASSERT_TRUE(runtime_.wait_slow(1));
  close(fd);
  ASSERT_TRUE(runtime_.wait_cancelled(3));
  ASSERT_TRUE(eventually([&] { return metric("verge_net_connections_open") == 0; }));
  EXPECT_EQ(metric("verge_net_cancelled_total"), 3u);
}

TEST_F(ServerTest, GracefulStopFinishesWhatWasAccepted) {
  start();
  H2Client client(server_->port()), idle(server_->port());
  const int32_t id = client.grpc("ModelInfer", infer_message("slow", 4));
  idle.ping();
  const int fd = connect_to(server_->port()), idle_fd = connect_to(server_->port());
  ASSERT_TRUE(send_all(fd, post("/v2/models/slow/infer", request_)));
  ASSERT_TRUE(send_all(idle_fd, "GET /v2 HTTP/1.1\r\nHost: a\r\n\r\n"));
  EXPECT_THAT(receive_until(idle_fd, "}"), StartsWith("HTTP/1.1 200 "));
  ASSERT_TRUE(runtime_.wait_slow(2));
  std::atomic<bool> drained{false};
  server_->begin_stop([&] { drained = true; });
  EXPECT_EQ(receive_all(idle_fd), "");
  EXPECT_TRUE(idle.wait_end());
  EXPECT_GE(idle.goaways(), 1);
  ASSERT_TRUE(eventually([&] { return connect_to(server_->port()) < 0; }));
  EXPECT_FALSE(drained);
  EXPECT_TRUE(client.wait_goaways(2));
  runtime_.release_slow();
  ASSERT_TRUE(client.wait(id));
  EXPECT_EQ(client.answer(id).headers["grpc-status"], "0");
  EXPECT_TRUE(client.wait_end());
  EXPECT_THAT(receive_all(fd), AllOf(StartsWith("HTTP/1.1 200 "), HasSubstr("Connection: close")));
  server_->join();
  EXPECT_TRUE(drained);
  close(fd);
  close(idle_fd);
}

TEST_F(ServerTest, DestroyingCancelsWhatRuns) {
  start();
  H2Client client(server_->port());
  client.grpc("ModelInfer", infer_message("slow", 4));
  ASSERT_TRUE(runtime_.wait_slow(1));
  server_.reset();
  EXPECT_EQ(runtime_.cancelled(), 1);
}

TEST_F(ServerTest, ResetFloodEndsTheConnection) {
  start();
  // Frames by hand, sent at once: a client library would be too slow to flood under a sanitizer.
  std::string flood = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + std::string("\0\0\0\4\0\0\0\0\0", 9);
  for (uint32_t i = 0; i < 11'000; ++i) {
    const uint32_t id = 2 * i + 1;
    const char stream[4] = {static_cast<char>(id >> 24), static_cast<char>(id >> 16), static_cast<char>(id >> 8), static_cast<char>(id)};
    flood += std::string("\0\0\6\1\4", 5) + std::string(stream, 4) + "\x83\x86\x84\x41\1a";  // HEADERS: POST http / a
    flood += std::string("\0\0\4\3\0", 5) + std::string(stream, 4) + std::string("\0\0\0\x8", 4);  // RST_STREAM: CANCEL
  }
  const int fd = connect_to(server_->port());
  send_all(fd, flood);
  const std::string all = receive_all(fd);
  const size_t goaway = all.find(std::string("\0\0\x8\7\0\0\0\0\0", 9));
  ASSERT_NE(goaway, std::string::npos);
  EXPECT_EQ(all.substr(goaway + 13, 4), std::string("\0\0\0\xb", 4));  // ENHANCE_YOUR_CALM
  EXPECT_EQ(metric("verge_net_shed_total{reason=\"reset_flood\"}"), 1u);
  close(fd);
}

TEST_F(ServerTest, LimitsConnectionsAndMemory) {
  ServerOptions options;
  options.max_connections = 2;
  options.receive_budget_bytes = 2 << 20;
  start(options);
  const int a = connect_to(server_->port()), b = connect_to(server_->port());
  ASSERT_TRUE(eventually([&] { return metric("verge_net_connections_open") == 2; }));
  EXPECT_EQ(get("/v2"), "");
  EXPECT_EQ(metric("verge_net_shed_total{reason=\"connections\"}"), 1u);
  close(a);
  close(b);
  ASSERT_TRUE(eventually([&] { return metric("verge_net_connections_open") == 0; }));
  const int first = connect_to(server_->port());
  ASSERT_TRUE(send_all(first, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1500000\r\n\r\n"));
  ASSERT_TRUE(eventually([&] { return metric("verge_net_receive_budget_bytes{state=\"used\"}") >= 1'500'000; }));
  EXPECT_THAT(ask("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1500000\r\n\r\n"), AllOf(StartsWith("HTTP/1.1 429 "), HasSubstr("Retry-After")));
  EXPECT_EQ(metric("verge_net_shed_total{reason=\"receive_budget\"}"), 1u);
  close(first);
}

TEST_F(ServerTest, LimitsConnectionsOfOnePeer) {
  const std::string path = "/tmp/verge-peers-" + std::to_string(getpid());
  ServerOptions options;
  options.fronts = 2;
  options.max_peer_connections = 2;
  options.listeners.push_back({.address = "unix:" + path});
  start(options);
  // Over a Unix socket there is no limit, and what comes there counts for nobody.
  std::vector<int> local;
  for (int i = 0; i < 4; ++i) {
    sockaddr_un to{.sun_family = AF_UNIX, .sun_path = {}};
    path.copy(to.sun_path, sizeof to.sun_path - 1);
    local.push_back(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    ASSERT_EQ(connect(local.back(), reinterpret_cast<sockaddr*>(&to), sizeof to), 0);
  }
  ASSERT_TRUE(eventually([&] { return metric("verge_net_connections_open") == 4; }));
  const int a = connect_to(server_->port()), b = connect_to(server_->port());
  ASSERT_TRUE(eventually([&] { return metric("verge_net_connections_open") == 6; }));
  EXPECT_EQ(get("/v2"), "");
  EXPECT_EQ(metric("verge_net_shed_total{reason=\"peer_connections\"}"), 1u);
  EXPECT_EQ(metric("verge_net_shed_total{reason=\"connections\"}"), 0u);
  close(a);
  ASSERT_TRUE(eventually([&] { return metric("verge_net_connections_open") == 5; }));
  EXPECT_THAT(get("/v2"), StartsWith("HTTP/1.1 200 "));
  close(b);
  for (int fd : local) close(fd);
}

TEST_F(ServerTest, SeveralServersAndFronts) {
  ServerOptions options;
  options.fronts = 3;
  start(options);
  test::EchoRuntime other_runtime;
  ServerOptions same;
  same.listeners[0].port = server_->port();
  auto taken = Server::start(same, other_runtime);
  ASSERT_FALSE(taken.ok());
  EXPECT_EQ(taken.status().code(), Code::kUnavailable);
  EXPECT_THAT(taken.status().message(), HasSubstr("127.0.0.1:" + std::to_string(server_->port())));
  ServerOptions v6;
  v6.listeners[0].address = "::1";
  v6.listeners[0].port = 0;
  auto second = Server::start(v6, other_runtime);
  EXPECT_TRUE(!second.ok() || (*second)->address().starts_with("[::1]:"));
  ServerOptions wrong;
  wrong.listeners[0].address = "example.org";
  EXPECT_EQ(Server::start(wrong, other_runtime).status().code(), Code::kInvalidArgument);
  std::vector<std::thread> clients;
  std::atomic<int> good{0};
  for (int c = 0; c < 6; ++c)
    clients.emplace_back([&, c] {
      H2Client client(server_->port());
      for (int i = 0; i < 50; ++i) {
        const int32_t id = client.grpc("ModelInfer", infer_message(c % 2 ? "echo" : "threaded", 100));
        if (client.wait(id) && client.answer(id).headers["grpc-status"] == "0") ++good;
      }
    });
  for (auto& t : clients) t.join();
  EXPECT_EQ(good, 300);
}

TEST_F(ServerTest, AccessLog) {
  std::string lines;
  ServerOptions options;
  options.access_log = [&](std::string_view some) { lines += some; };
  start(options);
  const std::string trace = "Traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\nTracestate: a=1, b=2\r\n";
  ask(post(kInfer, request_, "Connection: close\r\n" + trace));
  H2Client client(server_->port());
  const int32_t id = client.grpc("ModelInfer", infer_message("echo", 4), {{"traceparent", "00-nonsense"}, {"tracestate", "a=1"}});
  ASSERT_TRUE(client.wait(id));
  server_.reset();  // the log is complete
  const size_t end = lines.find('\n');
  const auto j = nlohmann::json::parse(lines.substr(0, end)), k = nlohmann::json::parse(lines.substr(end));
  EXPECT_EQ(j["protocol"], "http1");
  EXPECT_EQ(j["model"], "echo");
  EXPECT_EQ(j["variant"], "plain");
  EXPECT_EQ(j["status"], 200);
  EXPECT_EQ(j["code"], "OK");
  EXPECT_EQ(j["id"], "q");
  EXPECT_EQ(j["tenant"], "default");
  EXPECT_EQ(j["tls"], false);
  EXPECT_THAT(j["peer"].get<std::string>(), StartsWith("127.0.0.1:"));
  EXPECT_EQ(j["trace_id"], "0af7651916cd43dd8448eb211c80319c");
  EXPECT_EQ(j["parent_id"], "b7ad6b7169203331");
  EXPECT_EQ(j["trace_state"], "a=1, b=2");
  EXPECT_EQ(j["span_id"].get<std::string>().size(), 16u);
  EXPECT_NE(j["span_id"], j["parent_id"]);
  for (const char* key : {"unix_ms", "batch", "queue_us", "assembly_us", "compute_us", "encode_us", "total_us"}) EXPECT_TRUE(j[key].is_number()) << key;
  EXPECT_EQ(k["protocol"], "grpc");
  EXPECT_EQ(k["trace_id"].get<std::string>().size(), 32u) << "a trace of its own";
  EXPECT_FALSE(k.contains("parent_id"));
  EXPECT_FALSE(k.contains("trace_state"));
}

}  // namespace
}  // namespace verge::net
