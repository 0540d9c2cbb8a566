// Calls that wait for the repository: clients, fronts and servers that go before the answer comes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "echo_runtime.h"
#include "h2_client.h"
#include "net/server.h"
#include "server_fixture.h"

namespace verge::net {
namespace {

using test::connect_to;
using test::H2Client;
using test::receive_all;
using test::receive_until;
using test::send_all;
using testing::HasSubstr;
using testing::StartsWith;

class RepositoryTest : public test::ServerFixture {
 protected:
  void start(ServerOptions options = {}) {
    options.repository = &repository_;
    ServerFixture::start(std::move(options));
  }
  static std::string load(const std::string& name, const std::string& body = "", const std::string& headers = "") {
    return post("/v2/repository/models/" + name + "/load", body, headers);
  }
  void release() { EXPECT_THAT(ask(load("release", "", "Connection: close\r\n")), StartsWith("HTTP/1.1 200 ")); }
  static std::string named(std::string_view name) { return std::string("\x12") + static_cast<char>(name.size()) + std::string(name); }

  test::EchoRepository repository_;  // ends first: its threads may still bring answers
};

TEST_F(RepositoryTest, WaitsLongerThanAnyTimeout) {
  ServerOptions options;
  options.header_timeout_s = options.body_timeout_s = options.write_timeout_s = options.idle_timeout_s = 1;
  start(options);
  const int fd = connect_to(server_->port());
  ASSERT_TRUE(send_all(fd, load("held")));
  H2Client h2(server_->port());
  const int32_t stream = h2.grpc("RepositoryModelLoad", named("held"));
  ASSERT_TRUE(h2.flush());
  ASSERT_TRUE(repository_.wait_held(2));
  for (int i = 0; i < 2; ++i) {  // each is closed by a timeout
    const int other = connect_to(server_->port());
    EXPECT_EQ(receive_all(other), "");
    close(other);
  }
  release();
  EXPECT_THAT(receive_until(fd, "{}"), StartsWith("HTTP/1.1 200 "));
  close(fd);
  ASSERT_TRUE(h2.wait(stream));
  EXPECT_EQ(h2.answer(stream).headers["grpc-status"], "0");
}

TEST_F(RepositoryTest, ClientsThatWentGetNothing) {
  start();
  {
    H2Client h2(server_->port()), gone(server_->port());
    const int32_t stream = h2.grpc("RepositoryModelLoad", named("held"));
    gone.grpc("RepositoryModelUnload", named("held"));
    const int fd = connect_to(server_->port());
    ASSERT_TRUE(h2.flush() && gone.flush() && send_all(fd, load("held")));
    ASSERT_TRUE(repository_.wait_held(3));
    h2.reset(stream);
    ASSERT_TRUE(h2.flush());
    close(fd);
  }
  EXPECT_THAT(ask("GET /v2/health/live HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"), HasSubstr("true"));
  release();
  EXPECT_THAT(ask("GET /v2/health/live HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"), HasSubstr("true"));
}

TEST_F(RepositoryTest, TheServerMayEndFirst) {
  start();
  const int fd = connect_to(server_->port());
  H2Client h2(server_->port());
  h2.grpc("RepositoryModelLoad", named("held"));
  ASSERT_TRUE(h2.flush() && send_all(fd, load("held")));
  ASSERT_TRUE(repository_.wait_held(2));
  server_.reset();
  EXPECT_EQ(receive_all(fd), "");
  close(fd);
  repository_.load("release", {}, [](Status) {});
  ASSERT_TRUE(repository_.wait_held(0));
}

TEST_F(RepositoryTest, BodiesThatMakeNoSense) {
  start();
  for (const std::string body : {"{", "[]", "nonsense", "{\"parameters\":[]}", "{} x", "\"\xff\"", "{\"parameters\":{\"other\":1}}", "{\"parameters\":{\"config\":{}}}",
                                 "{\"parameters\":{\"config\":\"{}}}", R"({"parameters":{"config":"{\"a\":1}"}})", R"({"parameters":{"config":"\ud800"}})"})
    EXPECT_THAT(ask(load("echo", body, "Connection: close\r\n")), StartsWith("HTTP/1.1 400 ")) << body;
  EXPECT_THAT(ask(load("echo", "{\"parameters\":{\"file:1/model.onnx\":\"AAAA\"}}", "Connection: close\r\n")),
              AllOf(StartsWith("HTTP/1.1 500 "), HasSubstr("failed to load 'echo', failed to poll from model repository: 'file:1/model.onnx' is not taken")));
  EXPECT_THAT(ask(load(std::string(300, 'x'), "", "Connection: close\r\n")), StartsWith("HTTP/1.1 400 "));
  for (const std::string body : {"", " ", "{}", "{\"parameters\":{}}", "{\"parameters\":{\"config\":\"{}\"}}", R"({"parameters":{"config":"{\"max_batch_size\":\u0038}"}})", "{\"mine\":[1,{}]}"})
    EXPECT_THAT(ask(load("echo", body, "Connection: close\r\n")), StartsWith("HTTP/1.1 200 ")) << body;
}

}  // namespace
}  // namespace verge::net
