#include "bench/record.h"

#include <gtest/gtest.h>

namespace verge::bench {
namespace {

Record sample() {
  Plan plan;
  plan.seconds = 2;
  TenantSpec a, b;
  a.name = "<a>";
  a.model = "m";
  a.deadline_ms = 5;
  b.name = "b";
  b.model = "m";
  plan.tenants = {a, b};
  std::vector<Tally> tallies(2, Tally(4, 500'000'000));
  for (int i = 0; i < 1000; ++i) {
    Outcome o;
    o.intended = static_cast<uint64_t>(i) * 2'000'000;
    o.sent = o.intended + 1000;
    o.done = o.intended + 1'000'000 + static_cast<uint64_t>(i) * 10'000;
    o.deadline_ns = i % 2 ? 0 : 5'000'000;
    o.exit = i % 4 ? "exit1" : "exit2";
    o.expected_accuracy = 0.5;
    if (i % 100 == 0) {
      o.end = End::kRefused;
      o.code = "RESOURCE_EXHAUSTED";
    }
    tallies[static_cast<size_t>(i % 2)].record(o);
  }
  Record r = make_record(plan, tallies, 2);
  r.kind = "live";
  r.server = "here";
  r.notes = {"<script>"};
  return r;
}

TEST(Record, IsReadAsItWasWritten) {
  const Record r = sample();
  const std::string text = print_json(record_json(r));
  const auto again = parse_record(text, "r.json");
  ASSERT_TRUE(again.ok()) << again.status().message();
  EXPECT_EQ(print_json(record_json(*again)), text);
  EXPECT_EQ(again->tenants[0].in_time, r.tenants[0].in_time);
  EXPECT_GT(again->tenants[0].miss_rate(), 0);
  ASSERT_EQ(again->tenants[0].late.size(), Tally::kMostLate);
  EXPECT_EQ(again->tenants[0].late[3].intended, r.tenants[0].late[3].intended);
  EXPECT_EQ(again->tenants[0].late[3].took, r.tenants[0].late[3].took);
  EXPECT_EQ(again->tenants[1].miss_rate(), -1);
  EXPECT_EQ(again->total.offered, 1000u);
  EXPECT_DOUBLE_EQ(again->total.accuracy(), 0.5);
}

TEST(Record, ForeignTextIsEscapedInThePage) {
  const Record r = sample();
  const std::string page = record_page(r), both = record_page(r, &r);
  EXPECT_EQ(page.find("<script"), std::string::npos);
  EXPECT_EQ(page.find("<a>"), std::string::npos);
  EXPECT_NE(page.find("&lt;a&gt;"), std::string::npos);
  EXPECT_EQ(page.find("http"), page.find("http-equiv"));  // nothing from outside
  EXPECT_GT(both.size(), page.size());
  EXPECT_NE(compare_text(r, r).find("+0 points"), std::string::npos);
}

TEST(Record, DamagedFilesAreRefusedOrReadInPart) {
  const std::string text = print_json(record_json(sample()));
  EXPECT_FALSE(parse_record("{}", "x").ok());
  EXPECT_FALSE(parse_record("[1]", "x").ok());
  for (size_t n = 0; n < text.size(); n += 97) EXPECT_FALSE(parse_record(text.substr(0, n), "x").ok());
  std::string damaged = text;
  for (size_t i = 100; i < damaged.size(); i += 61) {
    damaged[i] = '9';
    (void)parse_record(damaged, "x");
    if (const auto r = parse_record(damaged, "x"); r.ok()) (void)record_page(*r);
    damaged[i] = text[i];
  }
}

}  // namespace
}  // namespace verge::bench
