// Streaming gRPC calls: order, back-pressure, errors within and of a stream, deadlines, cancellation, the server's end.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <thread>

#include "eventually.h"
#include "h2_client.h"
#include "net/server.h"
#include "net/wire.h"
#include "server_fixture.h"

namespace verge::net {
namespace {

using test::eventually;
using test::grpc_frame;
using test::H2Client;
using test::infer_message;
using testing::HasSubstr;

constexpr const char* kPath = "/inference.GRPCInferenceService/ModelStreamInfer";

// A ModelStreamInferResponse, as far as the tests look at it.
struct Streamed {
  std::string error, id;
  size_t data_bytes = 0;
  bool final_mark = false;
};

Streamed read_answer(const std::string& message) {
  Streamed out;
  wire::Reader reader(message);
  wire::Field f;
  while (reader.next(&f)) {
    if (f.number == 1) out.error = f.bytes;
    if (f.number != 2) continue;
    wire::Reader inner(f.bytes);
    wire::Field g;
    while (inner.next(&g)) {
      if (g.number == 3) out.id = g.bytes;
      if (g.number == 4 && g.bytes.find("triton_final_response") != std::string_view::npos) out.final_mark = true;
      if (g.number == 6) out.data_bytes += g.bytes.size();
    }
    EXPECT_TRUE(inner.ok());
  }
  EXPECT_TRUE(reader.ok());
  return out;
}

class StreamTest : public test::ServerFixture {
 protected:
  static std::string frame(std::string_view model, size_t elements, std::string_view id) { return grpc_frame(infer_message(model, elements, id)); }
};

TEST_F(StreamTest, AnswersInTheOrderOfTheRequests) {
  start();
  H2Client client(server_->port());
  const int32_t id = client.stream(kPath);
  client.more(id, frame("slow", 4, "first"));
  ASSERT_TRUE(runtime_.wait_slow(1));
  // These are ready long before the first one.
  client.more(id, frame("echo", 8, "second") + frame("threaded", 16, "third") + frame("no", 1, "fourth") + frame("echo", 20'000, "fifth"));
  client.ping();
  runtime_.release_slow();
  const auto got = client.messages(id, 5);
  ASSERT_EQ(got.size(), 5u);
  const char* ids[] = {"first", "second", "third", "fourth", "fifth"};
  const size_t bytes[] = {16, 32, 64, 0, 80'000};
  for (size_t i = 0; i < 5; ++i) {
    const Streamed s = read_answer(got[i]);
    EXPECT_EQ(s.id, ids[i]);
    EXPECT_EQ(s.data_bytes, bytes[i]);
    EXPECT_EQ(s.final_mark, i != 3);
    EXPECT_EQ(s.error, i == 3 ? "unknown model 'no'" : "");
  }
  client.more(id, "", true);
  ASSERT_TRUE(client.wait(id));
  EXPECT_EQ(client.answer(id).headers["grpc-status"], "0");
  EXPECT_EQ(metric("verge_net_streams_total"), 1u);
  EXPECT_TRUE(eventually([&] { return metric("verge_net_streams_open") == 0; }));
}

TEST_F(StreamTest, BytewiseAndEmpty) {
  start();
  H2Client client(server_->port());
  const int32_t empty = client.stream(kPath);
  client.more(empty, "", true);
  ASSERT_TRUE(client.wait(empty));
  EXPECT_EQ(client.answer(empty).headers["grpc-status"], "0");
  EXPECT_EQ(client.answer(empty).body, "");

  const int32_t id = client.stream(kPath);
  const std::string bytes = frame("echo", 3, "a") + grpc_frame("") + frame("echo", 3, "b");
  for (char c : bytes) client.more(id, std::string_view(&c, 1));
  const auto got = client.messages(id, 3);
  ASSERT_EQ(got.size(), 3u);
  EXPECT_EQ(read_answer(got[0]).id, "a");
  EXPECT_THAT(read_answer(got[1]).error, HasSubstr("unknown model ''"));
  EXPECT_EQ(read_answer(got[2]).id, "b");
}

TEST_F(StreamTest, BackPressureReachesTheClient) {
  ServerOptions options;
  options.max_stream_messages = 4;
  start(options);
  H2Client client(server_->port());
  const int32_t id = client.stream(kPath);
  std::string all;
  constexpr int kMessages = 400;
  for (int i = 0; i < kMessages; ++i) all += frame("slow", 256, std::to_string(i));
  client.more(id, all, true);
  ASSERT_TRUE(runtime_.wait_slow(4));
  // A second stream of the same connection is not held up by the first one.
  const int32_t other = client.stream(kPath);
  client.more(other, frame("echo", 16, "other"), true);
  EXPECT_EQ(client.messages(other, 1).size(), 1u);
  ASSERT_TRUE(client.wait(other));
  EXPECT_GT(client.unsent(id), all.size() - 70'000) << "the stream's window must be closed";
  EXPECT_EQ(runtime_.waiting_slow(), 4);
  std::atomic<bool> done{false};
  std::thread releaser([&] {
    while (!done) {
      runtime_.release_slow();
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  });
  const auto got = client.messages(id, kMessages);
  done = true;
  releaser.join();
  ASSERT_EQ(got.size(), static_cast<size_t>(kMessages));
  for (int i = 0; i < kMessages; ++i) EXPECT_EQ(read_answer(got[static_cast<size_t>(i)]).id, std::to_string(i));
  ASSERT_TRUE(client.wait(id));
  EXPECT_EQ(client.answer(id).headers["grpc-status"], "0");
}

TEST_F(StreamTest, AClientThatDoesNotReadStopsItsStreamOnly) {
  ServerOptions options;
  options.write_timeout_s = options.body_timeout_s = 1.5;  // it may stop in the middle of a message
  start(options);
  H2Client client(server_->port(), 1000);
  const int32_t id = client.stream(kPath);
  std::string all;
  for (int i = 0; i < 40; ++i) all += frame("echo", 300, "x");
  client.more(id, all);
  // Nothing is lost while the window is opened bit by bit …
  for (int i = 0; i < 60; ++i) client.open_window(id, 1000);
  EXPECT_EQ(client.messages(id, 40).size(), 40u);
  // … and a client that opens it no more is cut off.
  for (int i = 0; i < 10; ++i) client.more(id, all);
  EXPECT_TRUE(eventually([&] { return metric("verge_net_streams_open") == 0; }));
}

TEST_F(StreamTest, AnIdleStreamIsNoStalledRequest) {
  ServerOptions options;
  options.header_timeout_s = options.body_timeout_s = options.idle_timeout_s = options.write_timeout_s = 1;
  start(options);
  H2Client client(server_->port());
  const int32_t id = client.stream(kPath);
  for (int i = 0; i < 2; ++i) {  // each ends by a timeout that began after the stream
    const int other = test::connect_to(server_->port());
    EXPECT_EQ(test::receive_all(other), "");
    close(other);
  }
  client.more(id, frame("echo", 4, "late"));
  EXPECT_EQ(client.messages(id, 1).size(), 1u);
  // A message that stops in its middle is one.
  client.more(id, frame("echo", 4, "half").substr(0, 20));
  EXPECT_TRUE(client.wait_end());
}

TEST_F(StreamTest, WhatEndsAStream) {
  ServerOptions options;
  options.max_message_bytes = 100'000;
  start(options);
  H2Client client(server_->port());
  struct Case {
    std::string bytes;
    bool complete;
    const char* status;
    const char* message;
    size_t answers;
  };
  const std::string good = frame("echo", 4, "g");
  const Case cases[] = {
      {good + std::string("\0\xff\xff\xff\xff.", 6), false, "8", "message of 4294967295 bytes is larger than 100000 bytes", 1},
      {good + std::string("\1\0\0\0\0", 5), false, "13", "message is flagged as compressed, but no grpc-encoding was given", 1},
      {good + good + good.substr(0, 30), true, "13", "the last message ends early", 2},
      {good.substr(0, 3), true, "13", "the last message ends early", 0},
  };
  for (const Case& c : cases) {
    const int32_t id = client.stream(kPath);
    client.more(id, c.bytes, c.complete);
    EXPECT_EQ(client.messages(id, c.answers).size(), c.answers) << c.message;
    ASSERT_TRUE(client.wait(id)) << c.message;
    EXPECT_EQ(client.answer(id).headers["grpc-status"], c.status) << c.message;
    EXPECT_EQ(client.answer(id).headers["grpc-message"], c.message);
  }
}

TEST_F(StreamTest, ItsDeadlineEndsIt) {
  start();
  H2Client client(server_->port());
  const int32_t idle = client.stream(kPath, {{"grpc-timeout", "1500m"}});
  const int32_t busy = client.stream(kPath, {{"grpc-timeout", "1500m"}});
  client.more(busy, frame("echo", 4, "a"));
  EXPECT_EQ(client.messages(busy, 1).size(), 1u);
  for (int32_t id : {idle, busy}) {
    ASSERT_TRUE(client.wait(id));
    EXPECT_EQ(client.answer(id).headers["grpc-status"], "4");
  }
  EXPECT_TRUE(eventually([&] { return metric("verge_net_streams_open") == 0; }));
}

TEST_F(StreamTest, ResetAndClosedSocketCancelAllItsMessages) {
  start();
  {
    H2Client client(server_->port());
    const int32_t id = client.stream(kPath);
    std::string all;
    for (int i = 0; i < 10; ++i) all += frame("slow", 4, "x");
    client.more(id, all);
    ASSERT_TRUE(runtime_.wait_slow(10));
    client.reset(id);
    ASSERT_TRUE(runtime_.wait_cancelled(10));
    const int32_t second = client.stream(kPath);
    client.more(second, all);
    ASSERT_TRUE(runtime_.wait_slow(10));
  }
  ASSERT_TRUE(runtime_.wait_cancelled(20));
  EXPECT_TRUE(eventually([&] { return metric("verge_net_streams_open") == 0; }));
  EXPECT_EQ(metric("verge_net_cancelled_total"), 20u);
}

TEST_F(StreamTest, TheServersEndAnswersWhatWasReceived) {
  start();
  H2Client client(server_->port());
  const int32_t idle = client.stream(kPath);
  const int32_t busy = client.stream(kPath);
  client.more(busy, frame("slow", 4, "last"));
  ASSERT_TRUE(runtime_.wait_slow(1));
  std::atomic<bool> drained{false};
  server_->begin_stop([&] { drained = true; });
  ASSERT_TRUE(client.wait_goaways(2));
  ASSERT_TRUE(client.wait(idle));
  EXPECT_EQ(client.answer(idle).headers["grpc-status"], "14");
  runtime_.release_slow();
  const auto got = client.messages(busy, 1);
  ASSERT_EQ(got.size(), 1u);
  EXPECT_EQ(read_answer(got[0]).id, "last");
  ASSERT_TRUE(client.wait(busy));
  EXPECT_EQ(client.answer(busy).headers["grpc-status"], "14");
  EXPECT_TRUE(client.wait_end());
  server_->join();
  EXPECT_TRUE(drained);
}

TEST_F(StreamTest, MemoryIsBoundedByTheReceiveBudget) {
  ServerOptions options;
  options.receive_budget_bytes = 4 << 20;
  start(options);
  H2Client client(server_->port());
  const int32_t id = client.stream(kPath);
  // 40 messages of 400 kB: ten times what may be held. The stream takes them as memory gets free.
  std::string all;
  for (int i = 0; i < 40; ++i) all += frame("slow", 100'000, std::to_string(i));
  client.more(id, all, true);
  std::atomic<bool> done{false};
  std::thread releaser([&] {
    while (!done) {
      runtime_.release_slow();
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  });
  const auto got = client.messages(id, 40);
  done = true;
  releaser.join();
  ASSERT_EQ(got.size(), 40u) << client.answer(id).headers["grpc-message"];
  for (int i = 0; i < 40; ++i) EXPECT_EQ(read_answer(got[static_cast<size_t>(i)]).id, std::to_string(i));
  ASSERT_TRUE(client.wait(id));
  EXPECT_EQ(client.answer(id).headers["grpc-status"], "0");
}

TEST_F(StreamTest, HealthWatchTellsOfEveryChange) {
  start();
  H2Client client(server_->port());
  std::vector<int32_t> ids;
  for (int i = 0; i < 3; ++i) {
    ids.push_back(client.stream("/grpc.health.v1.Health/Watch"));
    client.more(ids.back(), grpc_frame(""), true);  // the client's half is closed, the stream goes on
  }
  auto next = [&](int32_t id) {
    const auto got = client.messages(id, 1);
    return got.empty() ? std::string("none") : got[0];
  };
  for (int32_t id : ids) EXPECT_EQ(next(id), std::string("\x08\x01"));
  client.reset(ids[2]);
  ids.pop_back();
  runtime_.set_ready(false);
  for (int32_t id : ids) EXPECT_EQ(next(id), std::string("\x08\x02"));
  runtime_.set_ready(false);  // no change: nothing is told
  runtime_.set_ready(true);
  for (int32_t id : ids) EXPECT_EQ(next(id), std::string("\x08\x01"));
  // Two requests on one stream are one too many.
  const int32_t twice = client.stream("/grpc.health.v1.Health/Watch");
  client.more(twice, grpc_frame("") + grpc_frame(""));
  ASSERT_TRUE(client.wait(twice));
  EXPECT_EQ(client.answer(twice).headers["grpc-status"], "3");
}

TEST_F(StreamTest, TheWindowsMemoryComesBack) {
  ServerOptions options;
  options.receive_budget_bytes = 4 << 20;
  start(options);
  H2Client client(server_->port());
  // Each has half a megabyte of the budget behind its window while its message is in progress, however it ends.
  for (int i = 0; i < 30; ++i) {
    const int32_t id = client.stream(kPath);
    const bool given_up = i % 3 == 2;  // amid its message
    const std::string message = frame("echo", 100'000, std::to_string(i));
    client.more(id, given_up ? message.substr(0, 60'000) : message, i % 3 == 0);
    if (!given_up) {
      const auto got = client.messages(id, 1);
      ASSERT_EQ(got.size(), 1u) << i << ": " << client.answer(id).headers["grpc-message"];
    }
    if (i % 3) {
      client.reset(id);
    } else {
      ASSERT_TRUE(client.wait(id));
    }
  }
  ASSERT_TRUE(eventually([&] { return metric("verge_net_streams_open") == 0; }));
  EXPECT_EQ(metric("verge_net_shed_total{reason=\"receive_budget\"}"), 0u);
}

TEST_F(StreamTest, ManyStreamsOfManyMessages) {
  start();
  H2Client client(server_->port());
  std::vector<int32_t> ids;
  for (int s = 0; s < 50; ++s) ids.push_back(client.stream(kPath));
  for (int round = 0; round < 20; ++round)
    for (int32_t id : ids) client.more(id, frame(round % 2 ? "threaded" : "echo", 16, std::to_string(round)), round == 19);
  for (int32_t id : ids) {
    const auto got = client.messages(id, 20);
    ASSERT_EQ(got.size(), 20u);
    for (size_t i = 0; i < 20; ++i) EXPECT_EQ(read_answer(got[i]).id, std::to_string(i));
    ASSERT_TRUE(client.wait(id));
  }
}

}  // namespace
}  // namespace verge::net
