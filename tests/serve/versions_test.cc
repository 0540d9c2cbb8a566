#include "serve/versions.h"

#include <gtest/gtest.h>

#include <fstream>

#include "os/files.h"
#include "runtime/support.h"
#include "serve/watcher.h"

namespace verge::serve {
namespace {

using List = std::vector<int64_t>;
using Kind = VersionPolicy::Kind;

TEST(Versions, ThePolicyChooses) {
  EXPECT_EQ(select_versions({}, {1, 3, 4}, 0).wanted, List{4});
  EXPECT_EQ(select_versions({}, {1, 3, 4}, 0).fallback, (List{3, 1}));
  EXPECT_EQ(select_versions({Kind::kAll, {}}, {1, 3, 4}, 0).wanted, (List{1, 3, 4}));
  EXPECT_EQ(select_versions({Kind::kListed, {1, 2, 4}}, {1, 3, 4}, 0).wanted, (List{1, 4}));
  EXPECT_TRUE(select_versions({Kind::kListed, {2}}, {1, 3}, 0).wanted.empty());
  EXPECT_TRUE(select_versions({}, {}, 0).wanted.empty());
}

TEST(Versions, ARollBackTakesLaterOnesAway) {
  EXPECT_EQ(select_versions({}, {1, 3, 4}, 3).wanted, List{3});
  EXPECT_EQ(select_versions({}, {1, 3, 4}, 3).fallback, List{1});
  EXPECT_EQ(select_versions({Kind::kAll, {}}, {1, 3, 4}, 3).wanted, (List{1, 3}));
  EXPECT_EQ(select_versions({Kind::kListed, {1, 4}}, {1, 3, 4}, 3).wanted, (List{1, 3}));
  EXPECT_NE(not_selected({}, 4, 3).find("rolled back to version 3"), std::string::npos);
  EXPECT_NE(not_selected({}, 1, 0).find("latest"), std::string::npos);
}

TEST(Versions, TheStateFileIsReadStrictly) {
  EXPECT_EQ(*parse_serving(print_serving(7)), 7);
  for (const char* bad : {"", "{", "[]", "3", "{}", R"({"version":0})", R"({"version":"3"})", R"({"version":1.5})", R"({"version":-1})", R"({"version":1,"x":2})",
                          R"({"version":99999999999999999999})"}) {
    EXPECT_FALSE(parse_serving(bad).ok()) << bad;
  }
}

TEST(Watcher, TellsWhichFolderChanged) {
  runtime::TempDir dir;
  const std::string a = os::join(dir.path, "a"), b = os::join(dir.path, "b");
  ASSERT_TRUE(os::make_dirs(a).ok() && os::make_dirs(b).ok());
  auto watcher = Watcher::create(2);
  ASSERT_TRUE(watcher.ok());
  ASSERT_TRUE((*watcher)->watch(a).ok() && (*watcher)->watch(b).ok() && (*watcher)->watch(a).ok());
  EXPECT_TRUE((*watcher)->read().dirs.empty());
  ASSERT_TRUE(os::make_dirs(os::join(a, "1")).ok());
  EXPECT_EQ((*watcher)->read().dirs, std::set<std::string>{a});
  ASSERT_TRUE(os::rename_path(os::join(a, "1"), os::join(b, "1")).ok());
  EXPECT_EQ((*watcher)->read().dirs, (std::set<std::string>{a, b}));
  // The limit, and a folder in another one's place.
  EXPECT_EQ((*watcher)->watch(os::join(b, "1")).code(), Code::kResourceExhausted);
  ASSERT_TRUE(os::remove_tree(a).ok());
  EXPECT_EQ((*watcher)->read().dirs, std::set<std::string>{a});
  ASSERT_TRUE(os::make_dirs(a).ok());
  ASSERT_TRUE((*watcher)->watch(a).ok());
  ASSERT_TRUE(os::make_dirs(os::join(a, "2")).ok());
  EXPECT_EQ((*watcher)->read().dirs, std::set<std::string>{a});
  (*watcher)->forget(a);
  ASSERT_TRUE(os::make_dirs(os::join(a, "3")).ok());
  EXPECT_TRUE((*watcher)->read().dirs.empty());
}

TEST(Watcher, SaysThatChangesWereLost) {
  uint64_t limit = 0;
  std::ifstream("/proc/sys/fs/inotify/max_queued_events") >> limit;
  if (limit == 0 || limit > 100'000) GTEST_SKIP() << "the kernel's queue is too long to be filled in a test";
  runtime::TempDir dir;
  auto watcher = Watcher::create(2);
  ASSERT_TRUE(watcher.ok() && (*watcher)->watch(dir.path).ok());
  const std::string a = os::join(dir.path, "a"), b = os::join(dir.path, "b");
  ASSERT_TRUE(os::write_file_atomic(a, "").ok());
  for (uint64_t i = 0; i <= limit / 4 + 1; ++i) {
    ASSERT_EQ(std::rename(a.c_str(), b.c_str()), 0);
    ASSERT_EQ(std::rename(b.c_str(), a.c_str()), 0);
  }
  EXPECT_TRUE((*watcher)->read().lost);
  EXPECT_FALSE((*watcher)->read().lost);
}

}  // namespace
}  // namespace verge::serve
