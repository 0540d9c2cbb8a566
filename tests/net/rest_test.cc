// REST: what is answered and what is refused, over HTTP/1.1 in its forms and over HTTP/2.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>

#include "h2_client.h"
#include "net/server.h"
#include "server_fixture.h"

namespace verge::net {
namespace {

using ServerTest = test::ServerFixture;
using test::connect_to;
using test::H2Client;
using test::receive_all;
using test::receive_until;
using test::send_all;
using testing::HasSubstr;
using testing::StartsWith;

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

}  // namespace
}  // namespace verge::net
