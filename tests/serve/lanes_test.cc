#include "serve/lanes.h"

#include <gtest/gtest.h>

#include "os/files.h"
#include "os/process.h"
#include "runtime/support.h"
#include "serve/packages.h"

namespace verge::serve {
namespace {

class Lanes : public testing::Test {
 protected:
  Lanes() : log("error", "text") {
    auto catalog = engine::Catalog::scan(os::install().plugin_dir);
    EXPECT_TRUE(catalog.ok());
    env.catalog = *catalog;
    env.device = os::this_device();
    env.log = &log;
    env.config.state_dir = os::join(dir.path, "state");
    zoo = os::join(dir.path, "zoo");
    EXPECT_TRUE(os::make_dirs(zoo).ok());
  }
  // A version whose variants "quick" and "late" have these p50 by threads, 1, 2, …
  void publish(const std::string& name, int64_t version, std::vector<double> quick_us, std::vector<double> late_us) {
    write_package(zoo, name, version, true);
    const std::string path = os::join(zoo, name + "/" + std::to_string(version) + "/profiles/" + env.device.fingerprint + ".json");
    auto text = os::read_file(path, 1 << 20);
    ASSERT_TRUE(text.ok());
    auto profile = parse_profile(*text);
    ASSERT_TRUE(profile.ok());
    for (auto& v : profile->variants) {
      v.latency.clear();
      v.accuracy = v.id == "quick" ? 0.8 : 0.9;
      const auto& us = v.id == "quick" ? quick_us : late_us;
      for (size_t t = 0; t < us.size(); ++t) {
        LatencyCell c;
        c.cores = static_cast<int64_t>(t) + 1;
        c.n = 100;
        c.mean_us = c.p50_us = us[t];
        v.latency.push_back(c);
      }
    }
    ASSERT_TRUE(os::write_file_atomic(path, print_profile(*profile)).ok());
  }
  std::vector<policy::LaneModel> models() {
    auto place = find_place(zoo);
    EXPECT_TRUE(place.ok());
    return lane_models(env, *place);
  }
  runtime::TempDir dir;
  Log log;
  Environment env;
  std::string zoo;
};

TEST_F(Lanes, TheDefaultVariantOfTheLatestVersionCounts) {
  publish("a", 1, {100, 90}, {1000, 900});
  publish("a", 2, {200, 110}, {1000, 900});
  const auto all = models();
  ASSERT_EQ(all.size(), 1u);
  EXPECT_EQ(all[0].name, "a");
  ASSERT_EQ(all[0].curve.size(), 2u);
  EXPECT_EQ(all[0].curve[0].typical_ns, 200'000u);
  EXPECT_EQ(all[0].curve[1].threads, 2);
  EXPECT_EQ(all[0].curve[1].cautious_ns, 143'000u);
  EXPECT_EQ(all[0].deadline_ns, 0u);
}

TEST_F(Lanes, WhatIsNotKnownIsToldAsSuch) {
  write_package(zoo, "b", 1, false);
  publish("a", 1, {200, 110}, {1000, 900});
  const auto all = models();
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(policy::plan_lanes(all, 2).why, policy::LanePlan::Why::kUnknown);
  EXPECT_EQ(policy::plan_lanes(all, 2).model, "b");
}

TEST_F(Lanes, TenantsDeadlinesCountUnlessAnotherResidentVariantKeepsThem) {
  publish("a", 1, {2'000, 1'900}, {10'000, 5'500});
  env.config.models["a"].default_variant = "late";
  runtime::TenantOptions strict;
  strict.name = "strict";
  strict.bounds.deadline_ms = 10;
  env.config.tenants.push_back(strict);
  auto plan = policy::plan_lanes(models(), 2);
  EXPECT_EQ(plan.lanes, 1u);
  EXPECT_EQ(plan.why, policy::LanePlan::Why::kDeadline);
  env.config.models["a"].resident = {"quick"};
  EXPECT_EQ(policy::plan_lanes(models(), 2).lanes, 2u);
  // It is there, but too inaccurate for the tenant.
  env.config.tenants.back().bounds.min_accuracy = 0.85;
  EXPECT_EQ(policy::plan_lanes(models(), 2).lanes, 1u);
}

}  // namespace
}  // namespace verge::serve
