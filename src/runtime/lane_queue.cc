#include "runtime/lane_queue.h"

#include <algorithm>

#include "runtime/table.h"

namespace verge::runtime {
namespace {

std::vector<double> weights_of(const std::vector<TenantOptions>& tenants) {
  std::vector<double> out;
  for (const TenantOptions& t : tenants) out.push_back(t.weight);
  return out;
}

// One odd turn says nothing of the next.
constexpr double kMostStretch = 4;
// Memory for inputs beyond which a lane gives all of it back after a run.
constexpr size_t kMostWorkBytes = size_t{64} << 20;

bool later(const LaneGroup::Entry& a, const LaneGroup::Entry& b) { return a.place != b.place ? a.place > b.place : a.order > b.order; }

// To be sure of an answer: of a choice made by bounds the least that would do, else a run.
uint64_t needed_ns(const LaneGroup& g, const Run& run) {
  return run.plan.needs_ns != 0 ? run.plan.needs_ns : g.curve.predict(run.batch) + g.curve.deviation();
}

}  // namespace

void LaneWork::trim() {
  size_t n = 0;
  for (const auto& s : before) n += s.a.data.capacity() + s.b.data.capacity();
  for (const auto* buffers : {&aligned, &joined, &gathered})
    for (const Buffer& b : *buffers) n += b.capacity();
  for (const auto& v : offsets) n += v.capacity() * sizeof(uint64_t);
  for (const auto& v : blobs) n += v.capacity();
  if (n <= kMostWorkBytes) return;
  const size_t network_inputs = joined.size();
  for (auto* buffers : {&aligned, &joined, &gathered}) std::vector<Buffer>().swap(*buffers);
  joined.resize(network_inputs);
  before.clear();
  offsets.clear();
  blobs.clear();
}

LaneQueue::LaneQueue(LanePlaces& places, const std::vector<TenantOptions>& tenants) : places_(places), order_(weights_of(tenants)) { active_.reserve(64); }

LaneGroup& LaneQueue::group_of(const Run& run) const { return run.resident->groups[run.lane()]; }

uint64_t LaneQueue::cost_of(const LaneGroup& g, const Run& run) {
  if (run.plan.exit != kNoExit) return std::max<uint64_t>(run.cost_ns, 1);
  return std::max<uint64_t>(g.curve.least_per_row(run.resident->max_rows), 1) * static_cast<uint64_t>(run.batch);
}

bool LaneQueue::comes_too_late(Run& run, uint64_t now) const {
  if (run.due_ns == 0 || run.probes || size_ == 0) return false;
  const LaneGroup& own = group_of(run);
  const uint64_t needed = now + needed_ns(own, run);
  // Some entries are of requests that have ended; which, only their runs know.
  const double held = std::max<double>(places_.held.load(std::memory_order_relaxed), 1);
  const double real = stretch_ * std::min(1.0, places_.waiting.load(std::memory_order_relaxed) / held);
  const auto late = [&](uint64_t ahead) { return needed + static_cast<uint64_t>(real * static_cast<double>(ahead)) > run.due_ns; };
  if (!late(work_ns_)) return false;
  const uint64_t place = order_.look(run.priority, run.tenant, run.flow);
  uint64_t ahead = 0;
  for (const LaneGroup* g : active_)
    for (const LaneGroup::Entry& e : g->heap) ahead += e.place <= place ? e.cost : 0;
  if (!late(ahead)) return false;
  run.ahead_ns = std::max<uint64_t>(1, static_cast<uint64_t>(real * static_cast<double>(ahead)));
  return true;
}

void LaneQueue::push_or_end(Run* run, uint64_t now, Fifo<Run>& ended) {
  if (!comes_too_late(*run, now)) return push(run, now);
  places_.held.fetch_sub(1, std::memory_order_relaxed);
  if (run->claim()) end_hopeless(run, now);
  ended.push(run);
}

// A claimed run that is not to be begun any more.
void LaneQueue::end_hopeless(Run* run, uint64_t now) {
  places_.goes(*run);
  run->started_ns = run->assembled_ns = run->finished_ns = now;
  run->reason = now >= run->due_ns ? Reason::kExpired : run->plan.said ? Reason::kDeadlineBound : Reason::kHopeless;
  run->status = Status(Code::kDeadlineExceeded, "");  // the front words it
}

void LaneQueue::push(Run* run, uint64_t now) {
  LaneGroup& g = group_of(*run);
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
  g.heap.push_back({run->place, pushed_++, cost, run});
  std::push_heap(g.heap.begin(), g.heap.end(), later);
  ++size_;
}

Run* LaneQueue::pop(LaneGroup& g) {
  std::pop_heap(g.heap.begin(), g.heap.end(), later);
  Run* run = g.heap.back().run;
  work_ns_ -= g.heap.back().cost;
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
bool LaneQueue::drop_ended(LaneGroup& g, uint64_t now, Fifo<Run>& ended) {
  while (!g.heap.empty()) {
    Run* run = g.heap.front().run;
    const uint64_t deadline = run->due_ns;
    const bool hopeless = deadline != 0 && (now >= deadline || (!run->probes && now + needed_ns(g, *run) > deadline));
    if (run->is_waiting() && !hopeless) return true;
    pop(g);
    if (hopeless && run->claim()) end_hopeless(run, now);
    ended.push(run);
  }
  return false;
}

LaneGroup* LaneQueue::first_group(uint64_t now, uint64_t* wait_until) {
  LaneGroup* best = nullptr;
  for (LaneGroup* g : active_) {
    if (g->hold_until_ns > now) {
      *wait_until = *wait_until == 0 ? g->hold_until_ns : std::min(*wait_until, g->hold_until_ns);
      continue;
    }
    if (best == nullptr || later(best->heap.front(), g->heap.front())) best = g;
  }
  return best;
}

uint64_t LaneQueue::hold(LaneGroup& g, uint64_t now) const {
  const int64_t most = g.heap.front().run->resident->max_rows;
  // Seldom worth it: only then are the deadlines looked at.
  const uint64_t ns = policy::hold_ns(g.curve, g.rows_waiting, most, g.gap_ns, UINT64_MAX);
  if (ns == 0) return 0;
  uint64_t slack = UINT64_MAX;
  for (const LaneGroup::Entry& e : g.heap) {
    if (e.run->due_ns == 0) continue;
    const uint64_t needed = now + g.curve.predict(g.rows_waiting + 1) + 2 * g.curve.deviation();
    slack = std::min(slack, e.run->due_ns > needed ? e.run->due_ns - needed : 0);
  }
  return ns < slack ? ns : 0;
}

void LaneQueue::fill(LaneGroup& g, uint64_t now, std::vector<Run*>& batch, Fifo<Run>& ended) {
  const Run* leader = g.heap.front().run;
  const int64_t most = leader->joins ? leader->resident->max_rows : 1;
  const int64_t wanted = std::max(policy::choose_rows(g.curve, g.rows_waiting, most, demand_.share(), ++g.decisions), leader->batch);
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
    pop(g);
    if (!run->claim()) {
      ended.push(run);
      continue;
    }
    places_.goes(*run);
    took_cost_ += cost_of(g, *run);
    if (run->due_ns != 0) earliest = std::min(earliest, run->due_ns);
    rows += run->batch;
    batch.push_back(run);
    if (rows >= wanted || !run->joins) break;
  }
}

LaneQueue::Next LaneQueue::take(uint64_t now, std::vector<Run*>& batch, Fifo<Run>& ended) {
  batch.clear();
  if (took_cost_ != 0 && now > took_at_ns_) {
    const double took = static_cast<double>(now - took_at_ns_) / static_cast<double>(took_cost_);
    stretch_ += (std::clamp(took, 1.0, kMostStretch) - stretch_) / 16;
  }
  took_at_ns_ = now;
  took_cost_ = 0;
  Next next;
  while (LaneGroup* g = first_group(now, &next.wait_until)) {
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

}  // namespace verge::runtime
