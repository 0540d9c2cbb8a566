#include "net/server.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "echo_runtime.h"
#include "eventually.h"
#include "h2_client.h"

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
using testing::HasSubstr;
using testing::StartsWith;

class ServerTest : public testing::Test {
 protected:
  void start(ServerOptions options = {}) {
    for (ListenOptions& l : options.listeners) l.port = 0;
    auto made = Server::start(options, runtime_);
    ASSERT_TRUE(made.ok()) << made.status().to_string();
    server_ = std::move(made).value();
  }
  // One request on a connection of its own; the whole answer.
  std::string ask(const std::string& text) {
    const int fd = connect_to(server_->port());
    EXPECT_TRUE(send_all(fd, text));
    const std::string out = receive_all(fd);
    close(fd);
    return out;
  }
  std::string get(const std::string& path) { return ask("GET " + path + " HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"); }
  static std::string post(const std::string& path, const std::string& body, const std::string& headers = "") {
    return "POST " + path + " HTTP/1.1\r\nHost: a\r\n" + headers + "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
  }
  static std::string closing_post(const std::string& path, const std::string& body) { return post(path, body, "Connection: close\r\n"); }
  uint64_t metric(const std::string& name) {
    const std::string text = server_->metrics_text();
    const size_t at = text.find("\n" + name + " ");
    return at == std::string::npos ? 0 : std::stoull(text.substr(at + name.size() + 2));
  }

  static constexpr const char* kInfer = "/v2/models/echo/infer";
  const std::string request_ = R"({"id":"q","inputs":[{"name":"INPUT0","shape":[1,2],"datatype":"FP32","data":[1,2.5]}]})";
  test::EchoRuntime runtime_;
  std::unique_ptr<Server> server_;
};

