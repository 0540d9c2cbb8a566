// What waits for one lane, which of it runs next, and how much of it at once. Belongs to whoever has the lane. The order and the sizes are fair_order.h's and
// batching.h's; here is what they are applied to. The server and the simulator run this same code, on requests of their own.
//
// A `Run` is a request that waits. It has
//   uint32_t priority, tenant, flow;   of FairOrder
//   uint64_t due_ns;                   when its answer has to be on its way; 0: never
//   uint64_t place, ahead_ns;          written here: its place, and the work before it where it was turned away for that
//   uint64_t cost_ns;                  that it is expected to hold the lane
//   uint64_t shape_key;                only those of one key share a run
//   int64_t batch;                     its samples
//   bool joins, probes;                may share a run; runs though it seems hopeless
//   WaitingGroup<Run>& group() const   where requests wait that it may share runs with
//   int64_t most_rows() const          samples that may share a run
//   uint64_t needs_ns() const          of a choice made by bounds, the cautious time of the least that would do; else 0
//   bool goes_alone() const            never shares a run, and holds the lane for cost_ns
//   bool is_waiting() const, claim()   whether it still waits; true for whoever ends its waiting
//   void end_hopeless(uint64_t now)    it was claimed, and is not to be begun any more
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <vector>

#include "policy/batching.h"
#include "policy/fair_order.h"
#include "policy/wait_ratio.h"

namespace verge::policy {

// One variant's part of a lane's queue.
template <typename Run>
struct WaitingGroup {
  struct Entry {
    uint64_t place;  // of FairOrder
    uint64_t order;  // of arrival, among equal places
    uint64_t cost;   // ns of the lane
    Run* run;
    uint64_t pushed_ns = 0, expected_ns = 0;  // when it came, and how long it was to wait; 0: that was not looked at
  };
  std::vector<Entry> heap;  // the least first
  BatchCurve curve;
  std::vector<int64_t> fixed;  // batch sizes of the engine's files, ascending; empty: any size runs
  int64_t rows_waiting = 0;
  uint64_t last_arrival_ns = 0, gap_ns = 0;  // mean time between arrivals
  uint64_t hold_until_ns = 0;                // 0: nothing is held
  uint64_t decisions = 0;
  int64_t last_rows = 0;                     // of the last run
};

// How many requests wait in a lane, seen from all threads.
struct LanePlaces {
  // A lane that is far behind keeps runs of requests that are over; so many for each one that may wait.
  static constexpr uint32_t kHeldForEach = 4;
  std::atomic<uint32_t> waiting{0};  // not begun
  std::atomic<uint32_t> held{0};     // those, and requests that have ended but whose runs the lane has not come across yet
  std::atomic<uint64_t> backlog_ns{0};  // what those not begun are expected to take
  std::atomic<uint64_t> busy_until_ns{0};  // when what runs now is expected to end; 0: nothing runs

  // How many waited before it.
  uint32_t comes(uint64_t cost_ns) {
    backlog_ns.fetch_add(cost_ns, std::memory_order_relaxed);
    return waiting.fetch_add(1, std::memory_order_relaxed);
  }
  // It begins, or has ended before that.
  void goes(uint64_t cost_ns) {
    waiting.fetch_sub(1, std::memory_order_relaxed);
    backlog_ns.fetch_sub(cost_ns, std::memory_order_relaxed);
  }
  uint64_t ahead_ns(uint64_t now) const {
    const uint64_t until = busy_until_ns.load(std::memory_order_relaxed);
    return backlog_ns.load(std::memory_order_relaxed) + (until > now ? until - now : 0);
  }
};

template <typename Run>
class LaneQueue {
 public:
  using Group = WaitingGroup<Run>;

  LaneQueue(LanePlaces& places, const std::vector<double>& tenant_weights) : places_(places), order_(tenant_weights) { active_.reserve(64); }

