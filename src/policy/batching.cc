#include "policy/batching.h"

#include <algorithm>
#include <bit>

#include "policy/dispatch.h"

namespace verge::policy {
namespace {

constexpr uint32_t kFirstRuns = 4;      // of a size, before it counts as known
constexpr uint64_t kLookAgain = 512;    // decisions
// A prediction moves by a step of what a run is off by; an outlier counts as no more than so many times the prediction. The larger part of it is put down to the machine's pace.
constexpr double kStep = 1.0 / 8, kOfPace = 0.75, kOutlier = 4;
constexpr uint64_t kLongestHoldNs = 2'000'000;
constexpr uint64_t kLongestRunNs = 4'000'000;
constexpr uint64_t kLongestRun = 8;     // runs of one sample
constexpr double kKeepsUp = 0.85;

int index_of(int64_t rows) {
  if (rows < 1 || rows > BatchCurve::kMostRows || !std::has_single_bit(static_cast<uint64_t>(rows))) return -1;
  return std::countr_zero(static_cast<uint64_t>(rows));
}

bool is_one_run(const BatchCurve& curve, std::span<const int64_t> fixed, int64_t rows) { return fixed.empty() || next_chunk(fixed, rows, &curve).rows == rows; }

}  // namespace

void BatchCurve::seed(int64_t rows, uint64_t ns) {
  const int i = index_of(rows);
  if (i < 0 || ns == 0 || points_[static_cast<size_t>(i)].n > 1) return;
  points_[static_cast<size_t>(i)] = {static_cast<double>(ns) / pace_, 1};
}

void BatchCurve::learn(int64_t rows, uint64_t ns) {
  const uint64_t before = predict(rows);
  // A first guess that was wrong says nothing of how steady runs are.
  if (before != 0 && points_[0].n >= kFirstRuns) {
    const uint64_t off = std::min(ns > before ? ns - before : before - ns, 4 * before);
    deviation_ = deviation_ >= off ? deviation_ - (deviation_ - off) / 16 : deviation_ + (off - deviation_) / 16;
  }
  const int i = index_of(rows);
  if (i < 0) return;
  Point& p = points_[static_cast<size_t>(i)];
  const double took = std::max(static_cast<double>(ns), 1.0);
  if (p.n < kFirstRuns) {
    p.ns = p.n == 0 ? took / pace_ : std::min(p.ns, took / pace_);
    ++p.n;
    return;
  }
  const double off = std::min(took / ns_at(i), kOutlier) - 1;
  const double pace = std::clamp(pace_ * (1 + off * kStep * kOfPace), 1e-4, 1e4);
  p.ns = std::max(ns_at(i) * (1 + off * kStep) / pace, 1e-3);
  pace_ = pace;
}

uint64_t BatchCurve::predict(int64_t rows) const {
  if (rows < 1) rows = 1;
  int below = -1, above = -1;
  for (int i = 0; i < kSizes; ++i) {
    if (points_[static_cast<size_t>(i)].n == 0) continue;
    if ((int64_t{1} << i) <= rows) {
      below = i;
    } else if (above < 0) {
      above = i;
    }
  }
  const auto at = [this](int i) { return ns_at(i); };
  const double r = static_cast<double>(rows);
  if (below < 0 && above < 0) return 0;
  double ns;
  if (below < 0) {
    ns = at(above) * r / static_cast<double>(int64_t{1} << above);
  } else if (above < 0 || (int64_t{1} << below) == rows) {
    ns = at(below) * r / static_cast<double>(int64_t{1} << below);
  } else {
    const double lo = static_cast<double>(int64_t{1} << below), hi = static_cast<double>(int64_t{1} << above);
    ns = at(below) + (at(above) - at(below)) * (r - lo) / (hi - lo);
  }
  return std::max<uint64_t>(static_cast<uint64_t>(std::max(ns, 0.0)), 1);
}

uint64_t BatchCurve::least_per_row(int64_t most) const {
  uint64_t least = 0;
  for (int i = 0; i < kSizes && (i == 0 || (int64_t{1} << i) <= most); ++i) {
    const Point& p = points_[static_cast<size_t>(i)];
    if (p.n == 0) continue;
    const uint64_t each = std::max<uint64_t>(static_cast<uint64_t>(ns_at(i)) >> i, 1);
    if (least == 0 || each < least) least = each;
  }
  return least;
}

uint32_t BatchCurve::seen(int64_t rows) const {
  const int i = index_of(rows);
  return i < 0 ? 0 : points_[static_cast<size_t>(i)].n;
}

void Demand::add(uint64_t now_ns, uint64_t cost_ns) {
  const double gone = static_cast<double>(now_ns - std::min(last_ns_, now_ns)) / kWindowNs;
  work_ns_ = gone < 1 ? work_ns_ * (1 - gone) : 0;
  // A burst is no lasting demand: what one window holds at most ten times over is enough to know.
  work_ns_ = std::min(work_ns_ + static_cast<double>(cost_ns), 10 * kWindowNs);
  last_ns_ = now_ns;
}

int64_t choose_rows(const BatchCurve& curve, int64_t waiting, int64_t most, double demand, uint64_t turn, std::span<const int64_t> fixed) {
  const int64_t limit = std::min({waiting, most, BatchCurve::kMostRows});
  const uint64_t one = curve.predict(1);
  if (limit <= 1 || one == 0) return 1;
  const uint64_t longest = std::max(kLongestRunNs, kLongestRun * one);
  const bool keeps_up = demand < kKeepsUp;
  // While the lane stays busy with these, demand / (1 - demand) more will come for each of them, and wait for all of them.
  const double to_come = keeps_up ? demand / (1 - demand) : 0;
  const auto cost = [&](int64_t rows) {
    const double run = static_cast<double>(curve.predict(rows)), parts = static_cast<double>(waiting) / static_cast<double>(rows);
    return keeps_up ? run * ((parts + 1) / 2 + parts * to_come) : run / static_cast<double>(rows);
  };
  const double worth = keeps_up ? 1 : 0.95;
  int64_t best = 1;
  double best_cost = cost(1);
  for (int64_t rows = 2; rows <= limit && curve.predict(rows) <= longest; rows *= 2) {
    if (!is_one_run(curve, fixed, rows)) continue;
    // Sizes grow one step at a time: each is tried only once the one below it is known.
    if (curve.seen(rows) < kFirstRuns) return rows;
    if (const double c = cost(rows); c < worth * best_cost) {
      best = rows;
      best_cost = c;
    }
  }
  if (turn % kLookAgain == 0) {
    // One step up or down in turn, so that a size that was slow for a while is not given up for ever.
    const bool up = (turn / kLookAgain) % 2 == 0;
    int64_t other = up ? best * 2 : best / 2;
    while (other > 1 && other <= limit && !is_one_run(curve, fixed, other)) other = up ? other * 2 : other / 2;
    if (other >= 1 && other <= limit) return other;
  }
  return best;
}

uint64_t hold_ns(const BatchCurve& curve, int64_t rows, int64_t most, uint64_t gap_ns, uint64_t slack_ns, std::span<const int64_t> fixed) {
  if (rows >= std::min(most, BatchCurve::kMostRows) || gap_ns == 0) return 0;
  const uint64_t one = curve.predict(1), now = curve.predict(rows), more = curve.predict(rows + 1);
  if (one == 0 || gap_ns >= one || one + now <= more) return 0;
  const uint64_t saved = one + now - more;
  if (saved < 2 * gap_ns * static_cast<uint64_t>(rows) || !is_one_run(curve, fixed, rows + 1)) return 0;
  const uint64_t hold = std::min({2 * gap_ns, one / 2, kLongestHoldNs});
  return hold < slack_ns ? hold : 0;
}

}  // namespace verge::policy
