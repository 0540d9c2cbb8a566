#include "simulate/lane.h"

namespace verge::simulate {
namespace {

bool later(const SimGroup::Entry& a, const SimGroup::Entry& b) { return a.place != b.place ? a.place > b.place : a.order > b.order; }

}  // namespace

SimLane::SimLane(const std::vector<double>& weights, const std::vector<const SimVariant*>& variants) : groups(variants.size()), order_(weights) {
  for (size_t v = 0; v < variants.size(); ++v) {
    SimGroup& g = groups[v];
    g.predictors.resize(variants[v]->stages.size());
    for (size_t k = 0; k < variants[v]->stages.size(); ++k)
      for (const auto& cell : variants[v]->stages[k].cells()) g.predictors[k].seed(cell.rows, cell.p50_ns, cell.p99_ns);
    if (variants[v]->exits.empty())
      for (const auto& cell : variants[v]->stages[0].cells()) g.curve.seed(cell.rows, cell.p50_ns);
  }
}

void SimLane::push(Job* j, uint64_t now) {
  SimGroup& g = groups[j->variant];
  if (g.heap.empty()) active_.push_back(&g);
  if (g.last_arrival) {
    const uint64_t between = now - g.last_arrival;
    g.gap = g.gap == 0 ? between : g.gap - g.gap / 8 + between / 8;
  }
  g.last_arrival = now;
  g.rows_waiting += j->rows;
  demand_.add(now, std::max<uint64_t>(g.curve.predict(1), 1) * static_cast<uint64_t>(j->rows));
  j->place = order_.enter(j->demand->priority, j->tenant, j->source, std::max<uint64_t>(j->cost, 1));
  g.heap.push_back({j->place, pushed_++, j});
  std::push_heap(g.heap.begin(), g.heap.end(), later);
  ++waiting;
  waiting_cost_ += j->cost;
}

Job* SimLane::pop(SimGroup& g) {
  std::pop_heap(g.heap.begin(), g.heap.end(), later);
  Job* j = g.heap.back().job;
  g.heap.pop_back();
  g.rows_waiting -= j->rows;
  --waiting;
  waiting_cost_ -= j->cost;
  order_.leave(j->place, j->tenant, j->source);
  if (g.heap.empty()) {
    g.hold_until = 0;
    active_.erase(std::find(active_.begin(), active_.end(), &g));
  }
  return j;
}

bool SimLane::drop_hopeless(SimGroup& g, uint64_t now, std::vector<Job*>& ended) {
  while (!g.heap.empty()) {
    Job* j = g.heap.front().job;
    if (!j->due || !(now >= j->due || (!j->probes && now + needed(g, *j) > j->due))) return true;
    ended.push_back(pop(g));
  }
  return false;
}

uint64_t SimLane::hold(SimGroup& g, uint64_t now) const {
  const int64_t most = g.heap.front().job->most_rows;
  const uint64_t ns = policy::hold_ns(g.curve, g.rows_waiting, most, g.gap, UINT64_MAX);
  if (!ns) return 0;
  uint64_t slack = UINT64_MAX;
  for (const auto& e : g.heap) {
    if (!e.job->due) continue;
    const uint64_t until = now + g.curve.predict(g.rows_waiting + 1) + 2 * g.curve.deviation();
    slack = std::min(slack, e.job->due > until ? e.job->due - until : 0);
  }
  return ns < slack ? ns : 0;
}

void SimLane::fill(SimGroup& g, uint64_t now, std::vector<Job*>& ended) {
  const Job* leader = g.heap.front().job;
  const int64_t most = leader->joins ? leader->most_rows : 1;
  const int64_t wanted = std::max(policy::choose_rows(g.curve, g.rows_waiting, most, demand_.share(), ++g.decisions), leader->rows);
  int64_t taken = 0;
  uint64_t earliest = UINT64_MAX;
  while (drop_hopeless(g, now, ended)) {
    Job* j = g.heap.front().job;
    if (!batch.empty()) {
      if (!j->joins || taken + j->rows > wanted) break;
      const uint64_t deadline = j->due ? std::min(earliest, j->due) : earliest;
      if (deadline != UINT64_MAX && now + g.curve.predict(taken + j->rows) + g.curve.deviation() > deadline) break;
    }
    pop(g);
    j->began = now;
    if (j->due) earliest = std::min(earliest, j->due);
    taken += j->rows;
    batch.push_back(j);
    if (taken >= wanted || !j->joins) break;
  }
}

uint64_t SimLane::take(uint64_t now, std::vector<Job*>& ended) {
  batch.clear();
  uint64_t wait_until = 0;
  while (true) {
    SimGroup* best = nullptr;
    for (SimGroup* g : active_) {
      if (g->hold_until > now) {
        wait_until = wait_until ? std::min(wait_until, g->hold_until) : g->hold_until;
        continue;
      }
      if (!best || later(best->heap.front(), g->heap.front())) best = g;
    }
    if (!best) return wait_until;
    if (!drop_hopeless(*best, now, ended)) continue;
    if (best->hold_until == 0) {
      if (const uint64_t ns = best->heap.front().job->joins ? hold(*best, now) : 0; ns) {
        best->hold_until = now + ns;
        continue;
      }
    }
    best->hold_until = 0;
    fill(*best, now, ended);
    if (!batch.empty()) return 0;
  }
}

}  // namespace verge::simulate
