#include "os/process.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace verge::os {
namespace {

SpawnOptions shell(const std::string& script) {
  SpawnOptions o;
  o.argv = {"/bin/sh", "-c", script};
  return o;
}

TEST(LineProcess, TalksInLines) {
  auto p = LineProcess::start(shell("while read l; do echo \"got $l\" >&3; done"));
  ASSERT_TRUE(p.ok()) << p.status().message();
  ASSERT_TRUE(p->write_line("one").ok());
  EXPECT_EQ(*p->read_line(10), "got one");
  ASSERT_TRUE(p->write_line("two").ok());
  EXPECT_EQ(*p->read_line(10), "got two");
  Exit e = p->wait(10);
  EXPECT_FALSE(e.signalled);
  EXPECT_EQ(e.code, 0);
}

TEST(LineProcess, ASignalIsNamed) {
  auto p = LineProcess::start(shell("kill -SEGV $$"));
  ASSERT_TRUE(p.ok());
  EXPECT_EQ(p->read_line(10).status().code(), Code::kUnavailable);
  Exit e = p->wait(10);
  EXPECT_TRUE(e.signalled);
  EXPECT_EQ(e.to_string(), "killed by signal 11 (SIGSEGV)");
}

TEST(LineProcess, TimeLimitsStopTheWholeGroup) {
  auto p = LineProcess::start(shell("sleep 1000 & echo $! >&3; wait"));
  ASSERT_TRUE(p.ok());
  auto line = p->read_line(10);
  ASSERT_TRUE(line.ok());
  EXPECT_EQ(p->read_line(0.05).status().code(), Code::kDeadlineExceeded);
  Exit e = p->wait(0.05);
  EXPECT_TRUE(e.timed_out);
  // The grandchild got its signal; a pidfd becomes readable when it has ended, whoever reaps it.
  const int grandchild = static_cast<int>(::syscall(SYS_pidfd_open, std::stol(*line), 0));
  if (grandchild < 0) return;  // gone already
  pollfd ended{grandchild, POLLIN, 0};
  EXPECT_EQ(::poll(&ended, 1, 10000), 1);
  ::close(grandchild);
}

TEST(LineProcess, MemoryLimitIsTheChildsOwn) {
  SpawnOptions o = shell("head -c 200000000 /dev/zero | tail -c 150000000 >/dev/null 2>&1; echo $? >&3");
  o.memory_limit = 32 << 20;
  auto p = LineProcess::start(o);
  ASSERT_TRUE(p.ok());
  auto line = p->read_line(30);
  ASSERT_TRUE(line.ok());
  EXPECT_NE(*line, "0") << "tail must not have got 150 MB";
  p->wait(10);
}

TEST(LineProcess, AMissingProgramIsAnError) {
  SpawnOptions o;
  o.argv = {"/nonexistent/program"};
  EXPECT_EQ(LineProcess::start(o).status().code(), Code::kNotFound);
}

TEST(LineProcess, WritingToADeadChildIsAnErrorAndNoSignal) {
  auto p = LineProcess::start(shell("exec <&-; echo ready >&3; sleep 1000"));
  ASSERT_TRUE(p.ok());
  ASSERT_EQ(*p->read_line(10), "ready");
  EXPECT_FALSE(p->write_line(std::string(1 << 20, 'x')).ok());
}

}  // namespace
}  // namespace verge::os
