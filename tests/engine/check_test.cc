// The contract check finds what is wrong with plugins that are broken on purpose, and nothing with ours.
#include "engine/check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "os/files.h"

namespace verge::engine {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::vector<ClauseResult> failures(const std::string& plugin) {
  auto results = engine_check(plugin, "", "", nullptr);
  EXPECT_TRUE(results.ok()) << results.status().to_string();
  std::vector<ClauseResult> failed;
  if (!results.ok()) return failed;
  EXPECT_GT(results->size(), 20u);
  for (const ClauseResult& r : *results) {
    if (!r.ok && !r.skipped) failed.push_back(r);
  }
  return failed;
}

std::string broken(const std::string& fault) { return std::string(VERGE_BROKEN) + "/broken_" + fault + ".engine.json"; }

testing::Matcher<const ClauseResult&> clause(const char* text, const char* detail = "") {
  return testing::AllOf(testing::Field(&ClauseResult::clause, HasSubstr(text)), testing::Field(&ClauseResult::detail, HasSubstr(detail)));
}

TEST(EngineCheck, PassesSoundPlugin) { EXPECT_THAT(failures(broken("none")), IsEmpty()); }

TEST(EngineCheck, CrashIsFailureNotAnEnd) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "a sanitizer ends the child before the kernel does";
#endif
  auto failed = failures(broken("crash"));
  EXPECT_THAT(failed, testing::Contains(clause("empty files", "SIGSEGV")));
  EXPECT_THAT(failed, testing::Contains(clause("bit-flipped", "SIGSEGV")));
  EXPECT_THAT(failed, testing::Not(testing::Contains(clause("a run answers"))));
}

TEST(EngineCheck, FindsOverrunBuffer) { EXPECT_THAT(failures(broken("overrun")), ElementsAre(clause("lent output buffers", "behind the lent buffer"))); }

TEST(EngineCheck, FindsAcceptedOption) { EXPECT_THAT(failures(broken("options")), ElementsAre(clause("unknown load option", "success"))); }

TEST(EngineCheck, FindsWrongVersion) { EXPECT_THAT(failures(broken("version")), ElementsAre(clause("interface version 1 only", "newer major"))); }

TEST(EngineCheck, FindsLeakedFile) { EXPECT_THAT(failures(broken("leak")), ElementsAre(clause("open files and threads", "open files after"))); }

TEST(EngineCheck, OwnPlugins) {
  for (const char* name : {"identity", "onnxruntime", "openvino"}) {
    std::string descriptor = std::string(VERGE_PLUGINS) + "/" + name + ".engine.json";
    if (!os::exists(descriptor)) {
      std::printf("%s: skipped, not built here\n", name);
      continue;
    }
    for (const ClauseResult& r : failures(descriptor)) ADD_FAILURE() << name << ": " << r.clause << ": " << r.detail;
  }
}

TEST(EngineCheck, NoSuchPluginOrArtifact) {
  EXPECT_EQ(engine_check_main("/nonexistent/plugin.so", "", ""), 2);
  EXPECT_FALSE(engine_check(broken("none"), "/nonexistent/artifact", "anything", nullptr).ok());
  EXPECT_FALSE(engine_check(broken("none"), broken("none"), "", nullptr).ok());
  EXPECT_EQ(engine_check_main(broken("leak"), "", ""), 1);
}

}  // namespace
}  // namespace verge::engine
