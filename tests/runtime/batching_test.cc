// The policies behind a lane's queue, as pure functions; then the queue at work.
#include <algorithm>
#include <thread>

#include "policy/batching.h"
#include "policy/fair_order.h"
#include "support.h"

namespace verge::runtime {
namespace {

using policy::BatchCurve;
using policy::FairOrder;

BatchCurve curve_of(std::initializer_list<uint64_t> us) {
  BatchCurve c;
  int64_t rows = 1;
  for (const uint64_t t : us) {
    for (int i = 0; i < 8; ++i) c.learn(rows, t * 1000);
    rows *= 2;
  }
  return c;
}

TEST(BatchCurve, StartsFromTheProfileLearnsAndBoundsOutliers) {
  BatchCurve c;
  EXPECT_EQ(c.predict(1), 0u);
  c.seed(1, 100'000);
  c.seed(4, 200'000);
  EXPECT_EQ(c.predict(1), 100'000u);
  EXPECT_EQ(c.predict(2), 133'333u);  // linear between
  EXPECT_EQ(c.predict(8), 400'000u);  // in proportion beyond
  c.learn(8, 10'000'000);             // an engine prepares for a new shape
  c.learn(8, 300'000);
  EXPECT_EQ(c.predict(8), 300'000u);
  for (int i = 0; i < 4; ++i) c.learn(8, 300'000);
  c.learn(8, 50'000'000);
  EXPECT_LE(c.predict(8), 420'000u);
}

TEST(BatchCurve, KnowsTheLeastTimeOfASample) {
  EXPECT_EQ(BatchCurve().least_per_row(64), 0u);
  const BatchCurve bent = curve_of({100, 120, 180, 400, 3000});
  EXPECT_EQ(bent.least_per_row(64), 45'000u);
  EXPECT_EQ(bent.least_per_row(2), 60'000u);
  EXPECT_EQ(bent.least_per_row(1), 100'000u);
}

TEST(Demand, IsTheShareOfTimeThatArrivalsNeedAndForgets) {
  policy::Demand d;
  for (uint64_t t = 1'000'000; t < 500'000'000; t += 1'000'000) d.add(t, 700'000);
  EXPECT_NEAR(d.share(), 0.7, 0.05);
  d.add(1'000'000'000, 0);
  EXPECT_EQ(d.share(), 0);
  for (int i = 0; i < 1000; ++i) d.add(1'000'000'000, 1'000'000'000);
  EXPECT_EQ(d.share(), 10);
}

// Below its capacity a lane answers those who wait as soon as it can.
TEST(ChooseRows, WhileTheLaneKeepsUpOnlyRunsThatShortenTheWaitAreShared) {
  const BatchCurve flat = curve_of({100, 101, 102, 103, 104, 105, 106}), quarter_off = curve_of({100, 180, 300, 600, 1200, 2400, 4800});
  EXPECT_EQ(policy::choose_rows(flat, 64, 64, 0.5, 1), 64);
  EXPECT_EQ(policy::choose_rows(quarter_off, 4, 64, 0.2, 1), 1);  // the first would wait for the last
  EXPECT_EQ(policy::choose_rows(quarter_off, 4, 64, 0.6, 1), 4);  // so many come meanwhile that the time saved is worth more
  EXPECT_EQ(policy::choose_rows(quarter_off, 4, 64, 1.1, 1), 4);
}

TEST(ChooseRows, ARunDoesNotTakeTooLong) {
  BatchCurve steep;
  for (const auto& [rows, us] : {std::pair{1, 1000}, {2, 1600}, {4, 2800}, {8, 5000}, {16, 9000}, {32, 16000}, {64, 30000}}) {
    for (int i = 0; i < 8; ++i) steep.learn(rows, static_cast<uint64_t>(us) * 1000);
  }
  EXPECT_EQ(policy::choose_rows(steep, 64, 64, 2, 1), 8);
}

TEST(ChooseRows, TakesTheSizeWithTheLeastTimeASample) {
  const BatchCurve flat = curve_of({100, 101, 102, 103, 104, 105, 106}), linear = curve_of({100, 200, 400, 800, 1600, 3200, 6400}),
                   bent = curve_of({100, 120, 180, 400, 900, 2000, 4500});
  EXPECT_EQ(policy::choose_rows(flat, 64, 64, 1.0, 1), 64);
  EXPECT_EQ(policy::choose_rows(flat, 5, 64, 1.0, 1), 4);   // what waits goes, in sizes that engines have seen
  EXPECT_EQ(policy::choose_rows(flat, 64, 8, 1.0, 1), 8);   // the artifact's limit
  EXPECT_EQ(policy::choose_rows(linear, 64, 64, 1.0, 1), 1);  // nothing to gain: nobody waits for others
  EXPECT_EQ(policy::choose_rows(bent, 64, 64, 1.0, 1), 4);
  EXPECT_EQ(policy::choose_rows(flat, 1, 64, 1.0, 1), 1);
  EXPECT_EQ(policy::choose_rows(BatchCurve(), 64, 64, 1.0, 1), 1);  // nothing is known of a run yet
  BatchCurve young;
  young.seed(1, 100'000);
  EXPECT_EQ(policy::choose_rows(young, 64, 64, 1.0, 1), 2);  // sizes are tried one step at a time
}

// Two samples that go through a file for one after the other save nothing: they are no batch.
TEST(ChooseRows, OfFilesWithFixedSizesOnlyWhatOneRunTakes) {
  const std::vector<int64_t> fixed = {1, 8};
  const auto curve = [](uint64_t one_us, uint64_t eight_us) {
    BatchCurve c;
    for (int i = 0; i < 8; ++i) c.learn(1, one_us * 1000), c.learn(8, eight_us * 1000);
    return c;
  };
  // That busy moments made 2 and 4 look cheap does not matter.
  BatchCurve linear = curve(100, 800);
  for (int i = 0; i < 8; ++i) linear.learn(2, 150'000), linear.learn(4, 280'000);
  EXPECT_EQ(policy::choose_rows(linear, 4, 8, 1.0, 1), 4);
  EXPECT_EQ(policy::choose_rows(linear, 4, 8, 1.0, 1, fixed), 1);
  EXPECT_EQ(policy::choose_rows(linear, 64, 8, 1.0, 1, fixed), 1);
  EXPECT_EQ(policy::choose_rows(linear, 64, 8, 1.0, 512, fixed), 1);   // one step down from one
  EXPECT_EQ(policy::choose_rows(linear, 64, 8, 1.0, 1024, fixed), 8);  // looked at again: the next size up is 8
  EXPECT_EQ(policy::choose_rows(linear, 7, 8, 1.0, 1024, fixed), 1);
  EXPECT_EQ(policy::choose_rows(curve(100, 500), 64, 8, 1.0, 1, fixed), 8);
  EXPECT_EQ(policy::choose_rows(curve(100, 500), 64, 8, 1.0, 512, fixed), 1);
  EXPECT_EQ(policy::choose_rows(curve(100, 500), 7, 8, 1.0, 1, fixed), 1);  // 4 are cut: four runs of one take less than a padded one of 8
  EXPECT_EQ(policy::choose_rows(curve(100, 250), 7, 8, 1.0, 1, fixed), 4);  // a padded one takes less; tried, as it was never seen
  BatchCurve young;
  young.seed(1, 100'000);
  EXPECT_EQ(policy::choose_rows(young, 64, 8, 1.0, 1, fixed), 8);  // the smallest that there is
}

TEST(Hold, WaitingIsBoughtOnlyWhereItPaysAndDeadlinesAllow) {
  const BatchCurve flat = curve_of({1000, 1010, 1020, 1030, 1040, 1050, 1060}), linear = curve_of({1000, 2000, 4000});
  EXPECT_GT(policy::hold_ns(flat, 1, 64, 10'000, UINT64_MAX), 0u);
  EXPECT_LE(policy::hold_ns(flat, 1, 64, 10'000, UINT64_MAX), 500'000u);
  EXPECT_EQ(policy::hold_ns(linear, 1, 64, 10'000, UINT64_MAX), 0u);    // saves nothing
  EXPECT_EQ(policy::hold_ns(flat, 1, 64, 2'000'000, UINT64_MAX), 0u);   // the lane keeps up alone
  EXPECT_EQ(policy::hold_ns(flat, 1, 64, 10'000, 5'000), 0u);           // a deadline
  EXPECT_EQ(policy::hold_ns(flat, 64, 64, 10'000, UINT64_MAX), 0u);     // full
  EXPECT_EQ(policy::hold_ns(flat, 60, 64, 10'000, UINT64_MAX), 0u);     // too many would wait for one
  EXPECT_EQ(policy::hold_ns(BatchCurve(), 1, 64, 10'000, UINT64_MAX), 0u);
  BatchCurve eight;  // a line from one to eight, on which no other size runs
  eight.seed(1, 1'000'000);
  eight.seed(8, 5'000'000);
  EXPECT_GT(policy::hold_ns(eight, 1, 8, 10'000, UINT64_MAX), 0u);
  EXPECT_EQ(policy::hold_ns(eight, 1, 8, 10'000, UINT64_MAX, std::vector<int64_t>{1, 8}), 0u);
  EXPECT_GT(policy::hold_ns(eight, 7, 8, 10'000, UINT64_MAX, std::vector<int64_t>{1, 8}), 0u);
}

// Serves the least place until `turns` are over; says what each tenant got.
std::vector<int> served(FairOrder& order, const std::vector<std::pair<uint32_t, uint32_t>>& backlogged, int turns, size_t tenants) {
  std::vector<uint64_t> place;
  for (const auto& [tenant, connection] : backlogged) place.push_back(order.enter(4, tenant, connection, 1000));
  std::vector<int> got(tenants, 0);
  for (int i = 0; i < turns; ++i) {
    const size_t first = static_cast<size_t>(std::min_element(place.begin(), place.end()) - place.begin());
    const auto [tenant, connection] = backlogged[first];
    order.leave(place[first], tenant, connection);
    ++got[tenant];
    place[first] = order.enter(4, tenant, connection, 1000);
  }
  return got;
}

TEST(FairOrder, TenantsShareByWeightHoweverManyConnectionsTheyOpen) {
  FairOrder equal({1, 1});
  std::vector<std::pair<uint32_t, uint32_t>> load = {{0, 0}};
  for (uint32_t c = 1; c <= 20; ++c) load.push_back({1, c});
  const auto even = served(equal, load, 2000, 2);
  EXPECT_NEAR(even[0], 1000, 60);
  FairOrder weighted({3, 1});
  const auto three = served(weighted, {{0, 0}, {1, 1}}, 2000, 2);
  EXPECT_NEAR(three[0], 1500, 20);
}

TEST(FairOrder, AConnectionThatFloodsDoesNotDelayAnother) {
  FairOrder order({1});
  std::vector<uint64_t> flood;
  for (int i = 0; i < 1000; ++i) flood.push_back(order.enter(4, 0, 1, 1000));
  order.leave(flood[0], 0, 1);
  EXPECT_LT(order.enter(4, 0, 2, 1000), flood[2]);
}

TEST(FairOrder, APriorityGoesBeforeAllBelowIt) {
  FairOrder order({1, 100});
  const uint64_t low = order.enter(5, 1, 1, 1), high = order.enter(1, 0, 1, 1'000'000'000), second = order.enter(1, 0, 1, 1);
  EXPECT_LT(high, low);
  EXPECT_LT(second, low);
  EXPECT_LT(high, second);
}

TEST(FairOrder, LookingCostsNothing) {
  FairOrder order({1});
  order.enter(4, 0, 1, 1000);
  const uint64_t seen = order.look(4, 0, 1);
  EXPECT_EQ(order.look(4, 0, 1), seen);
  EXPECT_EQ(order.enter(4, 0, 1, 1000), seen);
  EXPECT_LT(order.look(4, 0, 2), seen);
  EXPECT_LT(order.look(1, 0, 1), order.look(4, 0, 2));
}

// --- the queue at work ---

// One lane (or the front itself) that is busy with a slow run, so that what follows waits.
class Queue : public testing::TestWithParam<size_t> {
 protected:
  Queue() : server({.lanes = GetParam()}), front(*server.runtime) { serve("m"); }
  void serve(const std::string& name) {
    auto source = server.source(name, {Server::vector_spec("x", 4)});
    source->manifest.network.inputs[0].shape = source->manifest.inputs[0].spec.shape = Shape{-1, -1};
    source->manifest.network.outputs[0].shape = source->manifest.outputs[0].spec.shape = Shape{-1, -1};
    source->prepare = [prepare = source->prepare, dir = server.dir()](const VariantSpec& v) -> Result<engine::LoadSpec> {
      auto spec = prepare(v);
      const std::string path = os::join(dir, "free.json");
      if (Status s = os::write_file_atomic(path, R"({"tensors":[{"name":"x","dtype":"FP32","shape":[-1,-1],"batch_axis":0}]})"); !s.ok()) return s;
      spec->files = {{path, 0}};
      return spec;
    };
    source->resident = {"slow"};
    server.serve(source);
    front.front().drain();
  }
  std::unique_ptr<Call> call(float value, int64_t rows = 1, int64_t width = 4, std::string_view model = "m") {
    auto c = std::make_unique<Call>();
    c->to(model).input("x", {rows, width}, std::vector<float>(static_cast<size_t>(rows * width), value));
    c->request.bounds.variant = "slow";  // 20 ms a run
    return c;
  }
  void send(Call& c) { server.runtime->infer(front.front(), c.request); }
  template <typename Calls>
  bool finish(const Calls& calls) {
    return front.run_until([&] { return std::all_of(calls.begin(), calls.end(), [](const auto& c) { return c->done; }); });
  }
  // The lane, where it is a thread of its own, has taken what it was given.
  void wait_until_begun() {
    while (GetParam() == 1 && metric("verge_lane_waiting{lane=\"0\"}") != "0") std::this_thread::yield();
  }
  std::string metric(const std::string& name) {
    const std::string text = server.runtime->metrics_text();
    const size_t at = text.find("\n" + name + " ");
    return at == std::string::npos ? "" : text.substr(at + name.size() + 2, text.find('\n', at + 1) - at - name.size() - 2);
  }
  Server server;
  TestFront front;
};
INSTANTIATE_TEST_SUITE_P(Placement, Queue, testing::Values(0, 1, 2));

TEST_P(Queue, WhatWaitsSharesRunsAndEachGetsItsOwnAnswer) {
  // Each try with a model of its own: where a run was held up, a size looks dear that is not.
  EXPECT_EQ(in_some_try([&](int attempt) -> std::string {
    const std::string name = "m" + std::to_string(attempt);
    serve(name);
    std::vector<std::unique_ptr<Call>> calls;
    for (int i = 0; i < 40; ++i) calls.push_back(call(static_cast<float>(i), i % 5 == 0 ? 2 : 1, i % 7 == 0 ? 3 : 4, name));
    for (auto& c : calls) send(*c);
    EXPECT_TRUE(finish(calls));
    uint32_t largest = 0;
    for (size_t i = 0; i < calls.size(); ++i) {
      const Request& r = calls[i]->request;
      EXPECT_TRUE(r.status.ok()) << r.status.to_string();
      if (!r.status.ok()) continue;
      EXPECT_EQ(calls[i]->floats(), calls[i]->data) << i;
      EXPECT_EQ(r.outputs[0].shape, calls[i]->request.inputs[0].shape);
      largest = std::max(largest, r.batch);
    }
    const std::string labels = "{model=\"" + name + "\",version=\"1\",variant=\"slow\"}", runs = metric("verge_runs_total" + labels);
    EXPECT_EQ(metric("verge_requests_total" + labels), "40");
    EXPECT_EQ(metric("verge_samples_total" + labels), "48");
    const auto statistics = server.runtime->statistics(front.front(), name, 0);
    EXPECT_TRUE(statistics.ok());
    if (statistics.ok()) {
      EXPECT_EQ(statistics->at(0).inference_count, 48u);
      EXPECT_EQ(std::to_string(statistics->at(0).execution_count), runs);
      EXPECT_EQ(statistics->at(0).success.count, 40u);
    }
    return largest >= 4 && std::stoi(runs) < 30 ? "" : runs + " runs, the largest of " + std::to_string(largest);
  }), "");
}

TEST_P(Queue, CancellingFreesThePlaceBeforeItReturns) {
  if (GetParam() == 2) return;  // two lanes leave nothing waiting
  const std::string runs = "verge_runs_total{model=\"m\",version=\"1\",variant=\"slow\"}";
  // The run that they wait for takes 20 ms, in which all of this has to happen.
  EXPECT_EQ(in_some_try([&](int) -> std::string {
    const std::string before = metric(runs);
    auto busy = call(1);
    send(*busy);
    wait_until_begun();
    std::vector<std::unique_ptr<Call>> waiting;
    for (int i = 0; i < 8; ++i) {
      waiting.push_back(call(2));
      send(*waiting.back());
    }
    size_t freed = 0;
    for (auto& c : waiting) {
      server.runtime->cancel(front.front(), c->request);
      freed += c->done && c->request.status.code() == Code::kCancelled;
      server.runtime->cancel(front.front(), c->request);  // once more harms nobody
    }
    const std::string left = GetParam() == 1 ? metric("verge_lane_waiting{lane=\"0\"}") : "0";
    waiting.push_back(std::move(busy));
    EXPECT_TRUE(finish(waiting));
    for (auto& c : waiting) EXPECT_EQ(c->times, 1);
    if (freed != 8) return std::to_string(freed) + " of 8 were freed";
    if (std::stoi(left) > 1) return left + " still wait";
    const int more = std::stoi(metric(runs)) - (before.empty() ? 0 : std::stoi(before));
    return more == 1 ? "" : std::to_string(more) + " runs";
  }), "");
}

TEST_P(Queue, ADeadlineEndsWaitingOnTimeThoughTheLaneIsBusy) {
  if (GetParam() != 1) return;  // a front that is its own lane runs them together
  server.slow_us(20'000);
  auto busy = call(1), second = call(1), expiring = call(2);
  expiring->request.bounds.deadline_ns = after_ms(30);  // the other two take 40
  send(*busy);
  wait_until_begun();
  send(*second);
  send(*expiring);
  ASSERT_TRUE(front.run_until([&] { return expiring->done; }));
  EXPECT_EQ(expiring->request.status.code(), Code::kDeadlineExceeded);
  ASSERT_TRUE(finish(std::vector<Call*>{busy.get(), second.get()}));
}

TEST_P(Queue, WhatCannotBeDoneInTimeIsRefusedBeforeAnyWork) {
  EXPECT_EQ(in_some_try([&](int) -> std::string {
    auto c = call(1);
    c->request.bounds.deadline_ns = after_ms(10);
    send(*c);
    EXPECT_TRUE(c->done);
    EXPECT_EQ(c->request.status.code(), Code::kDeadlineExceeded);
    // What was kept from running for so long is over before it is looked at.
    return c->request.status.message().find("us are left") != std::string::npos ? "" : c->request.status.message();
  }), "");
  EXPECT_EQ(metric("verge_failures_total{model=\"m\",code=\"DEADLINE_EXCEEDED\",reason=\"hopeless\"}"), "1");
}

// Work that waits counts by its place: what goes before it does, what comes after it does not.
TEST_P(Queue, WhatOthersMakeTooLateIsRefusedOnArrival) {
  if (GetParam() == 2) return;
  EXPECT_EQ(in_some_try([&](int) -> std::string {
    auto busy = call(0);
    send(*busy);
    wait_until_begun();
    std::vector<std::unique_ptr<Call>> waiting;
    for (int i = 0; i < 60; ++i) {  // 1.2 s of work
      waiting.push_back(call(static_cast<float>(i), 1, 4 + i));  // of different shapes: no two share a run
      waiting.back()->request.flow = 1;
      send(*waiting.back());
    }
    auto late = call(1), urgent = call(2), other = call(3);
    for (Call* c : {late.get(), urgent.get(), other.get()}) {
      c->request.flow = 1;
      c->request.bounds.deadline_ns = after_ms(1000);
    }
    urgent->request.bounds.priority = 1;
    other->request.flow = 2;  // a connection that has nothing waiting is owed a turn
    send(*late);
    send(*urgent);
    send(*other);
    const std::vector<Call*> in_time = {busy.get(), urgent.get(), other.get()};
    EXPECT_TRUE(front.run_until([&] { return late->done; }));
    EXPECT_TRUE(finish(in_time));
    for (const auto& c : waiting) server.runtime->cancel(front.front(), c->request);
    EXPECT_TRUE(finish(waiting));
    // A machine that stands still has done much of the work before the last ones come, or does not come to them in a second.
    if (late->request.status.message().find("what is before it") == std::string::npos) return "late: " + late->request.status.to_string();
    EXPECT_EQ(late->request.status.code(), Code::kDeadlineExceeded);
    for (const Call* c : in_time) {
      if (!c->request.status.ok()) return c->request.status.to_string();
    }
    return "";
  }), "");
  EXPECT_NE(metric("verge_failures_total{model=\"m\",code=\"DEADLINE_EXCEEDED\",reason=\"hopeless\"}"), "");
}

// By its head alone, before there are tensors to look at.
TEST_P(Queue, AHeadIsEnoughToTurnARequestAway) {
  Request head;
  head.model = "m";
  head.bounds.variant = "slow";
  head.flow = 1;
  const auto refuse = [&] {
    head.bounds.deadline_ns = after_ms(130);  // from now, however long it took to get here
    return server.runtime->refuse(front.front(), head);
  };
  EXPECT_FALSE(front.front().crowded());
  EXPECT_TRUE(refuse().ok());
  std::vector<std::unique_ptr<Call>> waiting;
  for (int i = 0; i < 10; ++i) {
    waiting.push_back(call(static_cast<float>(i), 1, 4 + i));
    waiting.back()->request.flow = 1;
    send(*waiting.back());
  }
  const Status refused = refuse();
  if (GetParam() != 0) {
    EXPECT_TRUE(refused.ok());  // a lane of its own decides by itself
    ASSERT_TRUE(finish(waiting));
    return;
  }
  EXPECT_EQ(refused.code(), Code::kDeadlineExceeded);
  EXPECT_NE(refused.message().find("what is before it takes about"), std::string::npos) << refused.message();
  EXPECT_EQ(metric("verge_failures_total{model=\"m\",code=\"DEADLINE_EXCEEDED\",reason=\"hopeless\"}"), "1");
  EXPECT_EQ(refuse().message(), refused.message());
  auto late = call(1);
  late->request.flow = 1;
  late->request.bounds.deadline_ns = after_ms(130);
  send(*late);
  EXPECT_TRUE(late->done);
  EXPECT_EQ(late->request.status.code(), Code::kDeadlineExceeded);
  EXPECT_TRUE(front.front().crowded());
  // Who has time, a better place, or nothing that is known of it is left to infer().
  Request other = head;
  other.bounds.priority = 1;
  EXPECT_TRUE(server.runtime->refuse(front.front(), other).ok());
  other = head;
  other.bounds.deadline_ns = after_ms(60'000);
  EXPECT_TRUE(server.runtime->refuse(front.front(), other).ok());
  for (const char* name : {"nothing", ""}) {
    other = head;
    other.model = name;
    EXPECT_TRUE(server.runtime->refuse(front.front(), other).ok());
  }
  other = head;
  other.bounds.variant = "nothing";
  EXPECT_TRUE(server.runtime->refuse(front.front(), other).ok());
  other = head;
  other.version = 7;
  EXPECT_TRUE(server.runtime->refuse(front.front(), other).ok());
  ASSERT_TRUE(finish(waiting));
}

// What runs cannot be stopped, but nobody waits for it.
TEST_P(Queue, ADeadlineThatPassesWhileItRunsIsToldThen) {
  if (GetParam() == 2) return;  // a front that has taken the lane is busy itself
  server.slow_us(200'000);
  auto source = server.source("n", {Server::vector_spec("x", 4)});
  source->resident = {"slow"};
  server.serve(source);
  front.front().drain();
  struct Told {
    int times = 0;
    bool before_done = false;
    Code code = Code::kOk;
  } told;
  // Too short for the run: now and then one is run all the same.
  const auto short_of_time = [](Call& c) {
    c.to("n").input("x", {1, 4}, {1, 2, 3, 4});
    c.request.bounds.variant = "slow";
    c.request.bounds.deadline_ns = after_ms(100);
  };
  for (int i = 0; i < 63; ++i) {
    Call refused;
    short_of_time(refused);
    send(refused);
    ASSERT_TRUE(refused.done);
    ASSERT_EQ(refused.request.status.code(), Code::kDeadlineExceeded);
  }
  Call c;
  short_of_time(c);
  static Told* telling;
  telling = &told;
  c.request.late = [](Request* r) {
    ++telling->times;
    telling->before_done = !static_cast<Call*>(r->owner)->done;
    telling->code = r->status.code();
  };
  send(c);
  ASSERT_TRUE(front.run_until([&] { return told.times != 0 || c.done; }));
  // On a machine that was too busy to begin it in time it never ran.
  if (told.times != 0) {
    EXPECT_TRUE(told.before_done);
    EXPECT_EQ(told.code, Code::kDeadlineExceeded);
    EXPECT_EQ(metric("verge_failures_total{model=\"n\",code=\"DEADLINE_EXCEEDED\",reason=\"overrun\"}"), "1");
  }
  ASSERT_TRUE(front.run_until([&] { return c.done; }));
  EXPECT_EQ(c.times, 1);
  EXPECT_LE(told.times, 1);
  if (told.times != 0) {
    EXPECT_NE(metric("verge_requests_total{model=\"n\",version=\"1\",variant=\"slow\"}"), "1");
  }
}

// A prediction that is too long must not refuse for ever what could be done.
TEST_P(Queue, APredictionThatIsTooLongIsPutRight) {
  auto source = server.source("n", {Server::vector_spec("x", 4)});
  VariantProfile& fast = source->profile.variants[0];
  fast.latency.push_back({});
  fast.latency.back().p50_us = 30'000'000;  // as if it had been measured on another machine
  server.serve(source);
  front.front().drain();
  int answered = 0;
  for (int i = 0; i < 2000 && answered < 20; ++i) {
    Call c;
    c.to("n").input("x", {1, 4}, {1, 2, 3, 4});
    c.request.bounds.deadline_ns = after_ms(1000);
    send(c);
    ASSERT_TRUE(front.run_until([&] { return c.done; }));
    answered += c.request.status.ok() ? 1 : 0;
  }
  EXPECT_EQ(answered, 20);
}

TEST_P(Queue, PrioritiesGoFirst) {
  if (GetParam() == 2) return;
  static std::vector<float> order;
  // All four have to be there before the run that they wait for is over.
  EXPECT_EQ(in_some_try([&](int) -> std::string {
    auto busy = call(0);
    send(*busy);
    wait_until_begun();
    order.clear();
    std::vector<std::unique_ptr<Call>> calls;
    for (const auto& [value, priority] : {std::pair{1, 7}, {2, 0}, {3, 1}, {4, 2}}) {
      calls.push_back(call(static_cast<float>(value), 1, 4 + value));  // of different shapes: no two share a run
      calls.back()->request.bounds.priority = static_cast<uint64_t>(priority);
      calls.back()->request.done = [](Request* r) {
        Call* c = static_cast<Call*>(r->owner);
        c->done = true;
        order.push_back(c->data[0]);
      };
      send(*calls.back());
    }
    calls.push_back(std::move(busy));
    EXPECT_TRUE(finish(calls));
    return order == std::vector<float>{3, 4, 2, 1} ? "" : testing::PrintToString(order);
  }), "");
}

}  // namespace
}  // namespace verge::runtime
