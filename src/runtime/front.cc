#include "runtime/front.h"

#include <array>
#include <string>
#include <thread>

#include "os/process.h"
#include "policy/dispatch.h"
#include "runtime/execute.h"

namespace verge::runtime {
namespace {

std::string model_name(const Request& r) { return "'" + std::string(r.model.substr(0, 128)) + "'"; }

Status cancelled_status() { return {Code::kCancelled, "cancelled before it ran"}; }

Status expired_status(const Request& r, uint64_t now) {
  const uint64_t waited = r.arrival_ns != 0 && now > r.arrival_ns ? now - r.arrival_ns : 0;
  return {Code::kDeadlineExceeded, "the deadline passed before it ran, " + std::to_string(waited / 1000) + " us after it arrived"};
}

Status hopeless_status(uint64_t left_ns, uint64_t needed_ns) {
  return {Code::kDeadlineExceeded,
          "it cannot be done by its deadline: " + std::to_string(left_ns / 1000) + " us are left, a run takes " + std::to_string(needed_ns / 1000) + " us"};
}

// Of a chain: how far it was.
std::string exits_done(const Run& run) {
  const size_t stages = run.version->stages.size();
  return stages == 0 ? "" : ", with " + std::to_string(run.exits_done.load(std::memory_order_relaxed)) + " of " + std::to_string(stages) + " exits done";
}

bool expired(const Request& r, uint64_t now) { return r.bounds.deadline_ns != 0 && now >= r.bounds.deadline_ns; }

}  // namespace

FrontImpl::FrontImpl(Shared& shared, uint32_t index, std::function<void()> wake, std::shared_ptr<const Table> table)
    : shared_(shared),
      index_(index),
      wake_(std::move(wake)),
      hold_(new TableHold{std::move(table)}),
      unknown_(shared.metrics.unknown()),
      queue_(places_, weights_of(shared.options.tenants)),
      long_runs_(wake_) {
  batch_.reserve(policy::BatchCurve::kMostRows);
  std::lock_guard lock(shared_.bounds_mutex);
  bounds_ = shared_.bounds;
  make_room_to_choose();
}

FrontImpl::~FrontImpl() {
  // Every request has come back, but a lane may not have come across the runs of those that were given up.
  Fifo<Run> ended;
  if (shared_.lanes.empty()) {
    long_runs_.stop();
    if (long_runs_.running())
      for (Run* run : batch_) take_back(run);
    while (queue_.take(os::monotonic_ns(), batch_, ended).any || !queue_.empty()) continue;
    while (Run* run = ended.pop()) take_back(run);
  }
  while (Run* run = waiting_.pop()) take_back(run);
  while (runs_out_ != 0) {
    for (Run* list = finished_.take_all(); list != nullptr;) {
      Run* run = list;
      list = list->next;
      take_back(run);
    }
    if (runs_out_ != 0) std::this_thread::yield();
  }
  // A lane may have handed over the last run and not yet returned from its wake-up; that takes it microseconds.
  while (inside_.load(std::memory_order_acquire) != 0) std::this_thread::yield();
  while (free_ != nullptr) {
    Run* next = free_->next;
    delete free_;
    free_ = next;
  }
  delete hold_;
}

// --- requests in ---

void FrontImpl::infer(Request& request) {
  request.front = this;
  request.run = request.pending = nullptr;
  request.status = Status();
  request.outputs.clear();
  request.chosen = {};
  request.answered_version = 0;
  request.queue_ns = request.assembly_ns = request.compute_ns = request.encode_ns = 0;
  request.batch = 0;
  ++in_flight_;
  look_back();
  if (draining_) return fail(request, unknown_, unavailable("the server is stopping"), Reason::kDraining);

  const auto model = table().models.find(request.model);
  if (model == table().models.end()) {
    const auto family = table().families.find(request.model);
    if (family != table().families.end() && request.version <= 1) return admit(request, nullptr, &family->second);
    return fail(request, unknown_, not_found("Request for unknown model: " + model_name(request) + " is not found"), Reason::kUnknownModel);
  }
  const VersionEntry* version = model->second.find(request.version);
  if (version == nullptr) {
    std::string have;
    for (const auto& [number, entry] : model->second.versions) have += (have.empty() ? "" : ", ") + std::to_string(number);
    return fail(request, *model->second.find(0)->stats,
                not_found("model " + model_name(request) + " has no version " + std::to_string(request.version) + "; it has " + have),
                Reason::kUnknownVersion);
  }
  if (!version->broken.ok()) {
    return fail(request, *version->stats, unavailable("model " + model_name(request) + " cannot be served: " + version->broken.message()), Reason::kBrokenModel);
  }
  if (is_bounded(request, *version)) return admit(request, version, nullptr);
  infer_plain(request, *version);
}

// Without bounds: by the variant that it names, or the default one.
void FrontImpl::infer_plain(Request& request, const VersionEntry& version) {
  const int variant = choose_variant(request, version);
  if (variant < 0) return;  // answered
  Run* run = begin(request, version, *version.stats, false);
  if (run == nullptr) return;
  run->variant = static_cast<uint32_t>(variant);
  const VariantEntry& entry = version.variants[static_cast<size_t>(variant)];
  if (entry.state != policy::VariantState::kResident) return hold_back(run, entry, version);
  run->resident = entry.resident.get();
  dispatch(run, run->queued_ns);
}

// A run for the request, whose inputs are those of `version`; nullptr: it has been answered. Which variant runs is not settled yet.
Run* FrontImpl::begin(Request& request, const VersionEntry& version, ModelStats& stats, bool bounded) {
  Run* run = acquire();
  run->request = &request;
  run->version = version.served.get();
  run->stats = &stats;
  run->variant = 0;
  run->status = Status();
  run->padded = 0;
  run->run_rows = 0;
  run->overran = run->stood = false;
  run->exits_done.store(0, std::memory_order_relaxed);
  run->counts_run = run->pinned = run->joins = run->waits_for_load = run->probes = false;
  run->ahead_ns = run->cost_ns = 0;
  run->lane_wish = UINT32_MAX;
  run->plan.clear();
  run->queued_ns = os::monotonic_ns();
  run->started_ns = run->assembled_ns = run->finished_ns = 0;
  const uint64_t priority = request.bounds.priority;
  run->priority = static_cast<uint32_t>(priority == 0 ? kDefaultPriority : std::min(priority, kLowestPriority));
  run->tenant = request.tenant < shared_.options.tenants.size() ? request.tenant : 0;
  run->flow = request.flow;
  run->due_ns = bounded ? 0 : due_ns(request, run->queued_ns);
  run->hold = hold_;
  ++hold_->uses;
  request.pending = run;
  const auto failed = [&](Status s, Reason reason) {
    fail_run(run, std::move(s), reason);
    return nullptr;
  };
  if (Status s = validate(*run->version, request, *run, run->reason); !s.ok()) return failed(std::move(s), run->reason);
  if (expired(request, run->queued_ns)) return failed(expired_status(request, run->queued_ns), Reason::kExpired);
  if (run->version->sequences != nullptr) {
    if (Status s = begin_turn(run); !s.ok()) return failed(std::move(s), Reason::kSequence);
  }
  return run;
}

// The variant's index; -1 where there is none and the request has been answered.
int FrontImpl::choose_variant(Request& request, const VersionEntry& version) {
  if (request.bounds.variant.empty()) {
    if (version.default_variant < 0) {
      fail(request, *version.stats, unavailable("model " + model_name(request) + " has no variant to answer with: " + version.source->no_default), Reason::kVariantNotOk);
    }
    return version.default_variant;
  }
  const Manifest& manifest = version.served->manifest();
  int variant = -1;
  for (size_t v = 0; v < manifest.variants.size(); ++v) {
    if (manifest.variants[v].id == request.bounds.variant) variant = static_cast<int>(v);
  }
  if (variant < 0) {
    fail(request, *version.stats,
         not_found("model " + model_name(request) + " has no variant '" + std::string(request.bounds.variant.substr(0, 128)) + "'; it has " + variant_names(manifest)),
         Reason::kUnknownVariant);
    return -1;
  }
  const VariantSpec& spec = manifest.variants[static_cast<size_t>(variant)];
  const VariantProfile* p = version.source->profile.variant(spec.id);
  std::string why;
  if (spec.conversion != Conversion::kOk) {
    why = std::string(conversion_name(spec.conversion)) + ": " + spec.reason;
  } else if (p != nullptr && (p->verdict == Verdict::kRejected || p->verdict == Verdict::kFailed || (p->verdict == Verdict::kNotMeasured && !p->reason.empty()))) {
    why = std::string(verdict_name(p->verdict)) + " on this device: " + p->reason;
  }
  if (why.empty()) return variant;
  fail(request, *version.stats, failed_precondition("model " + model_name(request) + ", variant '" + spec.id + "': " + why), Reason::kVariantNotOk);
  return -1;
}

// `now`: later than run->queued_ns where it has waited for a load.
void FrontImpl::dispatch(Run* run, uint64_t now) {
  const uint32_t limit = shared_.options.queue_limit;
  const auto full = [&](const std::string& what, uint32_t waiting) {
    fail_run(run, resource_exhausted(what + " is full: " + std::to_string(waiting) + " requests wait, the limit is " + std::to_string(limit)),
             Reason::kQueueFull);
  };
  const Request& request = *run->request;
  const size_t lanes = shared_.lanes.size();
  size_t chosen = index_;
  policy::LaneLoad load;  // of the chosen one
  if (lanes != 0) {
    run->pinned = request.sequence.given();
    if (run->lane_wish < lanes) {
      chosen = run->lane_wish;
    } else if (run->turn.entry != nullptr) {
      chosen = run->turn.lane % lanes;
    } else if (run->pinned) {
      chosen = sequence_hash(request.sequence) % lanes;
    } else {
      std::array<policy::LaneLoad, kMostFronts> loads;
      for (size_t i = 0; i < lanes; ++i) loads[i] = {shared_.lanes[i]->waiting(), shared_.lanes[i]->busy()};
      chosen = policy::choose_lane({loads.data(), lanes}, index_ % lanes);
    }
    load = {shared_.lanes[chosen]->waiting(), shared_.lanes[chosen]->busy()};
  }
  run->joins = run->resident->max_rows > 1 && !request.sequence.given();
  const uint64_t predicted = run->resident->groups[chosen].predicted_ns.load(std::memory_order_relaxed);
  if (run->cost_ns == 0) run->cost_ns = policy::plain_cost_ns(predicted, run->joins, run->resident->predictor(static_cast<uint32_t>(chosen)), run->batch);
  const bool planned = run->plan.said;  // the choice has looked at the time
  const uint64_t cautious = run->resident->groups[chosen].cautious_ns.load(std::memory_order_relaxed);
  if (!planned && run->due_ns != 0 && now + cautious > run->due_ns) {
    run->probes = hopeless_.next();
    if (!run->probes) return fail_run(run, hopeless_status(run->due_ns - std::min(run->due_ns, now), cautious), Reason::kHopeless);
  }
  if (lanes == 0) {
    run->enter(index_);
    if (queue_.comes_too_late(*run, now)) {
      run->started_ns = now;
      if (planned) {
        run->reason = Reason::kDeadlineBound;
        return fail_run(run, bound_status(*run), Reason::kDeadlineBound);
      }
      crowded_ = refused_in_turn_ = true;
      return fail_run(run, too_late_status(run->ahead_ns), Reason::kHopeless);
    }
    const uint64_t deadline = request.bounds.deadline_ns;
    if (deadline != 0 && !run->probes && request.arrival_ns != 0) shortest_time_.note(deadline - std::min(deadline, request.arrival_ns));
  }
  if (!take_tenant_place(run)) return;
  if (lanes == 0) {
    // While a long run is on its way, requests may come and be given up again and again.
    if (places_.waiting.load(std::memory_order_relaxed) >= limit || places_.held.load(std::memory_order_relaxed) >= policy::LanePlaces::kHeldForEach * limit) {
      crowded_ = refused_in_turn_ = true;
      return full("the queue", places_.waiting.load(std::memory_order_relaxed));
    }
    places_.comes(run->cost_ns);
    places_.held.fetch_add(1, std::memory_order_relaxed);
    begin_waiting(run);
    queue_.push(run, now);
    return;
  }
  Lane& lane = *shared_.lanes[chosen];
  if (!run->pinned && !run->plan.every_exit && policy::run_on_front(load, predicted, shared_.options.hand_off_ns) && lane.try_borrow()) {
    run->enter(static_cast<uint32_t>(chosen));
    run->claim();
    run->plan.keeps = false;  // nobody could give it out
    Run* const alone[] = {run};
    execute(alone);
    learn(alone);
    lane.give_back();
    return answer(run);
  }
  begin_waiting(run);
  if (!lane.submit(run, limit)) {
    end_waiting(run);
    full("the queue of lane " + std::to_string(chosen), lane.waiting());
  }
}

Status FrontImpl::begin_turn(Run* run) {
  const Request& request = *run->request;
  if (run->batch != 1) {
    return invalid_argument("model " + model_name(request) + " keeps state: a request of a sequence holds one sample, not " + std::to_string(run->batch));
  }
  LiveSequences& live = *run->version->sequences;
  std::lock_guard lock(live.mutex);
  VERGE_ASSIGN(run->turn, live.store.admit(request.sequence, run->queued_ns));
  // One row of its own, whichever connections it comes over: its requests keep their order.
  run->flow = static_cast<uint32_t>(sequence_hash(request.sequence));
  run->priority = static_cast<uint32_t>(kDefaultPriority);
  return {};
}

void FrontImpl::end_turn(Run* run) {
  if (run->turn.entry == nullptr) return;
  LiveSequences& live = *run->version->sequences;
  std::lock_guard lock(live.mutex);
  live.store.finish(std::exchange(run->turn, {}), os::monotonic_ns());
}

bool FrontImpl::take_tenant_place(Run* run) {
  const TenantOptions& tenant = shared_.options.tenants[run->tenant];
  if (tenant.queue_limit == 0) return true;
  std::atomic<uint32_t>& count = shared_.tenant_waiting[run->tenant];
  if (count.fetch_add(1, std::memory_order_relaxed) < tenant.queue_limit) {
    run->has_tenant_place = true;
    return true;
  }
  count.fetch_sub(1, std::memory_order_relaxed);
  fail_run(run, resource_exhausted("tenant '" + tenant.name + "' has " + std::to_string(tenant.queue_limit) + " requests waiting or running, which is its limit"),
           Reason::kTenantLimit);
  return false;
}

void FrontImpl::begin_waiting(Run* run) {
  ++runs_out_;
  if (run->due_ns != 0) deadlines_.add(run, run->due_ns);
}

void FrontImpl::end_waiting(Run* run) {
  --runs_out_;
  deadlines_.remove(run);
}

// --- requests that end early ---

void FrontImpl::cancel(Request& request) {
  Run* run = static_cast<Run*>(request.pending);
  if (run == nullptr) return;
  if (run->waits_for_load) {
    stop_waiting_for_load(run);
    fail_run(run, cancelled_status(), Reason::kCancelled);
  } else if (run->give_up()) {
    give_up(run, cancelled_status(), Reason::kCancelled);
  }
}

// The request ends now; its run comes back when the lane comes across it.
void FrontImpl::give_up(Run* run, Status status, Reason reason) {
  if (shared_.lanes.empty()) {
    places_.goes(run->cost_ns);
  } else {
    shared_.lanes[run->lane()]->left(*run);
  }
  deadlines_.remove(run);
  leave_tenant_place(run);
  end_turn(run);
  Request& request = *run->request;
  run->request = nullptr;
  fail(request, *run->stats, std::move(status), reason);
}

void FrontImpl::expire(uint64_t now) {
  while (deadlines_.next_ns() <= now) {
    Run* run = deadlines_.first();
    deadlines_.remove(run);
    if (run->waits_for_load) {
      stop_waiting_for_load(run);
      fail_run(run, expired_status(*run->request, now), Reason::kExpired);
    } else if (run->give_up()) {
      give_up(run, expired_status(*run->request, now), Reason::kExpired);
    } else if (run->request != nullptr && run->request->late != nullptr && !run->overran && !run->stood) {
      // A lane has it. What was kept for the way back may still suffice; for the answer of an exit that is there it does.
      const uint64_t deadline = run->request->bounds.deadline_ns;
      if (ExitAnswer* kept = run->plan.keeps ? run->take_kept() : nullptr) {
        stand(run, *kept, now);
      } else if (now < deadline) {
        deadlines_.add(run, deadline);
      } else {
        overrun(run, now);
      }
    }
  }
}

// The client is told now; the run goes on and comes back as any other.
void FrontImpl::overrun(Run* run, uint64_t now) {
  Request& request = *run->request;
  run->overran = true;
  run->stats->fronts[index_].failures[static_cast<size_t>(Code::kDeadlineExceeded)][static_cast<size_t>(Reason::kOverrun)].add(1);
  const uint64_t arrival = request.arrival_ns != 0 && request.arrival_ns < now ? request.arrival_ns : now;
  request.status = Status(Code::kDeadlineExceeded, "the deadline passed while it ran, " + std::to_string((now - arrival) / 1000) + " us after it arrived" + exits_done(*run));
  request.late(&request);
}

// The next stage will not be done in time: the client has the exit before it, and the run comes back as any other.
void FrontImpl::stand(Run* run, const ExitAnswer& kept, uint64_t now) {
  Request& request = *run->request;
  run->stood = true;
  Plan& plan = run->plan;
  plan.left_at = kept.exit;
  plan.confidence = kept.chosen.confidence;
  plan.accuracy = kept.chosen.accuracy;
  plan.reason = "the next exit took too long";
  request.outputs.assign(kept.outputs.begin(), kept.outputs.end());
  tell(run, now);
  request.late(&request);
}

void FrontImpl::finished(Run* run) {
  inside_.fetch_add(1, std::memory_order_relaxed);
  if (finished_.push(run)) wake_();
  inside_.fetch_sub(1, std::memory_order_release);
}

void FrontImpl::early(EarlyAnswer* answer) {
  if (shared_.lanes.empty() && !long_runs_.running()) return answer->request->early(answer->request, *answer);
  inside_.fetch_add(1, std::memory_order_relaxed);
  if (early_.push(answer)) wake_();
  inside_.fetch_sub(1, std::memory_order_release);
}

// --- answers out ---

void FrontImpl::drain() {
  if (in_turn_) return;
  in_turn_ = true;
  crowded_ = std::exchange(refused_in_turn_, false);
  if (has_posts_.exchange(false, std::memory_order_acquire)) {
    std::vector<std::function<void()>> posts;
    {
      std::lock_guard lock(posts_mutex_);
      posts.swap(posts_);
    }
    for (auto& fn : posts) fn();
  }
  // In this order: what a run that has come back has sent before is there by now.
  Run* finished = finished_.take_all();
  const bool long_run_ended = long_runs_.take_ended();
  for (EarlyAnswer* a = early_.take_all(); a != nullptr; a = a->next) a->request->early(a->request, *a);
  for (Run* list = finished; list != nullptr;) {
    Run* run = list;
    list = list->next;
    run->next = nullptr;
    complete(run);
  }
  if (long_run_ended) {
    places_.busy_until_ns.store(0, std::memory_order_relaxed);
    learn(batch_);
    for (Run* run : batch_) complete(run);
  }
  if (deadlines_.first() != nullptr) expire(os::monotonic_ns());
  if (shared_.lanes.empty() && !queue_.empty() && !long_runs_.running()) {
    // The answers of a long run go out first, and what came while it ran is read: it may go before what waits.
    if (long_run_ended) {
      wake_();
    } else {
      run_queued();
    }
  }
  in_turn_ = false;
}

// Without lane threads: runs what waits, for about a turn. Answers are made together at its end, before which nothing is sent: each engine run pushes
// the code and tables that make answers out of the nearest caches.
void FrontImpl::run_queued() {
  look_again_ns_ = UINT64_MAX;
  uint64_t begun = 0, now = os::monotonic_ns();
  turn_ns_ = turn_ended_ns_ = turn_answers_ = 0;
  shortest_time_.turn_begins();
  policy::Turn turn(queue_.work_ns(), shortest_time_.ns());
  Fifo<Run> done;
  while (true) {
    const LaneQueue::Next next = queue_.take(now, batch_, done);
    if (!next.any) {
      if (!done.empty()) {
        complete_all(done);  // which may bring more
        continue;
      }
      if (next.wait_until != 0) look_again_ns_ = next.wait_until;
      return;
    }
    if (const uint64_t expected = expected_ns(batch_); policy::runs_apart(expected, batch_.size())) {
      places_.busy_until_ns.store(now + expected, std::memory_order_relaxed);
      complete_all(done);
      if (long_runs_.begin(batch_, index_)) return;
      places_.busy_until_ns.store(0, std::memory_order_relaxed);
    }
    for (Run* run : batch_) run->plan.keeps = false;  // nobody could give it out
    execute(batch_);
    learn(batch_);
    const uint64_t began = now;
    if (begun == 0) begun = now;
    now = batch_.back()->finished_ns;
    for (Run* run : batch_) {
      turn.answered(run->flow, run->due_ns, run->request->bounds.deadline_ns);
      done.push(run);
    }
    turn_answers_ += batch_.size();
    if (turn.over(now, begun, now - began + answering_.predict(turn_answers_ + batch_.size()))) break;
  }
  complete_all(done);
  if (queue_.empty()) return;
  turn_ns_ = now - begun;
  turn_ended_ns_ = now;
  wake_();
}

void FrontImpl::complete_all(Fifo<Run>& done) {
  while (Run* run = done.pop()) complete(run);
}

// A run that waited for a lane has come back.
void FrontImpl::complete(Run* run) {
  end_waiting(run);
  if (run->request == nullptr) return recycle(run);
  answer(run);
}

void FrontImpl::answer(Run* run) {
  Request& r = *run->request;
  if (run->stood) {  // it has been answered; its buffers go with the request
    count(run);
    return end(r);
  }
  if (!run->status.ok()) {
    if (run->overran) {  // it has been counted and told
      leave_tenant_place(run);
      end_turn(run);
      recycle(run);
      return end(r);
    }
    if (run->reason == Reason::kDeadlineBound || run->reason == Reason::kAccuracyBound) run->status = bound_status(*run);
    if (run->reason == Reason::kExpired) run->status = expired_status(r, run->started_ns);
    if (run->reason == Reason::kHopeless) {
      run->status = run->ahead_ns != 0 ? too_late_status(run->ahead_ns)
                                       : hopeless_status(run->due_ns - std::min(run->due_ns, run->started_ns),
                                                         run->resident->groups[run->lane()].cautious_ns.load(std::memory_order_relaxed));
    }
    return fail_run(run, std::move(run->status), run->reason);
  }
  tell(run, run->finished_ns);
  count(run);
  end(r);
}

// What the answer says, which was there at `until`.
void FrontImpl::tell(Run* run, uint64_t until) {
  Request& r = *run->request;
  const uint64_t arrival = r.arrival_ns != 0 && r.arrival_ns <= run->queued_ns ? r.arrival_ns : run->queued_ns;
  r.queue_ns = run->started_ns - arrival;
  r.assembly_ns = run->assembled_ns - run->started_ns;
  r.compute_ns = until - run->assembled_ns;
  r.batch = static_cast<uint32_t>(run->run_rows);
  r.answered_model = run->version->source->name;
  r.answered_version = run->version->source->version;
  r.answered_variant = run->version->manifest().variants[run->variant].id;
  tell_chosen(*run, r, until);
}

// It has come back, and was answered or is to be.
void FrontImpl::count(Run* run) {
  Request& r = *run->request;
  r.run = run;
  if (shared_.power && run->run_rows != 0)
    shared_.power->worked((run->finished_ns - run->started_ns) * static_cast<uint64_t>(run->batch) / static_cast<uint64_t>(run->run_rows));
  leave_tenant_place(run);
  end_turn(run);
  run->version->variant_stats[run->variant]->at(index_, run->tenant).add(*run, r, r.bounds.deadline_ns != 0 ? os::monotonic_ns() : 0);
}

void FrontImpl::fail_run(Run* run, Status status, Reason reason) {
  Request& r = *run->request;
  run->stats->fronts[index_].failures[static_cast<size_t>(status.code())][static_cast<size_t>(reason)].add(1);
  const bool ran = reason == Reason::kEngine || reason == Reason::kTransform;
  r.status = ran ? status.prefixed("model '" + run->version->source->name + "', variant '" + run->version->manifest().variants[run->variant].id + "'")
                 : std::move(status);
  r.outputs.clear();
  leave_tenant_place(run);
  end_turn(run);
  recycle(run);
  end(r);
}

void FrontImpl::fail(Request& request, ModelStats& stats, Status status, Reason reason) {
  stats.fronts[index_].failures[static_cast<size_t>(status.code())][static_cast<size_t>(reason)].add(1);
  request.status = std::move(status);
  end(request);
}

void FrontImpl::end(Request& request) {
  --in_flight_;
  request.pending = nullptr;
  request.done(&request);
  if (draining_ && in_flight_ == 0 && drained_) std::exchange(drained_, nullptr)();
}

void FrontImpl::leave_tenant_place(Run* run) {
  if (std::exchange(run->has_tenant_place, false)) shared_.tenant_waiting[run->tenant].fetch_sub(1, std::memory_order_relaxed);
}

void FrontImpl::begin_drain(std::function<void()> drained) {
  draining_ = true;
  drained_ = std::move(drained);
  if (in_flight_ == 0) std::exchange(drained_, nullptr)();
}

void FrontImpl::post(std::function<void()> fn) {
  inside_.fetch_add(1, std::memory_order_relaxed);
  {
    std::lock_guard lock(posts_mutex_);
    posts_.push_back(std::move(fn));
    has_posts_.store(true, std::memory_order_release);
  }
  wake_();
  inside_.fetch_sub(1, std::memory_order_release);
}

}  // namespace verge::runtime
