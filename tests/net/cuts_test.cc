// What only odd timing reaches: bytes that come in unlucky parts, peers that end before their answers have gone, and answers that nobody takes yet.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <thread>

#include "eventually.h"
#include "h2_client.h"
#include "net/server.h"
#include "server_fixture.h"

namespace verge::net {
namespace {

using test::connect_to;
using test::eventually;
using test::grpc_frame;
using test::H2Client;
using test::infer_message;
using test::receive_all;
using test::receive_until;
using test::send_all;
using testing::AnyOf;
using testing::EndsWith;
using testing::StartsWith;

constexpr const char* kAsk = "GET /v2 HTTP/1.1\r\nHost: a\r\n\r\n";
constexpr const char* kModelInfer = "/inference.GRPCInferenceService/ModelInfer";

class CutsTest : public test::ServerFixture {
 protected:
  // When it returns, the server has read what was sent to it before, and has answered what it could.
  std::string one_turn() { return get("/v2"); }
  uint64_t answered() { return metric("verge_net_requests_total{protocol=\"http1\",code=\"OK\"}"); }
  static size_t count(const std::string& all, const std::string& what) {
    size_t n = 0;
    for (size_t at = all.find(what); at != std::string::npos; at = all.find(what, at + 1)) ++n;
    return n;
  }
  // Asks until some of the answers wait in the server; how often.
  size_t fill(int fd) {
    const int other = connect_to(server_->port());
    EXPECT_TRUE(send_all(other, kAsk));
    const size_t size = receive_until(other, "]}").size();
    close(other);
    std::string many;
    for (int i = 0; i < 200; ++i) many += kAsk;
    uint64_t sent = metric("verge_net_sent_bytes_total");
    for (size_t n = 200; n < 200'000; n += 200) {
      const uint64_t before = answered();
      EXPECT_TRUE(send_all(fd, many));
      EXPECT_TRUE(eventually([&] { return answered() == before + 200; }));
      const size_t first = one_turn().size(), second = one_turn().size();
      sent += 200 * size + first + second;
      if (metric("verge_net_sent_bytes_total") + second < sent) return n;  // the second one's may not be counted yet
    }
    return 0;
  }
};

// Requests of every form in a row, cut in two at every byte: the answers are those of one piece.
TEST_F(CutsTest, Http1ReadsWhateverTheParts) {
  start();
  const std::string length = "Content-Length: " + std::to_string(request_.size()) + "\r\n";
  std::string chunked = "POST /v2/models/echo/infer HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
  chunked += "A;x=y\r\n" + request_.substr(0, 10) + "\r\n0" + [&] {
    char hex[8];
    std::snprintf(hex, sizeof hex, "%zx", request_.size() - 10);
    return std::string(hex);
  }() + "\r\n" + request_.substr(10) + "\r\n0\r\nTrailer: x\r\n\r\n";
  const std::string all = "\r\n" + chunked + "POST /v2/models/threaded/infer HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n" + length + "\r\n" + request_ + "\r\n" +
                          "POST /v2/models/none/infer HTTP/1.1\r\nHost: a\r\n" + length + "\r\n" + request_ + "HEAD /v2 HTTP/1.1\r\nHost: a\r\n\r\n" + chunked +
                          "GET /v2 HTTP/1.0\r\n\r\n";
  const std::string expected = ask(all);
  ASSERT_EQ(count(expected, "HTTP/1.1 200 "), 5u) << expected;
  ASSERT_EQ(count(expected, "HTTP/1.1 404 "), 1u) << expected;
  ASSERT_EQ(count(expected, "HTTP/1.1 100 "), 1u) << expected;
  for (size_t cut = 1; cut < all.size(); ++cut) {
    const int fd = connect_to(server_->port());
    ASSERT_TRUE(send_all(fd, all.substr(0, cut)));
    one_turn();
    ASSERT_TRUE(send_all(fd, all.substr(cut)));
    ASSERT_EQ(receive_all(fd), expected) << "cut before byte " << cut;
    close(fd);
  }
}

// What is refused before its end ends the connection, wherever the rest of it is cut, and nothing of that rest is taken for a request.
TEST_F(CutsTest, Http1RefusesWhateverTheParts) {
  ServerOptions options;
  options.max_message_bytes = 1 << 20;
  start(options);
  const std::string smuggled = "GET /v2 HTTP/1.1\r\nHost: a\r\n\r\n";
  for (const std::string& all : {"POST /v2/models/echo/infer HTTP/1.1\r\nHost: a\r\nContent-Length: 2000000\r\n\r\n" + smuggled,
                                 "POST /v2/models/echo/infer HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nxxxxxx\r\n" + smuggled,
                                 "POST /v2/models/echo/infer HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n" + smuggled}) {
    for (size_t cut = 1; cut < all.size(); ++cut) {
      const int fd = connect_to(server_->port());
      ASSERT_TRUE(send_all(fd, all.substr(0, cut)));
      one_turn();
      ASSERT_TRUE(send_all(fd, all.substr(cut)));
      const std::string answer = receive_all(fd);
      ASSERT_THAT(answer, AnyOf(StartsWith("HTTP/1.1 413 "), StartsWith("HTTP/1.1 400 "))) << "cut before byte " << cut;
      ASSERT_EQ(count(answer, "HTTP/1.1 "), 1u) << "cut before byte " << cut;
      close(fd);
    }
  }
  EXPECT_TRUE(eventually([&] { return metric("verge_net_connections_open") == 0; }));
}

// A unary call in two frames, crowded or not; every third one is given up by its client in between.
TEST_F(CutsTest, GrpcReadsWhateverTheParts) {
  start();
  const std::string frame = grpc_frame(infer_message("full", 4, "an id"));
  for (const bool crowded : {false, true}) {
    runtime_.set_crowded(crowded);
    H2Client client(server_->port());
    size_t turned_away = 0, reset = 0;
    for (size_t cut = 0; cut <= frame.size(); ++cut) {
      const int32_t id = client.stream(kModelInfer);
      client.more(id, frame.substr(0, cut));
      if (cut % 3 == 2) {
        client.reset(id);
        ++reset;
        continue;
      }
      if (cut % 3 == 1) client.ping();
      client.more(id, frame.substr(cut), true);
      ASSERT_TRUE(client.wait(id)) << cut;
      const std::string status = client.answer(id).headers["grpc-status"];
      ASSERT_THAT(status, AnyOf("0", crowded ? "4" : "0")) << cut;
      turned_away += status == "4";
    }
    EXPECT_EQ(turned_away != 0, crowded);
    // All in the right order behind those that were given up.
    const int32_t last = client.grpc("ModelInfer", infer_message("echo", 1));
    ASSERT_TRUE(client.wait(last));
    EXPECT_EQ(client.answer(last).headers["grpc-status"], "0");
    EXPECT_GE(metric("verge_net_shed_total{reason=\"turned_away\"}"), turned_away);
    EXPECT_LE(metric("verge_net_shed_total{reason=\"turned_away\"}"), turned_away + reset);
  }
  EXPECT_EQ(metric("verge_net_requests_total{protocol=\"grpc\",code=\"DEADLINE_EXCEEDED\"}"), metric("verge_net_shed_total{reason=\"turned_away\"}"));
  EXPECT_TRUE(eventually([&] { return metric("verge_net_connections_open") == 0; }));
  EXPECT_LE(metric("verge_net_receive_budget_bytes{state=\"used\"}"), uint64_t{64} << 10);  // this request for it
}

// Bodies of what is turned away are dropped, however large: their windows are given back, so that the connection goes on.
TEST_F(CutsTest, TurningAwayKeepsTheConnectionsWindow) {
  start();
  runtime_.set_crowded(true);
  H2Client client(server_->port());
  const std::string frame = grpc_frame(infer_message("full", 100'000));
  for (int i = 0; i < 40; ++i) {  // 16 MB, the connection's window being one
    const int32_t id = client.stream(kModelInfer);
    client.more(id, frame.substr(0, 60'000));
    client.more(id, frame.substr(60'000), true);
    ASSERT_TRUE(client.wait(id)) << i;
    ASSERT_EQ(client.answer(id).headers["grpc-status"], "4");
  }
  EXPECT_EQ(metric("verge_net_shed_total{reason=\"turned_away\"}"), 40u);
  runtime_.set_crowded(false);
  const int32_t last = client.grpc("ModelInfer", infer_message("echo", 100'000));
  ASSERT_TRUE(client.wait(last));
  EXPECT_EQ(client.answer(last).headers["grpc-status"], "0");
}

// A client that sends requests without reading and then ends its side has every answer that was made, though some of what it sent is never looked at.
TEST_F(CutsTest, AnswersReachAPeerThatSendsNoMore) {
  start();
  const int fd = connect_to(server_->port());
  std::string many;
  for (int i = 0; i < 100'000; ++i) many += kAsk;
  for (std::string_view left = many; !left.empty();) {
    const ssize_t n = send(fd, left.data(), left.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n > 0) {
      left.remove_prefix(static_cast<size_t>(n));
      continue;
    }
    const uint64_t before = answered();
    one_turn();
    one_turn();
    if (answered() == before + 2) break;
  }
  shutdown(fd, SHUT_WR);
  one_turn();
  std::string all(size_t{1} << 26, 0);
  size_t got = 0;
  ssize_t n;
  while ((n = test::receive(fd, all.data() + got, all.size() - got)) > 0) got += static_cast<size_t>(n);
  EXPECT_EQ(n, 0) << "reset";
  all.resize(got);
  close(fd);
  ASSERT_TRUE(eventually([&] { return metric("verge_net_connections_open") == 0; }));
  EXPECT_THAT(all, EndsWith("]}"));
  const size_t answers = count(all, "HTTP/1.1 200 ");
  ASSERT_GT(answers, 100u);
  EXPECT_EQ(all.size() % answers, 0u);  // they are all alike
}

// A head that is too large comes when there is not even a call to refuse it with, behind answers that nobody takes; then its client goes.
TEST_F(CutsTest, AHeadTooLargeWithoutACallToRefuseIt) {
  ServerOptions options;
  options.max_requests = 1;
  start(options);
  const int fd = connect_to(server_->port());
  const size_t asked = fill(fd);
  ASSERT_GT(asked, 0u);
  const int other = connect_to(server_->port());
  ASSERT_TRUE(send_all(other, closing_post("/v2/models/slow/infer", request_)));
  ASSERT_TRUE(runtime_.wait_slow(1));
  ASSERT_TRUE(send_all(fd, "GET / HTTP/1.1\r\nX: " + std::string(60'000, 'x')));
  ASSERT_TRUE(eventually([&] { return metric("verge_net_shed_total{reason=\"header_size\"}") == 1; }));
  shutdown(fd, SHUT_WR);
  EXPECT_THAT(one_turn(), StartsWith("HTTP/1.1 503 "));
  const std::string all = receive_all(fd);
  EXPECT_EQ(count(all, "HTTP/1.1 200 "), asked);
  EXPECT_THAT(all, EndsWith("]}"));
  close(fd);
  runtime_.release_slow();
  EXPECT_THAT(receive_all(other), StartsWith("HTTP/1.1 200 "));
  close(other);
}

// The socket tells of room in large steps only: who reads steadily, but takes longer for such a step than the timeout is, is no reader that has stopped.
TEST_F(CutsTest, ASteadyReaderIsNotCutOff) {
  ServerOptions options;
  options.write_timeout_s = 2;
  start(options);
  const auto shed = [&] { return metric("verge_net_shed_total{reason=\"write_timeout\"}"); };
  // Says what went wrong. On a machine that stalls, whoever reads does not do so steadily.
  const auto attempt = [&]() -> std::string {
    const int fd = connect_to(server_->port()), small = 64 << 10;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);  // a large one would tell of its own room in steps as large
    const size_t asked = fill(fd);
    EXPECT_GT(asked, 0u);
    const auto before = shed();
    std::string all;
    char c[1024];
    for (int i = 0; i < 450; ++i) {  // 100 KiB a second
      const ssize_t n = test::receive(fd, c, sizeof c);
      if (n <= 0) break;
      all.append(c, static_cast<size_t>(n));
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    const auto cut = shed() - before;
    send_all(fd, "GET /v2 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    all += receive_all(fd);
    close(fd);
    if (cut != 0) return "it was cut off";
    const size_t answers = count(all, "HTTP/1.1 200 ");
    return answers == asked + 1 ? "" : std::to_string(answers) + " answers of " + std::to_string(asked + 1);
  };
  std::string wrong = attempt();
  for (int i = 0; i < 4 && !wrong.empty(); ++i) wrong = attempt();
  EXPECT_EQ(wrong, "");
}

}  // namespace
}  // namespace verge::net
