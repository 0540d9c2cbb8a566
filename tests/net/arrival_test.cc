// When requests arrived, as the kernel notes it: what waits in a socket while the front is busy has that much less time left.
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <future>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include "h2_client.h"
#include "server_fixture.h"

namespace verge::net {
namespace {

using test::connect_to;
using test::H2Client;
using test::infer_message;
using test::receive_until;
using test::send_all;

class ArrivalTest : public test::ServerFixture {
 protected:
  static constexpr auto kBusy = std::chrono::milliseconds(60);
  static constexpr std::string_view kEnd = "]}]}";  // of an answer
  static constexpr uint64_t kLeastUs = 50'000;  // stamps are the kernel's own clock, sleeps a timer's

  // What model `arrival` said of a request.
  static std::string told(const std::string& answer, const std::string& name) {
    size_t at = answer.find(name);
    if (at == std::string::npos) return "";
    at = answer.find(':', at) + 1;
    return answer.substr(at, answer.find_first_of(",}", at) - at);
  }
  // The kernel begins to note times a moment after it was asked to, by a thread of its own: another request is tried then.
  static constexpr int kTries = 200;
  // Calls `ask` while the front does something else, for at least kBusy after that.
  template <typename Ask>
  void while_busy(Ask ask) {
    std::promise<void> begun, end;
    runtime_.post([&begun, until = end.get_future().share()] {
      begun.set_value();
      until.wait();
    });
    begun.get_future().wait();
    ask();
    std::this_thread::sleep_for(kBusy);
    end.set_value();
  }
  static std::string with_timeout() {
    return post("/v2/models/arrival/infer", R"({"parameters":{"timeout":60000000},"inputs":[{"name":"INPUT0","shape":[1,2],"datatype":"FP32","data":[1,2.5]}]})");
  }
};

TEST_F(ArrivalTest, CountsWhatARequestWaitedInItsSocket) {
  start();
  const int fd = connect_to(server_->port());
  // The first one with a deadline asks for the times of the next.
  ASSERT_TRUE(send_all(fd, with_timeout()));
  std::string answer = receive_until(fd, kEnd);
  EXPECT_EQ(told(answer, "arrival_noted"), "false");
  for (int i = 0; i < kTries && told(answer, "arrival_noted") != "true"; ++i) {
    while_busy([&] { ASSERT_TRUE(send_all(fd, with_timeout())); });
    answer = receive_until(fd, kEnd);
  }
  ASSERT_EQ(told(answer, "arrival_noted"), "true") << answer;
  EXPECT_GE(std::stoull(told(answer, "waited_us")), kLeastUs);
  // Who names no deadline pays for no times, though the kernel notes them now.
  const int other = connect_to(server_->port());
  const std::string body = R"({"inputs":[{"name":"INPUT0","shape":[1,2],"datatype":"FP32","data":[1,2.5]}]})";
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(send_all(other, post("/v2/models/arrival/infer", body)));
    EXPECT_EQ(told(receive_until(other, kEnd), "arrival_noted"), "false");
  }
  close(other);
  close(fd);
}

TEST_F(ArrivalTest, DeadlinesOfGrpcCountFromIt) {
  start();
  H2Client client(server_->port());
  std::string answer;
  for (int i = 0; i < kTries && told(answer, "arrival_noted") != "true"; ++i) {
    int32_t id = 0;
    while_busy([&] {
      id = client.grpc("ModelInfer", infer_message("arrival", 2), {{"grpc-timeout", "60S"}});
      ASSERT_TRUE(client.flush());
    });
    ASSERT_TRUE(client.wait(id));
    answer = client.answer(id).body;
    if (i == 0) {
      EXPECT_EQ(told(answer, "arrival_noted"), "false");
    }
  }
  ASSERT_EQ(told(answer, "arrival_noted"), "true") << answer;
  EXPECT_GE(std::stoull(told(answer, "waited_us")), kLeastUs);
  // The head came with it: the minute is that of the client.
  EXPECT_EQ(told(answer, "timeout_us"), "60000000");
}

}  // namespace
}  // namespace verge::net
