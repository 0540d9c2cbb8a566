// Versions that come and go while requests are answered.
#include <semaphore>

#include "support.h"

namespace verge::runtime {
namespace {

class Versions : public testing::Test {
 protected:
  // A source whose engine files are given when the test says so.
  std::shared_ptr<ModelSource> held(int64_t version) {
    auto s = server.source("m", {Server::vector_spec("x", 1)}, version);
    s->prepare = [this, prepare = s->prepare](const VariantSpec& v) {
      begun.release();
      go.acquire();
      return prepare(v);
    };
    return s;
  }
  std::shared_ptr<ModelSource> bad(int64_t version) {
    auto s = server.source("m", {Server::vector_spec("x", 1)}, version);
    s->prepare = [](const VariantSpec&) -> Result<engine::LoadSpec> { return data_loss("cut short"); };
    return s;
  }
  // What serve() told of it.
  Status serve(std::shared_ptr<ModelSource> source) {
    Status result = internal_error("not called");
    std::binary_semaphore called{0};
    server.runtime->serve(std::move(source), [&](Status s) {
      result = std::move(s);
      called.release();
    });
    called.acquire();
    return result;
  }
  // The version that answers a request for `version`; 0 where it failed.
  int64_t ask(int64_t version = 0) {
    Call c;
    c.to("m").input("x", {1, 1}, {7});
    c.request.version = version;
    front.infer(c.request);
    EXPECT_TRUE(front.run_until([&] { return c.done; }));
    return c.request.status.ok() ? c.request.answered_version : 0;
  }
  Server server;
  TestFront front{*server.runtime};
  std::binary_semaphore begun{0}, go{0};
};

TEST_F(Versions, ANewOneTakesOverWhenItIsResidentAndNotBefore) {
  EXPECT_TRUE(serve(server.source("m", {Server::vector_spec("x", 1)}, 1)).ok());
  server.runtime->set_preparing(false);
  EXPECT_EQ(ask(), 1);
  server.runtime->serve(held(2));
  begun.acquire();
  for (int i = 0; i < 3; ++i) EXPECT_EQ(ask(), 1);
  // Nothing that only asks waits for the load.
  const auto doc = server.runtime->model_doc(front.front(), "m", 0);
  EXPECT_EQ(doc->version, 1);
  EXPECT_EQ(doc->versions, (std::vector<int64_t>{1, 2}));
  EXPECT_EQ(doc->parameters["variants"][0]["state"], "resident");
  EXPECT_TRUE(*server.runtime->model_ready(front.front(), "m", 0));
  EXPECT_FALSE(*server.runtime->model_ready(front.front(), "m", 2));
  EXPECT_TRUE(server.runtime->ready());
  go.release();
  server.runtime->settle();
  EXPECT_EQ(ask(), 2);
  EXPECT_EQ(ask(1), 1);
}

TEST_F(Versions, ABadOneNeverAnswersAndSaysWhy) {
  EXPECT_TRUE(serve(server.source("m", {Server::vector_spec("x", 1)}, 1)).ok());
  const Status s = serve(bad(2));
  EXPECT_NE(s.message().find("cut short"), std::string::npos) << s.to_string();
  EXPECT_EQ(ask(), 1);
  auto broken = std::make_shared<ModelSource>();
  broken->name = "m";
  broken->version = 3;
  broken->broken = data_loss("manifest.json: not JSON");
  EXPECT_EQ(serve(broken).code(), Code::kDataLoss);
  EXPECT_EQ(ask(), 1);
  EXPECT_EQ(ask(2), 0);
  EXPECT_EQ(ask(3), 0);
}

TEST_F(Versions, OneInPlaceOfItselfTakesOverWhenLoadedAndABadOneChangesNothing) {
  EXPECT_TRUE(serve(server.source("m", {Server::vector_spec("x", 1)}, 1)).ok());
  std::binary_semaphore loaded{0};
  server.runtime->serve(held(1), [&](Status s) {
    EXPECT_TRUE(s.ok()) << s.to_string();
    loaded.release();
  });
  begun.acquire();
  EXPECT_EQ(ask(), 1);
  go.release();
  loaded.acquire();
  EXPECT_EQ(ask(), 1);
  server.runtime->settle();  // the front has let go of the old one
  EXPECT_NE(server.logged().find("variant_unloaded"), std::string::npos);
  EXPECT_FALSE(serve(bad(1)).ok());
  auto wrong = server.source("m", {Server::vector_spec("x", 1)}, 1);
  wrong->manifest.inputs[0].feeds = "elsewhere";
  EXPECT_FALSE(serve(wrong).ok());
  EXPECT_EQ(ask(), 1);
  EXPECT_TRUE(*server.runtime->model_ready(front.front(), "m", 1));
  EXPECT_NE(server.runtime->metrics_text().find("verge_variant_resident_bytes{model=\"m\",version=\"1\",variant=\"fast\"} 1"), std::string::npos);
}

TEST_F(Versions, WhereNoneAnswersRequestsWaitForTheOneThatMay) {
  EXPECT_FALSE(serve(bad(2)).ok());
  server.runtime->serve(held(1));
  begun.acquire();
  Call c;
  c.to("m").input("x", {1, 1}, {7});
  front.infer(c.request);
  EXPECT_FALSE(c.done);
  go.release();
  ASSERT_TRUE(front.run_until([&] { return c.done; }));
  EXPECT_EQ(c.request.answered_version, 1);
}

TEST_F(Versions, RetiringEndsWhenTheLastAnswerIsWritten) {
  EXPECT_TRUE(serve(server.source("m", {Server::vector_spec("x", 1)}, 1)).ok());
  Call c;
  c.to("m").input("x", {1, 1}, {7});
  front.infer(c.request);
  ASSERT_TRUE(front.run_until([&] { return c.done; }));
  std::atomic<bool> unloaded{false};
  server.runtime->retire("m", 1, [&] { unloaded = true; });
  ASSERT_TRUE(front.run_until([&] { return !server.runtime->model_doc(front.front(), "m", 0).ok(); }));
  EXPECT_FALSE(unloaded);
  c.request.release();
  server.runtime->settle();
  EXPECT_TRUE(unloaded);
  std::atomic<bool> again{false};
  server.runtime->retire("m", 1, [&] { again = true; });
  server.runtime->settle();
  EXPECT_TRUE(again);
}

TEST_F(Versions, FiguresOfThoseThatHaveGoneAreBounded) {
  constexpr int kVersions = 24;
  for (int v = 1; v <= kVersions; ++v) {
    EXPECT_TRUE(serve(server.source("m", {Server::vector_spec("x", 1)}, v)).ok());
    EXPECT_EQ(ask(), v);
    server.runtime->retire("m", v);
    ASSERT_TRUE(front.run_until([&] { return !server.runtime->model_doc(front.front(), "m", 0).ok(); }));
    server.runtime->settle();
  }
  const std::string text = server.runtime->metrics_text();
  EXPECT_EQ(text.find("version=\"1\""), std::string::npos);
  EXPECT_NE(text.find("verge_requests_total{model=\"m\",version=\"24\",variant=\"fast\"} 1"), std::string::npos) << text;
}

TEST_F(Versions, OneThatIsWithdrawnBeforeItIsLoadedSaysSo) {
  Status told;
  server.runtime->serve(held(1));
  begun.acquire();
  server.runtime->serve(server.source("m", {Server::vector_spec("x", 1)}, 2), [&](Status s) { told = std::move(s); });
  server.runtime->retire("m", 2);
  go.release();
  server.runtime->settle();
  EXPECT_EQ(told.code(), Code::kCancelled);
  EXPECT_EQ(ask(), 1);
}

}  // namespace
}  // namespace verge::runtime
