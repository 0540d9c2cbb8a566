// Where the server listens, what each listener serves, and the file of a Unix socket.
#include "net/listener.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <fstream>

#include "echo_runtime.h"
#include "h2_client.h"
#include "net/server.h"

namespace verge::net {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

int connect_to_unix(const std::string& path) {
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
  if (connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0) return fd;
  close(fd);
  return -1;
}

mode_t mode_of(const std::string& path) {
  struct stat s {};
  return lstat(path.c_str(), &s) == 0 ? s.st_mode : 0;
}

class ListenerTest : public testing::Test {
 protected:
  ListenerTest() {
    char made[] = "/tmp/verge-listener-XXXXXX";
    dir_ = mkdtemp(made);
    path_ = dir_ + "/s.sock";
  }
  ~ListenerTest() override {
    server_.reset();
    unlink(path_.c_str());
    unlink((dir_ + "/target").c_str());
    rmdir(dir_.c_str());
  }
  ListenOptions on_path(Role role = Role::kAll) { return {"unix:" + path_, 0, role, false, 0600}; }
  Status start(std::vector<ListenOptions> listeners) {
    ServerOptions options;
    options.listeners = std::move(listeners);
    auto made = Server::start(options, runtime_);
    if (!made.ok()) return made.status();
    server_ = std::move(made).value();
    return {};
  }
  static int port_of(const std::string& address) { return std::stoi(address.substr(address.rfind(':') + 1)); }
  static std::string get(int fd, const std::string& path) {
    EXPECT_TRUE(test::send_all(fd, "GET " + path + " HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"));
    const std::string out = test::receive_all(fd);
    close(fd);
    return out;
  }
  std::string dir_, path_;
  test::EchoRuntime runtime_;
  std::unique_ptr<Server> server_;
};

TEST_F(ListenerTest, UnixSocketWithModeIsRemovedAtTheEnd) {
  const mode_t before = umask(0077);
  ListenOptions options = on_path();
  options.mode = 0666;
  const Status started = start({options});
  umask(before);
  ASSERT_TRUE(started.ok()) << started.to_string();
  EXPECT_EQ(server_->address(), "unix:" + path_);
  EXPECT_EQ(mode_of(path_) & 0777, 0666u) << "whatever the umask";
  EXPECT_THAT(get(connect_to_unix(path_), "/v2/health/live"), HasSubstr("{\"live\":true}"));
  server_.reset();
  EXPECT_EQ(mode_of(path_), 0u);
}

TEST_F(ListenerTest, StaleSocketIsReplacedALiveOneIsNot) {
  const int stale = socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strcpy(address.sun_path, path_.c_str());
  ASSERT_EQ(bind(stale, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  close(stale);
  ASSERT_TRUE(start({on_path()}).ok());
  EXPECT_THAT(get(connect_to_unix(path_), "/v2/health/live"), StartsWith("HTTP/1.1 200"));

  test::EchoRuntime other;
  ServerOptions same;
  same.listeners = {on_path()};
  const auto second = Server::start(same, other);
  ASSERT_FALSE(second.ok());
  EXPECT_THAT(second.status().message(), HasSubstr("another process listens there"));
  EXPECT_THAT(get(connect_to_unix(path_), "/v2/health/live"), StartsWith("HTTP/1.1 200")) << "the first one is left alone";
}

TEST_F(ListenerTest, OtherFilesAndSymbolicLinksAreRefused) {
  std::ofstream(path_) << "precious";
  EXPECT_THAT(start({on_path()}).message(), HasSubstr("is no socket"));
  EXPECT_TRUE(S_ISREG(mode_of(path_)));
  unlink(path_.c_str());
  ASSERT_EQ(symlink((dir_ + "/target").c_str(), path_.c_str()), 0);
  EXPECT_THAT(start({on_path()}).message(), HasSubstr("is no socket"));
  EXPECT_EQ(mode_of(dir_ + "/target"), 0u) << "the link was not followed";
  EXPECT_TRUE(S_ISLNK(mode_of(path_)));
}

TEST_F(ListenerTest, AnotherFileAtThePathIsNotRemovedAtTheEnd) {
  ASSERT_TRUE(start({on_path()}).ok());
  unlink(path_.c_str());
  std::ofstream(path_) << "somebody else's";
  server_.reset();
  EXPECT_TRUE(S_ISREG(mode_of(path_)));
}

TEST_F(ListenerTest, AddressesThatAreNone) {
  for (const char* bad : {"unix:", "unix:relative", "example.org", "256.1.1.1"}) {
    ListenOptions o;
    o.address = bad;
    EXPECT_EQ(start({o}).code(), Code::kInvalidArgument) << bad;
  }
  ListenOptions o;
  o.address = "unix:/" + std::string(200, 'x');
  EXPECT_THAT(start({o}).message(), HasSubstr("at most 107 bytes"));
  EXPECT_EQ(start({}).code(), Code::kInvalidArgument);
}

TEST_F(ListenerTest, EachRoleServesItsPart) {
  ASSERT_TRUE(start({{"127.0.0.1", 0, Role::kAll}, {"127.0.0.1", 0, Role::kInference}, {"127.0.0.1", 0, Role::kManagement}}).ok());
  ASSERT_EQ(server_->addresses().size(), 3u);
  auto status = [&](int listener, const std::string& path) {
    const std::string answer = get(test::connect_to(port_of(server_->addresses()[static_cast<size_t>(listener)])), path);
    return answer.substr(9, 3);
  };
  for (int l = 0; l < 3; ++l) {
    EXPECT_EQ(status(l, "/v2/health/live"), "200");
    EXPECT_EQ(status(l, "/v2/models/echo"), "200");
    EXPECT_EQ(status(l, "/metrics"), l == 1 ? "403" : "200");
    EXPECT_EQ(status(l, "/v2/models/echo/infer"), l == 2 ? "403" : "405");
    EXPECT_EQ(status(l, "/v2/repository/index?x") == "403", l == 1);
    EXPECT_EQ(status(l, "/v2/models/echo/versions/1/stats") == "403", l == 1);
    EXPECT_EQ(status(l, "/v2/models/echo/trace/setting") == "403", l == 1);
    EXPECT_EQ(status(l, "/v2/whatever") == "403", l == 1) << "what is not listed is closed";

    test::H2Client client(port_of(server_->addresses()[static_cast<size_t>(l)]));
    auto code = [&](const char* method, const std::string& message) {
      const int32_t id = client.grpc(method, message);
      EXPECT_TRUE(client.wait(id));
      return client.answer(id).headers["grpc-status"];
    };
    EXPECT_EQ(code("ServerLive", ""), "0");
    EXPECT_EQ(code("ModelInfer", test::infer_message("echo", 4)), l == 2 ? "7" : "0");
    EXPECT_EQ(code("RepositoryIndex", "") == "7", l == 1);
    EXPECT_EQ(code("ModelStatistics", "") == "7", l == 1);
    EXPECT_EQ(code("NoSuchMethod", "") == "7", l == 1);
  }
}

}  // namespace
}  // namespace verge::net
