#include "net/load_overrides.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace verge::net {
namespace {

using testing::HasSubstr;

std::string refusal(std::string_view text) {
  const auto read = read_load_config(text);
  EXPECT_TRUE(read.ok() || read.status().code() == Code::kInvalidArgument);
  return read.ok() ? "max_batch " + std::to_string(read->max_batch) : read.status().message();
}

TEST(LoadOverrides, TakesWhatTheServerDecides) {
  EXPECT_EQ(refusal("{}"), "max_batch 0");
  EXPECT_EQ(refusal(R"({"max_batch_size":"16"})"), "max_batch 16");
  EXPECT_EQ(refusal(R"( {"max_batch_size" : 1024 } )"), "max_batch 1024");
}

TEST(LoadOverrides, RefusesTheRest) {
  for (const char* wrong : {R"({"name":"m"})", R"({"max_batch_size":1,"dynamic_batching":{}})", R"({"":1})"}) EXPECT_THAT(refusal(wrong), HasSubstr("cannot be overridden")) << wrong;
  for (const char* wrong : {"0", "-1", "1025", "1.5", "1e2", "NaN", "null", "true", "[1]", "{}", "\"\"", "\" 1\"", "\"1x\"", "\"\\u0031\"", "99999999999999999999"})
    EXPECT_THAT(refusal(std::string("{\"max_batch_size\":") + wrong + "}"), HasSubstr("must be a whole number from 1 to 1024")) << wrong;
  EXPECT_THAT(refusal(R"({"max_batch_size":1,"max_batch_size":2})"), HasSubstr("twice"));
  EXPECT_THAT(refusal("{\"" + std::string(1000, 'k') + "\":1}"), HasSubstr("'" + std::string(64, 'k') + "'"));
}

TEST(LoadOverrides, RefusesWhatIsNoJson) {
  for (const std::string wrong : {"", " ", "{", "[]", "1", "{\"max_batch_size\"", "{\"max_batch_size\":", "{\"max_batch_size\":1", "{\"max_batch_size\":\"1", "{\"max_batch_size\":1,}", "{} {}",
                                  "\"parameters\": {\"config\": {{\"max_batch_size\": \"16\"}}}"})
    EXPECT_THAT(refusal(wrong), HasSubstr("malformed JSON")) << wrong;
  EXPECT_THAT(refusal(std::string(kMaxLoadConfig, '[')), HasSubstr("malformed JSON"));
  EXPECT_THAT(refusal(std::string(kMaxLoadConfig + 1, ' ')), HasSubstr("the limit is 65536"));
}

}  // namespace
}  // namespace verge::net
