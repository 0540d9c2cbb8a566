// A zoo that changes while it is served.
#include "serve/repository.h"

#include <gtest/gtest.h>

#include <condition_variable>

#include "runtime/support.h"
#include "serve/packages.h"

namespace verge::serve {
namespace {

using runtime::Call;
using runtime::TempDir;
using runtime::TestFront;

class Zoo : public testing::Test {
 protected:
  Zoo() : log("error", "text") {
    auto catalog = engine::Catalog::scan(os::install().plugin_dir);
    EXPECT_TRUE(catalog.ok());
    env.catalog = *catalog;
    env.device = os::this_device();
    env.log = &log;
    env.config.state_dir = os::join(dir.path, "state");
    zoo = os::join(dir.path, "zoo");
    stage = os::join(dir.path, "stage");
    EXPECT_TRUE(os::make_dirs(zoo).ok());
    runtime::RuntimeOptions o;
    o.catalog = env.catalog;
    auto made = runtime::make_runtime(std::move(o));
    EXPECT_TRUE(made.ok());
    runtime = std::move(made).value();
    front = std::make_unique<TestFront>(*runtime);
  }
  ~Zoo() override {
    if (repository) {
      repository->stop();
      repository->join();
    }
    front.reset();
    runtime.reset();
  }

  void start(Repository::Options options = {}) {
    auto place = find_place(zoo);
    ASSERT_TRUE(place.ok()) << place.status().to_string();
    repository = std::make_unique<Repository>(env, *runtime, *place, std::move(options));
    bool done = false;
    repository->start([&, call = wake(done)] { call(); });
    EXPECT_TRUE(front->run_until([&] { return done; }));
  }
  // For a callback of another thread: sets `done` on the front's.
  std::function<void()> wake(bool& done) {
    return [this, &done] { front->front().post([&done] { done = true; }); };
  }
  // As `verge build` publishes: complete, by one rename.
  void publish(const std::string& name, int64_t version, const std::function<void(const std::string&)>& change = {}) {
    write_package(stage, name, version, true);
    const std::string from = os::join(os::join(stage, name), std::to_string(version)), to = os::join(os::join(zoo, name), std::to_string(version));
    if (change) change(from);
    ASSERT_TRUE(os::make_dirs(os::dir_name(to)).ok());
    ASSERT_TRUE(os::rename_path(from, to).ok());
  }
  std::string version_dir(int64_t version) { return os::join(os::join(zoo, "m"), std::to_string(version)); }
  void damage(const std::string& package) {
    const auto artifacts = os::list_dir(os::join(package, "artifacts"));
    ASSERT_TRUE(os::write_file_atomic(os::join(package, "artifacts/" + artifacts->front() + "/model.json"), "{}").ok());
  }
  int64_t answering(int64_t version = 0, int64_t samples = 1) {
    Call c;
    c.to("m").input("x", {samples, 2}, std::vector<float>(static_cast<size_t>(2 * samples)));
    c.request.version = version;
    front->infer(c.request);
    EXPECT_TRUE(front->run_until([&] { return c.done; }));
    return c.request.status.ok() ? c.request.answered_version : -static_cast<int64_t>(c.request.status.code());
  }
  int64_t max_batch() {
    const auto doc = runtime->model_doc(front->front(), "m", 0);
    return doc.ok() ? doc->max_batch : -1;
  }
  // The front has been told of it; nothing here asks again and again.
  bool comes(int64_t version) {
    return front->run_until([&] {
      const auto doc = runtime->model_doc(front->front(), "m", 0);
      return version == 0 ? !doc.ok() : doc.ok() && doc->version == version && *runtime->model_ready(front->front(), "m", 0);
    });
  }
  bool goes(int64_t version) {
    return front->run_until([&] { return !runtime->model_doc(front->front(), "m", version).ok(); });
  }
  Json reload() {
    bool done = false;
    Json out;
    repository->reload([&, call = wake(done)](Json report) {
      out = std::move(report);
      call();
    });
    EXPECT_TRUE(front->run_until([&] { return done; }));
    return out;
  }
  Status change(bool load, const std::string& name, int64_t max_batch = 0) {
    bool done = false;
    Status out;
    const auto told = [&, call = wake(done)](Status s) {
      out = std::move(s);
      call();
    };
    load ? repository->load(name, {max_batch}, told) : repository->unload(name, told);
    EXPECT_TRUE(front->run_until([&] { return done; }));
    return out;
  }
  std::string index(bool ready_only = false) {
    std::string all;
    for (const auto& e : repository->index(ready_only)) all += e.name + "/" + std::to_string(e.version) + " " + e.state + (e.reason.empty() ? "" : " (" + e.reason + ")") + "\n";
    return all;
  }
  static bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

