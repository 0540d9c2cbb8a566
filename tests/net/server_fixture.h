// A server of the test's own on a free port, over an EchoRuntime, and what tests send it and read of it.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "echo_runtime.h"
#include "h2_client.h"
#include "net/server.h"

namespace verge::test {

class ServerFixture : public testing::Test {
 protected:
  void start(net::ServerOptions options = {}) {
    for (net::ListenOptions& l : options.listeners) l.port = 0;
    auto made = net::Server::start(options, runtime_);
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
  // A sample of the server's own figures; 0 if there is none of that name.
  uint64_t metric(const std::string& name) {
    const std::string text = server_->metrics_text();
    const size_t at = text.find("\n" + name + " ");
    return at == std::string::npos ? 0 : std::stoull(text.substr(at + name.size() + 2));
  }

  static constexpr const char* kInfer = "/v2/models/echo/infer";
  const std::string request_ = R"({"id":"q","inputs":[{"name":"INPUT0","shape":[1,2],"datatype":"FP32","data":[1,2.5]}]})";
  EchoRuntime runtime_;
  std::unique_ptr<net::Server> server_;
};

}  // namespace verge::test
