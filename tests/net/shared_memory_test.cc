#include "net/shared_memory.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace verge::net {
namespace {

using testing::HasSubstr;

// A shared memory object of this test's own.
class Object {
 public:
  explicit Object(const std::string& name, size_t size) : key("/verge-test-" + std::to_string(getpid()) + "-" + name) {
    fd = shm_open(key.c_str(), O_CREAT | O_EXCL | O_RDWR, 0600);
    EXPECT_GE(fd, 0);
    EXPECT_EQ(ftruncate(fd, static_cast<off_t>(size)), 0);
  }
  ~Object() {
    close(fd);
    shm_unlink(key.c_str());
  }
  Object(const Object&) = delete;
  Object& operator=(const Object&) = delete;
  const std::string key;
  int fd;
};

std::string read(const SharedRegion& r, uint64_t offset, size_t n) {
  std::string out(n, 0);
  const Status s = r.read(offset, std::as_writable_bytes(std::span(out)));
  return s.ok() ? out : s.to_string();
}

std::span<const std::byte> bytes(std::string_view s) { return std::as_bytes(std::span(s)); }

TEST(SharedMemoryTest, KeysAreChecked) {
  SharedMemory memory;
  for (const std::string& key : {std::string(), std::string("/"), std::string("//x"), std::string("/a/b"), std::string("a/b"), std::string("/.."),
                                std::string("/."), std::string("../etc"), std::string("/a..b"), std::string("/a\0b", 4), "/" + std::string(256, 'x')})
    EXPECT_EQ(memory.add("r", key, 0, 1).code(), Code::kInvalidArgument) << key;
  EXPECT_EQ(memory.add("r", "/verge-test-there-is-none", 0, 1).code(), Code::kNotFound);
  EXPECT_EQ(memory.add("", "/x", 0, 1).code(), Code::kInvalidArgument);
  EXPECT_EQ(memory.add(std::string(257, 'x'), "/x", 0, 1).code(), Code::kInvalidArgument);
}

TEST(SharedMemoryTest, SizesAreThoseOfTheObject) {
  Object object("sizes", 100);
  SharedMemory memory;
  EXPECT_EQ(memory.add("r", object.key, 0, 0).code(), Code::kInvalidArgument);
  EXPECT_EQ(memory.add("r", object.key, 0, 101).code(), Code::kInvalidArgument);
  EXPECT_EQ(memory.add("r", object.key, 101, 1).code(), Code::kInvalidArgument);
  EXPECT_EQ(memory.add("r", object.key, UINT64_MAX, 2).code(), Code::kInvalidArgument);
  EXPECT_EQ(memory.add("r", object.key, 2, UINT64_MAX).code(), Code::kInvalidArgument);
  EXPECT_TRUE(memory.add("r", object.key.substr(1), 10, 90).ok());  // without the slash, as some clients have it
  EXPECT_EQ(memory.add("r", object.key, 0, 1).code(), Code::kAlreadyExists);
  const auto region = std::move(memory.find("r")).value();
  EXPECT_TRUE(region->check(0, 90).ok());
  EXPECT_TRUE(region->check(90, 0).ok());
  for (const auto& [offset, n] : {std::pair<uint64_t, uint64_t>{0, 91}, {1, 90}, {91, 0}, {UINT64_MAX, 1}, {1, UINT64_MAX}})
    EXPECT_EQ(region->check(offset, n).code(), Code::kInvalidArgument) << offset << " " << n;
}

TEST(SharedMemoryTest, ReadsAndWritesWhereItIsTold) {
  Object object("data", 64);
  ASSERT_EQ(pwrite(object.fd, "0123456789", 10, 20), 10);
  SharedMemory memory;
  ASSERT_TRUE(memory.add("r", object.key, 20, 10).ok());
  const auto region = std::move(memory.find("r")).value();
  EXPECT_EQ(read(*region, 2, 5), "23456");
  EXPECT_TRUE(region->write(8, bytes("xy")).ok());
  EXPECT_EQ(region->write(9, bytes("xy")).code(), Code::kInvalidArgument);
  EXPECT_EQ(read(*region, 0, 10), "01234567xy");
}

TEST(SharedMemoryTest, AnObjectThatBecameShorterIsAnError) {
  Object object("short", 8192);
  SharedMemory memory;
  ASSERT_TRUE(memory.add("r", object.key, 0, 8192).ok());
  const auto region = std::move(memory.find("r")).value();
  ASSERT_EQ(ftruncate(object.fd, 100), 0);
  EXPECT_THAT(read(*region, 0, 8192), HasSubstr("has become shorter"));
  EXPECT_EQ(read(*region, 0, 100), std::string(100, 0));
  EXPECT_THAT(region->write(4096, bytes("x")).message(), HasSubstr("has become shorter"));
  struct stat s;
  ASSERT_EQ(fstat(object.fd, &s), 0);
  EXPECT_EQ(s.st_size, 100);
}

TEST(SharedMemoryTest, StaysWhileItIsUsed) {
  auto object = std::make_unique<Object>("used", 10);
  SharedMemory memory;
  ASSERT_TRUE(memory.add("r", object->key, 0, 10).ok());
  const auto region = std::move(memory.find("r")).value();
  memory.remove("r");
  memory.remove("never was");
  object.reset();
  EXPECT_EQ(memory.find("r").status().code(), Code::kNotFound);
  EXPECT_TRUE(region->write(0, bytes("still here")).ok());
  EXPECT_EQ(read(*region, 0, 10), "still here");
}

TEST(SharedMemoryTest, RegionsAreLimited) {
  Object object("many", 10);
  SharedMemory memory;
  size_t n = 0;
  Status s;
  while (s.ok() && n < 2 * SharedMemory::kMaxRegions) s = memory.add("r" + std::to_string(n++), object.key, 0, 1);
  EXPECT_EQ(s.code(), Code::kResourceExhausted) << s.message();
  EXPECT_LE(memory.list().size(), SharedMemory::kMaxRegions);
  memory.remove("");
  EXPECT_TRUE(memory.list().empty());
  EXPECT_TRUE(memory.add("r", object.key, 0, 1).ok());
}

TEST(SharedMemoryTest, WhatIsNoObject) {
  const std::string name = "verge-test-fifo-" + std::to_string(getpid()), path = "/dev/shm/" + name;
  if (mkfifo(path.c_str(), 0600) != 0) GTEST_SKIP() << "skipped: no /dev/shm";
  SharedMemory memory;
  EXPECT_EQ(memory.add("r", name, 0, 1).code(), Code::kInvalidArgument);
  unlink(path.c_str());
}

}  // namespace
}  // namespace verge::net
