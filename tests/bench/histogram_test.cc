#include "bench/histogram.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "bench/arrivals.h"
#include "bench/tally.h"

namespace verge::bench {
namespace {

TEST(Histogram, QuantilesAreThoseOfTheSortedValuesToThreeDigits) {
  Random random(7);
  std::vector<uint64_t> values;
  Histogram h;
  for (int i = 0; i < 200'000; ++i) {
    const auto v = static_cast<uint64_t>(std::exp(random.uniform() * 24));  // 1 ns to 26 s
    values.push_back(v);
    h.record(v);
  }
  std::sort(values.begin(), values.end());
  for (const double q : {0.001, 0.1, 0.5, 0.9, 0.99, 0.999, 0.9999, 1.0}) {
    const uint64_t exact = values[static_cast<size_t>(std::ceil(q * static_cast<double>(values.size()))) - 1];
    EXPECT_GE(h.quantile(q), exact);
    EXPECT_LE(static_cast<double>(h.quantile(q)), static_cast<double>(exact) * 1.001 + 1) << q;
  }
  EXPECT_EQ(h.max(), values.back());
  EXPECT_EQ(h.min(), values.front());
  EXPECT_EQ(h.count(), values.size());
}

TEST(Histogram, EdgesAndSums) {
  Histogram h;
  EXPECT_EQ(h.quantile(0.5), 0u);
  EXPECT_EQ(h.mean(), 0);
  h.record(0);
  h.record(2047);
  h.record(2048);
  h.record(UINT64_MAX);
  EXPECT_EQ(h.quantile(0.25), 0u);
  EXPECT_EQ(h.quantile(0.5), 2047u);
  EXPECT_EQ(h.quantile(0.75), 2049u);  // buckets are two wide from there on
  EXPECT_EQ(h.max(), Histogram::kLargest);
  Histogram twice;
  twice.add(h);
  twice.add(h);
  EXPECT_EQ(twice.count(), 8u);
  EXPECT_DOUBLE_EQ(twice.mean(), h.mean());
  Histogram again;
  for (const auto& [v, n] : twice.buckets()) again.record_many(v, n);
  EXPECT_EQ(again.quantile(0.5), twice.quantile(0.5));
  EXPECT_EQ(again.count(), 8u);
  EXPECT_DOUBLE_EQ(twice.share_within(2047), 0.5);
}

TEST(Tally, CountsWhatIsInTimeFromTheIntendedSending) {
  Tally t(4, 1'000'000);
  Outcome o;
  o.deadline_ns = 10'000;
  o.intended = 100;
  o.sent = 9'000;
  o.done = 10'100;  // just in time
  o.samples = 1;
  o.right = 1;
  o.exit = "exit2";
  t.record(o);
  o.done = 11'000;  // late, but within 1.1 deadlines
  t.record(o);
  o.done = 12'000;
  o.right = 0;
  t.record(o);
  o.end = End::kRefused;
  o.code = "DEADLINE_EXCEEDED";
  t.record(o);
  o.end = End::kUnsent;
  t.record(o);
  EXPECT_EQ(t.offered, 5u);
  EXPECT_EQ(t.sent, 4u);
  EXPECT_EQ(t.answered, 3u);
  EXPECT_EQ(t.in_time, 1u);
  EXPECT_EQ(t.nearly_in_time, 2u);
  EXPECT_EQ(t.refused, 1u);
  EXPECT_EQ(t.unsent, 1u);
  EXPECT_EQ(t.right, 2u);
  EXPECT_EQ(t.right_in_time, 1u);
  EXPECT_EQ(t.exits.of("exit2"), 3u);
  EXPECT_EQ(t.codes.of("DEADLINE_EXCEEDED"), 1u);
  EXPECT_EQ(t.from_intended.max(), 11'900u);
  EXPECT_EQ(t.from_sending.max(), 3'000u);
  EXPECT_EQ(t.client_wait.max(), 8'900u);
  EXPECT_EQ(t.slots[0].offered, 5u);
  ASSERT_EQ(t.late.size(), 2u);
  EXPECT_EQ(t.late[0].intended, 100u);
  EXPECT_EQ(t.late[0].waited, 8'900u);
  EXPECT_EQ(t.late[0].took, 10'900u);
  EXPECT_LT(t.late[0].measured_ms, 0);
  // Each of them up to a number.
  Tally more;
  o = {};
  o.deadline_ns = 1;
  o.done = 2;
  for (size_t i = 0; i < Tally::kMostLate; ++i) more.record(o);
  more.add(t);
  EXPECT_EQ(more.late.size(), Tally::kMostLate);
  EXPECT_EQ(more.answered - more.in_time, Tally::kMostLate + 2);
}

TEST(NameCounts, AreBoundedWhateverAServerSends) {
  NameCounts c;
  for (int i = 0; i < 10'000; ++i) c.add("name" + std::to_string(i));
  EXPECT_LE(c.entries().size(), 257u);
  uint64_t all = 0;
  for (const auto& e : c.entries()) all += e.count;
  EXPECT_EQ(all, 10'000u);
}

}  // namespace
}  // namespace verge::bench
