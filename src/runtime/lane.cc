#include "runtime/lane.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <climits>

#include "os/process.h"

namespace verge::runtime {

Lane::Lane(uint32_t index, std::vector<int> cores, std::function<void(Run*)> serve)
    : index_(index), cores_(std::move(cores)), serve_(std::move(serve)) {}

Lane::~Lane() {
  stopping_.store(true, std::memory_order_release);
  wake();
  if (thread_.joinable()) thread_.join();
}

void Lane::start() {
  thread_ = std::thread([this] { loop(); });
}

bool Lane::submit(Run* run, uint32_t limit) {
  if (waiting_.fetch_add(1, std::memory_order_relaxed) >= limit) {
    waiting_.fetch_sub(1, std::memory_order_relaxed);
    return false;
  }
  uintptr_t old = head_.load(std::memory_order_relaxed);
  do {
    run->next = is_mark(old) ? nullptr : reinterpret_cast<Run*>(old);
    // A first push over the borrowed mark must leave a trace of it: the borrower's give_back() sees a pointer instead of its mark.
  } while (!head_.compare_exchange_weak(old, reinterpret_cast<uintptr_t>(run), std::memory_order_acq_rel, std::memory_order_relaxed));
  if (old == kAsleep) wake();
  return true;
}

bool Lane::try_borrow() {
  uintptr_t expected = kAsleep;
  return head_.compare_exchange_strong(expected, kBorrowed, std::memory_order_acquire, std::memory_order_relaxed);
}

void Lane::give_back() {
  uintptr_t expected = kBorrowed;
  if (!head_.compare_exchange_strong(expected, kAsleep, std::memory_order_acq_rel, std::memory_order_acquire)) wake();
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

void Lane::sleep() {
  const uint32_t seen = wakes_.load(std::memory_order_acquire);
  if (stopping_.load(std::memory_order_acquire)) return;
  uintptr_t expected = kNone;
  if (!head_.compare_exchange_strong(expected, kAsleep, std::memory_order_acq_rel, std::memory_order_relaxed)) return;
  // Only wake() changes the word: a wake-up without a reason must not bring the thread into a lane that is borrowed.
  while (wakes_.load(std::memory_order_acquire) == seen) {
    syscall(SYS_futex, reinterpret_cast<uint32_t*>(&wakes_), FUTEX_WAIT_PRIVATE, seen, nullptr, nullptr, 0);
  }
}

void Lane::loop() {
  const std::string name = "lane-" + std::to_string(index_);
  pthread_setname_np(pthread_self(), name.c_str());
  // Pinning fails where the cores have been taken from the process; the lane then runs where it may.
  if (!cores_.empty()) (void)os::pin_thread(cores_).ok();
  while (true) {
    pending_.append(take_all());
    Run* run = pending_.pop();
    if (run == nullptr) {
      if (stopping_.load(std::memory_order_acquire)) return;
      sleep();
      continue;
    }
    waiting_.fetch_sub(1, std::memory_order_relaxed);
    serve_(run);
  }
}

}  // namespace verge::runtime
