#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "policy/exit_rule.h"

namespace verge::policy {
namespace {

constexpr uint64_t kMs = 1'000'000;

class Exits : public testing::Test {
 protected:
  std::vector<StageKnown> stages = {
      {"exit1", 0.78, 1, 2 * kMs, 3 * kMs}, {"exit2", 0.84, 2, 3 * kMs, 4 * kMs}, {"exit3", 0.89, 3, 4 * kMs, 5 * kMs}, {"exit4", 0.91, 4, 7 * kMs, 8 * kMs}};
  ExitSettings settings;

  ExitState after(uint32_t exit, uint64_t elapsed_ms, uint64_t deadline_ms = 0) {
    return {.exit = exit, .stages = stages, .elapsed_ns = elapsed_ms * kMs, .deadline_ns = deadline_ms == 0 ? kNoDeadline : deadline_ms * kMs, .confidence = 0.6, .entropy = 1.0, .energy_mj = 1.0};
  }
  Decision decide(std::string_view rule, const ExitState& s) {
    const ExitRule* r = find_exit_rule(rule);
    EXPECT_NE(r, nullptr) << rule;
    return decide_exit(*r, s, settings);
  }
  bool leaves(std::string_view rule, const ExitState& s) { return decide(rule, s).go == Go::kLeave; }
};

TEST_F(Exits, EveryRuleIsFoundAndLeavesAtTheLastExit) {
  EXPECT_EQ(exit_rules().size(), 6u);
  for (const ExitRule* rule : exit_rules()) {
    EXPECT_EQ(find_exit_rule(rule->name), rule);
    EXPECT_TRUE(leaves(rule->name, after(3, 1)));
  }
  EXPECT_EQ(find_exit_rule("")->name, "predictive");
  EXPECT_EQ(find_exit_rule("Predictive"), nullptr);
}

TEST_F(Exits, PredictiveStopsBeforeAStageThatWouldBeLate) {
  EXPECT_FALSE(leaves("predictive", after(0, 3, 7)));  // 3 + 4 = 7
  EXPECT_TRUE(leaves("predictive", after(0, 4, 7)));
  EXPECT_FALSE(leaves("predictive", after(0, 4)));
  ExitState s = after(0, 3, 7);
  s.margin_ns = 1;
  EXPECT_TRUE(leaves("predictive", s));
}

TEST_F(Exits, WhatIsKeptIsNoReasonForCaution) {
  ExitState s = after(0, 4, 7);  // 4 + 4 > 7, 4 + 3 = 7
  s.kept = true;
  EXPECT_TRUE(leaves("predictive", s));  // others wait for the lane
  s.nobody_waits = true;
  EXPECT_FALSE(leaves("predictive", s));
  s.elapsed_ns += 1;
  EXPECT_TRUE(leaves("predictive", s));
  s = after(0, 4, 7);
  s.nobody_waits = true;
  EXPECT_TRUE(leaves("predictive", s));
  // Before the first stage there is nothing to keep: it is tried where it costs nobody anything.
  ExitState first = after(0, 0, 2);
  EXPECT_FALSE(any_in_reach(*find_exit_rule("predictive"), first, settings));
  first.nobody_waits = true;
  EXPECT_TRUE(any_in_reach(*find_exit_rule("predictive"), first, settings));
  first.margin_ns = 1;
  EXPECT_FALSE(any_in_reach(*find_exit_rule("predictive"), first, settings));
  for (const ExitRule* rule : exit_rules()) EXPECT_EQ(rule->keeps, rule->name != "reactive" && rule->name != "fixed") << rule->name;
}

TEST_F(Exits, PredictiveStopsWhereLaterExitsBringNothing) {
  stages[1].accuracy = stages[2].accuracy = stages[3].accuracy = 0.78;
  EXPECT_TRUE(leaves("predictive", after(0, 1)));
  stages[3].accuracy = 0.9;
  EXPECT_FALSE(leaves("predictive", after(0, 1)));
  // Only the last is better, and it is not in reach: 1 + 4 + 4 + 7 > 14.
  EXPECT_TRUE(leaves("predictive", after(0, 1, 14)));
  EXPECT_FALSE(leaves("predictive", after(0, 1, 16)));
  stages[0].accuracy = -1;
  EXPECT_FALSE(leaves("predictive", after(0, 1, 14)));
}

TEST_F(Exits, ReactiveLeavesOnceTheBoundHasPassed) {
  EXPECT_FALSE(leaves("reactive", after(0, 7, 7)));
  EXPECT_TRUE(leaves("reactive", after(0, 8, 7)));
  EXPECT_FALSE(leaves("reactive", after(2, 800)));
}

TEST_F(Exits, ConfidenceAndEntropyByTheirThresholds) {
  const std::vector<double> thresholds = {0.7, 0.55, 0.5};
  settings.thresholds = thresholds;
  EXPECT_FALSE(leaves("confidence", after(0, 1)));
  EXPECT_TRUE(leaves("confidence", after(1, 1)));
  settings.confidence = 0.6;
  EXPECT_TRUE(leaves("confidence", after(0, 1)));
  settings.confidence = -1;
  const std::vector<double> nats = {0.5, 1.0, 1.5};
  settings.thresholds = nats;
  EXPECT_FALSE(leaves("entropy", after(0, 1)));
  EXPECT_TRUE(leaves("entropy", after(1, 1)));
  ExitState none = after(1, 1);
  none.confidence = none.entropy = -1;
  EXPECT_FALSE(leaves("entropy", none));
  EXPECT_FALSE(leaves("confidence", none));
}

TEST_F(Exits, ADeadlineAppliesBesideConfidence) {
  const std::vector<double> never = {2, 2, 2};
  settings.thresholds = never;
  EXPECT_TRUE(leaves("confidence", after(0, 4, 7)));
  EXPECT_FALSE(leaves("confidence", after(0, 3, 7)));
  settings.confidence = 0.6;
  EXPECT_TRUE(leaves("predictive", after(0, 1, 100)));
  settings.confidence = 0.61;
  EXPECT_FALSE(leaves("predictive", after(0, 1, 100)));
}

TEST_F(Exits, FixedLeavesWhereItWasTold) {
  settings.furthest = 2;
  EXPECT_FALSE(leaves("fixed", after(1, 500, 7)));
  EXPECT_TRUE(leaves("fixed", after(2, 1, 7)));
}

TEST_F(Exits, ConditionsOfAUser) {
  ExitConditions table;
  ASSERT_TRUE(parse_exit_conditions("exit1: confidence >= 0.9; exit2: elapsed > 20 or confidence >= 0.6", table).ok());
  settings.conditions = &table;
  EXPECT_FALSE(leaves("conditions", after(0, 100)));
  EXPECT_TRUE(leaves("conditions", after(1, 1)));
  EXPECT_FALSE(leaves("conditions", after(2, 100)));
}

TEST_F(Exits, NeverBelowTheAccuracyBound) {
  settings.min_accuracy = 0.85;
  settings.confidence = 0.1;
  settings.furthest = 2;
  for (const ExitRule* rule : exit_rules()) {
    EXPECT_EQ(decide(rule->name, after(0, 6, 7)).go, Go::kOn) << rule->name;
    EXPECT_EQ(decide(rule->name, after(1, 7, 7)).go, Go::kGiveUp) << rule->name;
  }
  settings.min_accuracy = 0.95;
  EXPECT_EQ(decide("predictive", after(1, 1)).go, Go::kGiveUp);
}

TEST_F(Exits, TheCheapestAndTheEnergyBound) {
  settings.furthest = 1;
  EXPECT_FALSE(leaves("predictive", after(0, 1)));
  EXPECT_TRUE(leaves("predictive", after(1, 1)));
  settings.furthest = UINT32_MAX;
  settings.max_energy_mj = 2.5;  // 1 used, the next needs 2
  EXPECT_TRUE(leaves("predictive", after(0, 1)));
  settings.max_energy_mj = 3;
  EXPECT_FALSE(leaves("predictive", after(0, 1)));
}

TEST_F(Exits, ShareComputed) {
  EXPECT_DOUBLE_EQ(after(0, 1).computed(), 2.0 / 16);
  EXPECT_DOUBLE_EQ(after(3, 1).computed(), 1);
  stages[1].typical_ns = 0;
  EXPECT_DOUBLE_EQ(after(0, 1).computed(), 0.25);
}

// The same, where the answer of an exit that was reached goes out at the deadline: no miss is left but those of the first exit, and more exits are tried.
TEST_F(Exits, AKeptAnswerAgainstNone) {
  constexpr int kRequests = 4000;
  for (uint64_t deadline = 1; deadline <= 26; ++deadline) {
    double right[2] = {0, 0};  // without, with
    for (const bool kept : {false, true}) {
      std::mt19937_64 draw(deadline);
      for (int r = 0; r < kRequests; ++r) {
        uint64_t elapsed = 0;
        double done = 0;  // of the exit that stands
        for (uint32_t exit = 0; exit < stages.size(); ++exit) {
          const double ratio = static_cast<double>(stages[exit].cautious_ns) / static_cast<double>(stages[exit].typical_ns);
          std::lognormal_distribution<double> time(std::log(static_cast<double>(stages[exit].typical_ns)), std::log(ratio) / 2.326);
          elapsed += static_cast<uint64_t>(time(draw));
          if (elapsed > deadline * kMs) break;
          done = stages[exit].accuracy;
          ExitState s = after(exit, 0, deadline);
          s.elapsed_ns = elapsed;
          s.kept = s.nobody_waits = kept;
          if (decide("predictive", s).go == Go::kLeave) {
            right[kept] += done;
            done = 0;
            break;
          }
          if (!kept) done = 0;
        }
        right[kept] += done;
      }
    }
    EXPECT_GE(right[1], right[0]) << deadline << " ms";
  }
}

// Stage times drawn from what the quantiles say, deadlines from below the first exit's time to above the last's: the share of requests that had an
// answer in time and went on all the same, and what answered right in time.
TEST_F(Exits, PredictiveAgainstReactive) {
  std::mt19937_64 random(11);
  struct Score {
    double right = 0;
    int avoidable = 0;
  };
  constexpr int kRequests = 4000;
  for (uint64_t deadline = 1; deadline <= 26; ++deadline) {
    Score score[2];
    int which = 0;
    for (const char* name : {"predictive", "reactive"}) {
      Score& sum = score[which++];
      std::mt19937_64 draw(deadline);
      for (int r = 0; r < kRequests; ++r) {
        uint64_t elapsed = 0;
        double in_time = 0;  // accuracy of the latest exit that could have answered in time
        for (uint32_t exit = 0; exit < stages.size(); ++exit) {
          // Log-normal with the given median and 0.99 quantile.
          const double ratio = static_cast<double>(stages[exit].cautious_ns) / static_cast<double>(stages[exit].typical_ns);
          std::lognormal_distribution<double> time(std::log(static_cast<double>(stages[exit].typical_ns)), std::log(ratio) / 2.326);
          elapsed += static_cast<uint64_t>(time(draw));
          ExitState s = after(exit, 0, deadline);
          s.elapsed_ns = elapsed;
          if (elapsed <= deadline * kMs) in_time = stages[exit].accuracy;
          if (decide(name, s).go != Go::kLeave) continue;
          if (elapsed <= deadline * kMs) {
            sum.right += stages[exit].accuracy;
          } else if (in_time > 0) {
            ++sum.avoidable;
          }
          break;
        }
      }
    }
    EXPECT_LE(score[0].avoidable, kRequests * 0.012) << deadline << " ms";
    EXPECT_GE(score[0].right, score[1].right - kRequests * 0.001) << deadline << " ms";
  }
}

}  // namespace
}  // namespace verge::policy