  void push(Run* run, uint64_t now);
  // Whether what goes before it will keep the lane busy beyond its deadline; run->ahead_ns says how long. Asked before push(): turned away at once
  // it costs a fraction of what it would cost to keep it until it expires, most of which is memory that the caches have forgotten.
  bool comes_too_late(Run& run, uint64_t now);
  // The same of a request that is known by its head only. How long what goes before it takes; 0: it would not come too late.
  struct Newcomer {
    uint32_t priority = 0, tenant = 0, flow = 0;
    uint64_t due_ns = 0;
    uint64_t needed_ns = 0;  // once it is its turn
    const Group* shares = nullptr;  // whose runs it may share
  };
  uint64_t too_much_ahead(const Newcomer& newcomer, uint64_t now);
  // What one more sample of the group needs once it is its turn: it goes with others, as many as went together last.
  static uint64_t needed_among_others(const Group& g) { return g.curve.predict(std::max<int64_t>(g.last_rows, 1)) + g.curve.deviation(); }
  // push(), or `ended` where it comes too late.
  template <typename Ended>
  void push_or_end(Run* run, uint64_t now, Ended& ended);
  bool empty() const { return size_ == 0; }
  uint64_t work_ns() const { return work_ns_; }  // time of the lane that all that waits will take

  struct Next {
    bool any = false;         // `batch` holds what to run now
    uint64_t wait_until = 0;  // else: look again then, or when more arrives; 0: nothing waits
  };
  // Claims the next batch: runs of one variant that may go through the engine together. What has ended meanwhile, or cannot be done by its
  // deadline, goes to `ended`, the latter with its status. `batch` is emptied first.
  template <typename Ended>
  Next take(uint64_t now, std::vector<Run*>& batch, Ended& ended);

 private:
  using Entry = typename Group::Entry;

  // One odd turn says nothing of the next.
  static constexpr double kMostStretch = 4;

  static bool later(const Entry& a, const Entry& b) { return a.place != b.place ? a.place > b.place : a.order > b.order; }
  // To be sure of an answer: of a choice made by bounds the least that would do, else a run.
  static uint64_t needed_ns(const Group& g, const Run& run) {
    const uint64_t told = run.needs_ns();
    return told != 0 ? told : g.curve.predict(run.batch) + g.curve.deviation();
  }
  static uint64_t cost_of(const Group& g, const Run& run) {
    if (run.goes_alone()) return std::max<uint64_t>(run.cost_ns, 1);
    return std::max<uint64_t>(g.curve.least_per_row(run.most_rows()), 1) * static_cast<uint64_t>(run.batch);
  }
  Run* pop(Group& group, uint64_t now);
  // A claimed run that is not to be begun any more.
  void give_up(Run* run, uint64_t now) {
    places_.goes(run->cost_ns);
    run->end_hopeless(now);
  }
  Group* first_group(uint64_t now, uint64_t* wait_until);
  template <typename Ended>
  bool drop_ended(Group& group, uint64_t now, Ended& ended);
  template <typename Ended>
  void fill(Group& group, uint64_t now, std::vector<Run*>& batch, Ended& ended);
  uint64_t hold(Group& group, uint64_t now) const;

