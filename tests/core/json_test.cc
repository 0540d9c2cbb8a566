#include "core/json.h"

#include <gtest/gtest.h>

namespace verge {
namespace {

TEST(ParseJson, RefusesDepthSizeAndGarbage) {
  EXPECT_TRUE(parse_json("{\"a\":[1]}", "x").ok());
  EXPECT_FALSE(parse_json("{", "x").ok());
  EXPECT_FALSE(parse_json(std::string(1000, '['), "x").ok());
  std::string deep = std::string(100, '[') + std::string(100, ']');
  auto r = parse_json(deep, "x");
  ASSERT_FALSE(r.ok());
  EXPECT_NE(r.status().message().find("deeper"), std::string::npos) << r.status().message();
  EXPECT_FALSE(parse_json("[1,2,3]", "x", 3).ok());
}

TEST(JsonReader, NamesTheFieldThatIsWrongAndKeepsTheFirstError) {
  auto j = parse_json(R"({"n":"text","s":1,"big":18446744073709551615})", "x");
  ASSERT_TRUE(j.ok());
  JsonReader r(*j, "file");
  EXPECT_EQ(r.integer("n"), 0);
  EXPECT_EQ(r.str("s"), "");
  EXPECT_EQ(r.status().message(), "file: field 'n' must be an integer");
  JsonReader big(*j, "file");
  big.integer("big");
  EXPECT_FALSE(big.status().ok());
  JsonReader missing(*j, "file");
  missing.str("zzz");
  EXPECT_EQ(missing.status().message(), "file: field 'zzz' is missing");
  EXPECT_EQ(JsonReader(*j, "file").integer("zzz", 4), 4);
}

TEST(JsonReader, AnArrayIsNoObject) {
  JsonReader r(Json::array(), "file");
  EXPECT_FALSE(r.status().ok());
}

}  // namespace
}  // namespace verge
