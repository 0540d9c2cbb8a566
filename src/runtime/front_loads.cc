// The front's part for requests that wait until their variant is loaded.
#include <string>

#include "os/process.h"
#include "runtime/front.h"

namespace verge::runtime {

void FrontImpl::stop_waiting_for_load(Run* run) {
  waiting_.remove(run);
  --waiting_count_;
  run->waits_for_load = false;
  deadlines_.remove(run);
}

void FrontImpl::fail_load(Run* run, const Status& error) {
  const bool memory = error.code() == Code::kResourceExhausted;
  fail_run(run, Status(memory ? error.code() : Code::kUnavailable, error.message()), memory ? Reason::kMemoryLimit : Reason::kLoadFailed);
}

void FrontImpl::hold_back(Run* run, const VariantEntry& entry, const VersionEntry& version) {
  if (entry.state == policy::VariantState::kAbsent && run->queued_ns < entry.retry_ns) return fail_load(run, entry.last_error);
  if (waiting_count_ >= shared_.options.queue_limit) {
    return fail_run(run,
                    resource_exhausted(std::to_string(waiting_count_) + " requests wait for variants to be loaded, the limit is " +
                                       std::to_string(shared_.options.queue_limit)),
                    Reason::kQueueFull);
  }
  run->load_attempts = entry.failed_loads;
  run->resident = nullptr;
  run->waits_for_load = true;
  waiting_.push(run);
  ++waiting_count_;
  if (run->due_ns != 0) deadlines_.add(run, run->due_ns);
  shared_.request_load(version.served, run->variant);
}

void FrontImpl::recheck_waiting() {
  Run* list = waiting_.take_all();
  waiting_count_ = 0;
  while (list != nullptr) {
    Run* run = list;
    list = list->next;
    run->next = nullptr;
    run->waits_for_load = false;
    const ModelSource& source = *run->version->source;
    const auto model = table().models.find(source.name);
    const VersionEntry* version = model == table().models.end() ? nullptr : model->second.find(source.version);
    if (version == nullptr || version->served.get() != run->version) {
      deadlines_.remove(run);
      fail_run(run, unavailable("model '" + source.name + "' version " + std::to_string(source.version) + " was withdrawn while the request waited"),
               Reason::kLoadFailed);
      continue;
    }
    const VariantEntry& entry = version->variants[run->variant];
    if (entry.state == policy::VariantState::kResident) {
      deadlines_.remove(run);
      if (run->hold != hold_) {
        drop(run->hold);
        run->hold = hold_;
        ++hold_->uses;
      }
      run->resident = entry.resident.get();
      dispatch(run, os::monotonic_ns());
    } else if (entry.failed_loads > run->load_attempts) {
      deadlines_.remove(run);
      fail_load(run, entry.last_error);
    } else {
      run->waits_for_load = true;
      waiting_.push(run);
      ++waiting_count_;
    }
  }
}

}  // namespace verge::runtime
