#include "policy/exit_conditions.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "policy/exit_rule.h"

namespace verge::policy {
namespace {

class Conditions : public testing::Test {
 protected:
  std::vector<StageKnown> stages = {{"exit1", 0.78, 1, 2'000'000, 3'000'000}, {"exit2", 0.84, 1, 6'000'000, 7'000'000}};
  ExitState state{.exit = 0, .stages = stages, .elapsed_ns = 12'000'000, .confidence = 0.8, .entropy = 0.4, .energy_mj = 3};
  ExitConditions table;

  bool holds(const std::string& text) {
    const Status s = parse_exit_conditions(text, table);
    EXPECT_TRUE(s.ok()) << text << ": " << s.message();
    const auto* entry = table.find("exit1");
    return s.ok() && entry != nullptr && table.holds(*entry, state);
  }
  std::string error(const std::string& text) {
    const Status s = parse_exit_conditions(text, table);
    return s.ok() ? "" : s.message();
  }
};

TEST_F(Conditions, EachQuantityAndOperator) {
  EXPECT_TRUE(holds("exit1: elapsed > 11.9"));
  EXPECT_FALSE(holds("exit1: elapsed > 12"));
  EXPECT_TRUE(holds("exit1: elapsed >= 12"));
  EXPECT_TRUE(holds("exit1: confidence < 0.9"));
  EXPECT_TRUE(holds("exit1: entropy <= 0.4"));
  EXPECT_TRUE(holds("exit1: accuracy >= 0.78"));
  EXPECT_TRUE(holds("exit1: energy == 3"));
  EXPECT_TRUE(holds("exit1: computation >= 0.25"));
  EXPECT_FALSE(holds("exit1: computation > 0.25"));
  EXPECT_TRUE(holds("exit1: exit == 1"));
}

TEST_F(Conditions, AndBindsTighterThanOr) {
  EXPECT_TRUE(holds("exit1: elapsed > 1 and confidence > 0.9 or energy > 1"));
  EXPECT_TRUE(holds("exit1: energy > 1 or elapsed > 1 and confidence > 0.9"));
  EXPECT_FALSE(holds("exit1: energy > 9 or elapsed > 1 AND confidence > 0.9"));
  EXPECT_TRUE(holds("exit1: energy > 9 OR elapsed > 1 and confidence > 0.7"));
}

TEST_F(Conditions, AnEntryForAll) {
  EXPECT_TRUE(holds("exit2: elapsed > 99; *: elapsed > 1"));
  EXPECT_FALSE(holds("exit1: elapsed > 99; *: elapsed > 1"));
  EXPECT_FALSE(holds("exit2: elapsed > 1;"));
}

TEST_F(Conditions, WhatIsUnknownFulfilsNothing) {
  state.confidence = state.energy_mj = -1;
  EXPECT_FALSE(holds("exit1: confidence < 0.9"));
  EXPECT_FALSE(holds("exit1: energy <= 5"));
}

TEST_F(Conditions, NonsenseIsRefusedWithItsPlace) {
  EXPECT_NE(error("").find("empty"), std::string::npos);
  EXPECT_NE(error("  ; ").find("character 3"), std::string::npos) << error("  ; ");
  EXPECT_NE(error("exit1").find("':'"), std::string::npos);
  EXPECT_NE(error("exit1: speed > 3").find("elapsed, confidence"), std::string::npos);
  EXPECT_NE(error("exit1: elapsed 3").find("one of < <="), std::string::npos);
  EXPECT_NE(error("exit1: elapsed = 3").find("one of < <="), std::string::npos);
  EXPECT_NE(error("exit1: elapsed > fast").find("a number"), std::string::npos);
  EXPECT_NE(error("exit1: elapsed > nan").find("a number"), std::string::npos);
  EXPECT_NE(error("exit1: elapsed > inf").find("a number"), std::string::npos);
  EXPECT_NE(error("exit1: elapsed > 3 confidence > 1").find("';'"), std::string::npos);
  EXPECT_NE(error("exit1: elapsed > 3; exit1: elapsed > 4").find("two entries"), std::string::npos);
  EXPECT_NE(error("exit1: elapsed > 3 or"), "");
  EXPECT_NE(error("exit1: (elapsed > 3)"), "");
  EXPECT_NE(error(std::string("exit1: elapsed > 1\0;", 20)), "");
}

TEST_F(Conditions, IsBounded) {
  EXPECT_NE(error(std::string(5000, ' ')).find("longer"), std::string::npos);
  std::string many = "exit1: elapsed > 1";
  for (int i = 0; i < 100; ++i) many += " or elapsed > 1";
  EXPECT_NE(error(many).find("96 comparisons"), std::string::npos);
  std::string exits;
  for (int i = 0; i < 33; ++i) exits += "e" + std::to_string(i) + ": elapsed > 1;";
  EXPECT_NE(error(exits).find("32 exits"), std::string::npos);
}

}  // namespace
}  // namespace verge::policy
