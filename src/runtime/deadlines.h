// The deadlines of a front's runs, the earliest first. One thread.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "runtime/run.h"

namespace verge::runtime {

class Deadlines {
 public:
  Deadlines() { heap_.reserve(64); }
  uint64_t next_ns() const { return heap_.empty() ? UINT64_MAX : heap_[0]->timer_ns; }
  Run* first() const { return heap_.empty() ? nullptr : heap_[0]; }
  void add(Run* run, uint64_t at_ns) {
    run->timer_ns = at_ns;
    heap_.push_back(run);
    up(static_cast<uint32_t>(heap_.size()) - 1);
  }
  // Nothing where it has no place here.
  void remove(Run* run) {
    const uint32_t at = std::exchange(run->timer, Run::kNoTimer);
    if (at == Run::kNoTimer) return;
    Run* last = heap_.back();
    heap_.pop_back();
    if (last == run) return;
    set(at, last);
    up(at);
    down(last->timer);
  }

 private:
  void set(uint32_t at, Run* run) {
    heap_[at] = run;
    run->timer = at;
  }
  void up(uint32_t at) {
    Run* run = heap_[at];
    for (; at > 0 && heap_[(at - 1) / 2]->timer_ns > run->timer_ns; at = (at - 1) / 2) set(at, heap_[(at - 1) / 2]);
    set(at, run);
  }
  void down(uint32_t at) {
    Run* run = heap_[at];
    const uint32_t n = static_cast<uint32_t>(heap_.size());
    for (uint32_t child = 2 * at + 1; child < n; child = 2 * at + 1) {
      if (child + 1 < n && heap_[child + 1]->timer_ns < heap_[child]->timer_ns) ++child;
      if (heap_[child]->timer_ns >= run->timer_ns) break;
      set(at, heap_[child]);
      at = child;
    }
    set(at, run);
  }

  std::vector<Run*> heap_;
};

}  // namespace verge::runtime