  LanePlaces& places_;
  FairOrder order_;
  Demand demand_;
  std::vector<Group*> active_;  // groups with entries
  size_t size_ = 0;
  uint64_t pushed_ = 0;
  uint64_t work_ns_ = 0;  // cost of all entries
  // What a lane really takes for what it was said to cost, while work waits: a front that is its own lane also reads and answers.
  double stretch_ = 1;
  uint64_t took_at_ns_ = 0, took_cost_ = 0;  // of the last batch, if more waited then
  WaitRatio wait_ratio_;
  const Run* looked_at_ = nullptr;  // by comes_too_late(), last, and what it is to wait
  uint64_t looked_ns_ = 0;
  // What was found too much ahead since the last request left: whoever has no better place and no more time is refused without counting again.
  uint64_t refused_place_ = UINT64_MAX, refused_ahead_ns_ = 0;
};

template <typename Run>
uint64_t LaneQueue<Run>::too_much_ahead(const Newcomer& newcomer, uint64_t now) {
  looked_ns_ = 0;
  const uint64_t until = places_.busy_until_ns.load(std::memory_order_relaxed), busy = until > now ? until - now : 0;
  if (size_ == 0 && busy == 0) return 0;
  const uint64_t needed = now + newcomer.needed_ns;
  const uint64_t slack = newcomer.due_ns > needed ? newcomer.due_ns - needed : 0;
  // Some entries are of requests that have ended; which, only their runs know.
  const double held = std::max<double>(places_.held.load(std::memory_order_relaxed), 1);
  const double real = stretch_ * std::min(1.0, places_.waiting.load(std::memory_order_relaxed) / held);
  const auto scaled = [](uint64_t ns, double factor) { return static_cast<uint64_t>(static_cast<double>(ns) * factor); };
  const double cautious = wait_ratio_.cautious(now);
  if (busy + scaled(work_ns_, real * cautious) <= slack) return 0;
  const uint64_t place = order_.look(newcomer.priority, newcomer.tenant, newcomer.flow);
  if (place >= refused_place_ && busy + refused_ahead_ns_ > slack) return busy + refused_ahead_ns_;
  uint64_t ahead = 0, shared = 0, sharing = 0;
  for (const Group* g : active_)
    for (const Entry& e : g->heap) {
      if (e.place > place) continue;
      ahead += e.cost;
      if (g != newcomer.shares) continue;
      shared += e.cost;
      ++sharing;
    }
  // Those right before it go in one run with it, which `needed_ns` already counts.
  if (sharing != 0) ahead -= shared / sharing * (sharing % static_cast<uint64_t>(std::max<int64_t>(newcomer.shares->last_rows, 1)));
  looked_ns_ = busy + scaled(ahead, real);
  const uint64_t sure = scaled(ahead, real * cautious);
  if (busy + sure <= slack) return 0;
  refused_place_ = place;
  refused_ahead_ns_ = sure;
  return busy + sure;
}

template <typename Run>
bool LaneQueue<Run>::comes_too_late(Run& run, uint64_t now) {
  looked_at_ = nullptr;
  if (run.due_ns == 0 || run.probes || (size_ == 0 && places_.busy_until_ns.load(std::memory_order_relaxed) == 0)) return false;
  const Group& own = run.group();
  const uint64_t needed = run.joins ? std::max(needed_ns(own, run), needed_among_others(own)) : needed_ns(own, run);
  const uint64_t ahead = too_much_ahead({run.priority, run.tenant, run.flow, run.due_ns, needed, run.joins ? &own : nullptr}, now);
  if (ahead != 0) {
    run.ahead_ns = ahead;
    return true;
  }
  looked_at_ = &run;
  return false;
}

template <typename Run>
template <typename Ended>
void LaneQueue<Run>::push_or_end(Run* run, uint64_t now, Ended& ended) {
  if (!comes_too_late(*run, now)) return push(run, now);
  places_.held.fetch_sub(1, std::memory_order_relaxed);
  if (run->claim()) give_up(run, now);
  ended.push(run);
}

template <typename Run>
void LaneQueue<Run>::push(Run* run, uint64_t now) {
  Group& g = run->group();
  if (g.heap.empty()) active_.push_back(&g);
  if (g.last_arrival_ns != 0) {
    const uint64_t gap = now - g.last_arrival_ns;
    g.gap_ns = g.gap_ns == 0 ? gap : g.gap_ns - g.gap_ns / 8 + gap / 8;
  }
  g.last_arrival_ns = now;
  g.rows_waiting += run->batch;
  const uint64_t cost = cost_of(g, *run);
  demand_.add(now, g.curve.predict(1) * static_cast<uint64_t>(run->batch));
  run->place = order_.enter(run->priority, run->tenant, run->flow, cost);
  work_ns_ += cost;
  g.heap.push_back({run->place, pushed_++, cost, run, now, looked_at_ == run ? looked_ns_ : 0});
  looked_at_ = nullptr;
  std::push_heap(g.heap.begin(), g.heap.end(), later);
  ++size_;
}

template <typename Run>
Run* LaneQueue<Run>::pop(Group& g, uint64_t now) {
  std::pop_heap(g.heap.begin(), g.heap.end(), later);
  const Entry& entry = g.heap.back();
  Run* run = entry.run;
  work_ns_ -= entry.cost;
  if (entry.expected_ns != 0) {
    uint64_t run_ns = entry.cost;
    for (const Group* each : active_) run_ns = std::max(run_ns, each->curve.predict(std::max<int64_t>(each->last_rows, 1)));
    wait_ratio_.learn(entry.expected_ns, now - entry.pushed_ns, run_ns, now);
  }
  refused_place_ = UINT64_MAX;
  g.heap.pop_back();
  g.rows_waiting -= run->batch;
  --size_;
  order_.leave(run->place, run->tenant, run->flow);
  places_.held.fetch_sub(1, std::memory_order_relaxed);
  if (g.heap.empty()) {
    g.hold_until_ns = 0;
    active_.erase(std::find(active_.begin(), active_.end(), &g));
  }
  return run;
}

// Takes away what is over at the group's head. False where nothing is left.
template <typename Run>
template <typename Ended>
bool LaneQueue<Run>::drop_ended(Group& g, uint64_t now, Ended& ended) {
  while (!g.heap.empty()) {
    Run* run = g.heap.front().run;
    const uint64_t deadline = run->due_ns;
    const bool hopeless = deadline != 0 && (now >= deadline || (!run->probes && now + needed_ns(g, *run) > deadline));
    if (run->is_waiting() && !hopeless) return true;
    pop(g, now);
    if (hopeless && run->claim()) give_up(run, now);
    ended.push(run);
  }
  return false;
}

template <typename Run>
typename LaneQueue<Run>::Group* LaneQueue<Run>::first_group(uint64_t now, uint64_t* wait_until) {
  Group* best = nullptr;
  for (Group* g : active_) {
    if (g->hold_until_ns > now) {
      *wait_until = *wait_until == 0 ? g->hold_until_ns : std::min(*wait_until, g->hold_until_ns);
      continue;
    }
    if (best == nullptr || later(best->heap.front(), g->heap.front())) best = g;
  }
  return best;
}

template <typename Run>
uint64_t LaneQueue<Run>::hold(Group& g, uint64_t now) const {
  const int64_t most = g.heap.front().run->most_rows();
  // Seldom worth it: only then are the deadlines looked at.
  const uint64_t ns = hold_ns(g.curve, g.rows_waiting, most, g.gap_ns, UINT64_MAX, g.fixed);
  if (ns == 0) return 0;
  uint64_t slack = UINT64_MAX;
  for (const Entry& e : g.heap) {
    if (e.run->due_ns == 0) continue;
    const uint64_t needed = now + g.curve.predict(g.rows_waiting + 1) + 2 * g.curve.deviation();
    slack = std::min(slack, e.run->due_ns > needed ? e.run->due_ns - needed : 0);
  }
  return ns < slack ? ns : 0;
}

template <typename Run>
template <typename Ended>
void LaneQueue<Run>::fill(Group& g, uint64_t now, std::vector<Run*>& batch, Ended& ended) {
  const Run* leader = g.heap.front().run;
  const int64_t most = leader->joins ? leader->most_rows() : 1;
  const int64_t wanted = std::max(choose_rows(g.curve, g.rows_waiting, most, demand_.share(), ++g.decisions, g.fixed), leader->batch);
  int64_t rows = 0;
  uint64_t earliest = UINT64_MAX;
  const uint64_t key = leader->shape_key;
  while (drop_ended(g, now, ended)) {
    Run* run = g.heap.front().run;
    if (!batch.empty()) {
      if (!run->joins || run->shape_key != key || rows + run->batch > wanted) break;
      // One more must not make another, or itself, late.
      const uint64_t deadline = run->due_ns == 0 ? earliest : std::min(earliest, run->due_ns);
      if (deadline != UINT64_MAX && now + g.curve.predict(rows + run->batch) + g.curve.deviation() > deadline) break;
    }
    pop(g, now);
    if (!run->claim()) {
      ended.push(run);
      continue;
    }
    places_.goes(run->cost_ns);
    took_cost_ += cost_of(g, *run);
    if (run->due_ns != 0) earliest = std::min(earliest, run->due_ns);
    rows += run->batch;
    batch.push_back(run);
    if (rows >= wanted || !run->joins) break;
  }
  if (rows != 0) g.last_rows = rows;
}

template <typename Run>
template <typename Ended>
typename LaneQueue<Run>::Next LaneQueue<Run>::take(uint64_t now, std::vector<Run*>& batch, Ended& ended) {
  batch.clear();
  if (took_cost_ != 0 && now > took_at_ns_) {
    const double took = static_cast<double>(now - took_at_ns_) / static_cast<double>(took_cost_);
    stretch_ += (std::clamp(took, 1.0, kMostStretch) - stretch_) / 16;
  }
  took_at_ns_ = now;
  took_cost_ = 0;
  Next next;
  while (Group* g = first_group(now, &next.wait_until)) {
    if (!drop_ended(*g, now, ended)) continue;
    if (g->hold_until_ns == 0) {
      if (const uint64_t ns = g->heap.front().run->joins ? hold(*g, now) : 0; ns != 0) {
        g->hold_until_ns = now + ns;
        continue;
      }
    }
    g->hold_until_ns = 0;
    fill(*g, now, batch, ended);
    if (!batch.empty()) {
      if (size_ == 0) took_cost_ = 0;  // it may idle before the next
      next.any = true;
      return next;
    }
  }
  return next;
}

}  // namespace verge::policy
