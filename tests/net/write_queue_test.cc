#include "net/write_queue.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <random>
#include <string>

#include "echo_runtime.h"
#include "net/front.h"

namespace verge::net {
namespace {

class WriteQueueTest : public testing::Test {
 protected:
  void SetUp() override {
    front_ = std::move(Front::create(shared_, 0)).value();
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds_), 0);
    const int small = 8 << 10;
    setsockopt(fds_[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
  }
  void TearDown() override {
    close(fds_[0]);
    close(fds_[1]);
  }
  void read_some(size_t most) {
    std::string c(most, 0);
    const ssize_t n = recv(fds_[1], c.data(), c.size(), 0);
    if (n > 0) received_.append(c.data(), static_cast<size_t>(n));
  }

  test::EchoRuntime runtime_;
  Shared shared_{ServerOptions(), runtime_};
  std::unique_ptr<Front> front_;
  int fds_[2] = {-1, -1};
  std::string received_;
};

// A reader that is always a little behind: the queue is never empty, and what was written is let go of all the same.
TEST_F(WriteQueueTest, KeepsNothingThatWasWritten) {
  WriteQueue queue(*front_);
  std::string sent;
  uint64_t written = 0;
  size_t most = 0;
  for (int i = 0; sent.size() < (size_t{8} << 20); ++i) {
    while (queue.pending() < 60'000) {
      const std::string piece(1'000, static_cast<char>('a' + sent.size() / 1'000 % 26));
      queue.append(piece.data(), piece.size());
      sent += piece;
    }
    ASSERT_TRUE(queue.flush(fds_[0], nullptr, &written));
    ASSERT_FALSE(queue.empty());
    most = std::max(most, queue.held());
    read_some(4'000);
  }
  EXPECT_LE(most, size_t{512} << 10);
  while (received_.size() < sent.size()) {
    ASSERT_TRUE(queue.flush(fds_[0], nullptr, &written));
    read_some(64 << 10);
  }
  EXPECT_TRUE(received_ == sent);
  EXPECT_TRUE(queue.empty());
  EXPECT_LE(queue.held(), size_t{64} << 10);
}

// Copied bytes, views and calls to give back, in every order and with a reader of every pace.
TEST_F(WriteQueueTest, KeepsTheOrderAndGivesCallsBack) {
  std::mt19937 random(7);
  const std::string views = [&] {
    std::string s(100'000, 0);
    for (char& c : s) c = static_cast<char>(random());
    return s;
  }();
  std::string sent;
  {
    WriteQueue queue(*front_);
    uint64_t written = 0;
    for (int i = 0; i < 20'000; ++i) {
      const size_t n = random() % 700, at = random() % (views.size() - n);
      switch (random() % 8) {
        case 0: queue.append_view(views.data() + at, n); break;
        case 1: queue.mark(front_->acquire_call()); continue;
        default: queue.append(views.data() + at, n);
      }
      sent.append(views, at, n);
      if (queue.pending() > random() % 100'000) {
        ASSERT_TRUE(queue.flush(fds_[0], nullptr, &written));
        read_some(random() % 3'000 + 1);
      }
    }
    while (received_.size() < sent.size()) {
      ASSERT_TRUE(queue.flush(fds_[0], nullptr, &written));
      read_some(64 << 10);
    }
    EXPECT_EQ(written, sent.size());
    queue.append("x", 1);
    queue.mark(front_->acquire_call());  // given back by the destructor
  }
  EXPECT_TRUE(received_ == sent);
  std::vector<Call*> calls;
  for (int i = 0; i < 4; ++i) calls.push_back(front_->acquire_call());
  for (Call* c : calls) front_->recycle(c);
  EXPECT_LE(shared_.budget.taken(), int64_t{2} << 20);
}

}  // namespace
}  // namespace verge::net
