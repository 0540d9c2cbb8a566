#include "policy/choose.h"

#include <gtest/gtest.h>

#include <vector>

#include "policy/admission.h"

namespace verge::policy {
namespace {

constexpr uint64_t kMs = 1'000'000;

Candidate make(double accuracy, double ms, double mj, bool ready = true) {
  const auto ns = static_cast<uint64_t>(ms * 1e6);
  return {.accuracy = accuracy, .energy_mj = mj, .typical_ns = ns * 9 / 10, .cautious_ns = ns, .ready = ready};
}

const std::vector<Candidate> kFour = {make(0.78, 2, 1), make(0.84, 5, 3), make(0.89, 9, 5), make(0.91, 16, 9)};

// On a free lane nobody else pays for a try.
TEST(Choose, WhatIsAsLikelyInTimeAsNotIsTriedWhereNothingIsAhead) {
  Probes hopeless;
  const auto ask = [&](double left_ms, uint64_t wait_ns, double min_accuracy = -1) {
    bool probes = false;
    const Choice c = choose_or_probe(kFour, {.left_ns = static_cast<uint64_t>(left_ms * 1e6), .min_accuracy = min_accuracy}, wait_ns, hopeless, &probes);
    EXPECT_EQ(probes, c.index >= 0 && left_ms < 5);
    return c.index;
  };
  EXPECT_EQ(ask(5, 0), 1);
  EXPECT_EQ(ask(1.9, 0), 0);  // typically 1.8 ms
  EXPECT_EQ(ask(1.9, 1), -1);
  EXPECT_EQ(ask(4.6, 0, 0.8), 1);
  EXPECT_EQ(ask(4.4, 0, 0.8), -1);
  int tried = 0;
  for (int i = 0; i < 640; ++i) tried += ask(1.7, 0) >= 0;
  EXPECT_EQ(tried, 10);
}

TEST(Choose, WithoutBoundsTheMostAccurate) { EXPECT_EQ(choose(kFour, {}).index, 3); }

TEST(Choose, WithADeadlineTheMostAccurateInTime) {
  EXPECT_EQ(choose(kFour, {.left_ns = 10 * kMs}).index, 2);
  EXPECT_EQ(choose(kFour, {.left_ns = 9 * kMs}).index, 2);
  EXPECT_EQ(choose(kFour, {.left_ns = 3 * kMs}).index, 0);
  auto waiting = kFour;
  for (auto& c : waiting) c.wait_ns = 3 * kMs;
  EXPECT_EQ(choose(waiting, {.left_ns = 9 * kMs}).index, 1);
}

TEST(Choose, WithAnAccuracyBoundTheCheapest) {
  EXPECT_EQ(choose(kFour, {.min_accuracy = 0.8}).index, 1);
  EXPECT_EQ(choose(kFour, {.min_accuracy = 0.84}).index, 1);
  EXPECT_EQ(choose(kFour, {.min_accuracy = 0.84, .objective = Objective::kAccuracy}).index, 3);
  EXPECT_EQ(choose(kFour, {.left_ns = 20 * kMs, .min_accuracy = 0.8}).index, 3);
  EXPECT_EQ(choose(kFour, {.left_ns = 20 * kMs, .min_accuracy = 0.8, .objective = Objective::kLatency}).index, 1);
}

TEST(Choose, ByEnergy) {
  EXPECT_EQ(choose(kFour, {.max_energy_mj = 5}).index, 2);
  EXPECT_EQ(choose(kFour, {.objective = Objective::kEnergy}).index, 0);
  const std::vector<Candidate> odd = {make(0.9, 1, 8), make(0.9, 4, 2)};
  EXPECT_EQ(choose(odd, {.min_accuracy = 0.5}).index, 0);
  EXPECT_EQ(choose(odd, {.min_accuracy = 0.5, .objective = Objective::kEnergy}).index, 1);
}

TEST(Choose, EqualAccuracyIsDecidedByTimeThenEnergy) {
  const std::vector<Candidate> c = {make(0.9, 4, 2), make(0.9, 3, 9), make(0.9, 3, 1)};
  EXPECT_EQ(choose(c, {}).index, 2);
}

TEST(Choose, UnknownAccuracyIsTheLastResortAndNeverWithinABound) {
  const std::vector<Candidate> c = {make(-1, 1, 1), make(0.5, 3, 1)};
  EXPECT_EQ(choose(c, {}).index, 1);
  EXPECT_EQ(choose(c, {.left_ns = 2 * kMs}).index, 0);
  std::vector<Passed> why(2);
  EXPECT_EQ(choose(c, {.min_accuracy = 0.1}, why).index, 1);
  EXPECT_EQ(why[0], Passed::kAccuracyUnknown);
  // Of a chain that was never evaluated the last exit is the best.
  std::vector<Candidate> chain = {make(-1, 1, 1), make(-1, 3, 1)};
  chain[1].depth = 1;
  EXPECT_EQ(choose(chain, {}).index, 1);
  EXPECT_EQ(choose(chain, {.left_ns = 2 * kMs}).index, 0);
  const Choice refused = choose(chain, {.min_accuracy = 0.1});
  EXPECT_EQ(refused.index, -1);
  EXPECT_EQ(refused.refusal, Passed::kAccuracyUnknown);
}

TEST(Choose, RefusesWithTheNearestBound) {
  const Choice late = choose(kFour, {.left_ns = 1 * kMs});
  EXPECT_EQ(late.index, -1);
  EXPECT_EQ(late.refusal, Passed::kDeadline);
  EXPECT_EQ(late.nearest, 2e6);

  const Choice both = choose(kFour, {.left_ns = 6 * kMs, .min_accuracy = 0.88});
  EXPECT_EQ(both.refusal, Passed::kDeadline);
  EXPECT_EQ(both.nearest, 9e6);

  const Choice accuracy = choose(kFour, {.min_accuracy = 0.95});
  EXPECT_EQ(accuracy.refusal, Passed::kAccuracy);
  EXPECT_EQ(accuracy.nearest, 0.91);
  const Choice in_time = choose(kFour, {.left_ns = 10 * kMs, .min_accuracy = 0.95});
  EXPECT_EQ(in_time.refusal, Passed::kAccuracy);
  EXPECT_EQ(in_time.nearest, 0.89);

  const Choice energy = choose(kFour, {.max_energy_mj = 0.5});
  EXPECT_EQ(energy.refusal, Passed::kEnergy);
  EXPECT_EQ(energy.nearest, 1);
  const Choice accurate_energy = choose(kFour, {.min_accuracy = 0.88, .max_energy_mj = 4});
  EXPECT_EQ(accurate_energy.refusal, Passed::kEnergy);
  EXPECT_EQ(accurate_energy.nearest, 5);

  // Nothing is in time at all: the accuracy is still what stands in the way first.
  const Choice hopeless = choose(kFour, {.left_ns = 1, .min_accuracy = 0.95});
  EXPECT_EQ(hopeless.refusal, Passed::kAccuracy);
  EXPECT_EQ(hopeless.nearest, 0.91);

  const std::vector<Candidate> unknown = {make(0.9, 1, -1)};
  EXPECT_EQ(choose(unknown, {.max_energy_mj = 1}).refusal, Passed::kEnergyUnknown);
  EXPECT_EQ(choose({}, {}).refusal, Passed::kNotResident);
}

TEST(Choose, WhatIsNotResidentIsPassedOverUnlessNothingElseWouldDo) {
  std::vector<Candidate> c = kFour;
  c[3].ready = false;
  std::vector<Passed> why(4);
  Choice choice = choose(c, {}, why);
  EXPECT_EQ(choice.index, 2);
  EXPECT_FALSE(choice.load);
  EXPECT_EQ(why, (std::vector{Passed::kLessAccurate, Passed::kLessAccurate, Passed::kChosen, Passed::kNotResident}));
  choice = choose(c, {.min_accuracy = 0.9});
  EXPECT_EQ(choice.index, 3);
  EXPECT_TRUE(choice.load);
  for (auto& each : c) each.ready = false;
  choice = choose(c, {});
  EXPECT_EQ(choice.index, 3);
  EXPECT_TRUE(choice.load);
}

TEST(Choose, SaysWhyEachWasPassedOver) {
  std::vector<Passed> why(4);
  choose(kFour, {.left_ns = 10 * kMs, .min_accuracy = 0.8}, why);
  EXPECT_EQ(why, (std::vector{Passed::kAccuracy, Passed::kLessAccurate, Passed::kChosen, Passed::kDeadline}));
  choose(kFour, {.min_accuracy = 0.8}, why);
  EXPECT_EQ(why, (std::vector{Passed::kAccuracy, Passed::kChosen, Passed::kSlower, Passed::kSlower}));
  choose(kFour, {.max_energy_mj = 4}, why);
  EXPECT_EQ(why, (std::vector{Passed::kLessAccurate, Passed::kChosen, Passed::kEnergy, Passed::kEnergy}));
}

// All combinations of bounds over all subsets of a grid: whatever is chosen is within the bounds, and nothing within them is better.
TEST(Choose, NeverOutsideTheBounds) {
  uint64_t chosen = 0, refused = 0;
  for (uint32_t subset = 0; subset < 64; ++subset) {
    std::vector<Candidate> c;
    for (int i = 0; i < 6; ++i) {
      if (subset >> i & 1) c.push_back(make(0.7 + 0.05 * ((i * 5) % 6), 1 + (i * 7) % 6, 1 + (i * 11) % 6));
    }
    for (const double accuracy : {-1.0, 0.75, 0.8, 0.9, 0.99}) {
      for (const double energy : {-1.0, 0.5, 2.0, 4.0}) {
        for (const uint64_t left : {kNoDeadline, kMs / 2, 2 * kMs, 4 * kMs}) {
          const Demands d{.left_ns = left, .min_accuracy = accuracy, .max_energy_mj = energy};
          const auto fits = [&](const Candidate& x) { return x.accuracy >= accuracy - 1e-9 && (energy < 0 || x.energy_mj <= energy) && x.predicted_ns() <= left; };
          const Choice choice = choose(c, d);
          bool any = false;
          for (const auto& x : c) any |= fits(x);
          ASSERT_EQ(choice.index >= 0, any);
          ++(any ? chosen : refused);
          if (!any) continue;
          const Candidate& best = c[static_cast<size_t>(choice.index)];
          ASSERT_TRUE(fits(best));
          for (const auto& x : c) {
            if (!fits(x)) continue;
            if (objective_of(d) == Objective::kLatency) {
              ASSERT_GE(x.predicted_ns(), best.predicted_ns());
            } else {
              ASSERT_LE(x.accuracy, best.accuracy);
            }
          }
        }
      }
    }
  }
  EXPECT_GT(chosen, 1000u);
  EXPECT_GT(refused, 500u);
}

// A nearest bound that is put in place of the one refused is met.
TEST(Choose, TheNearestBoundCanBeMet) {
  for (const double accuracy : {-1.0, 0.8, 0.88, 0.95}) {
    for (const double energy : {-1.0, 0.5, 4.0}) {
      for (const uint64_t left : {kNoDeadline, kMs, 6 * kMs}) {
        Demands d{.left_ns = left, .min_accuracy = accuracy, .max_energy_mj = energy};
        const Choice choice = choose(kFour, d);
        if (choice.index >= 0) continue;
        if (choice.refusal == Passed::kDeadline) d.left_ns = static_cast<uint64_t>(choice.nearest);
        if (choice.refusal == Passed::kAccuracy) d.min_accuracy = choice.nearest;
        if (choice.refusal == Passed::kEnergy) d.max_energy_mj = choice.nearest;
        const Choice again = choose(kFour, d);
        EXPECT_TRUE(again.index >= 0 || again.refusal != choice.refusal) << accuracy << " " << energy << " " << left;
      }
    }
  }
}

TEST(Dominated, WorseInAllIsMarkedOnceAndEqualsKeepTheFirst) {
  std::vector<Candidate> c = {make(0.9, 5, 2), make(0.85, 6, 2), make(0.85, 4, 2), make(0.9, 5, 2), make(-1, 9, 9), make(0.8, 9, 1), make(0.7, 9, 9, false)};
  std::vector<uint8_t> dominated(c.size());
  std::vector<int32_t> by(c.size());
  mark_dominated(c, dominated, by);
  EXPECT_EQ(dominated, (std::vector<uint8_t>{0, 1, 0, 1, 0, 0, 0}));
  EXPECT_EQ(by[1], 0);
  EXPECT_EQ(by[3], 0);
  EXPECT_EQ(by[0], -1);
}

}  // namespace
}  // namespace verge::policy
