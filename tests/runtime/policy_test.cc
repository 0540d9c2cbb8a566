#include <gtest/gtest.h>

#include <vector>

#include "policy/dispatch.h"
#include "policy/lifecycle.h"
#include "policy/memory.h"

namespace verge::policy {
namespace {

TEST(Lifecycle, EveryPairOfStateAndEventIsDecided) {
  using S = VariantState;
  using E = LifeEvent;
  const std::vector<std::tuple<S, E, S>> allowed = {
      {S::kAbsent, E::kLoad, S::kLoading},     {S::kLoading, E::kLoaded, S::kWarming},    {S::kLoading, E::kFailed, S::kAbsent},
      {S::kWarming, E::kWarm, S::kResident},   {S::kWarming, E::kFailed, S::kUnloading},  {S::kResident, E::kUnload, S::kUnloading},
      {S::kUnloading, E::kReleased, S::kAbsent},
  };
  for (const S s : {S::kAbsent, S::kLoading, S::kWarming, S::kResident, S::kUnloading}) {
    for (const E e : {E::kLoad, E::kLoaded, E::kWarm, E::kFailed, E::kUnload, E::kReleased}) {
      std::optional<S> want;
      for (const auto& [from, event, to] : allowed) {
        if (from == s && event == e) want = to;
      }
      EXPECT_EQ(next_state(s, e), want) << state_name(s) << " " << event_name(e);
    }
  }
}

TEST(Memory, ReservesUpToTheLimitAndSaysTheFigures) {
  MemoryLedger ledger(100 << 20, 20 << 20);
  EXPECT_TRUE(ledger.reserve(50 << 20, "a", "measured").ok());
  const Status refused = ledger.reserve(31 << 20, "model 'b'", "measured on this device");
  EXPECT_EQ(refused.code(), Code::kResourceExhausted);
  for (const char* part : {"model 'b'", "31.0 MiB", "100.0 MiB", "20.0 MiB", "50.0 MiB", "measured on this device"}) {
    EXPECT_NE(refused.message().find(part), std::string::npos) << refused.message();
  }
  EXPECT_TRUE(ledger.reserve(30 << 20, "b", "").ok());
  ledger.give_back(50 << 20);
  EXPECT_EQ(ledger.reserved(), 30u << 20);
}

TEST(Memory, NoLimitAndHugeSizes) {
  MemoryLedger none(0, 1);
  EXPECT_TRUE(none.reserve(uint64_t{1} << 50, "a", "").ok());
  MemoryLedger small(1 << 20, 2 << 20);  // the server alone is over it
  EXPECT_FALSE(small.reserve(0, "a", "").ok());
  EXPECT_GT(estimated_resident_bytes(UINT64_MAX), uint64_t{1} << 60);
}

TEST(Dispatch, TheLeastLoadedLaneAndAFairStart) {
  const std::vector<LaneLoad> lanes = {{2, true}, {0, true}, {0, false}, {0, false}};
  EXPECT_EQ(choose_lane(lanes, 0), 2u);
  EXPECT_EQ(choose_lane(lanes, 3), 3u);
  EXPECT_EQ(choose_lane(std::span(lanes).first(2), 0), 1u);
}

TEST(Dispatch, AFrontRunsOnlyWhatIsShorterThanAHandOff) {
  EXPECT_TRUE(run_on_front({0, false}, 5'000, 20'000));
  EXPECT_FALSE(run_on_front({0, false}, 50'000, 20'000));
  EXPECT_FALSE(run_on_front({0, false}, 0, 20'000));  // unknown
  EXPECT_FALSE(run_on_front({1, false}, 5'000, 20'000));
  EXPECT_FALSE(run_on_front({0, true}, 5'000, 20'000));
}

TEST(Dispatch, ChunksOfFixedBatches) {
  const std::vector<int64_t> fixed = {1, 8};
  const auto cut = [&](int64_t batch) {
    std::vector<std::pair<int64_t, int64_t>> out;
    while (batch > 0) {
      const Chunk c = next_chunk(fixed, batch);
      out.emplace_back(c.batch, c.rows);
      batch -= c.rows;
    }
    return out;
  };
  using P = std::vector<std::pair<int64_t, int64_t>>;
  EXPECT_EQ(cut(1), (P{{1, 1}}));
  EXPECT_EQ(cut(3), (P{{8, 3}}));
  EXPECT_EQ(cut(8), (P{{8, 8}}));
  EXPECT_EQ(cut(17), (P{{8, 8}, {8, 8}, {1, 1}}));
  EXPECT_EQ(cut(19), (P{{8, 8}, {8, 8}, {8, 3}}));
}

TEST(Dispatch, ChunksAreWhatTheCurveSaysIsLess) {
  const std::vector<int64_t> fixed = {1, 8, 64};
  const auto cut = [&](const BatchCurve& curve, int64_t batch) {
    std::vector<int64_t> out;
    while (batch > 0) {
      const Chunk c = next_chunk(fixed, batch, &curve);
      EXPECT_GT(c.rows, 0);
      EXPECT_LE(c.rows, std::min(c.batch, batch));
      out.push_back(c.batch);
      batch -= c.rows;
    }
    return out;
  };
  using P = std::vector<int64_t>;
  BatchCurve small;  // the call is most of a run
  small.seed(1, 10'000);
  small.seed(8, 14'000);
  small.seed(64, 40'000);
  EXPECT_EQ(cut(small, 2), (P{8}));
  EXPECT_EQ(cut(small, 16), (P{8, 8}));
  EXPECT_EQ(cut(small, 17), (P{64}));  // 42 µs in three runs, the last one padded
  EXPECT_EQ(cut(small, 64), (P{64}));
  EXPECT_EQ(cut(small, 65), (P{64, 1}));
  BatchCurve large;  // the samples are
  large.seed(1, 10'000);
  large.seed(8, 80'000);
  EXPECT_EQ(cut(large, 3), (P{1, 1, 1}));
  EXPECT_EQ(cut(large, 10), (P{8, 1, 1}));  // 64 was never seen: in proportion
  EXPECT_EQ(cut(BatchCurve(), 3), (P{8}));  // nothing is known
}

TEST(Dispatch, PredictionFollowsAndBoundsOutliers) {
  EXPECT_EQ(predict_next(0, 800), 800u);
  EXPECT_EQ(predict_next(800, 1600), 900u);
  EXPECT_EQ(predict_next(800, 800'000), 800u + 2400 / 8);
  EXPECT_EQ(predict_next(800, 0), 700u);
  EXPECT_EQ(predict_next(1, 0), 1u);
}

}  // namespace
}  // namespace verge::policy
