#include "runtime/front.h"

#include <array>
#include <string>
#include <thread>

#include "os/process.h"
#include "policy/dispatch.h"
#include "runtime/execute.h"

namespace verge::runtime {
namespace {

// Without lane threads, queued runs of one loop turn end after this time, so that the sockets are looked at again.
constexpr uint64_t kTurnNs = 1'000'000;
// Memory in pooled runs of one front beyond which a returned run is given to the heap instead.
constexpr size_t kMostPooledBytes = size_t{64} << 20;

std::string model_name(const Request& r) { return "'" + std::string(r.model.substr(0, 128)) + "'"; }

Status cancelled_status() { return {Code::kCancelled, "cancelled before it ran"}; }

Status expired_status(const Request& r, uint64_t now) {
  const uint64_t waited = r.arrival_ns != 0 && now > r.arrival_ns ? now - r.arrival_ns : 0;
  return {Code::kDeadlineExceeded, "the deadline passed before it ran, " + std::to_string(waited / 1000) + " us after it arrived"};
}

bool expired(const Request& r, uint64_t now) { return r.bounds.deadline_ns != 0 && now >= r.bounds.deadline_ns; }

}  // namespace

void Request::release() {
  if (run == nullptr) return;
  Run* r = static_cast<Run*>(run);
  run = nullptr;
  outputs.clear();
  answered_model = {};
  answered_variant = {};
  r->front->recycle(r);
}

FrontImpl::FrontImpl(Shared& shared, uint32_t index, std::function<void()> wake, std::shared_ptr<const Table> table)
    : shared_(shared), index_(index), wake_(std::move(wake)), hold_(new TableHold{std::move(table)}), unknown_(shared.metrics.unknown()) {}

FrontImpl::~FrontImpl() {
  shared_.alarm.forget(this);
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
  request.answered_version = 0;
  request.queue_ns = request.compute_ns = 0;
  ++in_flight_;
  if (draining_) return fail(request, unknown_, unavailable("the server is stopping"), Reason::kDraining);

  const auto model = table().models.find(request.model);
  if (model == table().models.end()) {
    return fail(request, unknown_, not_found("there is no model " + model_name(request)), Reason::kUnknownModel);
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
  const ServedVersion& served = *version->served;
  const Manifest& manifest = served.manifest();

  int variant = version->default_variant;
  if (!request.bounds.variant.empty()) {
    variant = -1;
    for (size_t v = 0; v < manifest.variants.size(); ++v) {
      if (manifest.variants[v].id == request.bounds.variant) variant = static_cast<int>(v);
    }
    if (variant < 0) {
      return fail(request, *version->stats,
                  not_found("model " + model_name(request) + " has no variant '" + std::string(request.bounds.variant.substr(0, 128)) + "'; it has " +
                            variant_names(manifest)),
                  Reason::kUnknownVariant);
    }
    const VariantSpec& spec = manifest.variants[static_cast<size_t>(variant)];
    const VariantProfile* p = version->source->profile.variant(spec.id);
    std::string why;
    if (spec.conversion != Conversion::kOk) {
      why = std::string(conversion_name(spec.conversion)) + ": " + spec.reason;
    } else if (p != nullptr && (p->verdict == Verdict::kRejected || p->verdict == Verdict::kFailed || (p->verdict == Verdict::kNotMeasured && !p->reason.empty()))) {
      why = std::string(verdict_name(p->verdict)) + " on this device: " + p->reason;
    }
    if (!why.empty()) {
      return fail(request, *version->stats, failed_precondition("model " + model_name(request) + ", variant '" + spec.id + "': " + why), Reason::kVariantNotOk);
    }
  } else if (variant < 0) {
    return fail(request, *version->stats, unavailable("model " + model_name(request) + " has no variant to answer with: " + version->source->no_default),
                Reason::kVariantNotOk);
  }

  Run* run = acquire();
  run->request = &request;
  run->cancelled.store(false, std::memory_order_relaxed);
  request.pending = run;
  run->version = &served;
  run->stats = version->stats;
  run->variant = static_cast<uint32_t>(variant);
  run->status = Status();
  run->padded = 0;
  run->queued_ns = os::monotonic_ns();
  run->started_ns = run->finished_ns = 0;
  run->hold = hold_;
  ++hold_->uses;
  if (Status s = validate(served, request, *run, run->reason); !s.ok()) return fail_run(run, std::move(s), run->reason);
  if (expired(request, run->queued_ns)) return fail_run(run, expired_status(request, run->queued_ns), Reason::kExpired);

  const VariantEntry& entry = version->variants[static_cast<size_t>(variant)];
  if (entry.state != policy::VariantState::kResident) return hold_back(run, entry);
  run->resident = entry.resident.get();
  dispatch(run);
}

void FrontImpl::cancel(Request& request) {
  if (request.pending != nullptr) static_cast<Run*>(request.pending)->cancelled.store(true, std::memory_order_relaxed);
}

void FrontImpl::dispatch(Run* run) {
  const uint32_t limit = shared_.options.queue_limit;
  const auto full = [&](const std::string& what, uint32_t waiting) {
    fail_run(run, resource_exhausted(what + " is full: " + std::to_string(waiting) + " requests wait, the limit is " + std::to_string(limit)),
             Reason::kQueueFull);
  };
  if (shared_.lanes.empty()) {
    if (queued_count_ >= limit) return full("the queue", queued_count_);
    run->lane = index_;
    queued_.push(run);
    ++queued_count_;
    return;
  }
  std::array<policy::LaneLoad, kMostFronts> loads;
  const size_t lanes = shared_.lanes.size();
  for (size_t i = 0; i < lanes; ++i) loads[i] = {shared_.lanes[i]->waiting(), shared_.lanes[i]->busy()};
  const size_t chosen = policy::choose_lane({loads.data(), lanes}, index_ % lanes);
  Lane& lane = *shared_.lanes[chosen];
  run->lane = static_cast<uint32_t>(chosen);
  const uint64_t predicted = run->resident->predicted[chosen].ns.load(std::memory_order_relaxed);
  if (policy::run_on_front(loads[chosen], predicted, shared_.options.hand_off_ns) && lane.try_borrow()) {
    serve(*run);
    lane.give_back();
    return complete(run);
  }
  if (!lane.submit(run, limit)) full("the queue of lane " + std::to_string(chosen), lane.waiting());
}

void FrontImpl::fail_load(Run* run, const Status& error) {
  const bool memory = error.code() == Code::kResourceExhausted;
  fail_run(run, Status(memory ? error.code() : Code::kUnavailable, error.message()), memory ? Reason::kMemoryLimit : Reason::kLoadFailed);
}

void FrontImpl::hold_back(Run* run, const VariantEntry& entry) {
  if (entry.state == policy::VariantState::kAbsent && run->queued_ns < entry.retry_ns) return fail_load(run, entry.last_error);
  if (waiting_count_ >= shared_.options.queue_limit) {
    return fail_run(run,
                    resource_exhausted(std::to_string(waiting_count_) + " requests wait for variants to be loaded, the limit is " +
                                       std::to_string(shared_.options.queue_limit)),
                    Reason::kQueueFull);
  }
  run->load_attempts = entry.failed_loads;
  run->resident = nullptr;
  waiting_.push(run);
  ++waiting_count_;
  if (const uint64_t deadline = run->request->bounds.deadline_ns; deadline != 0) shared_.alarm.set(deadline, this);
  const auto& models = table().models;
  const VersionEntry* version = models.find(run->request->model)->second.find(run->request->version);
  shared_.request_load(version->served, run->variant);
}

void FrontImpl::recheck_waiting() {
  Run* list = waiting_.take_all();
  waiting_count_ = 0;
  const uint64_t now = list == nullptr ? 0 : os::monotonic_ns();
  while (list != nullptr) {
    Run* run = list;
    list = list->next;
    run->next = nullptr;
    Request& r = *run->request;
    if (run->cancelled.load(std::memory_order_relaxed)) {
      fail_run(run, cancelled_status(), Reason::kCancelled);
      continue;
    }
    if (expired(r, now)) {
      fail_run(run, expired_status(r, now), Reason::kExpired);
      continue;
    }
    const ModelSource& source = *run->version->source;
    const auto model = table().models.find(source.name);
    const VersionEntry* version = model == table().models.end() ? nullptr : model->second.find(source.version);
    if (version == nullptr || version->served.get() != run->version) {
      fail_run(run, unavailable("model '" + source.name + "' version " + std::to_string(source.version) + " was withdrawn while the request waited"),
               Reason::kLoadFailed);
      continue;
    }
    const VariantEntry& entry = version->variants[run->variant];
    if (entry.state == policy::VariantState::kResident) {
      if (run->hold != hold_) {
        drop(run->hold);
        run->hold = hold_;
        ++hold_->uses;
      }
      run->resident = entry.resident.get();
      dispatch(run);
    } else if (entry.failed_loads > run->load_attempts) {
      fail_load(run, entry.last_error);
    } else {
      waiting_.push(run);
      ++waiting_count_;
    }
  }
}

// --- on a lane ---

void FrontImpl::serve(Run& run) {
  Request& request = *run.request;
  run.started_ns = os::monotonic_ns();
  if (run.cancelled.load(std::memory_order_relaxed)) {
    run.status = cancelled_status();
    run.reason = Reason::kCancelled;
    run.finished_ns = run.started_ns;
    return;
  }
  if (expired(request, run.started_ns)) {
    run.status = expired_status(request, run.started_ns);
    run.reason = Reason::kExpired;
    run.finished_ns = run.started_ns;
    return;
  }
  run.status = execute(run, run.reason);
  run.finished_ns = os::monotonic_ns();
  std::atomic<uint64_t>& predicted = run.resident->predicted[run.lane].ns;
  predicted.store(policy::predict_next(predicted.load(std::memory_order_relaxed), run.finished_ns - run.started_ns), std::memory_order_relaxed);
}

void FrontImpl::finished(Run* run) {
  inside_.fetch_add(1, std::memory_order_relaxed);
  if (finished_.push(run)) wake_();
  inside_.fetch_sub(1, std::memory_order_release);
}

// --- answers out ---

void FrontImpl::drain() {
  if (in_turn_) return;
  in_turn_ = true;
  if (has_posts_.exchange(false, std::memory_order_acquire)) {
    std::vector<std::function<void()>> posts;
    {
      std::lock_guard lock(posts_mutex_);
      posts.swap(posts_);
    }
    for (auto& fn : posts) fn();
  }
  for (Run* list = finished_.take_all(); list != nullptr;) {
    Run* run = list;
    list = list->next;
    run->next = nullptr;
    complete(run);
  }
  if (!waiting_.empty()) recheck_waiting();
  if (!queued_.empty()) run_queued();
  in_turn_ = false;
}

void FrontImpl::run_queued() {
  uint64_t begun = 0;
  while (Run* run = queued_.pop()) {
    --queued_count_;
    serve(*run);
    if (begun == 0) begun = run->started_ns;
    const uint64_t now = run->finished_ns;
    complete(run);
    if (now - begun > kTurnNs) break;
  }
  if (!queued_.empty()) wake_();
}

void FrontImpl::complete(Run* run) {
  Request& r = *run->request;
  if (!run->status.ok()) return fail_run(run, std::move(run->status), run->reason);
  const uint64_t arrival = r.arrival_ns != 0 && r.arrival_ns <= run->queued_ns ? r.arrival_ns : run->queued_ns;
  r.queue_ns = run->started_ns - arrival;
  r.compute_ns = run->finished_ns - run->started_ns;
  r.answered_model = run->version->source->name;
  r.answered_version = run->version->source->version;
  r.answered_variant = run->version->manifest().variants[run->variant].id;
  r.run = run;
  VariantStats::PerFront& stats = run->version->variant_stats[run->variant]->fronts[index_];
  stats.answered.add(1);
  stats.samples.add(static_cast<uint64_t>(run->batch));
  if (run->padded != 0) stats.padded.add(run->padded);
  stats.queue.add(r.queue_ns);
  stats.compute.add(r.compute_ns);
  stats.total.add(run->finished_ns - arrival);
  end(r);
}

void FrontImpl::fail_run(Run* run, Status status, Reason reason) {
  Request& r = *run->request;
  run->stats->fronts[index_].failures[static_cast<size_t>(status.code())][static_cast<size_t>(reason)].add(1);
  const bool ran = reason == Reason::kEngine || reason == Reason::kTransform;
  r.status = ran ? status.prefixed("model '" + run->version->source->name + "', variant '" + run->version->manifest().variants[run->variant].id + "'")
                 : std::move(status);
  r.outputs.clear();
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

// --- memory ---

void FrontImpl::set_table(std::shared_ptr<const Table> table) {
  TableHold* old = hold_;
  hold_ = new TableHold{std::move(table)};
  if (old->uses == 0) delete old;
  recheck_waiting();
}

void FrontImpl::drop(TableHold* hold) {
  if (--hold->uses == 0 && hold != hold_) delete hold;
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

void FrontImpl::recycle(Run* run) {
  run->release_engine_outputs();
  run->request = nullptr;
  run->resident = nullptr;
  run->version = nullptr;
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
