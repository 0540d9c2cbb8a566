#include "runtime/lane.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <climits>

#include "os/process.h"
#include "runtime/table.h"

namespace verge::runtime {

Lane::Lane(uint32_t index, std::vector<int> cores, const std::vector<TenantOptions>& tenants, Work work)
    : index_(index), cores_(std::move(cores)), work_(std::move(work)), queue_(places_, weights_of(tenants)) {}

Lane::~Lane() { stop(); }

void Lane::stop() {
  stopping_.store(true, std::memory_order_release);
  wake();
  if (thread_.joinable()) thread_.join();
}

void Lane::start(const std::vector<std::unique_ptr<Lane>>& lanes) {
  for (const auto& lane : lanes) {
    if (lane.get() != this) others_.push_back(lane.get());
  }
  thread_ = std::thread([this] { loop(); });
}

bool Lane::submit(Run* run, uint32_t limit) {
  if (places_.comes(run->cost_ns) >= limit) {
    places_.goes(run->cost_ns);
    return false;
  }
  if (places_.held.fetch_add(1, std::memory_order_relaxed) >= LanePlaces::kHeldForEach * limit) {
    places_.held.fetch_sub(1, std::memory_order_relaxed);
    places_.goes(run->cost_ns);
    return false;
  }
  run->enter(index_);
  if (run->pinned) pinned_.fetch_add(1, std::memory_order_relaxed);  // the push makes it visible
  push(run);
  return true;
}

void Lane::push(Run* run) {
  uintptr_t old = head_.load(std::memory_order_relaxed);
  do {
    run->next = is_mark(old) ? nullptr : reinterpret_cast<Run*>(old);
    // A first push over the borrowed mark must leave a trace of it: the borrower's give_back() sees a pointer instead of its mark.
  } while (!head_.compare_exchange_weak(old, reinterpret_cast<uintptr_t>(run), std::memory_order_acq_rel, std::memory_order_relaxed));
  if (old == kAsleep) wake();
}

// Takes the older half of what was handed to the busiest other lane and not looked at by it. False where nothing was found. Leaves alone what has pinned
// runs in it: given back, they would come after those that were pushed meanwhile, and requests of a sequence would change places.
bool Lane::take_over() {
  Lane* busiest = nullptr;
  for (Lane* lane : others_) {
    if (lane->waiting() > (busiest == nullptr ? 0 : busiest->waiting())) busiest = lane;
  }
  if (busiest == nullptr) return false;
  uintptr_t old = busiest->head_.load(std::memory_order_acquire);
  do {
    if (is_mark(old) || busiest->pinned_.load(std::memory_order_acquire) != 0) return false;
  } while (!busiest->head_.compare_exchange_weak(old, kNone, std::memory_order_acquire, std::memory_order_acquire));
  Run* list = reverse_list(reinterpret_cast<Run*>(old));
  size_t movable = 0;
  for (Run* run = list; run != nullptr; run = run->next) movable += run->pinned ? 0 : 1;
  size_t left = (movable + 1) / 2;
  const uint64_t now = os::monotonic_ns();
  bool any = false;
  while (list != nullptr) {
    Run* run = list;
    list = list->next;
    if (left == 0 || run->pinned) {
      busiest->push(run);
      continue;
    }
    // Its place first: once it is here, its front may give it up, and so the place.
    places_.comes(run->cost_ns);
    if (!run->move_to(index_)) {
      places_.goes(run->cost_ns);
      busiest->push(run);
      continue;
    }
    --left;
    any = true;
    busiest->places_.goes(run->cost_ns);
    busiest->places_.held.fetch_sub(1, std::memory_order_relaxed);
    places_.held.fetch_add(1, std::memory_order_relaxed);
    queue_.push(run, now);
  }
  return any;
}

bool Lane::try_borrow() {
  uintptr_t expected = kAsleep;
  return head_.compare_exchange_strong(expected, kBorrowed, std::memory_order_acquire, std::memory_order_relaxed);
}

void Lane::give_back() {
  uintptr_t expected = kBorrowed;
  if (!head_.compare_exchange_strong(expected, kAsleep, std::memory_order_acq_rel, std::memory_order_acquire)) return wake();
  // Something is held back for company, and its time may have come meanwhile.
  if (waiting() != 0) wake();
}

Run* Lane::take_all() {
  if (head_.load(std::memory_order_relaxed) == kNone) return nullptr;
  const uintptr_t old = head_.exchange(kNone, std::memory_order_acquire);
  return is_mark(old) ? nullptr : reverse_list(reinterpret_cast<Run*>(old));
}

void Lane::wake() {
  wakes_.fetch_add(1, std::memory_order_release);
  syscall(SYS_futex, reinterpret_cast<uint32_t*>(&wakes_), FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
}

void Lane::sleep(uint64_t until_ns) {
  const uint32_t seen = wakes_.load(std::memory_order_acquire);
  if (stopping_.load(std::memory_order_acquire)) return;
  uintptr_t expected = kNone;
  if (!head_.compare_exchange_strong(expected, kAsleep, std::memory_order_acq_rel, std::memory_order_relaxed)) return;
  // Only wake() changes the word: a wake-up without a reason must not bring the thread into a lane that is borrowed.
  while (wakes_.load(std::memory_order_acquire) == seen) {
    timespec wait{};
    if (until_ns != 0) {
      const uint64_t now = os::monotonic_ns();
      expected = kAsleep;
      // Time is up. Where that fails, somebody has just pushed and wakes, or has borrowed and will wake.
      if (now >= until_ns && head_.compare_exchange_strong(expected, kNone, std::memory_order_acquire, std::memory_order_relaxed)) return;
      const uint64_t left = now >= until_ns ? 0 : until_ns - now;
      wait = {static_cast<time_t>(left / 1'000'000'000), static_cast<long>(left % 1'000'000'000)};
      if (left == 0) until_ns = 0;
    }
    syscall(SYS_futex, reinterpret_cast<uint32_t*>(&wakes_), FUTEX_WAIT_PRIVATE, seen, until_ns == 0 ? nullptr : &wait, nullptr, 0);
  }
}

void Lane::loop() {
  const std::string name = "lane-" + std::to_string(index_);
  pthread_setname_np(pthread_self(), name.c_str());
  // Pinning fails where the cores have been taken from the process; the lane then runs where it may.
  if (!cores_.empty()) (void)os::pin_thread(cores_).ok();
  std::vector<Run*> batch;
  batch.reserve(policy::BatchCurve::kMostRows);
  Fifo<Run> ended;
  while (true) {
    const uint64_t now = os::monotonic_ns();
    for (Run* list = take_all(); list != nullptr;) {
      Run* run = list;
      list = list->next;
      if (run->pinned) pinned_.fetch_sub(1, std::memory_order_relaxed);
      queue_.push_or_end(run, now, ended);
    }
    const LaneQueue::Next next = queue_.take(now, batch, ended);
    while (Run* run = ended.pop()) work_.end(run);
    if (next.any) {
      begins(now, expected_ns(batch));
      work_.serve(batch);
      ends();
      continue;
    }
    if (queue_.empty()) {
      if (take_over()) continue;
      if (stopping_.load(std::memory_order_acquire)) return;
    }
    sleep(next.wait_until);
  }
}

}  // namespace verge::runtime