TEST_F(ServerTest, AnswersRest) {
  start();
  EXPECT_THAT(get("/v2/health/live"), HasSubstr("\r\n\r\n{\"live\":true}"));
  EXPECT_THAT(get("/v2/health/ready"), HasSubstr("{\"ready\":true}"));
  EXPECT_THAT(get("/v2/models/echo"), HasSubstr("\"platform\":\"verge\""));
  EXPECT_THAT(get("/v2/models/echo/versions/1/ready"), HasSubstr("{\"name\":\"echo\",\"ready\":true}"));
  EXPECT_THAT(get("/v2/models/%65cho/ready"), HasSubstr("\"name\":\"echo\""));
  EXPECT_THAT(get("/metrics"), HasSubstr("verge_net_requests_total{protocol=\"http1\",code=\"OK\"}"));
  EXPECT_THAT(ask(closing_post(kInfer, request_)), HasSubstr(R"({"model_name":"echo","model_version":"1","id":"q","parameters":{"verge.variant":"plain"},)"
                                                             R"("outputs":[{"name":"OUTPUT0","datatype":"FP32","shape":[1,2],"data":[1.0,2.5]}]})"));
  const std::string head = ask("HEAD /v2/health/live HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  EXPECT_THAT(head, HasSubstr("Content-Length: 13\r\n\r\n"));
  EXPECT_TRUE(head.ends_with("\r\n\r\n"));
  runtime_.set_ready(false);
  EXPECT_THAT(get("/v2/health/ready"), StartsWith("HTTP/1.1 503 "));
  EXPECT_THAT(get("/v2/models/echo/ready"), HasSubstr("\"ready\":false}"));
}

TEST_F(ServerTest, RestErrors) {
  start();
  EXPECT_THAT(get("/nothing"), StartsWith("HTTP/1.1 404 "));
  EXPECT_THAT(get("/v2/models/"), StartsWith("HTTP/1.1 404 "));
  EXPECT_THAT(get("/v2/models/none"), AllOf(StartsWith("HTTP/1.1 404 "), HasSubstr("{\"error\":\"unknown model 'none'\"}")));
  EXPECT_THAT(get("/v2/models/echo/versions/9"), StartsWith("HTTP/1.1 404 "));
  EXPECT_THAT(get("/v2/models/echo/versions/x"), StartsWith("HTTP/1.1 400 "));
  EXPECT_THAT(get("/v2/models/echo/what"), StartsWith("HTTP/1.1 404 "));
  EXPECT_THAT(get("/v2/models/echo/infer"), AllOf(StartsWith("HTTP/1.1 405 "), HasSubstr("\r\nAllow: POST\r\n")));
  EXPECT_THAT(get("/v2/models/%zz/ready"), StartsWith("HTTP/1.1 400 "));
  EXPECT_THAT(get("/v2/models/%ff/ready"), StartsWith("HTTP/1.1 400 "));
  EXPECT_THAT(ask(closing_post("/v2/health/live", "x")), AllOf(StartsWith("HTTP/1.1 405 "), HasSubstr("\r\nAllow: GET, HEAD\r\n")));
  EXPECT_THAT(ask(closing_post("/v2/models/broken/infer", request_)), AllOf(StartsWith("HTTP/1.1 500 "), HasSubstr("it is 100% broken")));
  EXPECT_THAT(ask(post(kInfer, request_, "Connection: close\r\nContent-Encoding: br\r\n")), StartsWith("HTTP/1.1 415 "));
}

TEST_F(ServerTest, RestInferRefusesWhatIsMalformed) {
  start();
  auto error = [&](const std::string& body) {
    const std::string answer = ask(closing_post(kInfer, body));
    EXPECT_THAT(answer, StartsWith("HTTP/1.1 400 ")) << body;
    return answer.substr(std::min(answer.size(), answer.find("\r\n\r\n") + 4));
  };
  auto input = [](const std::string& fields) { return "{\"inputs\":[{\"name\":\"INPUT0\"," + fields + "}]}"; };
  EXPECT_THAT(error(""), HasSubstr("malformed"));
  EXPECT_THAT(error("hello"), HasSubstr("malformed"));
  EXPECT_THAT(error("[]"), HasSubstr("not a JSON object"));
  EXPECT_THAT(error("{}"), HasSubstr("no 'inputs'"));
  EXPECT_THAT(error("{\"inputs\":[]} x"), HasSubstr("malformed"));
  EXPECT_THAT(error("{\"inputs\":[],\"inputs\":[]}"), HasSubstr("twice"));
  EXPECT_THAT(error("\xff{}"), HasSubstr("UTF-8"));
  EXPECT_THAT(error(input(R"("shape":[2],"datatype":"FP32","data":[1])")), HasSubstr("needs 2 elements, got 1"));
  EXPECT_THAT(error(input(R"("shape":[1],"datatype":"FP32","data":[1,2])")), HasSubstr("fewer elements"));
  EXPECT_THAT(error(input(R"("shape":[1],"datatype":"FP32","data":["1"])")), HasSubstr("is no FP32"));
  EXPECT_THAT(error(input(R"("shape":[1],"datatype":"FP32","data":[1e99])")), HasSubstr("is no FP32"));
  EXPECT_THAT(error(input(R"("shape":[1],"datatype":"INT8","data":[128])")), HasSubstr("is no INT8"));
  EXPECT_THAT(error(input(R"("shape":[1],"datatype":"INT32","data":[1.5])")), HasSubstr("is no INT32"));
  EXPECT_THAT(error(input(R"("shape":[1],"datatype":"BOOL","data":[2])")), HasSubstr("is no BOOL"));
  EXPECT_THAT(error(input(R"("shape":[1],"datatype":"BYTES","data":[1])")), HasSubstr("is no BYTES"));
  EXPECT_THAT(error(input(R"("shape":[1],"datatype":"BYTES","data":["\ud800"])")), HasSubstr("is no BYTES"));
  EXPECT_THAT(error(input(R"("shape":[1],"datatype":"FP16","data":[1])")), HasSubstr("cannot be sent in JSON"));
  EXPECT_THAT(error(input(R"("shape":[1],"datatype":"FP99","data":[1])")), HasSubstr("unknown datatype"));
  EXPECT_THAT(error(input(R"("shape":[-1],"datatype":"FP32","data":[1])")), HasSubstr("no dimension"));
  EXPECT_THAT(error(input(R"("shape":[1.5],"datatype":"FP32","data":[1])")), HasSubstr("no dimension"));
  EXPECT_THAT(error(input(R"("shape":[99999999999],"datatype":"FP32","data":[1])")), HasSubstr("more elements"));
  EXPECT_THAT(error(input(R"("shape":[1,1,1,1,1,1,1,1,1],"datatype":"FP32","data":[1])")), HasSubstr("dimensions"));
  EXPECT_THAT(error(input(R"("shape":[1],"datatype":"FP32")")), HasSubstr("neither"));
  EXPECT_THAT(error(input(R"("shape":[1],"data":[1])")), HasSubstr("no 'datatype'"));
  EXPECT_THAT(error(input(R"("datatype":"FP32","data":[1])")), HasSubstr("no 'shape'"));
  EXPECT_THAT(error(input(R"("shape":[1],"datatype":"FP32","parameters":{"binary_data_size":4})")), HasSubstr("0 bytes are left"));
  EXPECT_THAT(error(R"({"parameters":{"verge.what":"x"},"inputs":[]})"), HasSubstr("unknown parameter 'verge.what'"));
  EXPECT_THAT(error(R"({"parameters":{"verge.variant":7},"inputs":[]})"), HasSubstr("expected a string"));
  EXPECT_THAT(error(R"({"parameters":{"binary_data_output":1},"inputs":[]})"), HasSubstr("must be a boolean"));
}

TEST_F(ServerTest, RestInferTakesEveryOrderAndForm) {
  start();
  auto data = [&](const std::string& body) {
    const std::string answer = ask(closing_post(kInfer, body));
    const size_t at = answer.find("\"data\":");
    return at == std::string::npos ? answer : answer.substr(at + 7, answer.size() - at - 10);
  };
  EXPECT_EQ(data(R"({"inputs":[{"data":[[1,2],[3,4]],"datatype":"INT64","shape":[2,2],"name":"x"}],"id":"late"})"), "[1,2,3,4]");
  EXPECT_EQ(data(R"({"inputs":[{"name":"x","shape":[3],"datatype":"FP32","data":[NaN,-Infinity,Infinity]}]})"), "[NaN,-Infinity,Infinity]");
  EXPECT_EQ(data(R"({"inputs":[{"name":"x","shape":[3],"datatype":"FP32","data":[1e-99,-0,3.4028235e38]}]})"), "[0.0,-0.0,3.4028235e+38]");
  EXPECT_EQ(data(R"({"inputs":[{"name":"x","shape":[4],"datatype":"BYTES","data":["","a\n\u00e4","\ud83d\ude00","\""]}]})"),
            "[\"\",\"a\\n\xc3\xa4\",\"\xf0\x9f\x98\x80\",\"\\\"\"]");
  EXPECT_EQ(data(R"({"inputs":[{"name":"x","shape":[3],"datatype":"BOOL","data":[true,false,1]}]})"), "[true,false,true]");
  EXPECT_EQ(data(R"({"inputs":[{"name":"x","shape":[0],"datatype":"FP32","data":[]}]})"), "[]");
  EXPECT_EQ(data(R"({"inputs":[{"name":"x","shape":[],"datatype":"UINT64","data":[18446744073709551615]}]})"), "[18446744073709551615]");
}

