#include "os/files.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <thread>

namespace verge::os {
namespace {

class Files : public ::testing::Test {
 protected:
  void SetUp() override { dir_ = *make_temp_dir("/tmp", "verge-os-test-"); }
  void TearDown() override { ASSERT_TRUE(remove_tree(dir_).ok()); }
  std::string at(std::string_view name) const { return join(dir_, name); }
  std::string dir_;
};

TEST_F(Files, WriteReplacesAndReadIsBounded) {
  ASSERT_TRUE(write_file_atomic(at("a"), "one").ok());
  ASSERT_TRUE(write_file_atomic(at("a"), "two!").ok());
  EXPECT_EQ(*read_file(at("a"), 100), "two!");
  EXPECT_EQ(read_file(at("a"), 3).status().code(), Code::kResourceExhausted);
  EXPECT_EQ(read_file(at("none"), 3).status().code(), Code::kNotFound);
  EXPECT_FALSE(read_file(dir_, 3).ok()) << "a folder is no file";
  EXPECT_EQ(list_dir(dir_)->size(), 1u) << "no temporary file is left";
}

TEST_F(Files, AFullDiskLeavesTheOldFileAndNoRemains) {
  // /dev/full cannot take a temporary beside it, so the write is made to fail by a folder in its way instead.
  ASSERT_TRUE(make_dirs(at("d/inside")).ok());
  EXPECT_FALSE(write_file_atomic(at("d"), "x").ok());
  EXPECT_TRUE(is_dir(at("d/inside")));
  EXPECT_EQ(list_dir(dir_)->size(), 1u);
}

TEST_F(Files, Sha256IsTheKnownOne) {
  EXPECT_EQ(sha256_hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  ASSERT_TRUE(write_file_atomic(at("a"), "abc").ok());
  EXPECT_EQ(*sha256_file(at("a")), sha256_hex("abc"));
}

TEST_F(Files, VerifyTreeSeesEveryKindOfChange) {
  ASSERT_TRUE(make_dirs(at("t/sub")).ok());
  ASSERT_TRUE(write_file_atomic(at("t/sub/x"), "abc").ok());
  ASSERT_TRUE(write_file_atomic(at("t/y"), "defg").ok());
  auto files = digest_tree(at("t"));
  ASSERT_TRUE(files.ok());
  ASSERT_EQ(files->size(), 2u);
  EXPECT_TRUE(verify_tree(at("t"), *files).ok());

  ASSERT_TRUE(write_file_atomic(at("t/y"), "defX").ok());
  EXPECT_NE(verify_tree(at("t"), *files).message().find("sha256"), std::string::npos);
  ASSERT_TRUE(write_file_atomic(at("t/y"), "longer").ok());
  EXPECT_NE(verify_tree(at("t"), *files).message().find("6 bytes"), std::string::npos);
  ASSERT_EQ(::unlink(at("t/y").c_str()), 0);
  EXPECT_NE(verify_tree(at("t"), *files).message().find("missing"), std::string::npos);
  ASSERT_TRUE(write_file_atomic(at("t/y"), "defg").ok());
  ASSERT_TRUE(write_file_atomic(at("t/z"), "new").ok());
  EXPECT_NE(verify_tree(at("t"), *files).message().find("not listed"), std::string::npos);
  ASSERT_EQ(::unlink(at("t/z").c_str()), 0);
  ASSERT_EQ(::unlink(at("t/y").c_str()), 0);
  ASSERT_EQ(::symlink("/etc/hostname", at("t/y").c_str()), 0);
  EXPECT_FALSE(verify_tree(at("t"), *files).ok()) << "a symbolic link stands in for the file";
  EXPECT_FALSE(digest_tree(at("t")).ok());
}

TEST_F(Files, RemoveTreeDoesNotFollowLinks) {
  ASSERT_TRUE(make_dirs(at("keep")).ok());
  ASSERT_TRUE(write_file_atomic(at("keep/x"), "abc").ok());
  ASSERT_TRUE(make_dirs(at("gone")).ok());
  ASSERT_EQ(::symlink(at("keep").c_str(), at("gone/link").c_str()), 0);
  ASSERT_TRUE(remove_tree(at("gone")).ok());
  EXPECT_TRUE(exists(at("keep/x")));
}

TEST_F(Files, ASecondHolderOfALockIsToldWhoHoldsIt) {
  auto first = FileLock::acquire(at("lock"), false);
  ASSERT_TRUE(first.ok());
  auto second = FileLock::acquire(at("lock"), false);
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.status().code(), Code::kUnavailable);
  EXPECT_NE(second.status().message().find(std::to_string(::getpid())), std::string::npos);
  first->reset();
  EXPECT_TRUE(FileLock::acquire(at("lock"), false).ok());
}

TEST_F(Files, MappedFileShowsTheBytes) {
  ASSERT_TRUE(write_file_atomic(at("a"), "abc").ok());
  auto m = MappedFile::open(at("a"));
  ASSERT_TRUE(m.ok());
  EXPECT_EQ(m->bytes().size(), 3u);
  ASSERT_TRUE(write_file_atomic(at("empty"), "").ok());
  EXPECT_EQ(MappedFile::open(at("empty"))->bytes().size(), 0u);
}

TEST(Paths, NamesOfFoldersAndFiles) {
  EXPECT_EQ(base_name("/a/b/"), "b");
  EXPECT_EQ(base_name("b"), "b");
  EXPECT_EQ(dir_name("/a/b"), "/a");
  EXPECT_EQ(dir_name("/a"), "/");
  EXPECT_EQ(dir_name("a"), "");
  EXPECT_EQ(join("a/", "b"), "a/b");
}

}  // namespace
}  // namespace verge::os
