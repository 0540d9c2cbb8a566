#include "build/publish.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "build/infer.h"

namespace verge::build {
namespace {

class Publish : public ::testing::Test {
 protected:
  void SetUp() override { zoo_ = *os::make_temp_dir(::testing::TempDir(), "zoo-"); }
  void TearDown() override { (void)os::remove_tree(zoo_); }
  std::string zoo_;
};

TEST_F(Publish, AVersionAppearsWholeAndLeavesNothingBehind) {
  {
    auto staging = Staging::create(zoo_);
    ASSERT_TRUE(staging.ok()) << staging.status().message();
    ASSERT_TRUE(os::write_file_atomic(os::join(staging->package_dir(), "manifest.json"), "{}").ok());
    ASSERT_TRUE(os::write_file_atomic(os::join(staging->work_dir(), "junk"), "x").ok());
    EXPECT_EQ(highest_version(zoo_, "m"), 0);
    auto dir = staging->publish("m", 1);
    ASSERT_TRUE(dir.ok()) << dir.status().message();
    EXPECT_EQ(*os::read_file(os::join(*dir, "manifest.json"), 10), "{}");
  }
  EXPECT_EQ(highest_version(zoo_, "m"), 1);
  EXPECT_EQ(*os::list_dir(zoo_), std::vector<std::string>{"m"});
}

TEST_F(Publish, AnAbandonedBuildIsRemovedAndVersionsAreNeverOverwritten) {
  ASSERT_TRUE(os::make_dirs(os::join(zoo_, ".verge-build-dead/package")).ok());
  ASSERT_TRUE(os::make_dirs(os::join(zoo_, "m/7")).ok());
  ASSERT_TRUE(os::write_file_atomic(os::join(zoo_, "m/7/keep"), "x").ok());
  auto staging = Staging::create(zoo_);
  ASSERT_TRUE(staging.ok());
  EXPECT_FALSE(os::exists(os::join(zoo_, ".verge-build-dead")));
  EXPECT_EQ(highest_version(zoo_, "m"), 7);
  EXPECT_EQ(staging->publish("m", 7).status().code(), Code::kAlreadyExists);
  EXPECT_TRUE(os::exists(os::join(zoo_, "m/7/keep")));
}

TEST_F(Publish, ASecondBuilderIsToldWhoHoldsTheZooAndWaits) {
  int ready[2], release[2];
  ASSERT_EQ(pipe(ready) | pipe(release), 0);
  pid_t child = fork();
  if (child == 0) {
    auto lock = lock_zoo(zoo_, [](const std::string&) {});
    char c = lock.ok() ? 'y' : 'n';
    if (write(ready[1], &c, 1) != 1 || read(release[0], &c, 1) != 1) _exit(2);
    _exit(0);
  }
  char c = 0;
  ASSERT_EQ(read(ready[0], &c, 1), 1);
  ASSERT_EQ(c, 'y');
  std::string told;
  auto lock = lock_zoo(zoo_, [&](const std::string& text) {
    told = text;
    EXPECT_EQ(write(release[1], "x", 1), 1);
  });
  EXPECT_TRUE(lock.ok()) << lock.status().message();
  EXPECT_EQ(told, "another build (process " + std::to_string(child) + ") holds " + zoo_ + "; waiting");
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
}

TEST_F(Publish, SourcesAreKnownByNameAndContent) {
  auto write = [&](const std::string& name, const std::string& content) {
    std::string path = os::join(zoo_, name);
    EXPECT_TRUE(os::make_dirs(os::dir_name(path)).ok());
    EXPECT_TRUE(os::write_file_atomic(path, content).ok());
    return path;
  };
  EXPECT_EQ(inspect_source(write("a.tflite", std::string("\0\0\0\0TFL3....", 12)), "")->kind, "tflite");
  EXPECT_THAT(inspect_source(write("b.tflite", "not at all"), "").status().message(), ::testing::HasSubstr("the content does not"));
  EXPECT_THAT(inspect_source(write("c.pb", "x"), "").status().message(), ::testing::HasSubstr("name its folder"));
  EXPECT_THAT(inspect_source(write("d.bin", "x"), "").status().message(), ::testing::HasSubstr("unknown kind of model"));
  EXPECT_THAT(inspect_source(os::join(zoo_, "none"), "").status().message(), ::testing::HasSubstr("no such model"));
  EXPECT_THAT(inspect_source(zoo_, "").status().message(), ::testing::HasSubstr("no saved_model.pb"));
  EXPECT_THAT(inspect_source(write("e.xml", "<net/>"), "").status().message(), ::testing::HasSubstr("e.bin"));
  using namespace std::string_literals;
  auto external = [](const std::string& name) { return "\x0a\x08location\x12"s + static_cast<char>(name.size()) + name; };
  std::string onnx = write("big.onnx", "x" + external("weights/w.bin") + external("absent") + "\x0a\x08location\x12\x7f");
  write("weights/w.bin", "weights");
  auto with_data = inspect_source(onnx, "");
  ASSERT_TRUE(with_data.ok()) << with_data.status().message();
  ASSERT_EQ(with_data->files.size(), 2u);
  EXPECT_EQ(with_data->files[1].path, "weights/w.bin");
  write("weights/w.bin", "changed");
  EXPECT_NE(inspect_source(onnx, "")->sha256, with_data->sha256);
  EXPECT_THAT(inspect_source(write("out.onnx", external("../secret")), "").status().message(), ::testing::HasSubstr("outside the model's folder"));
  EXPECT_THAT(inspect_source(write("root.onnx", external("/etc/passwd")), "").status().message(), ::testing::HasSubstr("outside the model's folder"));
  write("fall/saved_model/saved_model.pb", "x");
  write("fall/saved_model/variables/v", "y");
  auto saved = inspect_source(os::join(zoo_, "fall/saved_model"), "");
  ASSERT_TRUE(saved.ok()) << saved.status().message();
  EXPECT_EQ(saved->files.size(), 2u);
  EXPECT_EQ(name_from_path(saved->path), "fall");
  EXPECT_EQ(name_from_path("/x/my model (1).h5"), "my-model--1-");
  EXPECT_EQ(name_from_path("/x/...onnx"), "model");
}

}  // namespace
}  // namespace verge::build
