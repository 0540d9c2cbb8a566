#include "bench/plan.h"

#include <gtest/gtest.h>

#include "bench/load_options.h"

namespace verge::bench {
namespace {

TEST(Plan, TenantsHaveBoundsAndArrivals) {
  ArrivalSpec common;
  common.kind = ArrivalKind::kPoisson;
  common.rate = 10;
  TenantSpec base;
  base.model = "m";
  auto t = parse_tenant("name=fast,rate=50,deadline_ms=12.5,min_accuracy=0.8,objective=latency,exit=2,priority=1,my.key=true", base, common);
  ASSERT_TRUE(t.ok()) << t.status().message();
  EXPECT_EQ(t->name, "fast");
  EXPECT_TRUE(t->own_arrivals);
  EXPECT_EQ(t->arrivals.kind, ArrivalKind::kPoisson);
  EXPECT_EQ(t->arrivals.rate, 50);
  EXPECT_EQ(t->deadline_ms, 12.5);
  EXPECT_EQ(t->parameter("verge.min_accuracy")->kind, Parameter::Kind::kNumber);
  EXPECT_EQ(t->parameter("verge.exit")->kind, Parameter::Kind::kString);  // a name that looks like a number
  EXPECT_EQ(t->parameter("priority")->kind, Parameter::Kind::kInteger);
  EXPECT_EQ(t->parameter("my.key")->kind, Parameter::Kind::kBoolean);
  EXPECT_FALSE(parse_tenant("share=3", base, common)->own_arrivals);
}

TEST(Plan, ErrorsNameTenantAndKey) {
  const TenantSpec base;
  const ArrivalSpec common;
  for (const char* bad : {"deadline_ms=soon", "rate=-1", "unknown=1", "share=0", "name=a b", "x", "=1", "in_flight=1.5", "arrivals=often", "min_accuracy=high", "batch=0"})
    EXPECT_FALSE(parse_tenant(std::string("name=a,") + bad, base, common).ok()) << bad;
  EXPECT_NE(parse_tenant("name=a,unknown=1", base, common).status().message().find("min_accuracy"), std::string::npos);
}

TEST(Plan, AFileOfTenants) {
  const auto t = parse_plan_file("tenants:\n  - {name: a, rate: 5, deadline_ms: 20}\n  - name: b\n    share: 2\n", "plan.yaml", {}, {});
  ASSERT_TRUE(t.ok()) << t.status().message();
  ASSERT_EQ(t->size(), 2u);
  EXPECT_EQ((*t)[1].share, 2);
  EXPECT_NE(parse_plan_file("tenants:\n  - name: a\n    rate: x\n", "plan.yaml", {}, {}).status().message().find("plan.yaml:2"), std::string::npos);
  EXPECT_FALSE(parse_plan_file("tenants: 3\n", "plan.yaml", {}, {}).ok());
}

TEST(Plan, TheCommandLineSaysWhichLoopItIs) {
  LoadOptions o;
  o.model = "m";
  EXPECT_EQ(plan_of(o, 1)->arrivals.kind, ArrivalKind::kClosed);
  o.rate = 10;
  EXPECT_EQ(plan_of(o, 1)->arrivals.kind, ArrivalKind::kPoisson);
  o.in_flight = 3;
  EXPECT_FALSE(plan_of(o, 1).ok());
  o.in_flight = 0;
  o.tenants = {"share=1", "share=2"};
  const auto p = plan_of(o, 1);
  ASSERT_TRUE(p.ok());
  EXPECT_EQ(p->tenants[0].name, "tenant1");
  o.tenants = {"name=a", "name=a"};
  EXPECT_FALSE(plan_of(o, 1).ok());
  o.tenants.clear();
  o.trace = "/nowhere.csv";
  EXPECT_FALSE(plan_of(o, 1).ok());
}

}  // namespace
}  // namespace verge::bench
