// Multi-exit models on a lane: features in place, exit rules, bounds at admission and at the lane.
#include <cmath>

#include "chain_support.h"

namespace verge::runtime {
namespace {

class Chain : public testing::Test {
 protected:
  ChainServer server;
  TestFront front{*server.runtime};

  void serve(package::ChainOptions o = {}) { server.serve(server.chain(o)); }
  void run(ChainCall& c) {
    front.infer(c.request);
    ASSERT_TRUE(front.run_until([&] { return c.done; }));
  }
  std::string metrics() { return server.runtime->metrics_text(); }
};

TEST_F(Chain, WithoutBoundsTheLastExitAnswers) {
  serve();
  ChainCall c("chain", four_exits());
  run(c);
  ASSERT_TRUE(c.request.status.ok()) << c.request.status.to_string();
  EXPECT_FLOAT_EQ(c.answer(), 0.9f);
  EXPECT_EQ(c.request.outputs.at(0).name, "scores");
  const Chosen& chosen = c.request.chosen;
  EXPECT_TRUE(chosen.said);
  EXPECT_EQ(chosen.exit, "exit4");
  EXPECT_EQ(chosen.rule, "predictive");
  EXPECT_EQ(chosen.reason, "the last exit");
  EXPECT_NEAR(chosen.accuracy, 0.91, 1e-9);
  EXPECT_NEAR(chosen.confidence, 0.9, 1e-6);
  EXPECT_GT(chosen.measured_ms, 4);
  EXPECT_GT(chosen.predicted_ms, 4);
  EXPECT_TRUE(chosen.trace.empty());
}

TEST_F(Chain, FeaturesStayWhereTheyAre) {
  serve({.features = 1000});
  for (int i = 0; i < 3; ++i) {
    ChainCall c("chain", four_exits(), 1000);
    run(c);
    ASSERT_TRUE(c.request.status.ok()) << c.request.status.to_string();
  }
  // Three hand-overs of 1000 floats in each of three requests.
  EXPECT_NE(metrics().find("verge_chain_bytes_shared_total{model=\"chain\",version=\"1\",variant=\"identity-f32\"} 36000\n"), std::string::npos) << metrics();
  EXPECT_NE(metrics().find("verge_chain_bytes_copied_total{model=\"chain\",version=\"1\",variant=\"identity-f32\"} 0\n"), std::string::npos);
  EXPECT_NE(metrics().find("verge_exits_total{model=\"chain\",version=\"1\",variant=\"identity-f32\",exit=\"exit4\"} 3\n"), std::string::npos);
}

TEST_F(Chain, SeveralSamplesLeaveTogetherByTheLeastSure) {
  serve();
  ChainCall c("chain", {{0.95f, 0.03f, 0.02f, 0.5f, 0.3f, 0.2f}, {0.9f, 0.05f, 0.05f, 0.8f, 0.1f, 0.1f}, {1, 0, 0, 1, 0, 0}, {1, 0, 0, 1, 0, 0}}, 4, 2);
  c.request.bounds.confidence = 0.75;
  run(c);
  ASSERT_TRUE(c.request.status.ok()) << c.request.status.to_string();
  EXPECT_EQ(c.request.chosen.exit, "exit2");
  EXPECT_NEAR(c.request.chosen.confidence, 0.8, 1e-6);
  EXPECT_FLOAT_EQ(c.answer(3), 0.8f);
}

TEST_F(Chain, EachRuleLeavesWhereItSays) {
  serve();
  const auto exit_of = [&](auto set) {
    ChainCall c("chain", four_exits());
    set(c.request.bounds);
    run(c);
    EXPECT_TRUE(c.request.status.ok()) << c.request.status.to_string();
    return std::string(c.request.chosen.exit) + " by " + std::string(c.request.chosen.rule);
  };
  EXPECT_EQ(exit_of([](Bounds& b) { b.exit = "exit2"; }), "exit2 by fixed");
  EXPECT_EQ(exit_of([](Bounds& b) { b.confidence = 0.55; }), "exit2 by predictive");
  EXPECT_EQ(exit_of([](Bounds& b) { b.confidence = 0.75, b.rule = "confidence"; }), "exit3 by confidence");
  // Of the calibrated curve: the thresholds 0.8 lose 0.006 on the calibration samples, those of 0.95 less.
  EXPECT_EQ(exit_of([](Bounds& b) { b.rule = "confidence", b.max_accuracy_loss = 0.05; }), "exit3 by confidence");
  EXPECT_EQ(exit_of([](Bounds& b) { b.rule = "entropy", b.max_accuracy_loss = 1; }), "exit2 by entropy");
  EXPECT_EQ(exit_of([](Bounds& b) { b.conditions = "exit1: elapsed > 10000; exit2: confidence >= 0.9; exit3: confidence >= 0.7 and accuracy > 0.8"; }), "exit3 by conditions");
  EXPECT_EQ(exit_of([](Bounds& b) { b.min_accuracy = 0.8; }), "exit2 by predictive");
  EXPECT_EQ(exit_of([](Bounds& b) { b.objective = Objective::kLatency; }), "exit1 by predictive");
  EXPECT_EQ(exit_of([](Bounds& b) { b.min_accuracy = 0.8, b.objective = Objective::kAccuracy; }), "exit4 by predictive");
  EXPECT_EQ(exit_of([](Bounds& b) { b.min_accuracy = 0.85, b.confidence = 0.1; }), "exit3 by predictive");
}

TEST_F(Chain, NonsenseIsRefusedInPlainWords) {
  serve();
  auto source = server.source("plain", {Server::vector_spec("x", 4)});
  source->manifest.metric.kind = MetricKind::kMae;
  server.serve(source);
  const auto refused = [&](auto set, Code code, const std::string& part) {
    ChainCall c("chain", four_exits());
    set(c.request.bounds);
    run(c);
    EXPECT_EQ(c.request.status.code(), code) << c.request.status.to_string();
    EXPECT_NE(c.request.status.message().find(part), std::string::npos) << c.request.status.to_string();
  };
  refused([](Bounds& b) { b.rule = "magic"; }, Code::kInvalidArgument, "'magic' is none; there are predictive, reactive");
  refused([](Bounds& b) { b.exit = "exit9"; }, Code::kInvalidArgument, "no exit 'exit9'; it has 'exit1', 'exit2'");
  refused([](Bounds& b) { b.rule = "fixed"; }, Code::kInvalidArgument, "needs one");
  refused([](Bounds& b) { b.rule = "entropy", b.exit = "exit1"; }, Code::kInvalidArgument, "only rule 'fixed'");
  refused([](Bounds& b) { b.conditions = "exit1: speed > 1"; }, Code::kInvalidArgument, "elapsed, confidence");
  refused([](Bounds& b) { b.confidence = 1.5; }, Code::kInvalidArgument, "confidence");
  refused([](Bounds& b) { b.min_accuracy = 0.95; }, Code::kFailedPrecondition, "the nearest that could be met is 0.91");
  refused([](Bounds& b) { b.max_energy_mj = 1; }, Code::kFailedPrecondition, "the energy of no variant is known");
  EXPECT_NE(metrics().find("reason=\"accuracy\"} 1\n"), std::string::npos) << metrics();
  EXPECT_NE(metrics().find("reason=\"energy\"} 1\n"), std::string::npos);

  Call plain;
  plain.to("plain").input("x", Shape{1, 4}, {1, 2, 3, 4});
  plain.request.bounds.exit = "exit1";
  front.infer(plain.request);
  ASSERT_TRUE(front.run_until([&] { return plain.done; }));
  EXPECT_NE(plain.request.status.message().find("has no exits"), std::string::npos) << plain.request.status.to_string();
  Call unmeasured;
  unmeasured.to("plain").input("x", Shape{1, 4}, {1, 2, 3, 4});
  unmeasured.request.bounds.min_accuracy = 0.5;
  front.infer(unmeasured.request);
  ASSERT_TRUE(front.run_until([&] { return unmeasured.done; }));
  EXPECT_NE(unmeasured.request.status.message().find("larger is better"), std::string::npos) << unmeasured.request.status.to_string();
}

TEST_F(Chain, ADeadlineTakesTheBestExitInTime) {
  EXPECT_EQ(in_some_try([&](int i) -> std::string {
    const std::string name = "chain" + std::to_string(i);
    serve({.name = name, .delay_us = {4000, 20'000, 20'000, 1'000'000}});
    ChainCall c(name, four_exits());
    c.request.arrival_ns = os::monotonic_ns();
    c.request.bounds.deadline_ns = c.request.arrival_ns + 400'000'000;
    run(c);
    if (!c.request.status.ok()) return c.request.status.to_string();
    if (c.request.chosen.exit != "exit2" && c.request.chosen.exit != "exit3") return std::string(c.request.chosen.exit);
    if (c.request.chosen.measured_ms >= 400) return "late";

    ChainCall hopeless(name, four_exits());
    hopeless.request.arrival_ns = os::monotonic_ns();
    hopeless.request.bounds.deadline_ns = hopeless.request.arrival_ns + 3'000'000;
    run(hopeless);
    EXPECT_EQ(hopeless.request.status.code(), Code::kDeadlineExceeded);
    if (hopeless.request.status.message().find("the nearest deadline that could be met is") == std::string::npos) return hopeless.request.status.to_string();
    const std::string counted = "verge_failures_total{model=\"" + name + "\",code=\"DEADLINE_EXCEEDED\",reason=\"deadline\"} 1\n";
    return metrics().find(counted) != std::string::npos ? "" : metrics();
  }), "");
}

// What comes before `done`.
struct Early {
  std::string model = "chain";
  std::vector<std::string> exits;
  std::vector<float> answers;
  bool after_done = false;
  static void take(Request* r, const EarlyAnswer& a) {
    auto* call = static_cast<ChainCall*>(r->owner);
    Early& self = *static_cast<Early*>(call->early);
    self.after_done |= call->done;
    self.exits.emplace_back(a.chosen.exit);
    float v = -1;
    if (!a.outputs.empty()) std::memcpy(&v, a.outputs[0].data.data(), sizeof v);
    self.answers.push_back(v);
    EXPECT_TRUE(a.chosen.several);
    EXPECT_EQ(a.model, self.model);
    EXPECT_EQ(a.version, 1);
    EXPECT_EQ(a.variant, "identity-f32");
  }
};

TEST_F(Chain, EveryExitAnswersWhereThatIsAsked) {
  serve();
  for (int i = 0; i < 3; ++i) {
    Early early;
    ChainCall c("chain", four_exits());
    c.early = &early;
    c.request.early = &Early::take;
    c.request.bounds.every_exit = true;
    run(c);
    ASSERT_TRUE(c.request.status.ok()) << c.request.status.to_string();
    EXPECT_EQ(early.exits, (std::vector<std::string>{"exit1", "exit2", "exit3"}));
    EXPECT_EQ(early.answers, (std::vector<float>{0.5f, 0.6f, 0.8f}));
    EXPECT_FALSE(early.after_done);
    EXPECT_EQ(c.request.chosen.exit, "exit4");
    EXPECT_TRUE(c.request.chosen.several);
    EXPECT_FLOAT_EQ(c.answer(), 0.9f);
  }
  // A run that is used again for a request that asks for one answer sends no others.
  Early none;
  ChainCall plain("chain", four_exits());
  plain.early = &none;
  plain.request.early = &Early::take;
  run(plain);
  EXPECT_TRUE(none.exits.empty());
  EXPECT_FALSE(plain.request.chosen.several);
}

TEST_F(Chain, EveryExitEndsWhereTheBoundsSay) {
  EXPECT_EQ(in_some_try([&](int i) -> std::string {
    const std::string name = "chain" + std::to_string(i);
    serve({.name = name, .delay_us = {4000, 4000, 4000, 1'000'000}});
    Early early{.model = name};
    ChainCall c(name, four_exits());
    c.early = &early;
    c.request.early = &Early::take;
    c.request.bounds.every_exit = true;
    c.request.bounds.min_accuracy = 0.8;
    c.request.arrival_ns = os::monotonic_ns();
    c.request.bounds.deadline_ns = c.request.arrival_ns + 600'000'000;
    run(c);
    // A machine that stops for longer than the deadline may answer less.
    if (!c.request.status.ok()) return c.request.status.to_string();
    // The first is below the accuracy bound, the fourth cannot be reached.
    if (early.exits != std::vector<std::string>{"exit2"}) return testing::PrintToString(early.exits);
    return c.request.chosen.exit == "exit3" ? "" : "the last one is of " + std::string(c.request.chosen.exit);
  }), "");
}

// The second stage takes far longer than the profile says: when it ends, the deadline is over.
TEST_F(Chain, EveryExitEndsWithTheNextWhereTheDeadlinePassesBetweenTwo) {
  const auto attempt = [](size_t lanes) -> std::string {
    ChainServer slow({.lanes = lanes});
    TestFront its_front{*slow.runtime};
    package::ChainOptions o{.delay_us = {1000, 300'000, 1000, 1000}};
    auto source = slow.chain(o);
    o.delay_us[1] = 1000;
    source->profile = package::chain_profile(o, "");
    slow.serve(source);
    Early early;
    ChainCall c("chain", four_exits());
    c.early = &early;
    c.request.early = &Early::take;
    c.request.bounds.every_exit = true;
    c.request.arrival_ns = os::monotonic_ns();
    c.request.bounds.deadline_ns = c.request.arrival_ns + 200'000'000;
    its_front.infer(c.request);
    EXPECT_TRUE(its_front.run_until([&] { return c.done; }));
    its_front.front().drain();
    EXPECT_FALSE(early.after_done);
    // A machine that stops for longer than the deadline may answer less.
    if (!c.request.status.ok()) return c.request.status.to_string();
    if (early.exits != std::vector<std::string>{"exit1"}) return std::to_string(early.exits.size()) + " early answers";
    if (c.request.chosen.exit != "exit2") return "the last one is of " + std::string(c.request.chosen.exit);
    EXPECT_TRUE(c.request.chosen.several);
    EXPECT_FLOAT_EQ(c.answer(), 0.6f);
    EXPECT_GE(c.request.chosen.measured_ms, 200);
    return "";
  };
  EXPECT_EQ(in_some_try([&](int) { return attempt(1); }), "");
  EXPECT_EQ(in_some_try([&](int) { return attempt(0); }), "");
}

// What `late` brings.
struct Late {
  int times = 0;
  Code code = Code::kOk;
  std::string exit, message;
  float answer = -1;
  double measured_ms = 0, accuracy = 0, confidence = 0;
  bool after_done = false;
  static void take(Request* r) {
    auto* call = static_cast<ChainCall*>(r->owner);
    Late& self = *static_cast<Late*>(call->early);
    ++self.times;
    self.after_done |= call->done;
    self.code = r->status.code();
    self.message = r->status.message();
    self.exit = r->chosen.exit;
    self.measured_ms = r->chosen.measured_ms;
    self.accuracy = r->chosen.accuracy;
    self.confidence = r->chosen.confidence;
    if (r->status.ok()) self.answer = call->answer();  // else they are the lane's
  }
};

// The second stage takes far longer than the profile says: the first exit's answer goes out before the deadline, and the lane is free again at the stage's end. Where the front is the lane, the
// run is expected to be long enough for a thread of its own.
void reached_exit_answers(size_t lanes) {
  ChainServer server({.lanes = lanes});
  TestFront front(*server.runtime);
  const auto run = [&](ChainCall& c) {
    front.infer(c.request);
    EXPECT_TRUE(front.run_until([&] { return c.done; }));
  };
  const auto metrics = [&] { return server.runtime->metrics_text(); };
  package::ChainOptions o{.delay_us = {1000, 400'000, 1000, 1000}};
  const auto attempt = [&](int i, double min_accuracy, auto check) -> std::string {
    o.name = "kept" + std::to_string(i) + (min_accuracy < 0 ? "" : "b");
    o.delay_us[1] = 400'000;
    auto source = server.chain(o);
    o.delay_us[1] = 1000;
    source->profile = package::chain_profile(o, "");
    server.serve(source);
    Late late;
    ChainCall c(o.name, four_exits());
    c.early = &late;
    c.request.late = &Late::take;
    c.request.bounds.min_accuracy = min_accuracy;
    c.request.bounds.objective = Objective::kAccuracy;
    c.request.arrival_ns = os::monotonic_ns();
    c.request.bounds.deadline_ns = c.request.arrival_ns + 200'000'000;
    run(c);
    EXPECT_FALSE(late.after_done);
    EXPECT_LE(late.times, 1);
    // A machine that stops for as long as the deadline may come to something else.
    const std::string wrong = late.times == 0 ? "it was not late" : check(late, c);
    // The next one is served as ever.
    ChainCall next(o.name, four_exits());
    run(next);
    EXPECT_EQ(next.request.chosen.exit, "exit4");
    return wrong;
  };
  EXPECT_EQ(in_some_try([&](int i) {
    return attempt(i, -1, [&](const Late& late, const ChainCall& c) -> std::string {
      if (late.code != Code::kOk) return late.message;
      EXPECT_EQ(late.exit, "exit1");
      EXPECT_FLOAT_EQ(late.answer, 0.5f);
      EXPECT_NEAR(late.accuracy, 0.78, 1e-9);
      EXPECT_NEAR(late.confidence, 0.5, 1e-6);
      EXPECT_FLOAT_EQ(c.answer(), 0.5f);  // it stays until release()
      EXPECT_NE(metrics().find("verge_exits_total{model=\"" + o.name + "\",version=\"1\",variant=\"identity-f32\",exit=\"exit1\"} 1\n"), std::string::npos) << metrics();
      EXPECT_EQ(metrics().find("verge_failures_total{model=\"" + o.name), std::string::npos) << metrics();
      // What is kept for the way out is a fraction of a millisecond, more than that on a slow machine; the stage would take 400.
      return late.measured_ms < 300 ? "" : "after " + std::to_string(late.measured_ms) + " ms";
    });
  }), "");
  // The first exit is not accurate enough.
  EXPECT_EQ(in_some_try([&](int i) {
    return attempt(i, 0.8, [&](const Late& late, const ChainCall&) -> std::string {
      if (late.code != Code::kDeadlineExceeded) return "an answer of '" + late.exit + "'";
      return late.message.find("with 1 of 4 exits done") != std::string::npos ? "" : late.message;
    });
  }), "");
}

TEST(KeptAnswers, TheExitThatWasReachedAnswersAtTheDeadline) { reached_exit_answers(1); }
TEST(KeptAnswers, AlsoWhereTheFrontIsTheLane) { reached_exit_answers(0); }

TEST_F(Chain, EveryExitNeedsSomeoneWhoTakesSeveralAnswers) {
  serve();
  ChainCall c("chain", four_exits());
  c.request.bounds.every_exit = true;
  run(c);
  EXPECT_EQ(c.request.status.code(), Code::kUnimplemented);
  EXPECT_NE(c.request.status.message().find("ModelStreamInfer"), std::string::npos) << c.request.status.to_string();
  auto source = server.chain({.name = "always"});
  source->decoupled = true;
  server.serve(source);
  ChainCall decoupled("always", four_exits());
  run(decoupled);
  EXPECT_EQ(decoupled.request.status.code(), Code::kUnimplemented);
  EXPECT_NE(decoupled.request.status.message().find("it is decoupled"), std::string::npos) << decoupled.request.status.to_string();
}

TEST_F(Chain, BelowTheAccuracyBoundNothingAnswers) {
  serve({.delay_us = {1000, 20'000, 20'000, 20'000}});
  ChainCall c("chain", four_exits());
  c.request.arrival_ns = os::monotonic_ns();
  c.request.bounds.deadline_ns = c.request.arrival_ns + 15'000'000;
  c.request.bounds.min_accuracy = 0.85;
  run(c);
  EXPECT_EQ(c.request.status.code(), Code::kDeadlineExceeded);
}

// What waits is part of the elapsed time: the second request finds the lane taken and leaves earlier, the one behind many is refused on arrival.
TEST_F(Chain, WaitingCounts) {
  EXPECT_EQ(in_some_try([&](int attempt) -> std::string {
    const std::string name = "chain" + std::to_string(attempt);
    serve({.name = name, .delay_us = {15'000, 60'000, 60'000, 60'000}});
    std::vector<std::unique_ptr<ChainCall>> calls;
    for (int i = 0; i < 6; ++i) {
      calls.push_back(std::make_unique<ChainCall>(name, four_exits()));
      Request& r = calls.back()->request;
      r.arrival_ns = os::monotonic_ns();
      r.bounds.deadline_ns = r.arrival_ns + 330'000'000;
      front.infer(r);
    }
    EXPECT_TRUE(front.run_until([&] { return std::all_of(calls.begin(), calls.end(), [](const auto& c) { return c->done; }); }));
    int refused = 0, early = 0;
    for (const auto& c : calls) {
      if (!c->request.status.ok()) {
        ++refused;
        EXPECT_EQ(c->request.status.code(), Code::kDeadlineExceeded) << c->request.status.to_string();
      } else {
        early += c->request.chosen.exit != "exit4";
        if (c->request.chosen.measured_ms >= 345) return "one took " + std::to_string(c->request.chosen.measured_ms) + " ms";
      }
    }
    if (calls[0]->request.chosen.exit != "exit4") return "the first one left at '" + std::string(calls[0]->request.chosen.exit) + "'";
    return refused && early ? "" : std::to_string(refused) + " refused, " + std::to_string(early) + " early";
  }), "");
}

TEST_F(Chain, TheTraceTellsWhyEachWasPassedOver) {
  serve({.accuracy = {0.78, 0.84, 0.83, 0.91}});
  ChainCall c("chain", four_exits());
  c.request.bounds.min_accuracy = 0.8;
  c.request.bounds.trace = true;
  run(c);
  ASSERT_TRUE(c.request.status.ok()) << c.request.status.to_string();
  const Json trace = Json::parse(c.request.chosen.trace);
  const Json& list = trace.at("candidates");
  ASSERT_EQ(list.size(), 4u);
  EXPECT_EQ(list[0].at("passed_over"), "accuracy 0.78 < 0.8");
  EXPECT_EQ(list[1].at("chosen"), true);
  EXPECT_EQ(list[2].at("passed_over"), "dominated by identity-f32/exit2");
  EXPECT_EQ(list[3].at("passed_over"), "slower");
  EXPECT_LT(list[1].at("predicted_ms").get<double>(), list[3].at("predicted_ms").get<double>());
}

TEST_F(Chain, TenantsDefaultsCountWhereARequestSaysNothing) {
  serve();
  ASSERT_TRUE(server.runtime->set_bounds(0, {.min_accuracy = 0.8}).ok());
  ChainCall c("chain", four_exits());
  run(c);
  EXPECT_EQ(c.request.chosen.exit, "exit2");
  ChainCall own("chain", four_exits());
  own.request.bounds.min_accuracy = 0.85;
  run(own);
  EXPECT_EQ(own.request.chosen.exit, "exit3");
  ASSERT_TRUE(server.runtime->set_bounds(0, {.rule = "conditions", .conditions = "exit1: exit == 1"}).ok());
  ChainCall table("chain", four_exits());
  run(table);
  EXPECT_EQ(table.request.chosen.exit, "exit1");
  EXPECT_EQ(table.request.chosen.rule, "conditions");
  EXPECT_FALSE(server.runtime->set_bounds(0, {.rule = "magic"}).ok());
  EXPECT_FALSE(server.runtime->set_bounds(0, {.conditions = "exit1"}).ok());
  EXPECT_FALSE(server.runtime->set_bounds(7, {}).ok());
  EXPECT_EQ(server.runtime->bounds(0)->conditions, "exit1: exit == 1");
}

TEST_F(Chain, AFamilyIsOneModel) {
  serve({.name = "narrow", .family = "fashion", .delay_us = {1000, 1000}, .accuracy = {0.7, 0.8}});
  serve({.name = "wide", .family = "fashion", .delay_us = {4000, 4000}, .accuracy = {0.85, 0.9}});
  const std::vector<std::vector<float>> two = {{0.5f, 0.3f, 0.2f}, {0.9f, 0.05f, 0.05f}};
  const auto ask = [&](double accuracy, std::string& model, std::string& exit) {
    ChainCall c("fashion", two);
    c.request.bounds.min_accuracy = accuracy;
    run(c);
    EXPECT_TRUE(c.request.status.ok()) << c.request.status.to_string();
    EXPECT_EQ(c.request.answered_model, "fashion");
    model = c.request.chosen.model;
    exit = c.request.chosen.exit;
  };
  std::string model, exit;
  ask(0.75, model, exit);
  EXPECT_EQ(model + "/" + exit, "narrow/exit2");
  ask(0.82, model, exit);
  EXPECT_EQ(model + "/" + exit, "wide/exit1");
  ask(-1, model, exit);
  EXPECT_EQ(model + "/" + exit, "wide/exit2");
  EXPECT_TRUE(*server.runtime->model_ready(front.front(), "fashion", 0));
  const auto doc = server.runtime->model_doc(front.front(), "fashion", 0);
  ASSERT_TRUE(doc.ok());
  EXPECT_EQ(doc->name, "fashion");
  EXPECT_EQ(doc->parameters.at("family"), (Json{"narrow", "wide"}));
  const auto statistics = server.runtime->statistics(front.front(), "fashion", 0);
  ASSERT_TRUE(statistics.ok());
  EXPECT_EQ(statistics->at(0).inference_count, 3u);
  EXPECT_FALSE(server.runtime->model_ready(front.front(), "fashion", 2).ok());
}

TEST_F(Chain, WhatDiffersIsNotOfferedTogether) {
  serve({.name = "a", .family = "f", .features = 4});
  serve({.name = "b", .family = "f", .features = 5});
  EXPECT_NE(server.logged().find("family_not_offered"), std::string::npos);
  front.front().drain();
  const auto doc = server.runtime->model_doc(front.front(), "f", 0);
  ASSERT_TRUE(doc.ok());
  EXPECT_EQ(doc->parameters.at("family").size(), 1u);
}

// Single-exit variants of one model: the same choice.
TEST_F(Chain, VariantsAreChosenByTheSameBounds) {
  server.slow_us(200'000);
  // Each try with a model of its own: a run that was held up makes a variant look slower than it is.
  EXPECT_EQ(in_some_try([&](int i) -> std::string {
    const std::string name = "widths" + std::to_string(i);
    auto source = server.source(name, {Server::vector_spec("x", 4)});
    source->manifest.metric.kind = MetricKind::kTop1;
    const auto measure = [&](const char* id, double accuracy, double us) {
      VariantProfile& p = *source->profile.variant(id);
      p.accuracy = accuracy;
      LatencyCell c;
      c.p50_us = us, c.p99_us = us * 1.2;
      p.latency = {c};
    };
    measure("fast", 0.8, 100);
    measure("slow", 0.9, 200'100);
    source->resident = {"slow"};
    server.serve(source);
    std::string wrong;
    const auto expect = [&](const std::string& answer, auto set) {
      Call c;
      c.to(name).input("x", Shape{1, 4}, {1, 2, 3, 4});
      c.request.arrival_ns = os::monotonic_ns();
      set(c.request.bounds);
      front.infer(c.request);
      EXPECT_TRUE(front.run_until([&] { return c.done; }));
      const std::string got = c.request.status.ok() ? std::string(c.request.answered_variant) : c.request.status.message();
      if (c.request.status.ok() ? got != answer : got.find("the nearest that could be met is " + answer) == std::string::npos) wrong += "'" + got + "' instead of '" + answer + "'; ";
    };
    expect("fast", [](Bounds& b) { b.min_accuracy = 0.75; });
    expect("slow", [](Bounds& b) { b.min_accuracy = 0.85; });
    expect("slow", [](Bounds& b) { b.objective = Objective::kAccuracy; });
    expect("fast", [](Bounds& b) { b.objective = Objective::kLatency; });
    expect("slow", [](Bounds& b) { b.deadline_ns = after_ms(10'000); });
    expect("fast", [](Bounds& b) { b.deadline_ns = after_ms(150); });
    expect("fast", [](Bounds&) {});
    expect("0.9", [](Bounds& b) { b.min_accuracy = 0.95; });
    expect("0.8", [](Bounds& b) { b.min_accuracy = 0.85, b.variant = "fast"; });
    return wrong;
  }), "");
}

// Below the bound, what is resident does not count: the one that is within it is loaded.
TEST_F(Chain, WhatIsNotResidentIsLoadedWhereNothingElseWouldDo) {
  auto source = server.source("widths", {Server::vector_spec("x", 4)});
  source->manifest.metric.kind = MetricKind::kTop1;
  source->profile.variant("fast")->accuracy = 0.8;
  source->profile.variant("slow")->accuracy = 0.9;
  server.serve(source);
  Call c;
  c.to("widths").input("x", Shape{1, 4}, {1, 2, 3, 4});
  c.request.bounds.min_accuracy = 0.85;
  front.infer(c.request);
  ASSERT_TRUE(front.run_until([&] { return c.done; }));
  EXPECT_TRUE(c.request.status.ok()) << c.request.status.to_string();
  EXPECT_EQ(c.request.answered_variant, "slow");
}

// A hundred changes: every answer follows one whole set of bounds, old or new.
TEST_F(Chain, BoundsChangeUnderLoad) {
  serve({.delay_us = {50, 50, 50, 50}});
  std::atomic<bool> stop{false};
  std::thread changer([&] {
    for (int i = 0; i < 300 && !stop; ++i) {
      EXPECT_TRUE(server.runtime->set_bounds(0, i % 2 == 0 ? BoundsDefaults{.exit = "exit1"} : BoundsDefaults{.min_accuracy = 0.9}).ok());
      std::this_thread::yield();
    }
  });
  int first = 0, last = 0;
  for (int i = 0; i < 300; ++i) {
    ChainCall c("chain", four_exits());
    run(c);
    ASSERT_TRUE(c.request.status.ok()) << c.request.status.to_string();
    first += c.request.chosen.exit == "exit1";
    last += c.request.chosen.exit == "exit4";
  }
  stop = true;
  changer.join();
  EXPECT_EQ(first + last, 300);
}

// Two watts for the lane's core and one for the machine: 3 mJ a millisecond.
TEST(ChainEnergy, IsToldByBusyTimeAndBounds) {
  ChainServer server({.energy = {.idle_watts = 1, .active_watts_per_core = 2}});
  TestFront front(*server.runtime);
  std::string name;
  const auto run = [&](double most) {
    auto c = std::make_unique<ChainCall>(name, four_exits());
    c->request.bounds.max_energy_mj = most;
    front.infer(c->request);
    EXPECT_TRUE(front.run_until([&] { return c->done; }));
    return c;
  };
  EXPECT_EQ(in_some_try([&](int i) -> std::string {
    name = "chain" + std::to_string(i);
    server.serve(server.chain({.name = name, .delay_us = {5000, 5000, 10'000, 200'000}}));
    const auto all = run(-1);
    EXPECT_EQ(all->request.chosen.exit, "exit4");
    EXPECT_GT(all->request.chosen.energy_mj, 660);
    EXPECT_FALSE(all->request.chosen.energy_measured);
    const auto bounded = run(300);
    if (!bounded->request.status.ok()) return bounded->request.status.to_string();
    const bool middle = bounded->request.chosen.exit == "exit2" || bounded->request.chosen.exit == "exit3";
    return middle ? "" : std::string(bounded->request.chosen.exit);
  }), "");
  const auto refused = run(1);
  EXPECT_EQ(refused->request.status.code(), Code::kFailedPrecondition);
  EXPECT_NE(refused->request.status.message().find("the nearest that could be met is"), std::string::npos) << refused->request.status.to_string();
  EXPECT_EQ(server.runtime->metrics_text().find("verge_energy_mj_total{tenant=\"default\"} 0.000"), std::string::npos);
}

}  // namespace
}  // namespace verge::runtime
