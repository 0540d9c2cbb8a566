#include <semaphore>

#include "support.h"

namespace verge::runtime {
namespace {

std::string state_of(const Server& server, const std::string& variant) {
  for (const auto& v : server.runtime->variants()) {
    if (v.variant == variant) return v.state;
  }
  return "gone";
}

TEST(Residency, OnlyTheDefaultAtFirstAndAnotherWhenAskedFor) {
  Server server;
  TestFront front(*server.runtime);
  auto source = server.source("m", {Server::vector_spec("x", 1)});
  std::binary_semaphore go{0};
  source->prepare = [&, prepare = source->prepare](const VariantSpec& v) {
    if (v.id == "slow") go.acquire();
    return prepare(v);
  };
  server.serve(source);
  EXPECT_EQ(state_of(server, "fast"), "resident");
  EXPECT_EQ(state_of(server, "slow"), "absent");
  EXPECT_TRUE(server.runtime->ready());
  Call a, b;
  for (Call* c : {&a, &b}) {
    c->to("m").input("x", {1, 1}, {7});
    c->request.bounds.variant = "slow";
    front.infer(c->request);
  }
  EXPECT_FALSE(a.done);
  go.release();
  ASSERT_TRUE(front.run_until([&] { return a.done && b.done; }));
  EXPECT_TRUE(a.request.status.ok() && b.request.status.ok()) << a.request.status.to_string();
  EXPECT_EQ(a.request.answered_variant, "slow");
  EXPECT_EQ(state_of(server, "slow"), "resident");
  EXPECT_NE(server.runtime->metrics_text().find("verge_loads_total{model=\"m\",version=\"1\",variant=\"slow\",result=\"ok\"} 1"), std::string::npos);
}

TEST(Residency, NamedVariantsAreResidentFromTheStart) {
  Server server;
  auto source = server.source("m", {Server::vector_spec("x", 1)});
  source->resident = {"slow"};
  server.serve(source);
  EXPECT_EQ(state_of(server, "slow"), "resident");
}

// The load hangs until the test lets it go: the request's deadline and others' cancellation end the wait, and other models answer.
TEST(Residency, WaitingForALoadEndsAtTheDeadlineAndBlocksNobody) {
  Server server;
  TestFront front(*server.runtime);
  server.serve(server.source("other", {Server::vector_spec("x", 1)}));
  auto source = server.source("m", {Server::vector_spec("x", 1)});
  std::binary_semaphore begun{0}, go{0};
  source->prepare = [&, prepare = source->prepare](const VariantSpec& v) {
    if (v.id == "slow") {
      begun.release();
      go.acquire();
    }
    return prepare(v);
  };
  server.serve(source);
  Call expiring, cancelled, patient, other;
  for (Call* c : {&expiring, &cancelled, &patient}) {
    c->to("m").input("x", {1, 1}, {7});
    c->request.bounds.variant = "slow";
  }
  expiring.request.bounds.deadline_ns = after_ms(30);
  for (Call* c : {&expiring, &cancelled, &patient}) front.infer(c->request);
  begun.acquire();
  EXPECT_EQ(state_of(server, "slow"), "loading");
  other.to("other").input("x", {1, 1}, {1});
  front.infer(other.request);
  ASSERT_TRUE(front.run_until([&] { return other.done; }));
  EXPECT_TRUE(other.request.status.ok());
  EXPECT_TRUE(*server.runtime->model_ready(front.front(), "m", 0));
  ASSERT_TRUE(front.run_until([&] { return expiring.done; }));
  EXPECT_EQ(expiring.request.status.code(), Code::kDeadlineExceeded);
  server.runtime->cancel(front.front(), cancelled.request);
  front.front().drain();
  EXPECT_EQ(cancelled.request.status.code(), Code::kCancelled);
  EXPECT_FALSE(patient.done);
  go.release();
  ASSERT_TRUE(front.run_until([&] { return patient.done; }));
  EXPECT_TRUE(patient.request.status.ok());
}

TEST(Residency, AFailedLoadIsToldToThoseWhoWaitAndMayBeTriedAgain) {
  Server server;
  TestFront front(*server.runtime);
  auto source = server.source("m", {Server::vector_spec("x", 1)});
  bool broken = true;
  source->prepare = [&, prepare = source->prepare](const VariantSpec& v) -> Result<engine::LoadSpec> {
    if (v.id == "slow" && broken) return data_loss("model.bin: the sha256 is not the manifest's");
    return prepare(v);
  };
  server.serve(source);
  const auto ask = [&](Call& c) {
    c.to("m").input("x", {1, 1}, {7});
    c.request.bounds.variant = "slow";
    front.infer(c.request);
    EXPECT_TRUE(front.run_until([&] { return c.done; }));
    return c.request.status;
  };
  Call first, second, third;
  const Status s = ask(first);
  EXPECT_EQ(s.code(), Code::kUnavailable);
  EXPECT_NE(s.message().find("variant 'slow': model.bin: the sha256"), std::string::npos) << s.to_string();
  EXPECT_FALSE(ask(second).ok());
  server.runtime->settle();
  broken = false;
  EXPECT_TRUE(ask(third).ok());
  const std::string text = server.runtime->metrics_text();
  EXPECT_NE(text.find("reason=\"load_failed\"} 2"), std::string::npos) << text;
}

TEST(Residency, AFailedLoadIsNotTriedAgainByEveryRequest) {
  Server server({.load_retry_ns = 60'000'000'000});
  TestFront front(*server.runtime);
  auto source = server.source("m", {Server::vector_spec("x", 1)});
  std::atomic<int> tries{0};
  source->prepare = [&](const VariantSpec&) -> Result<engine::LoadSpec> {
    ++tries;
    return data_loss("cut short");
  };
  server.serve(source);
  for (int i = 0; i < 5; ++i) {
    Call c;
    c.to("m").input("x", {1, 1}, {7});
    front.infer(c.request);
    ASSERT_TRUE(front.run_until([&] { return c.done; }));
    EXPECT_NE(c.request.status.message().find("cut short"), std::string::npos);
  }
  EXPECT_EQ(tries.load(), 1);
}

TEST(Residency, TheMemoryLimitRefusesWithTheFigures) {
  const uint64_t base = os::resident_bytes();
  Server server({.memory_limit = base + (uint64_t{200} << 20)});
  TestFront front(*server.runtime);
  auto source = server.source("m", {Server::vector_spec("x", 1)});
  source->profile.variant("slow")->resident_bytes = int64_t{300} << 20;
  server.serve(source);
  Call c;
  c.to("m").input("x", {1, 1}, {7});
  c.request.bounds.variant = "slow";
  front.infer(c.request);
  ASSERT_TRUE(front.run_until([&] { return c.done; }));
  EXPECT_EQ(c.request.status.code(), Code::kResourceExhausted);
  for (const char* part : {"'slow'", "300.0 MiB", "measured on this device", "--memory"}) {
    EXPECT_NE(c.request.status.message().find(part), std::string::npos) << c.request.status.to_string();
  }
  EXPECT_NE(server.runtime->metrics_text().find("reason=\"memory_limit\"} 1"), std::string::npos);
}

TEST(Residency, AWithdrawnModelUnloadsWhenItsLastAnswerIsWritten) {
  Server server;
  TestFront front(*server.runtime);
  server.serve(server.source("m", {Server::vector_spec("x", 1)}));
  Call c, late;
  c.to("m").input("x", {1, 1}, {7});
  front.infer(c.request);
  ASSERT_TRUE(front.run_until([&] { return c.done; }));
  server.runtime->retire("m", 1);
  ASSERT_TRUE(front.run_until([&] { return !server.runtime->model_doc(front.front(), "m", 0).ok(); }));
  EXPECT_EQ(server.logged().find("variant_unloaded"), std::string::npos);
  EXPECT_EQ(c.floats(), std::vector<float>{7});  // still valid
  late.to("m").input("x", {1, 1}, {7});
  front.infer(late.request);
  EXPECT_EQ(late.request.status.code(), Code::kNotFound);
  c.request.release();
  server.runtime->settle();
  EXPECT_NE(server.logged().find("variant_unloaded"), std::string::npos);
  EXPECT_NE(server.runtime->metrics_text().find("verge_memory_reserved_bytes 0"), std::string::npos);
}

TEST(Residency, OneBrokenModelStopsNoOther) {
  Server server;
  TestFront front(*server.runtime);
  auto broken = std::make_shared<ModelSource>();
  broken->name = "bad";
  broken->broken = data_loss("manifest.json: not JSON");
  server.serve(broken);
  auto wrong = server.source("wrong", {Server::vector_spec("x", 1)});
  wrong->manifest.inputs[0].feeds = "elsewhere";
  server.serve(wrong);
  server.serve(server.source("good", {Server::vector_spec("x", 1)}));
  EXPECT_TRUE(server.runtime->ready());
  for (const auto& [model, code, part] : {std::tuple{"bad", Code::kUnavailable, "not JSON"}, std::tuple{"wrong", Code::kUnavailable, "'elsewhere'"},
                                          std::tuple{"good", Code::kOk, ""}}) {
    Call c;
    c.to(model).input("x", {1, 1}, {7});
    front.infer(c.request);
    ASSERT_TRUE(front.run_until([&] { return c.done; }));
    EXPECT_EQ(c.request.status.code(), code) << c.request.status.to_string();
    EXPECT_NE(c.request.status.message().find(part), std::string::npos) << c.request.status.to_string();
  }
  EXPECT_FALSE(*server.runtime->model_ready(front.front(), "bad", 0));
  EXPECT_NE(server.runtime->model_doc(front.front(), "bad", 0)->parameters.dump().find("not JSON"), std::string::npos);
}

TEST(Residency, ADefaultThatCannotBeLoadedIsSaidWhenAskedFor) {
  Server server;
  TestFront front(*server.runtime);
  auto source = server.source("m", {Server::vector_spec("x", 1)});
  source->prepare = [](const VariantSpec&) -> Result<engine::LoadSpec> { return data_loss("cut short"); };
  server.serve(source);
  Call c;
  c.to("m").input("x", {1, 1}, {7});
  front.infer(c.request);
  ASSERT_TRUE(front.run_until([&] { return c.done; }));
  EXPECT_EQ(c.request.status.code(), Code::kUnavailable);
  EXPECT_NE(c.request.status.message().find("cut short"), std::string::npos);
  EXPECT_FALSE(*server.runtime->model_ready(front.front(), "m", 0));
}

TEST(Residency, MetadataShowsTheVariantsAndTheirStates) {
  Server server;
  TestFront front(*server.runtime);
  server.serve(server.source("m", {Server::vector_spec("x", 1)}));
  ASSERT_TRUE(front.run_until([&] {
    const auto doc = server.runtime->model_doc(front.front(), "m", 0);
    return doc.ok() && doc->parameters["variants"][0]["state"] == "resident";
  }));
  const auto doc = server.runtime->model_doc(front.front(), "m", 1);
  EXPECT_EQ(doc->default_variant, "fast");
  EXPECT_EQ(doc->inputs.at(0).name, "x");
  EXPECT_EQ(doc->parameters["variants"][2]["verdict"], "rejected");
  EXPECT_EQ(server.runtime->model_doc(front.front(), "m", 2).status().code(), Code::kNotFound);
}

}  // namespace
}  // namespace verge::runtime
