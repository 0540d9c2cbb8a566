// Bearer tokens: who may do what, over REST and gRPC.
#include "net/auth.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <unistd.h>

#include "echo_runtime.h"
#include "h2_client.h"
#include "net/server.h"

namespace verge::net {
namespace {

using testing::HasSubstr;

Token token_of(std::string_view text, uint8_t rights, std::vector<std::string> models = {}, uint32_t tenant = 0) {
  Token t;
  EVP_Digest(text.data(), text.size(), t.sha256.data(), nullptr, EVP_sha256(), nullptr);
  t.rights = rights;
  t.models = std::move(models);
  t.tenant = tenant;
  return t;
}

TEST(Auth, Globs) {
  EXPECT_TRUE(glob_match("*", ""));
  EXPECT_TRUE(glob_match("fall-*", "fall-unrolled"));
  EXPECT_TRUE(glob_match("*a*b?", "xaxxbxaabz"));
  EXPECT_TRUE(glob_match("resnet8", "resnet8"));
  EXPECT_FALSE(glob_match("resnet8", "resnet80"));
  EXPECT_FALSE(glob_match("resnet?", "resnet"));
  EXPECT_FALSE(glob_match("", "a"));
  EXPECT_FALSE(glob_match("a*c", "ab"));
  const std::string many(2000, 'a');
  EXPECT_FALSE(glob_match("*a*a*a*a*a*a*b", many)) << "in time linear in pattern and text";
}

TEST(Auth, HeadersAreCached) {
  AuthOptions auth;
  auth.tokens = {token_of("one", kRightInfer), token_of("two", kRightManage)};
  TokenCache cache;
  EXPECT_EQ(cache.look_up(auth, "Bearer one"), &auth.tokens[0]);
  EXPECT_EQ(cache.look_up(auth, "Bearer one"), &auth.tokens[0]);
  EXPECT_EQ(cache.look_up(auth, "bearer  two"), &auth.tokens[1]);
  for (const char* bad : {"", "Bearer ", "Bearer three", "Basic one", "one", "Bearer one "}) EXPECT_EQ(cache.look_up(auth, bad), nullptr) << bad;
  EXPECT_EQ(cache.look_up(auth, "Bearer " + std::string(100'000, 'x')), nullptr);
  EXPECT_EQ(cache.look_up(auth, "Bearer one"), &auth.tokens[0]);
}

class AuthTest : public testing::Test {
 protected:
  void start(bool open_health = true) {
    ServerOptions options;
    options.listeners[0].port = 0;
    options.tenants = {"default", "gold"};
    options.auth.enabled = true;
    options.auth.open_health = open_health;
    options.auth.tokens = {token_of("infer", kRightInfer, {}, 1), token_of("some", kRightInfer | kRightManage, {"ech*"}), token_of("manage", kRightManage),
                           token_of("metrics", kRightMetrics)};
    server_ = std::move(Server::start(options, runtime_)).value();
  }
  std::string rest(const std::string& path, const std::string& headers, const std::string& method = "GET") {
    const int fd = test::connect_to(server_->port());
    EXPECT_TRUE(test::send_all(fd, method + " " + path + " HTTP/1.1\r\nHost: a\r\nConnection: close\r\n" + headers + "\r\n"));
    const std::string out = test::receive_all(fd);
    close(fd);
    return out;
  }
  std::string status(const std::string& path, const std::string& token, const std::string& method = "GET") {
    return rest(path, token.empty() ? "" : "Authorization: Bearer " + token + "\r\n", method).substr(9, 3);
  }
  test::EchoRuntime runtime_;
  std::unique_ptr<Server> server_;
};

TEST_F(AuthTest, Rest) {
  start();
  EXPECT_EQ(status("/v2/health/live", ""), "200");
  EXPECT_THAT(rest("/v2", ""), HasSubstr("401 Unauthorized"));
  EXPECT_THAT(rest("/v2", ""), HasSubstr("\r\nWWW-Authenticate: Bearer"));
  EXPECT_THAT(rest("/v2", ""), HasSubstr("{\"error\":\"a bearer token is needed"));
  EXPECT_EQ(status("/v2", "wrong"), "401");
  EXPECT_EQ(status("/v2", "infer"), "200");
  EXPECT_EQ(status("/v2", "metrics"), "403");
  EXPECT_EQ(status("/metrics", "metrics"), "200");
  EXPECT_EQ(status("/metrics", "manage"), "403");
  EXPECT_EQ(status("/metrics", ""), "401");
  EXPECT_EQ(status("/v2/models/echo/infer", "infer", "POST"), "400") << "it is allowed: the body is missing";
  EXPECT_EQ(status("/v2/models/echo/infer", "manage", "POST"), "403");
  EXPECT_EQ(status("/v2/repository/index", "infer", "POST"), "403");
  EXPECT_NE(status("/v2/repository/index", "manage", "POST"), "403");
  EXPECT_EQ(rest("/v2", "Authorization: Bearer infer\r\nAuthorization: Bearer manage\r\n").substr(9, 3), "400");
}

TEST_F(AuthTest, TokensOfSingleModels) {
  start();
  EXPECT_EQ(status("/v2/models/echo", "some"), "200");
  EXPECT_EQ(status("/v2/models/%65cho/ready", "some"), "200");
  EXPECT_EQ(status("/v2/models/threaded", "some"), "403");
  EXPECT_EQ(status("/v2/models/%74hreaded", "some"), "403");
  EXPECT_EQ(status("/v2/models/threaded/infer", "some", "POST"), "403");
  EXPECT_EQ(status("/v2/models/stats", "some"), "403") << "of all models";
  EXPECT_EQ(status("/v2/repository/index", "some", "POST"), "403");
  EXPECT_EQ(status("/v2/repository/models/threaded/load", "some", "POST"), "403");
  EXPECT_NE(status("/v2/repository/models/echo/load", "some", "POST"), "403");
}

TEST_F(AuthTest, Grpc) {
  start();
  test::H2Client client(server_->port());
  auto code = [&](const char* method, const std::string& message, const std::string& token) {
    std::vector<std::pair<std::string, std::string>> headers;
    if (!token.empty()) headers.emplace_back("authorization", "Bearer " + token);
    const int32_t id = client.grpc(method, message, headers);
    EXPECT_TRUE(client.wait(id));
    return client.answer(id).headers["grpc-status"];
  };
  const std::string echo = test::infer_message("echo", 4), threaded = test::infer_message("threaded", 4);
  EXPECT_EQ(code("ServerLive", "", ""), "0");
  EXPECT_EQ(code("ModelInfer", echo, ""), "16");
  EXPECT_EQ(code("ModelInfer", echo, "wrong"), "16");
  EXPECT_EQ(code("ModelInfer", echo, "infer"), "0");
  EXPECT_EQ(code("ModelInfer", echo, "wrong"), "16") << "on the same connection";
  EXPECT_EQ(code("ModelInfer", threaded, "infer"), "0");
  EXPECT_EQ(code("ModelInfer", echo, "some"), "0");
  EXPECT_EQ(code("ModelInfer", threaded, "some"), "7");
  EXPECT_EQ(code("ModelInfer", echo, "metrics"), "7");
  EXPECT_EQ(code("ModelMetadata", "\x0a\x04" "echo", "some"), "0");
  EXPECT_EQ(code("ModelMetadata", "\x0a\x08threaded", "some"), "7");
  EXPECT_EQ(code("ModelMetadata", "\x0a\x04" "echo\x0a\x08threaded", "some"), "7") << "the last field counts";
  EXPECT_EQ(code("RepositoryModelUnload", "\x12\x08threaded", "some"), "7");
  EXPECT_EQ(code("SystemSharedMemoryRegister", "\x0a\x01r\x12\x04" "echo", "some"), "7") << "a key is no model";
  EXPECT_EQ(code("SystemSharedMemoryRegister", "\x0a\x01r\x12\x04" "echo", "manage"), "12");
  EXPECT_EQ(code("RepositoryIndex", "", "infer"), "7");
  EXPECT_EQ(code("ServerMetadata", "", "some"), "0");
  EXPECT_THAT(server_->metrics_text(), HasSubstr("verge_net_shed_total{reason=\"unauthenticated\"} 3"));
}

TEST_F(AuthTest, HealthCanNeedATokenToo) {
  start(false);
  EXPECT_EQ(status("/v2/health/live", ""), "401");
  EXPECT_EQ(status("/v2/health/live", "metrics"), "200");
}

TEST_F(AuthTest, TenantsByHeaderWhereThereAreNoTokens) {
  ServerOptions options;
  options.listeners[0].port = 0;
  options.tenants = {"default", "gold"};
  server_ = std::move(Server::start(options, runtime_)).value();
  EXPECT_EQ(rest("/v2", "Verge-Tenant: gold\r\n").substr(9, 3), "200");
  EXPECT_EQ(rest("/v2", "Verge-Tenant: lead\r\n").substr(9, 3), "400");
  test::H2Client client(server_->port());
  for (const auto& [name, code] : {std::pair{"gold", "0"}, {"lead", "3"}}) {
    const int32_t id = client.grpc("ModelInfer", test::infer_message("echo", 4), {{"verge-tenant", name}});
    ASSERT_TRUE(client.wait(id));
    EXPECT_EQ(client.answer(id).headers["grpc-status"], code);
  }
}

}  // namespace
}  // namespace verge::net
