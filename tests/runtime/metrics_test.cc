#include "runtime/metrics.h"

#include <gtest/gtest.h>

#include <array>
#include <set>
#include <sstream>

#include "runtime/run.h"
#include "support.h"

namespace verge::runtime {
namespace {

TEST(Metrics, FrontsAddUpAndLabelsAreEscaped) {
  Metrics metrics(2, {{}});
  const auto v = metrics.variant("a\"b\\c\n", 3, "v");
  v->at(0, 0).answered.add(2);
  v->at(1, 0).answered.add(3);
  v->at(0, 0).total.add(15'000);
  v->at(1, 0).total.add(20'000'000'000);
  metrics.model("m")->fronts[1].failures[static_cast<size_t>(Code::kResourceExhausted)][static_cast<size_t>(Reason::kQueueFull)].add(4);
  const std::string text = metrics.text({});
  EXPECT_NE(text.find("verge_requests_total{model=\"a\\\"b\\\\c\\n\",version=\"3\",variant=\"v\"} 5"), std::string::npos) << text;
  EXPECT_NE(text.find("verge_failures_total{model=\"m\",code=\"RESOURCE_EXHAUSTED\",reason=\"queue_full\"} 4"), std::string::npos) << text;
  EXPECT_NE(text.find("le=\"1e-05\"} 0"), std::string::npos) << text;
  EXPECT_NE(text.find("le=\"2e-05\"} 1"), std::string::npos) << text;
  EXPECT_NE(text.find("le=\"+Inf\"} 2"), std::string::npos) << text;
  EXPECT_EQ(metrics.variant("a\"b\\c\n", 3, "v"), v);
}

TEST(Metrics, EveryFamilyHasHelpAndTypeOnceBeforeItsSamples) {
  Server server;
  TestFront front(*server.runtime);
  server.serve(server.source("m", {Server::vector_spec("x", 1)}));
  Call ok, bad;
  ok.to("m").input("x", {1, 1}, {1});
  bad.to("nope");
  front.infer(ok.request);
  front.infer(bad.request);
  ASSERT_TRUE(front.run_until([&] { return ok.done && bad.done; }));
  std::istringstream lines(server.runtime->metrics_text());
  std::string line, family;
  std::set<std::string> seen;
  int samples = 0;
  while (std::getline(lines, line)) {
    if (line.starts_with("# HELP ")) {
      family = line.substr(7, line.find(' ', 7) - 7);
      EXPECT_TRUE(seen.insert(family).second) << family;
      ASSERT_TRUE(std::getline(lines, line));
      EXPECT_TRUE(line.starts_with("# TYPE " + family + " ")) << line;
    } else {
      EXPECT_TRUE(line.starts_with(family)) << line;
      ++samples;
    }
  }
  EXPECT_GT(samples, 60);
}

TEST(Metrics, TenantsAreALabelWhereThereIsMoreThanOne) {
  Metrics metrics(1, {{}, {.name = "shop"}});
  const auto v = metrics.variant("m", 1, "v");
  v->at(0, 0).answered.add(1);
  v->at(0, 1).answered.add(2);
  const std::string text = metrics.text({});
  EXPECT_NE(text.find("verge_requests_total{model=\"m\",version=\"1\",variant=\"v\",tenant=\"default\"} 1"), std::string::npos) << text;
  EXPECT_NE(text.find("verge_requests_total{model=\"m\",version=\"1\",variant=\"v\",tenant=\"shop\"} 2"), std::string::npos) << text;
}

TEST(Metrics, WhereADeadlinePassedIsCounted) {
  VariantStats::Part part;
  runtime::Run run;
  Request request;
  const auto add = [&](uint64_t deadline, uint64_t assembled, uint64_t finished, uint64_t answered) {
    request.bounds.deadline_ns = deadline;
    run.assembled_ns = assembled;
    run.finished_ns = finished;
    part.add(run, request, answered);
    return std::array<uint64_t, 3>{part.late.get(), part.overdue_run.get(), part.overdue_turn.get()};
  };
  using Counts = std::array<uint64_t, 3>;
  EXPECT_EQ(add(0, 10, 20, 0), (Counts{0, 0, 0}));
  EXPECT_EQ(add(30, 10, 20, 25), (Counts{0, 0, 0}));
  EXPECT_EQ(add(30, 10, 20, 35), (Counts{0, 0, 1}));
  EXPECT_EQ(add(30, 10, 31, 35), (Counts{0, 1, 1}));
  EXPECT_EQ(add(30, 31, 32, 35), (Counts{1, 1, 1}));
  run.overran = true;  // told at its deadline
  EXPECT_EQ(add(30, 10, 31, 35), (Counts{1, 1, 1}));
}

TEST(Metrics, BatchSizesHaveTheirPlaces) {
  for (const int64_t rows : {1, 2, 15, 16, 32, 64, 128, 1024, 4096}) EXPECT_EQ(BatchStats::size_at(BatchStats::index_of(rows)), static_cast<uint64_t>(rows));
  EXPECT_EQ(BatchStats::size_at(BatchStats::index_of(17)), 32u);
  EXPECT_EQ(BatchStats::index_of(int64_t{1} << 40), BatchStats::kSizes - 1);
}

TEST(Metrics, EveryReasonHasAName) {
  std::set<std::string> names;
  for (size_t r = 0; r < kReasons; ++r) names.insert(reason_name(static_cast<Reason>(r)));
  EXPECT_EQ(names.size(), kReasons);
  EXPECT_FALSE(names.contains("invalid"));
}

}  // namespace
}  // namespace verge::runtime