TEST_F(ServerTest, BytewisePipelinedAndKeptAlive) {
  start();
  const std::string one = post(kInfer, request_);
  const int fd = connect_to(server_->port());
  for (char c : one + "\r\n" + one) ASSERT_TRUE(send_all(fd, {&c, 1}));  // an empty line between requests is tolerated
  std::string many;
  for (int i = 0; i < 500; ++i) many += one;
  many += "GET /v2/health/live HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
  ASSERT_TRUE(send_all(fd, many));
  const std::string all = receive_all(fd);
  size_t answers = 0;
  for (size_t at = all.find("HTTP/1.1 200"); at != std::string::npos; at = all.find("HTTP/1.1 200", at + 1)) ++answers;
  EXPECT_EQ(answers, 503u);
  close(fd);
}

TEST_F(ServerTest, AnEmptyLineBeforeARequestMayComeInParts) {
  start();
  const int fd = connect_to(server_->port());
  for (const char* part : {"\r", "\n", "\r", "\n\r", "\n"}) {
    ASSERT_TRUE(send_all(fd, part));
    EXPECT_THAT(get("/v2"), StartsWith("HTTP/1.1 200 "));  // the server has read what was ready before
  }
  ASSERT_TRUE(send_all(fd, "GET /v2 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"));
  EXPECT_THAT(receive_all(fd), StartsWith("HTTP/1.1 200 "));
  close(fd);
  EXPECT_THAT(ask("\rGET /v2 HTTP/1.1\r\nHost: a\r\n\r\n"), StartsWith("HTTP/1.1 400 "));
}

