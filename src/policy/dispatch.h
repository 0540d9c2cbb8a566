// Where a request runs, and how its batch is cut for engines whose files have fixed batch sizes.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>

#include "policy/batching.h"

namespace verge::policy {

// What a front sees of a lane when it has a request to place.
struct LaneLoad {
  uint32_t waiting = 0;  // handed over and not begun
  bool busy = false;     // runs something now
};

// The lane with the least work ahead; among equals the first at or after `start`, so that fronts with different starts spread out.
size_t choose_lane(std::span<const LaneLoad> lanes, size_t start);

// Whether a front should run the request itself on an idle lane: when the run is predicted to be over before another thread would have
// begun it. `predicted_ns` 0: unknown.
bool run_on_front(const LaneLoad& lane, uint64_t predicted_ns, uint64_t hand_off_ns);

// Whether a front that is its own lane has a run done by another thread, and goes on: to do so costs some 10 µs a run, and some for each request that is then read by itself, which is little
// beside a run of this length; and nothing that comes waits for it unseen.
inline bool runs_apart(uint64_t expected_ns, size_t requests) { return expected_ns >= requests * 1'500'000; }

// The shortest time that requests give lately, of those that are let in: what one of them gave counts twice as much 45 turns later.
class ShortestTime {
 public:
  void note(uint64_t given_ns) { ns_ = std::min(ns_, given_ns); }
  void turn_begins() { ns_ += std::min(ns_ / 64 + 1, kNone - ns_); }
  uint64_t ns() const { return ns_; }

 private:
  static constexpr uint64_t kNone = UINT64_MAX;
  uint64_t ns_ = kNone;
};

// A front that is its own lane answers, and looks at its sockets, between turns of work. A turn ends when what it has answered is worth a system call or two for each connection: an
// answer should not wait for those that come after it. Where much waits, turns are a quarter of that: reading and writing, and refusing, in larger groups costs less for each.
// Whatever the group would be worth, an answer that is there is not kept until its deadline has passed, and nothing that comes waits unseen for more than a run and an eighth of the shortest
// time that requests give: how long each of several waited in its socket, nothing tells.
class Turn {
 public:
  Turn(uint64_t waiting_work_ns, uint64_t shortest_time_ns) : least_ns_(std::min(waiting_work_ns / kPartOfWork, kLongestNs)), most_ns_(shortest_time_ns / kPartOfTime) {}
  // Of a request that was due at `due_ns`, and whose deadline is `deadline_ns`; 0: never. Half of the time between them is left for the way.
  void answered(uint32_t connection, uint64_t due_ns, uint64_t deadline_ns) {
    connections_ |= uint64_t{1} << (connection % 64);
    if (due_ns != 0 && deadline_ns > due_ns) send_by_ns_ = std::min(send_by_ns_, due_ns + (deadline_ns - due_ns) / 2);
  }
  // `began_ns`: when its first run did; `run_ns`: what the last one took, as the next one may.
  bool over(uint64_t now, uint64_t began_ns, uint64_t run_ns) const {
    if (now + run_ns > send_by_ns_) return true;
    return now - began_ns > std::min(most_ns_, std::max(least_ns_, std::min(static_cast<uint64_t>(std::popcount(connections_)) * kForEachNs, kWorthNs)));
  }

 private:
  static constexpr uint64_t kForEachNs = 150'000, kWorthNs = 1'000'000, kPartOfWork = 4, kPartOfTime = 8, kLongestNs = 4'000'000;
  uint64_t least_ns_, most_ns_;
  uint64_t connections_ = 0;
  uint64_t send_by_ns_ = UINT64_MAX;  // the first of those that were answered
};

// One engine run out of a request of `remaining` samples.
struct Chunk {
  int64_t batch = 0;  // size of the file to run
  int64_t rows = 0;   // samples of it that carry data; the rest is padding
};
// `fixed` ascending and not empty: the smallest file that takes all that remains, padded, unless `curve` says that full runs of the next smaller one take less
// time in all; the largest, full, where none takes all. Without a curve (nullptr) padding is taken to be the cheaper.
Chunk next_chunk(std::span<const int64_t> fixed, int64_t remaining, const BatchCurve* curve = nullptr);

// When the answer of a request that came at `now` has to be on its way to meet `deadline` at the client: a tenth of the time that it was given is kept
// for the way back, at most 5 ms. 0 where there is no deadline. Without this, an overloaded server would do nothing but work whose answer
// comes a moment too late, because the oldest request is always just about to expire.
// `turn_ns`: how long the server was at other work before it looked at its sockets; some of that may have been spent waiting there, unseen. At most another
// tenth of the time is kept for it.
uint64_t due_ns(uint64_t now, uint64_t deadline, uint64_t turn_ns = 0);

// A running prediction of a duration: new = old + (sample - old) / 8, robust to a single outlier by bounding a sample to four times the old.
uint64_t predict_next(uint64_t old_ns, uint64_t sample_ns);

}  // namespace verge::policy