  TempDir dir;
  Log log;
  Environment env;
  std::string zoo, stage;
  std::unique_ptr<runtime::ServerRuntime> runtime;
  std::unique_ptr<TestFront> front;
  std::unique_ptr<Repository> repository;
};

TEST_F(Zoo, APublishedVersionTakesOverAndTheOldOneGoes) {
  publish("m", 1);
  start();
  EXPECT_EQ(answering(), 1);
  EXPECT_EQ(repository->served().dump(), R"([{"name":"m","version":1,"variant":"quick"}])");
  publish("m", 2);
  ASSERT_TRUE(comes(2));
  ASSERT_TRUE(goes(1));
  EXPECT_EQ(answering(), 2);
  EXPECT_EQ(answering(1), -static_cast<int64_t>(Code::kNotFound));
  publish("n", 5);  // a model that was not there
  ASSERT_TRUE(front->run_until([&] { return runtime->model_doc(front->front(), "n", 5).ok(); }));
}

TEST_F(Zoo, ABadVersionChangesNothingAndIsSaid) {
  publish("m", 1);
  start();
  publish("m", 2, [&](const std::string& package) { damage(package); });
  publish("m", 3, [&](const std::string& package) { ASSERT_TRUE(os::write_file_atomic(os::join(package, "manifest.json"), "{").ok()); });
  const Json report = reload();
  EXPECT_TRUE(has(report["refused"].dump(), "m version 3: ")) << report;
  EXPECT_EQ(answering(), 1);
  EXPECT_TRUE(has(index(), "m/1 READY\n")) << index();
  EXPECT_TRUE(has(index(), "m/3 UNAVAILABLE (")) << index();
  EXPECT_EQ(index(true), "m/1 READY\n");
  // Put right, it takes over; 2 was never asked.
  ASSERT_TRUE(os::remove_tree(version_dir(3)).ok());
  ASSERT_TRUE(os::remove_tree(version_dir(2)).ok());
  publish("m", 2);
  EXPECT_TRUE(comes(2));
}

TEST_F(Zoo, WhereTheLatestIsBadAtTheStartTheOneBeforeAnswers) {
  publish("m", 1);
  publish("m", 2);
  publish("m", 3, [&](const std::string& package) { damage(package); });
  start();
  EXPECT_EQ(answering(), 2);
  EXPECT_EQ(answering(3), -static_cast<int64_t>(Code::kUnavailable));
  EXPECT_TRUE(has(index(), "m/1 UNAVAILABLE (not served")) << index();
  EXPECT_TRUE(has(index(), "model.json")) << index();
}

TEST_F(Zoo, OneInPlaceOfItself) {
  publish("m", 1);
  start();
  EXPECT_TRUE(reload()["changed"].empty());
  ASSERT_TRUE(os::rename_path(version_dir(1), os::join(dir.path, "old")).ok());
  publish("m", 1);  // within the grace of a folder that is gone
  EXPECT_TRUE(reload()["refused"].empty());
  EXPECT_EQ(answering(), 1);
  EXPECT_TRUE(has(runtime->metrics_text(), R"(verge_loads_total{model="m",version="1",variant="quick",result="ok"} 2)"));
  ASSERT_TRUE(os::rename_path(version_dir(1), os::join(dir.path, "older")).ok());
  publish("m", 1, [&](const std::string& package) { damage(package); });
  EXPECT_TRUE(has(reload()["refused"].dump(), "model.json"));
  EXPECT_EQ(answering(), 1);
  EXPECT_TRUE(has(index(), "m/1 READY (what lies in its folder now was refused")) << index();
}

TEST_F(Zoo, ARollBackAndItsEnd) {
  for (const int v : {1, 2, 3}) publish("m", v);
  start();
  EXPECT_EQ(answering(), 3);
  const std::string file = os::join(zoo, "m/serving.json");
  ASSERT_TRUE(os::write_file_atomic(file, print_serving(2)).ok());
  ASSERT_TRUE(comes(2));
  ASSERT_TRUE(goes(3));
  runtime->settle();
  EXPECT_TRUE(reload()["changed"].empty());
  EXPECT_TRUE(has(index(), "m/3 UNAVAILABLE (not served: rolled back to version 2")) << index();
  publish("m", 4);
  EXPECT_TRUE(reload()["refused"].empty());
  EXPECT_EQ(answering(), 2);
  // What cannot be followed changes nothing.
  ASSERT_TRUE(os::write_file_atomic(file, print_serving(9)).ok());
  EXPECT_TRUE(has(reload()["refused"].dump(), "it names version 9, which is not there"));
  ASSERT_TRUE(os::write_file_atomic(file, "[]").ok());
  EXPECT_TRUE(has(reload()["refused"].dump(), "serving.json"));
  EXPECT_EQ(answering(), 2);
  ASSERT_EQ(std::remove(file.c_str()), 0);
  EXPECT_TRUE(comes(4));
}

TEST_F(Zoo, AVersionBeginsWithItsManifest) {
  publish("m", 1);
  start();
  write_package(stage, "m", 2, true);
  const std::string from = os::join(stage, "m/2");
  ASSERT_TRUE(os::make_dirs(version_dir(2)).ok());
  for (const char* part : {"artifacts", "golden", "profiles"}) ASSERT_TRUE(os::rename_path(os::join(from, part), os::join(version_dir(2), part)).ok());
  EXPECT_TRUE(reload()["changed"].empty());
  ASSERT_TRUE(os::rename_path(os::join(from, "manifest.json"), os::join(version_dir(2), "manifest.json")).ok());
  EXPECT_TRUE(comes(2));
}

TEST_F(Zoo, RemovedVersionsGoAndAnEmptyZooServesOn) {
  env.config.versions.kind = VersionPolicy::Kind::kAll;
  publish("m", 1);
  publish("m", 2);
  start({.removal_grace_ns = 1});
  EXPECT_EQ(answering(1), 1);
  ASSERT_TRUE(os::remove_tree(version_dir(2)).ok());
  ASSERT_TRUE(comes(1));
  ASSERT_TRUE(goes(2));
  ASSERT_TRUE(os::remove_tree(os::join(zoo, "m")).ok());
  ASSERT_TRUE(comes(0));
  EXPECT_EQ(answering(), -static_cast<int64_t>(Code::kNotFound));
  publish("m", 3);
  EXPECT_TRUE(comes(3));
}

TEST_F(Zoo, AZooThatIsGoneIsNoWishToServeNothing) {
  publish("m", 1);
  start({.removal_grace_ns = 1});
  ASSERT_TRUE(os::rename_path(zoo, os::join(dir.path, "elsewhere")).ok());
  EXPECT_FALSE(reload()["refused"].empty());
  EXPECT_EQ(answering(), 1);
}

TEST_F(Zoo, LoadingAndUnloadingByName) {
  publish("m", 1);
  start();
  EXPECT_TRUE(change(false, "m").ok());
  EXPECT_EQ(answering(), -static_cast<int64_t>(Code::kNotFound));
  EXPECT_TRUE(has(index(), "m/1 UNAVAILABLE (unloaded)")) << index();
  publish("m", 2);
  EXPECT_TRUE(reload()["changed"].empty());
  EXPECT_EQ(answering(), -static_cast<int64_t>(Code::kNotFound));
  EXPECT_TRUE(change(true, "m").ok());
  EXPECT_EQ(answering(), 2);
  EXPECT_TRUE(has(change(true, "nobody").message(), "failed to load 'nobody', failed to poll from model repository"));
  EXPECT_EQ(change(true, "../m").code(), Code::kNotFound);
  EXPECT_EQ(change(false, "nobody").code(), Code::kNotFound);
  publish("bad", 1, [&](const std::string& package) { damage(package); });
  EXPECT_TRUE(has(change(true, "bad").message(), "model.json"));
}

TEST_F(Zoo, ALoadMayLimitTheBatch) {
  constexpr int64_t kTooMany = -static_cast<int64_t>(Code::kInvalidArgument);
  publish("m", 1);
  start();
  EXPECT_EQ(max_batch(), runtime::kMostBatch);
  EXPECT_EQ(answering(0, 4), 1);
  EXPECT_TRUE(change(true, "m", 3).ok());
  EXPECT_EQ(max_batch(), 3);
  EXPECT_EQ(answering(0, 3), 1);
  EXPECT_EQ(answering(0, 4), kTooMany);
  // What comes later, and what a reload finds, is limited too.
  publish("m", 2);
  ASSERT_TRUE(comes(2));
  EXPECT_EQ(max_batch(), 3);
  reload();
  EXPECT_EQ(answering(0, 4), kTooMany);
  EXPECT_TRUE(has(change(true, "m", runtime::kMostBatch + 1).message(), "failed to load 'm', its max_batch_size cannot be 1025"));
  EXPECT_EQ(max_batch(), 3);
  // Until it is loaded without, or unloaded.
  EXPECT_TRUE(change(true, "m").ok());
  EXPECT_EQ(answering(0, 4), 2);
  EXPECT_TRUE(change(true, "m", 2).ok());
  EXPECT_EQ(max_batch(), 2);
  EXPECT_TRUE(change(false, "m").ok());
  EXPECT_TRUE(change(true, "m").ok());
  EXPECT_EQ(max_batch(), runtime::kMostBatch);
}

TEST_F(Zoo, ALimitNeedsABatchAxis) {
  const auto alone = [](const std::string& package) {
    const std::string path = os::join(package, "manifest.json");
    auto m = parse_manifest(*os::read_file(path, 1 << 20));
    ASSERT_TRUE(m.ok()) << m.status().to_string();
    for (TensorSpec* t : {&m->network.inputs[0], &m->network.outputs[0], &m->inputs[0].spec, &m->outputs[0].spec}) {
      t->shape = Shape{-1, 2};
      t->batch_axis = -1;
    }
    ASSERT_TRUE(os::write_file_atomic(path, print_manifest(*m)).ok());
    auto profile = os::join(os::join(package, "profiles"), os::list_dir(os::join(package, "profiles"))->front());
    auto p = parse_profile(*os::read_file(profile, 1 << 20));
    p->manifest_sha256 = os::sha256_hex(print_manifest(*m));
    ASSERT_TRUE(os::write_file_atomic(profile, print_profile(*p)).ok());
  };
  publish("m", 1, alone);
  start();
  EXPECT_EQ(answering(), 1);
  EXPECT_EQ(max_batch(), 0);
  const Status s = change(true, "m", 16);
  EXPECT_EQ(s.code(), Code::kInvalidArgument);
  EXPECT_TRUE(has(s.message(), "has the batch as its first axis")) << s.message();
  EXPECT_EQ(answering(), 1);
  EXPECT_TRUE(change(true, "m").ok());
  // One that comes under a limit it cannot have is refused; the one before answers on.
  ASSERT_TRUE(os::remove_tree(os::join(zoo, "m")).ok());
  publish("m", 2);
  ASSERT_TRUE(comes(2));
  EXPECT_TRUE(change(true, "m", 16).ok());
  publish("m", 3, alone);
  EXPECT_TRUE(has(reload()["refused"].dump(), "its max_batch_size cannot be 16"));
  EXPECT_EQ(answering(), 2);
}

TEST_F(Zoo, ANewConfigurationCountsAtOnceOrSaysThatItCannot) {
  for (const int v : {1, 2}) publish("m", v);
  Config config;
  Status wrong;
  start({.read_config = [&]() -> Result<Config> { return wrong.ok() ? Result<Config>(config) : Result<Config>(wrong); }});
  config.models["m"] = {.default_variant = "late", .versions = VersionPolicy{VersionPolicy::Kind::kAll, {}}};
  config.given = {{"models.m.default", "\"late\""}, {"models.m.versions", "\"all\""}, {"fronts", "3"}};
  const Json report = reload();
  EXPECT_TRUE(has(report["refused"].dump(), "fronts cannot change while the server runs")) << report;
  EXPECT_EQ(report["refused"].size(), 1u);
  EXPECT_EQ(answering(1), 1);
  EXPECT_EQ(runtime->model_doc(front->front(), "m", 2)->default_variant, "late");
  wrong = invalid_argument("verge.yaml:1: nothing makes sense");
  EXPECT_TRUE(has(reload()["refused"].dump(), "verge.yaml:1"));
  EXPECT_EQ(answering(1), 1);
}

TEST_F(Zoo, WhoeverWaitsWhenItStopsIsTold) {
  start();
  repository->stop();
  bool done = false;
  Status s;
  repository->load("m", {}, [&](Status told) {
    s = std::move(told);
    done = true;
  });
  EXPECT_TRUE(done);
  EXPECT_EQ(s.code(), Code::kUnavailable);
}

}  // namespace
}  // namespace verge::serve
