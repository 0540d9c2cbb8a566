// How many waiting samples go into one engine run, and whether it pays to wait for more. Both follow from the measured time of a run by its
// number of samples, so there is nothing to set.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace verge::policy {

// Time of one run by samples, at sizes 1, 2, 4, … 64: starts from a profile, learns from runs. One lane's own.
class BatchCurve {
 public:
  static constexpr int kSizes = 7;
  static constexpr int64_t kMostRows = int64_t{1} << (kSizes - 1);

  // What a profile or the warm-up says of `rows` samples. Sizes that are no power of two are ignored.
  void seed(int64_t rows, uint64_t ns);
  // A run of `rows` samples took `ns`. The first few runs of a size count by their shortest (an engine prepares for a new shape), the later
  // ones by a mean that bounds an outlier. Most of what a run is off by is put down to the machine's pace, which is that of all sizes: those that do not run just now follow. Else
  // a busy moment would leave them looking slow, so that they are never taken again, or a run of one look too long for any deadline.
  void learn(int64_t rows, uint64_t ns);
  // ns; 0: nothing is known. Between known sizes linear, beyond them in proportion.
  uint64_t predict(int64_t rows) const;
  // The least time of a sample in runs of at most `most`: what one costs a lane that has enough of them. 0: nothing is known.
  uint64_t least_per_row(int64_t most) const;
  // Runs of exactly this power of two that were seen; a seed counts as one.
  uint32_t seen(int64_t rows) const;
  // Mean deviation of a run's time from its prediction, in ns.
  uint64_t deviation() const { return deviation_; }

 private:
  struct Point {
    double ns = 0;  // at pace 1
    uint32_t n = 0;
  };
  double ns_at(int i) const { return points_[static_cast<size_t>(i)].ns * pace_; }
  std::array<Point, kSizes> points_;
  double pace_ = 1;
  uint64_t deviation_ = 0;
};

// What share of a lane's time arriving work would take if all of it ran one by one: 1 and more means that the lane cannot keep up without sharing runs.
// Forgets with a time constant of 50 ms.
class Demand {
 public:
  void add(uint64_t now_ns, uint64_t cost_ns);
  double share() const { return work_ns_ / kWindowNs; }

 private:
  static constexpr double kWindowNs = 50e6;
  uint64_t last_ns_ = 0;
  double work_ns_ = 0;
};

// The size of the next run out of `waiting` samples, at most `most`, a power of two. While the lane keeps up (`demand` below 0.85), the one with the
// least mean time until those who wait and those who will come meanwhile are answered: with k = waiting / size runs, those who wait take
// run(size) (k + 1) / 2, and demand / (1 - demand) times as many come before the lane is idle again, who wait for all k. Else the one with the least
// time a sample, where a larger one must save 5 %. A run takes at most 4 ms, or eight times that of one sample. Sizes hardly seen are tried;
// `turn` counts decisions, and now and then another size is looked at again. Where the engine's files have the sizes `fixed` (ascending; empty: any size
// runs), only what one of them takes in one run, if padded, is a size: what is cut again saves nothing.
int64_t choose_rows(const BatchCurve& curve, int64_t waiting, int64_t most, double demand, uint64_t turn, std::span<const int64_t> fixed = {});

// How long a lane should stay idle for one more sample to join `rows` waiting ones, in ns; 0: not at all. Waiting is bought only where samples
// come faster than a lane could serve them one by one (mean gap `gap_ns` < the time of a run of one) and joining saves at least twice the
// time that all who wait lose, and one run takes them all. `slack_ns` is what the earliest deadline leaves beyond a run of all of them.
uint64_t hold_ns(const BatchCurve& curve, int64_t rows, int64_t most, uint64_t gap_ns, uint64_t slack_ns, std::span<const int64_t> fixed = {});

}  // namespace verge::policy
