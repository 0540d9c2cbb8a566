// The front's part for what its runs lie in: the tables that they point into, and their own memory, which is used again.
#include "runtime/front.h"

namespace verge::runtime {
namespace {

// Memory in pooled runs of one front beyond which a returned run is given to the heap instead.
constexpr size_t kMostPooledBytes = size_t{64} << 20;

}  // namespace

void Request::release() {
  if (run == nullptr) return;
  Run* r = static_cast<Run*>(run);
  run = nullptr;
  r->front->count_encoding(*r, encode_ns);
  outputs.clear();
  answered_model = {};
  answered_variant = {};
  r->front->recycle(r);
}

void FrontImpl::set_table(std::shared_ptr<const Table> table) {
  TableHold* old = hold_;
  hold_ = new TableHold{std::move(table)};
  make_room_to_choose();
  if (old->uses == 0) delete old;
  recheck_waiting();
  changed();
}

void FrontImpl::drop(TableHold* hold) {
  if (--hold->uses == 0 && hold != hold_) delete hold;
}

// At the end: no one waits for an answer any more.
void FrontImpl::take_back(Run* run) {
  if (!run->waits_for_load) end_waiting(run);
  recycle(run);
}

Run* FrontImpl::acquire() {
  if (free_ == nullptr) {
    Run* run = new Run;
    run->front = this;
    return run;
  }
  Run* run = free_;
  free_ = run->next;
  run->next = nullptr;
  free_bytes_ -= run->kept;
  return run;
}

void FrontImpl::count_encoding(const Run& run, uint64_t ns) {
  if (ns != 0) run.version->variant_stats[run.variant]->at(index_, run.tenant).encode.add(ns);
}

void FrontImpl::recycle(Run* run) {
  run->release_engine_outputs();
  run->request = nullptr;
  run->resident = nullptr;
  run->version = nullptr;
  run->plan.clear();
  TableHold* hold = std::exchange(run->hold, nullptr);
  run->kept = run->kept_bytes();
  if (free_bytes_ + run->kept > kMostPooledBytes) {
    delete run;
  } else {
    free_bytes_ += run->kept;
    run->next = free_;
    free_ = run;
  }
  if (hold != nullptr) drop(hold);
}

}  // namespace verge::runtime
