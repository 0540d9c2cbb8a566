#include "serve/log.h"

#include <gtest/gtest.h>

namespace verge::serve {
namespace {

using runtime::LogLevel;

TEST(Log, JsonLinesAreOneObject) {
  const std::string line = format_line(true, "2020-01-01T00:00:00Z", LogLevel::kWarning, "load_failed", {{"model", "a\nb"}, {"n", 3}});
  EXPECT_EQ(line.find('\n'), std::string::npos);
  const auto j = parse_json(line, "line");
  ASSERT_TRUE(j.ok());
  EXPECT_EQ((*j)["event"], "load_failed");
  EXPECT_EQ((*j)["level"], "warning");
  EXPECT_EQ((*j)["model"], "a\nb");
  EXPECT_EQ((*j)["n"], 3);
}

TEST(Log, TextFromOutsideEndsNoLineAndSteersNoTerminal) {
  const std::string line = format_line(false, "T", LogLevel::kError, "e", {{"reason", "a\nb\x1b[31m\x7f"}, {"ok", true}});
  EXPECT_EQ(line, "T error e reason=a b [31m  ok=true");
}

TEST(Log, BytesThatAreNoUtf8AreReplaced) {
  EXPECT_TRUE(parse_json(format_line(true, "T", LogLevel::kInfo, "e", {{"x", "\xff\xfe"}}), "line").ok());
}

}  // namespace
}  // namespace verge::serve
