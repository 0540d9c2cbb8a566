// Unary gRPC calls: tensors of every size, answers at the deadline, what is turned away or refused, small windows.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "eventually.h"
#include "h2_client.h"
#include "net/server.h"
#include "server_fixture.h"

namespace verge::net {
namespace {

using ServerTest = test::ServerFixture;
using test::eventually;
using test::grpc_frame;
using test::H2Client;
using test::infer_message;
using testing::HasSubstr;
using testing::StartsWith;

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

TEST_F(ServerTest, SmallWindowsAreServed) {
  start();
  H2Client client(server_->port(), 1000);
  const int32_t id = client.grpc("ModelInfer", infer_message("echo", 20'000));
  ASSERT_TRUE(client.wait(id));
  EXPECT_EQ(client.answer(id).headers["grpc-status"], "0");
  EXPECT_GT(client.answer(id).body.size(), 80'000u);
}

}  // namespace
}  // namespace verge::net