TEST_F(ServerTest, PipelinedAnswersKeepTheirOrder) {
  start();
  std::string many;
  for (int i = 0; i < 50; ++i) {
    std::string body = request_;
    body.replace(body.find("\"q\""), 3, "\"n" + std::to_string(i) + "\"");
    many += post(i % 2 ? "/v2/models/threaded/infer" : kInfer, body);
  }
  const int fd = connect_to(server_->port());
  ASSERT_TRUE(send_all(fd, many + "GET /v2 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"));
  const std::string all = receive_all(fd);
  size_t at = 0;
  for (int i = 0; i < 50; ++i) {
    const size_t next = all.find("\"id\":\"n" + std::to_string(i) + "\"", at);
    ASSERT_NE(next, std::string::npos) << i;
    at = next;
  }
  close(fd);
}

TEST_F(ServerTest, ChunkedBodies) {
  start();
  std::string text = "POST /v2/models/echo/infer HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n";
  for (char c : request_) text += std::string("1\r\n") + c + "\r\n";
  EXPECT_THAT(ask(text + "0\r\n\r\n"), StartsWith("HTTP/1.1 200 "));
  EXPECT_THAT(ask(text + "x\r\n"), StartsWith("HTTP/1.1 400 "));
}

TEST_F(ServerTest, Expect100Continue) {
  start();
  const int fd = connect_to(server_->port());
  const std::string text = post(kInfer, request_, "Connection: close\r\nExpect: 100-continue\r\n");
  ASSERT_TRUE(send_all(fd, text.substr(0, text.size() - request_.size())));
  EXPECT_EQ(receive_until(fd, "\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
  ASSERT_TRUE(send_all(fd, request_));
  EXPECT_THAT(receive_all(fd), StartsWith("HTTP/1.1 200 "));
  close(fd);
}

TEST_F(ServerTest, RefusesHostileHttp1) {
  ServerOptions options;
  options.max_message_bytes = 1 << 20;
  start(options);
  EXPECT_THAT(ask("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"), StartsWith("HTTP/1.1 400 "));
  EXPECT_THAT(ask("GET / HTTP/1.1\r\n" + std::string(100'000, 'x')), StartsWith("HTTP/1.1 431 "));
  EXPECT_THAT(ask("GET / HTTP/1.1\r\nX: " + std::string(40'000, 'x') + "\r\n\r\n"), StartsWith("HTTP/1.1 431 "));
  EXPECT_THAT(ask("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000000\r\n\r\n"), StartsWith("HTTP/1.1 413 "));
  EXPECT_THAT(ask(std::string("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 15)), StartsWith("HTTP/1.1 400 "));
  std::string chunks = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
  for (int i = 0; i < 40; ++i) chunks += "8000\r\n" + std::string(0x8000, 'x') + "\r\n";
  EXPECT_THAT(ask(chunks), StartsWith("HTTP/1.1 413 "));
  EXPECT_GE(metric("verge_net_shed_total{reason=\"message_size\"}"), 2u);
  EXPECT_GE(metric("verge_net_shed_total{reason=\"header_size\"}"), 2u);
  EXPECT_GE(metric("verge_net_shed_total{reason=\"protocol_error\"}"), 2u);
  EXPECT_THAT(get("/v2/health/live"), StartsWith("HTTP/1.1 200 "));
}

// However much of it the server has not read when it refuses: a connection that is closed then may take the answer with it.
TEST_F(ServerTest, TellsAClientThatSpeaksTlsHere) {
  start();
  const int fd = connect_to(server_->port());
  ASSERT_TRUE(send_all(fd, "\x16" + std::string(1 << 20, 'x')));
  shutdown(fd, SHUT_WR);
  EXPECT_THAT(receive_all(fd), AllOf(StartsWith("HTTP/1.1 400 "), HasSubstr("speaks plain HTTP")));
  close(fd);
}

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

TEST_F(ServerTest, Grpc) {
  start();
  H2Client client(server_->port());
  for (const char* model : {"echo", "threaded"}) {
    for (size_t elements : {0, 16, 5'000, 300'000}) {
      const int32_t id = client.grpc("ModelInfer", infer_message(model, elements, "7"));
      ASSERT_TRUE(client.wait(id));
      auto& a = client.answer(id);
      EXPECT_EQ(a.headers["grpc-status"], "0") << a.headers["grpc-message"];
      ASSERT_GE(a.body.size(), 5 + elements * 4);
      for (size_t i = 0; i < elements; ++i) {
        float v;
        std::memcpy(&v, a.body.data() + a.body.size() - 4 * (elements - i), 4);
        ASSERT_EQ(v, static_cast<float>(i));
      }
    }
  }
  // Large raw tensors were received where an engine can use them.
  EXPECT_LE(metric("verge_net_copied_bytes_total"), 2 * 16 * 4u);
}

// A lane goes on with it, and reads its inputs; the client has the answer that was kept, and its connection serves others.
TEST_F(ServerTest, WhatIsKeptIsAnsweredWhileItRuns) {
  start();
  {
    H2Client client(server_->port());
    for (const size_t elements : {3, 5'000, 100'000}) {
      const int32_t id = client.grpc("ModelInfer", infer_message("kept", elements));
      ASSERT_TRUE(client.wait(id));
      auto& a = client.answer(id);
      EXPECT_EQ(a.headers["grpc-status"], "0") << a.headers["grpc-message"];
      ASSERT_GE(a.body.size(), 5 + elements * 4);
      float v;
      std::memcpy(&v, a.body.data() + a.body.size() - 4, 4);
      EXPECT_EQ(v, static_cast<float>(elements - 1));
    }
    const int32_t other = client.grpc("ModelInfer", infer_message("echo", 1));
    ASSERT_TRUE(client.wait(other));
    EXPECT_EQ(client.answer(other).headers["grpc-status"], "0");
  }
  const std::string both = ask(post("/v2/models/kept/infer", request_) + closing_post(kInfer, request_));
  EXPECT_THAT(both, StartsWith("HTTP/1.1 200 "));
  EXPECT_THAT(both, HasSubstr("\"model_name\":\"kept\""));
  EXPECT_THAT(both, HasSubstr("\"model_name\":\"echo\""));
  EXPECT_EQ(runtime_.waiting_slow(), 4);
  EXPECT_EQ(runtime_.cancelled(), 0);
  EXPECT_EQ(metric("verge_net_requests_total{protocol=\"grpc\",code=\"OK\"}"), 4u);
  runtime_.release_slow();
  EXPECT_TRUE(eventually([&] { return runtime_.waiting_slow() == 0; }));
  // None of them is counted or answered again.
  EXPECT_EQ(metric("verge_net_requests_total{protocol=\"grpc\",code=\"OK\"}"), 4u);
  EXPECT_EQ(metric("verge_net_requests_total{protocol=\"grpc\",code=\"CANCELLED\"}"), 0u);
  server_.reset();  // every call has come back, or this would wait
}

// The same where nothing was kept: the client is told.
TEST_F(ServerTest, WhatOverrunsItsDeadlineIsAnsweredThen) {
  start();
  {
    H2Client client(server_->port());
    for (int i = 0; i < 3; ++i) {
      const int32_t late = client.grpc("ModelInfer", infer_message("stuck", 1));
      ASSERT_TRUE(client.wait(late));
      EXPECT_EQ(client.answer(late).headers["grpc-status"], "4");
      EXPECT_THAT(client.answer(late).headers["grpc-message"], HasSubstr("while it ran"));
    }
    const int32_t other = client.grpc("ModelInfer", infer_message("echo", 1));
    ASSERT_TRUE(client.wait(other));
    EXPECT_EQ(client.answer(other).headers["grpc-status"], "0");
  }
  const std::string stuck = post("/v2/models/stuck/infer", request_), fine = closing_post(kInfer, request_);
  const std::string both = ask(stuck + fine);
  EXPECT_THAT(both, StartsWith("HTTP/1.1 504 "));
  EXPECT_THAT(both, HasSubstr("HTTP/1.1 200 OK"));
  EXPECT_EQ(runtime_.waiting_slow(), 4);
  EXPECT_EQ(runtime_.cancelled(), 0);
  EXPECT_EQ(metric("verge_net_cancelled_total"), 0u);
  EXPECT_EQ(metric("verge_net_requests_total{protocol=\"grpc\",code=\"DEADLINE_EXCEEDED\"}"), 3u);
  runtime_.release_slow();
  EXPECT_TRUE(eventually([&] { return runtime_.waiting_slow() == 0; }));
  EXPECT_EQ(metric("verge_net_requests_total{protocol=\"grpc\",code=\"CANCELLED\"}"), 0u);
  server_.reset();  // every call has come back, or this would wait
}

// Under overload a request is refused by what stands before its tensors; nobody waits for the rest of it.
TEST_F(ServerTest, TurnsRequestsAwayByTheirHeads) {
  start();
  H2Client client(server_->port());
  const std::vector<std::pair<std::string, std::string>> grpc = {{"content-type", "application/grpc"}};
  const std::string path = "/inference.GRPCInferenceService/ModelInfer";
  const auto send = [&](const std::string& message) { return client.start(path, grpc, grpc_frame(message)); };
  const auto status = [&](int32_t id) {
    EXPECT_TRUE(client.wait(id));
    return client.answer(id).headers["grpc-status"];
  };
  EXPECT_EQ(status(send(infer_message("full", 1))), "0");
  runtime_.set_crowded(true);
  const int before = runtime_.inferred();
  for (int i = 0; i < 4; ++i) {  // the text enters the header table
    const int32_t id = send(infer_message("full", 1));
    EXPECT_EQ(status(id), "4");
    EXPECT_EQ(client.answer(id).headers["grpc-message"], "too much waits before it");
    EXPECT_EQ(client.answer(id).body, "");
  }
  EXPECT_EQ(runtime_.inferred(), before);
  EXPECT_EQ(metric("verge_net_shed_total{reason=\"turned_away\"}"), 4u);
  EXPECT_EQ(status(send(infer_message("echo", 1))), "0");
  // Only its beginning has come, of a message that is announced to be larger.
  std::string begun = grpc_frame(infer_message("full", 1));
  begun[3] = 0x10;
  EXPECT_EQ(status(client.start(path, grpc, begun, false)), "4");
  // What cannot be told from the beginning is read to its end.
  EXPECT_EQ(status(client.start(path, grpc, std::string("\0\0\0\0\2\xff\xff", 7))), "3");
  EXPECT_EQ(status(client.start(path, grpc, grpc_frame(""))), "5");
  runtime_.set_crowded(false);
  EXPECT_EQ(status(send(infer_message("full", 1))), "0");
}

TEST_F(ServerTest, GrpcErrorsAreTrailersOnly) {
  ServerOptions options;
  options.max_message_bytes = 1 << 20;
  start(options);
  H2Client client(server_->port());
  auto expect = [&](int32_t id, const char* status, const char* says) {
    ASSERT_TRUE(client.wait(id));
    auto& a = client.answer(id);
    EXPECT_EQ(a.headers[":status"], "200");
    EXPECT_EQ(a.headers["content-type"], "application/grpc");
    EXPECT_EQ(a.headers["grpc-status"], status) << a.headers["grpc-message"];
    EXPECT_THAT(a.headers["grpc-message"], HasSubstr(says));
    EXPECT_EQ(a.body, "");
  };
  expect(client.grpc("Nothing", ""), "12", "unknown method '/inference.GRPCInferenceService/Nothing'");
  expect(client.grpc("ModelInfer", infer_message("none", 1)), "5", "unknown model 'none'");
  expect(client.grpc("ModelInfer", infer_message("broken", 1)), "13", "it is 100%25 broken: %C3%A4");
  expect(client.grpc("ModelInfer", "\xff\xff"), "3", "well-formed");
  expect(client.grpc("ModelInfer", "", {{"grpc-timeout", "soon"}}), "3", "grpc-timeout");
  expect(client.grpc("ModelInfer", infer_message("slow", 1), {{"grpc-timeout", "50m"}}), "4", "deadline");
  const std::vector<std::pair<std::string, std::string>> grpc = {{"content-type", "application/grpc"}};
  const std::string path = "/inference.GRPCInferenceService/ModelInfer";
  expect(client.start(path, grpc, std::string("\0\x40\0\0\0x", 6), false), "8", "larger than");  // a 1 GiB message announced
  expect(client.start(path, grpc, std::string("\1\0\0\0\1x", 6)), "13", "compressed");
  auto gzip = grpc;
  gzip.emplace_back("grpc-encoding", "gzip");
  expect(client.start(path, gzip, std::string("\1\0\0\0\1x", 6)), "3", "ends early");
  gzip.back().second = "snappy";
  const int32_t id = client.start(path, gzip, std::string("\1\0\0\0\1x", 6));
  expect(id, "12", "identity");
  EXPECT_EQ(client.answer(id).headers["grpc-accept-encoding"], "identity,deflate,gzip");
  expect(client.start(path, grpc, ""), "13", "without a message");
  expect(client.start(path, grpc, std::string("\0\0\0\0\5ab", 7)), "13", "ends early");
  expect(client.start(path, grpc, std::string("\0\0", 2)), "13", "ends early");
  expect(client.start(path, grpc, grpc_frame("") + grpc_frame("")), "12", "more than one message");
  expect(client.start(path, {{"content-type", "application/grpc+json"}}, grpc_frame("")), "12", "content-type");
  auto large = grpc;
  large.emplace_back("x", std::string(40'000, 'x'));
  expect(client.start(path, large, grpc_frame("")), "8", "header");
  // And the connection still serves.
  const int32_t good = client.grpc("ModelInfer", infer_message("echo", 4));
  ASSERT_TRUE(client.wait(good));
  EXPECT_EQ(client.answer(good).headers["grpc-status"], "0");
}

TEST_F(ServerTest, RestOverHttp2) {
  start();
  H2Client client(server_->port());
  int32_t id = client.start("/v2/health/live", {}, "");
  ASSERT_TRUE(client.wait(id));
  EXPECT_EQ(client.answer(id).headers[":status"], "200");
  EXPECT_EQ(client.answer(id).body, "{\"live\":true}");
  id = client.start(kInfer, {{"content-type", "application/json"}}, request_);
  ASSERT_TRUE(client.wait(id));
  EXPECT_THAT(client.answer(id).body, HasSubstr("[1.0,2.5]"));
  id = client.start("/nothing", {}, "");
  ASSERT_TRUE(client.wait(id));
  EXPECT_EQ(client.answer(id).headers[":status"], "404");
}

TEST_F(ServerTest, SmallWindowsAreServed) {
  start();
  H2Client client(server_->port(), 1000);
  const int32_t id = client.grpc("ModelInfer", infer_message("echo", 20'000));
  ASSERT_TRUE(client.wait(id));
  EXPECT_EQ(client.answer(id).headers["grpc-status"], "0");
  EXPECT_GT(client.answer(id).body.size(), 80'000u);
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
