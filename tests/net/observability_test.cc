// Trace context, the access log's ring, and the data plane's histograms.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "net/access_log.h"
#include "net/metrics.h"
#include "net/trace_context.h"

namespace verge::net {
namespace {

using testing::HasSubstr;

TEST(TraceContext, ParentsByTheSpecification) {
  const std::string good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
  TraceContext t;
  t.take_parent(good);
  ASSERT_TRUE(t.given);
  EXPECT_EQ(std::string(t.trace_id, 32), good.substr(3, 32));
  EXPECT_EQ(std::string(t.parent_id, 16), good.substr(36, 16));
  EXPECT_EQ(t.flags, 1);
  t.take_parent("cc" + good.substr(2) + "-more");
  EXPECT_TRUE(t.given) << "of a later version";
  auto with = [&](size_t at, const std::string& text) { return std::string(good).replace(at, text.size(), text); };
  for (const std::string& bad : {std::string(), good.substr(1), good + "-more", good + "x", with(0, "ff"), with(0, "0G"), with(3, std::string(32, '0')),
                                 with(36, std::string(16, '0')), with(3, "A"), with(2, "_"), with(53, "0x"), std::string(60, '-')}) {
    t.take_parent(bad);
    EXPECT_FALSE(t.given) << bad;
  }
}

TEST(TraceContext, StatesAreValidated) {
  for (const char* good : {"", "a=1", "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE", "tenant@system=x , b=y", "a=1,,b=2", "0a=x y"}) EXPECT_TRUE(valid_trace_state(good)) << good;
  for (const char* bad : {"a", "=1", "a=", "A=1", "a=1=2", "a=\x01", "a=\xff", "a b=1"}) EXPECT_FALSE(valid_trace_state(bad)) << bad;
  EXPECT_FALSE(valid_trace_state("a=" + std::string(600, 'x')));
  std::string many;
  for (int i = 0; i < 33; ++i) many += "k" + std::to_string(i) + "=v,";
  EXPECT_FALSE(valid_trace_state(many));
}

TEST(TraceContext, RandomIds) {
  uint64_t state = 1;
  char a[32], b[32];
  random_hex(&state, a, 32);
  random_hex(&state, b, 32);
  EXPECT_NE(std::string(a, 32), std::string(b, 32));
  EXPECT_EQ(std::string(a, 32).find_first_not_of("0123456789abcdef"), std::string::npos);
}

TEST(LineRing, BoundedAndWhole) {
  LineRing ring;
  const std::string line(1000, 'x');
  size_t n = 0;
  while (ring.push(line)) ++n;
  EXPECT_EQ(n, LineRing::kBytes / line.size());
  std::vector<char> out;
  ASSERT_TRUE(ring.take(&out));
  EXPECT_EQ(out.size(), n * line.size());
  EXPECT_FALSE(ring.take(&out));
  for (int i = 0; i < 3; ++i) {  // around its end
    out.clear();
    EXPECT_TRUE(ring.push(std::string(600'000, static_cast<char>('a' + i))));
    EXPECT_TRUE(ring.take(&out));
    EXPECT_EQ(out, std::vector<char>(600'000, static_cast<char>('a' + i)));
  }
}

TEST(AccessLog, ASlowSinkHoldsUpNobody) {
  LineRing ring;
  std::mutex mutex;
  std::condition_variable changed;
  bool open = false, called = false;
  size_t bytes = 0, dropped = 0, kept = 0;
  const std::string line = std::string(999, 'x') + "\n";
  {
    AccessLog log({&ring}, [&](std::string_view lines) {
      std::unique_lock lock(mutex);
      called = true;
      changed.notify_all();
      changed.wait(lock, [&] { return open; });
      bytes += lines.size();
    });
    ring.push(line);
    ++kept;
    log.wake(ring);
    {
      std::unique_lock lock(mutex);
      changed.wait(lock, [&] { return called; });  // the sink hangs from here on
    }
    for (int i = 0; i < 3000; ++i) {
      const bool taken = ring.push(line);
      (taken ? kept : dropped) += 1;
      log.wake(ring);
    }
    std::lock_guard lock(mutex);
    open = true;
    changed.notify_all();
  }
  EXPECT_GT(dropped, 1000u);
  EXPECT_EQ(kept + dropped, 3001u);
  EXPECT_EQ(bytes, kept * line.size()) << "every line that was taken is written";
}

// A first line is written soon, many are written before their ring is full, and the last ones at the end.
TEST(AccessLog, GathersLinesButNotForLong) {
  LineRing ring;
  std::mutex mutex;
  std::condition_variable changed;
  size_t bytes = 0, writes = 0, pushed = 0;
  const std::string line = std::string(999, 'x') + "\n";
  {
    AccessLog log({&ring}, [&](std::string_view lines) {
      const std::lock_guard lock(mutex);
      bytes += lines.size();
      ++writes;
      changed.notify_all();
    });
    for (const size_t n : {1, 1, 3000}) {
      for (size_t i = 0; i < n; ++i) {
        // Told of each, the thread has room made long before the ring is full; on a machine that stalls it may take its time.
        while (!ring.push(line)) std::this_thread::yield();
        ++pushed;
        log.wake(ring);
      }
      std::unique_lock lock(mutex);
      ASSERT_TRUE(changed.wait_for(lock, std::chrono::minutes(1), [&] { return bytes == pushed * line.size(); }));
    }
    ASSERT_TRUE(ring.push(line));
    ++pushed;
  }
  EXPECT_EQ(bytes, pushed * line.size());
  EXPECT_LT(writes, pushed / 4);
}

TEST(NetMetrics, Histograms) {
  Metrics a, b;
  a.turns.add(10'000);
  a.turns.add(30'000'000);
  b.handshakes.add(3'000'000);
  a.handshakes.add(5'000'000'000);
  const Metrics* both[] = {&a, &b};
  const std::string text = metrics_text(both, 0, 0);
  EXPECT_THAT(text, HasSubstr("verge_net_turn_seconds_bucket{front=\"0\",le=\"5e-05\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("verge_net_turn_seconds_bucket{front=\"0\",le=\"0.05\"} 2\n"));
  EXPECT_THAT(text, HasSubstr("verge_net_turn_seconds_count{front=\"1\"} 0\n"));
  EXPECT_THAT(text, HasSubstr("verge_net_handshake_seconds_bucket{le=\"0.005\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("verge_net_handshake_seconds_bucket{le=\"+Inf\"} 2\n"));
  EXPECT_THAT(text, HasSubstr("verge_net_handshake_seconds_sum 5.003\n"));
}

}  // namespace
}  // namespace verge::net
