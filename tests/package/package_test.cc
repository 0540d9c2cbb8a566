#include "package/package.h"

#include <gtest/gtest.h>

#include "chain_fixture.h"
#include "os/files.h"

namespace verge::package {
namespace {

class PackageTest : public ::testing::Test {
 protected:
  void SetUp() override {
    zoo_ = *os::make_temp_dir("/tmp", "verge-package-test-");
    write_version("m", 1);
  }
  void TearDown() override { ASSERT_TRUE(os::remove_tree(zoo_).ok()); }

  std::string dir(const std::string& name, int64_t version) const { return os::join(os::join(zoo_, name), std::to_string(version)); }

  void write_version(const std::string& name, int64_t version) {
    manifest_ = Manifest();
    manifest_.name = name;
    manifest_.version = version;
    manifest_.source_kind = "identity";
    TensorSpec x{"x", DType::kFp32, {-1, 4}, 0, {}};
    manifest_.network = {{x}, {x}};
    manifest_.inputs = {{x, "x", {}}};
    manifest_.outputs = {{x, "x", {}}};
    manifest_.metric.kind = MetricKind::kTop1;
    manifest_.limits.max_accuracy_loss = 0.01;
    manifest_.reference_accuracy = 0.9;
    manifest_.evaluation_samples = 100;
    Artifact a;
    a.format = "identity";
    a.entry = "model.json";
    a.files = {{"model.json", 2, os::sha256_hex("{}")}};
    a.id = folder_digest(a.files);
    manifest_.artifacts = {a};
    for (const char* id : {"slow", "fast", "lossy"}) {
      VariantSpec v;
      v.id = id;
      v.engine = "identity";
      v.precision = "f32";
      v.artifacts = {a.id};
      manifest_.variants.push_back(v);
    }
    const std::string folder = os::join(dir(name, version), "artifacts/" + a.id);
    ASSERT_TRUE(os::make_dirs(folder).ok());
    ASSERT_TRUE(os::write_file_atomic(os::join(folder, "model.json"), "{}").ok());
    ASSERT_TRUE(os::write_file_atomic(os::join(dir(name, version), "manifest.json"), print_manifest(manifest_)).ok());
  }

  Profile profile(double slow_us, double fast_us, double lossy_us) const {
    Profile p;
    p.device.fingerprint = "0123456789abcdef";
    for (auto [id, us, accuracy] : {std::tuple{"slow", slow_us, 0.9}, {"fast", fast_us, 0.895}, {"lossy", lossy_us, 0.8}}) {
      VariantProfile v;
      v.id = id;
      v.verdict = Verdict::kOk;
      v.accuracy = accuracy;
      LatencyCell c;
      c.n = 100;
      c.p50_us = us;
      v.latency = {c};
      p.variants.push_back(v);
    }
    return p;
  }

  std::string zoo_;
  Manifest manifest_;
};

TEST_F(PackageTest, TheDefaultIsTheFastestThatKeepsTheAccuracyLimit) {
  Profile p = profile(300, 200, 100);
  ASSERT_NE(default_variant(manifest_, p), nullptr);
  EXPECT_EQ(default_variant(manifest_, p)->id, "fast");
  p.variant("fast")->verdict = Verdict::kRejected;
  EXPECT_EQ(default_variant(manifest_, p)->id, "slow");
  p.variant("slow")->verdict = Verdict::kFailed;
  EXPECT_EQ(default_variant(manifest_, p), nullptr);
}

TEST_F(PackageTest, OpensWithTheProfilesThatAreItsOwn) {
  auto package = open_package(dir("m", 1));
  ASSERT_TRUE(package.ok()) << package.status().message();
  EXPECT_TRUE(package->profiles.empty());
  Profile p = profile(1, 2, 3);
  p.manifest_sha256 = package->manifest_sha256;
  ASSERT_TRUE(os::make_dirs(os::join(dir("m", 1), "profiles")).ok());
  ASSERT_TRUE(os::write_file_atomic(os::join(dir("m", 1), "profiles/good.json"), print_profile(p)).ok());
  p.manifest_sha256 = std::string(64, '0');
  ASSERT_TRUE(os::write_file_atomic(os::join(dir("m", 1), "profiles/other.json"), print_profile(p)).ok());
  ASSERT_TRUE(os::write_file_atomic(os::join(dir("m", 1), "profiles/torn.json"), "{").ok());
  package = open_package(dir("m", 1));
  ASSERT_TRUE(package.ok());
  EXPECT_EQ(package->profiles.size(), 1u);
  EXPECT_EQ(package->warnings.size(), 2u);
  EXPECT_NE(package->profile_for("0123456789abcdef"), nullptr);
  EXPECT_EQ(package->profile_for("other"), nullptr);
}

TEST_F(PackageTest, AChangedArtifactIsSeen) {
  auto package = open_package(dir("m", 1));
  ASSERT_TRUE(package.ok());
  const VariantSpec& v = package->manifest.variants[0];
  EXPECT_TRUE(verify_variant(*package, v).ok());
  ASSERT_TRUE(os::write_file_atomic(load_spec(*package, v).files[0].first, "[]").ok());
  EXPECT_EQ(verify_variant(*package, v).code(), Code::kDataLoss);
}

TEST_F(PackageTest, StagesAreLoadedOneByOne) {
  auto written = write_chain_package(zoo_);
  ASSERT_TRUE(written.ok()) << written.status().message();
  auto package = open_package(*written);
  ASSERT_TRUE(package.ok()) << package.status().message();
  EXPECT_TRUE(package->warnings.empty());
  ASSERT_EQ(package->profiles.size(), 1u);
  const VariantSpec& v = package->manifest.variants.at(0);
  EXPECT_TRUE(verify_variant(*package, v).ok());
  ASSERT_EQ(v.stages.size(), 4u);
  EXPECT_EQ(package->profiles[0].variants.at(0).stages.size(), 4u);
  for (size_t k = 0; k < v.stages.size(); ++k) {
    const engine::LoadSpec spec = load_spec(*package, v, k);
    ASSERT_EQ(spec.files.size(), 1u);
    EXPECT_EQ(spec.format, "identity");
    EXPECT_NE(spec.files[0].first.find(v.stages[k].artifacts[0]), std::string::npos);
  }
}

TEST_F(PackageTest, ResolvesAZooAModelAndAVersion) {
  write_version("m", 12);
  EXPECT_EQ(*resolve_package(dir("m", 1)), dir("m", 1));
  EXPECT_EQ(*resolve_package(os::join(zoo_, "m")), dir("m", 12));
  EXPECT_EQ(*resolve_package(zoo_), dir("m", 12));
  write_version("other", 1);
  auto several = resolve_package(zoo_);
  ASSERT_FALSE(several.ok());
  EXPECT_NE(several.status().message().find("m, other"), std::string::npos);
  EXPECT_FALSE(resolve_package("/nonexistent").ok());
}

TEST_F(PackageTest, ListsOnlyPublishedVersions) {
  ASSERT_TRUE(os::make_dirs(os::join(zoo_, "m/2")).ok());
  ASSERT_TRUE(os::make_dirs(os::join(zoo_, "m/.tmp-3")).ok());
  ASSERT_TRUE(os::make_dirs(os::join(zoo_, "m/007")).ok());
  auto zoo = list_zoo(zoo_);
  ASSERT_TRUE(zoo.ok());
  ASSERT_EQ(zoo->size(), 1u);
  EXPECT_EQ((*zoo)[0].versions, std::vector<int64_t>{1});
}

}  // namespace
}  // namespace verge::package
