#include <thread>

#include "support.h"

namespace verge::runtime {
namespace {

TensorSpec strings(const std::string& name) { return {name, DType::kBytes, Shape{-1}, 0, {}}; }

std::vector<std::byte> wire(std::initializer_list<std::string> values) {
  std::vector<std::byte> out;
  for (const std::string& v : values) {
    for (int b = 0; b < 4; ++b) out.push_back(static_cast<std::byte>(v.size() >> (8 * b)));
    for (const char c : v) out.push_back(static_cast<std::byte>(c));
  }
  return out;
}

// With lane threads, and with the front as its own lane.
class Infer : public testing::TestWithParam<size_t> {
 protected:
  Infer() : server({.lanes = GetParam()}), front(*server.runtime) { server.serve(server.source("m", {Server::vector_spec("x", 3)})); }

  Status ask(Call& c) {
    front.infer(c.request);
    EXPECT_TRUE(front.run_until([&] { return c.done; })) << "no answer";
    EXPECT_EQ(c.times, 1);
    return c.request.status;
  }

  Server server;
  TestFront front;
};
INSTANTIATE_TEST_SUITE_P(Placement, Infer, testing::Values(0, 1, 2), [](const auto& p) { return "Lanes" + std::to_string(p.param); });

TEST_P(Infer, Answers) {
  Call c;
  c.to("m").input("x", {2, 3}, {1, 2, 3, 4, 5, 6});
  c.request.arrival_ns = os::monotonic_ns();
  ASSERT_TRUE(ask(c).ok()) << c.request.status.to_string();
  ASSERT_EQ(c.request.outputs.size(), 1u);
  EXPECT_EQ(c.request.outputs[0].name, "x");
  EXPECT_EQ(c.request.outputs[0].shape.to_string(), "[2,3]");
  EXPECT_EQ(c.floats(), (std::vector<float>{1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(c.request.answered_model, "m");
  EXPECT_EQ(c.request.answered_version, 1);
  EXPECT_EQ(c.request.answered_variant, "fast");
  EXPECT_GT(c.request.compute_ns, 0u);
}

TEST_P(Infer, AnswersStayValidWhileOthersRun) {
  Call first;
  first.to("m").input("x", {1, 3}, {1, 2, 3});
  ASSERT_TRUE(ask(first).ok());
  for (int i = 0; i < 10; ++i) {
    Call other;
    other.to("m").input("x", {1, 3}, {9, 9, 9});
    ASSERT_TRUE(ask(other).ok());
  }
  EXPECT_EQ(first.floats(), (std::vector<float>{1, 2, 3}));
}

TEST_P(Infer, ReadsUnalignedInput) {
  std::vector<std::byte> bytes(13);
  const float values[3] = {1.5f, -2, 3};
  std::memcpy(bytes.data() + 1, values, 12);
  Call c;
  c.to("m");
  c.request.inputs = {{"x", DType::kFp32, Shape{1, 3}, std::span(bytes).subspan(1)}};
  ASSERT_TRUE(ask(c).ok());
  EXPECT_EQ(c.floats(), (std::vector<float>{1.5f, -2, 3}));
}

TEST_P(Infer, StringsComeBackInWireForm) {
  server.serve(server.source("s", {strings("t")}));
  const auto bytes = wire({"", "abc", std::string(1000, 'z')});
  Call c;
  c.to("s");
  c.request.inputs = {{"t", DType::kBytes, Shape{3}, bytes}};
  ASSERT_TRUE(ask(c).ok()) << c.request.status.to_string();
  const auto got = c.request.outputs.at(0).data;
  EXPECT_EQ(std::vector<std::byte>(got.begin(), got.end()), bytes);
}

TEST_P(Infer, SeveralTensorsInAnyOrderAndOnlyTheWantedOutputs) {
  server.serve(server.source("two", {Server::vector_spec("a", 1), Server::vector_spec("b", 2)}));
  const float a[1] = {1}, b[2] = {2, 3};
  Call c;
  c.to("two");
  c.request.inputs = {{"b", DType::kFp32, Shape{1, 2}, std::as_bytes(std::span(b))}, {"a", DType::kFp32, Shape{1, 1}, std::as_bytes(std::span(a))}};
  c.request.wanted_outputs = {"b"};
  ASSERT_TRUE(ask(c).ok());
  ASSERT_EQ(c.request.outputs.size(), 1u);
  EXPECT_EQ(c.floats(), (std::vector<float>{2, 3}));
}

TEST_P(Infer, RefusalsNameWhatIsWrong) {
  struct Case {
    std::function<void(Call&)> change;
    Code code;
    std::vector<std::string> parts;
  };
  std::vector<Case> cases = {
      {[](Call& c) { c.request.model = "nope"; }, Code::kNotFound, {"'nope'"}},
      {[](Call& c) { c.request.version = 7; }, Code::kNotFound, {"version 7", "it has 1"}},
      {[](Call& c) { c.request.bounds.variant = "quick"; }, Code::kNotFound, {"'quick'", "'fast', 'slow'"}},
      {[](Call& c) { c.request.bounds.variant = "never"; }, Code::kFailedPrecondition, {"'never'", "rejected", "0.9"}},
      {[](Call& c) { c.request.inputs.clear(); }, Code::kInvalidArgument, {"'x' is missing"}},
      {[](Call& c) { c.request.inputs[0].name = "y"; }, Code::kInvalidArgument, {"no input 'y'", "'x'"}},
      {[](Call& c) { c.request.inputs.push_back(c.request.inputs[0]); }, Code::kInvalidArgument, {"'x' is given twice"}},
      {[](Call& c) { c.request.inputs[0].dtype = DType::kInt32; }, Code::kInvalidArgument, {"FP32, not INT32"}},
      {[](Call& c) { c.request.inputs[0].shape = Shape{3}; }, Code::kInvalidArgument, {"[-1,3]", "[3]"}},
      {[](Call& c) { c.request.inputs[0].shape = Shape{1, 4}; }, Code::kInvalidArgument, {"[-1,3]", "[1,4]"}},
      {[](Call& c) { c.request.inputs[0].shape = Shape{0, 3}; c.request.inputs[0].data = {}; }, Code::kInvalidArgument, {"no element"}},
      {[](Call& c) { c.request.inputs[0].shape = Shape{int64_t{1} << 61, 3}; }, Code::kInvalidArgument, {"'x'"}},
      {[](Call& c) { c.request.inputs[0].data = c.request.inputs[0].data.first(11); }, Code::kInvalidArgument, {"'x'", "11"}},
      {[](Call& c) { c.request.wanted_outputs = {"z"}; }, Code::kInvalidArgument, {"no output 'z'", "'x'"}},
      {[](Call& c) { c.request.wanted_outputs = {"x", "x"}; }, Code::kInvalidArgument, {"twice"}},
      {[](Call& c) { c.request.bounds.deadline_ns = os::monotonic_ns() - 1; }, Code::kDeadlineExceeded, {"deadline"}},
  };
  for (size_t i = 0; i < cases.size(); ++i) {
    Call c;
    c.to("m").input("x", {1, 3}, {1, 2, 3});
    cases[i].change(c);
    const Status s = ask(c);
    EXPECT_EQ(s.code(), cases[i].code) << i << ": " << s.to_string();
    for (const auto& part : cases[i].parts) EXPECT_NE(s.message().find(part), std::string::npos) << i << ": " << s.to_string();
    EXPECT_TRUE(c.request.outputs.empty());
  }
}

TEST_P(Infer, ARequestHoldsAsManySamplesAsItsModelSays) {
  const auto samples = [&](Call& c, int64_t n) { return ask(c.to("m").input("x", {n, 3}, std::vector<float>(static_cast<size_t>(3 * n), 1.0f))); };
  Call all, more, limited, limited_more;
  EXPECT_TRUE(samples(all, kMostBatch).ok()) << all.request.status.to_string();
  EXPECT_EQ(server.runtime->model_doc(front.front(), "m", 0)->max_batch, kMostBatch);
  const Status refused = samples(more, kMostBatch + 1);
  EXPECT_EQ(refused.code(), Code::kInvalidArgument);
  EXPECT_EQ(refused.message(), "inference request batch-size must be <= 1024 for 'm'");

  auto own = server.source("m", {Server::vector_spec("x", 3)}, 2);
  own->max_batch = 4;
  server.serve(std::move(own));
  ASSERT_TRUE(front.run_until([&] { return server.runtime->model_doc(front.front(), "m", 2).ok(); }));
  limited.request.version = limited_more.request.version = 2;
  EXPECT_TRUE(samples(limited, 4).ok()) << limited.request.status.to_string();
  EXPECT_EQ(samples(limited_more, 5).message(), "inference request batch-size must be <= 4 for 'm'");
}

TEST_P(Infer, VersionsAndTheLatestOne) {
  server.serve(server.source("m", {Server::vector_spec("x", 3)}, 12));
  Call latest, first;
  latest.to("m").input("x", {1, 3}, {1, 2, 3});
  first.to("m").input("x", {1, 3}, {1, 2, 3});
  first.request.version = 1;
  ASSERT_TRUE(front.run_until([&] { return server.runtime->model_doc(front.front(), "m", 12).ok(); }));
  ASSERT_TRUE(ask(latest).ok());
  ASSERT_TRUE(ask(first).ok());
  EXPECT_EQ(latest.request.answered_version, 12);
  EXPECT_EQ(first.request.answered_version, 1);
  EXPECT_EQ(server.runtime->model_doc(front.front(), "m", 0)->versions, (std::vector<int64_t>{1, 12}));
}

// While one runs, others are cancelled or expire in the queue: they come back without having run.
TEST_P(Infer, CancelledAndExpiredNeverStart) {
  Call running;
  running.to("m").input("x", {1, 3}, {1, 2, 3});
  running.request.bounds.variant = "slow";
  ASSERT_TRUE(ask(running).ok());  // loads it
  const size_t lanes = std::max<size_t>(GetParam(), 1);
  EXPECT_EQ(in_some_try([&](int) -> std::string {
    std::vector<std::unique_ptr<Call>> busy;
    for (size_t i = 0; i < lanes; ++i) {
      busy.push_back(std::make_unique<Call>());
      busy.back()->to("m").input("x", {1, 3}, {1, 2, 3});
      busy.back()->request.bounds.variant = "slow";  // 20 ms
      server.runtime->infer(front.front(), busy.back()->request);
    }
    Call cancelled, expiring;
    for (Call* c : {&cancelled, &expiring}) {
      c->to("m").input("x", {1, 3}, {1, 2, 3});
      c->request.bounds.variant = "slow";
    }
    expiring.request.bounds.deadline_ns = after_ms(5);
    server.runtime->infer(front.front(), cancelled.request);
    server.runtime->infer(front.front(), expiring.request);
    server.runtime->cancel(front.front(), cancelled.request);
    EXPECT_TRUE(front.run_until(
        [&] { return cancelled.done && expiring.done && std::all_of(busy.begin(), busy.end(), [](const auto& c) { return c->done; }); }));
    EXPECT_EQ(expiring.request.status.code(), Code::kDeadlineExceeded);
    EXPECT_TRUE(busy.back()->request.status.ok());
    return cancelled.request.status.code() == Code::kCancelled ? "" : cancelled.request.status.to_string();
  }), "");
  EXPECT_NE(server.runtime->metrics_text().find("verge_failures_total{model=\"m\",code=\"CANCELLED\",reason=\"cancelled\"} 1"), std::string::npos);
}

TEST_P(Infer, DrainRefusesNewOnesAndLosesNone) {
  front.front().drain();
  std::vector<std::unique_ptr<Call>> calls;
  for (int i = 0; i < 50; ++i) {
    calls.push_back(std::make_unique<Call>());
    calls.back()->to("m").input("x", {1, 3}, {1, 2, 3});
    server.runtime->infer(front.front(), calls.back()->request);
  }
  std::atomic<bool> drained{false};
  server.runtime->begin_drain([&] { drained = true; });
  ASSERT_TRUE(front.run_until([&] { return drained.load(); }));
  for (auto& c : calls) {
    EXPECT_TRUE(c->done);
    EXPECT_TRUE(c->request.status.ok());
  }
  Call late;
  late.to("m").input("x", {1, 3}, {1, 2, 3});
  EXPECT_EQ(ask(late).code(), Code::kUnavailable);
}

TEST(Queue, IsBoundedAndSaysTheFigures) {
  const auto attempt = [](size_t lanes) -> std::string {
    Server server({.lanes = lanes, .queue_limit = 3});
    server.slow_us(100'000);  // in which all of them have to come
    TestFront front(*server.runtime);
    server.serve(server.source("m", {Server::vector_spec("x", 1)}));
    Call warm;
    warm.to("m").input("x", {1, 1}, {1});
    warm.request.bounds.variant = "slow";
    front.infer(warm.request);
    EXPECT_TRUE(front.run_until([&] { return warm.done; }));
    std::vector<std::unique_ptr<Call>> calls;
    for (int i = 0; i < 8; ++i) {
      calls.push_back(std::make_unique<Call>());
      calls.back()->to("m").input("x", {1, 1}, {1});
      calls.back()->request.bounds.variant = "slow";
      server.runtime->infer(front.front(), calls.back()->request);
    }
    int refused = 0;
    for (auto& c : calls) {
      if (!c->done) continue;
      ++refused;
      EXPECT_EQ(c->request.status.code(), Code::kResourceExhausted);
      EXPECT_NE(c->request.status.message().find("the limit is 3"), std::string::npos) << c->request.status.to_string();
    }
    EXPECT_TRUE(front.run_until([&] { return std::all_of(calls.begin(), calls.end(), [](const auto& c) { return c->done; }); }));
    return refused >= 3 ? "" : std::to_string(refused) + " were refused";  // one run, of two at most, and three that wait
  };
  EXPECT_EQ(in_some_try([&](int) { return attempt(0); }), "");
  EXPECT_EQ(in_some_try([&](int) { return attempt(1); }), "");
}

TEST(Fronts, ShareLanesAndGetTheirOwnAnswers) {
  constexpr int kFronts = 3, kEach = 300;
  for (const uint64_t hand_off : {uint64_t{0}, uint64_t{1'000'000'000}}) {  // never and always on the front when a lane is idle
    Server server({.fronts = kFronts, .lanes = 2, .hand_off_ns = hand_off});
    server.serve(server.source("m", {Server::vector_spec("x", 2)}));
    std::vector<std::unique_ptr<TestFront>> fronts;
    for (int f = 0; f < kFronts; ++f) fronts.push_back(std::make_unique<TestFront>(*server.runtime));
    std::atomic<int> right{0};
    std::vector<std::thread> threads;
    for (int f = 0; f < kFronts; ++f) {
      threads.emplace_back([&, f] {
        TestFront& front = *fronts[static_cast<size_t>(f)];
        for (int i = 0; i < kEach; i += 4) {
          Call calls[4];
          for (int k = 0; k < 4; ++k) {
            calls[k].to("m").input("x", {1, 2}, {static_cast<float>(f), static_cast<float>(i + k)});
            front.infer(calls[k].request);
          }
          ASSERT_TRUE(front.run_until([&] { return calls[0].done && calls[1].done && calls[2].done && calls[3].done; }));
          for (int k = 0; k < 4; ++k) {
            ASSERT_TRUE(calls[k].request.status.ok()) << calls[k].request.status.to_string();
            if (calls[k].floats() == std::vector<float>{static_cast<float>(f), static_cast<float>(i + k)}) ++right;
          }
        }
      });
    }
    for (auto& t : threads) t.join();
    EXPECT_EQ(right.load(), kFronts * kEach);
    EXPECT_NE(server.runtime->metrics_text().find("verge_requests_total{model=\"m\",version=\"1\",variant=\"fast\"} 900"), std::string::npos)
        << server.runtime->metrics_text();
  }
}

}  // namespace
}  // namespace verge::runtime
