#include "serve/sources.h"

#include <gtest/gtest.h>

#include "os/files.h"
#include "os/process.h"
#include "runtime/support.h"
#include "serve/candidates.h"
#include "serve/packages.h"

namespace verge::serve {
namespace {

using runtime::Call;
using runtime::TempDir;
using runtime::TestFront;

class Sources : public testing::Test {
 protected:
  Sources() : log("error", "text") {
    auto catalog = engine::Catalog::scan(os::install().plugin_dir);
    EXPECT_TRUE(catalog.ok());
    env.catalog = *catalog;
    env.device = os::this_device();
    env.log = &log;
    env.config.state_dir = os::join(dir.path, "state");
    env.config.cache_dir = os::join(dir.path, "cache");
    zoo = os::join(dir.path, "zoo");
    EXPECT_TRUE(os::make_dirs(zoo).ok());
  }
  std::shared_ptr<runtime::ModelSource> open(const std::string& path, bool may_measure = false) {
    auto found = find_models(path);
    EXPECT_TRUE(found.ok()) << found.status().to_string();
    EXPECT_EQ(found->size(), 1u);
    return open_source(env, found->front(), may_measure);
  }
  TempDir dir;
  Log log;
  Environment env;
  std::string zoo;
};

TEST_F(Sources, AZooAPackageAndAVersionAreFound) {
  write_package(zoo, "a", 1, true);
  write_package(zoo, "a", 12, true);
  write_package(zoo, "b", 3, true);
  EXPECT_TRUE(os::make_dirs(os::join(zoo, "empty")).ok());
  EXPECT_TRUE(os::make_dirs(os::join(zoo, ".tmp-a/1")).ok());
  const auto names = [](const auto& found) {
    std::string all;
    for (const Found& f : *found) all += f.name + "/" + std::to_string(f.version) + " ";
    return all;
  };
  EXPECT_EQ(names(find_models(zoo)), "a/1 a/12 b/3 ");
  EXPECT_EQ(names(find_models(os::join(zoo, "a"))), "a/1 a/12 ");
  EXPECT_EQ(names(find_models(os::join(zoo, "a/12"))), "a/12 ");
  EXPECT_EQ(find_models(os::join(zoo, "c")).status().code(), Code::kNotFound);
  EXPECT_EQ(find_models(os::join(zoo, "a/1/manifest.json")).status().code(), Code::kInvalidArgument);
  EXPECT_TRUE(find_models(os::join(zoo, "empty"))->empty());
}

TEST_F(Sources, TheFastestOkVariantIsTheDefaultUnlessConfigured) {
  write_package(zoo, "a", 1, true);
  EXPECT_EQ(open(zoo)->default_variant, "quick");
  env.config.models["a"] = {"late", {"quick", "nope"}};
  const auto s = open(zoo);
  EXPECT_EQ(s->default_variant, "late");
  EXPECT_EQ(s->resident, std::vector<std::string>{"quick"});
  env.config.models["a"] = {"nope", {}};
  EXPECT_EQ(open(zoo)->default_variant, "");
  EXPECT_NE(open(zoo)->no_default.find("'nope'"), std::string::npos);
}

TEST_F(Sources, ServesFromDiskAndRefusesWhatWasChangedAfterTheBuild) {
  const Manifest m = write_package(zoo, "a", 1, true);
  write_package(zoo, "damaged", 1, true);
  const std::string file = os::join(zoo, "damaged/1/artifacts/" + m.artifacts[0].id + "/model.json");
  ASSERT_TRUE(os::write_file_atomic(file, R"({"tensors":[{"name":"x","dtype":"FP32","shape":[-1,3],"batch_axis":0}]})").ok());
  ASSERT_TRUE(os::make_dirs(os::join(zoo, "garbled/1")).ok());
  ASSERT_TRUE(os::write_file_atomic(os::join(zoo, "garbled/1/manifest.json"), "{").ok());
  runtime::RuntimeOptions o;
  o.catalog = env.catalog;
  auto server = runtime::make_runtime(std::move(o));
  ASSERT_TRUE(server.ok());
  {
    TestFront front(**server);
    const auto found = find_models(zoo);
    ASSERT_EQ(found->size(), 3u);
    for (const Found& f : *found) (*server)->serve(open_source(env, f, false));
    (*server)->settle();
    for (const auto& [model, part] : {std::pair{"a", ""}, std::pair{"damaged", "model.json"}, std::pair{"garbled", "manifest.json"}}) {
      Call c;
      c.to(model).input("x", {1, 2}, {1, 2});
      front.infer(c.request);
      ASSERT_TRUE(front.run_until([&] { return c.done; }));
      EXPECT_EQ(c.request.status.ok(), part[0] == 0) << model << c.request.status.to_string();
      EXPECT_NE(c.request.status.message().find(part), std::string::npos) << c.request.status.to_string();
    }
  }
}

TEST_F(Sources, WithoutAProfileCandidatesAreMeasuredAndTheResultIsKept) {
  if (!os::exists(os::install().executable)) GTEST_SKIP() << "no verge binary beside the tests";
  write_package(zoo, "a", 1, false);
  EXPECT_EQ(open(zoo, false), nullptr);
  const auto s = open(zoo, true);
  ASSERT_NE(s, nullptr);
  ASSERT_TRUE(s->broken.ok()) << s->broken.to_string();
  EXPECT_EQ(s->default_variant, "quick") << s->no_default;
  ASSERT_EQ(s->profile.variants.size(), 2u);
  EXPECT_EQ(s->profile.variants[0].max_abs_diff, 0);
  EXPECT_GT(s->profile.variants[1].cell(1, 1)->p50_us, 1900);
  const auto again = open(zoo, false);
  ASSERT_NE(again, nullptr);
  EXPECT_EQ(again->default_variant, "quick");
  ASSERT_TRUE(s->prepare(s->manifest.variants[0]).ok());
}

TEST_F(Sources, ADamagedKeptProfileIsMeasuredAgain) {
  if (!os::exists(os::install().executable)) GTEST_SKIP() << "no verge binary beside the tests";
  write_package(zoo, "a", 1, false);
  ASSERT_NE(open(zoo, true), nullptr);
  const std::string profiles = os::join(env.config.state_dir, "profiles");
  const auto files = os::list_dir(profiles);
  ASSERT_EQ(files->size(), 1u);
  ASSERT_TRUE(os::write_file_atomic(os::join(profiles, files->front()), "{}").ok());
  EXPECT_EQ(open(zoo, false), nullptr);
}

TEST(Bare, FormatsByNameAndContent) {
  EXPECT_EQ(bare_format("m.onnx"), "onnx");
  EXPECT_EQ(bare_format("m.tflite"), "tflite");
  EXPECT_EQ(bare_format("m.xml"), "openvino-ir");
  EXPECT_EQ(bare_format("m.h5"), "");
  TempDir dir;
  EXPECT_EQ(bare_format(dir.path), "");
  ASSERT_TRUE(os::write_file_atomic(os::join(dir.path, "saved_model.pb"), "").ok());
  EXPECT_EQ(bare_format(dir.path), "saved_model");
}

}  // namespace
}  // namespace verge::serve
