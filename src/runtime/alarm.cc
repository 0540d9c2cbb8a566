#include "runtime/alarm.h"

#include <pthread.h>

#include <chrono>

#include "os/process.h"

namespace verge::runtime {

Alarm::~Alarm() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_one();
  if (thread_.joinable()) thread_.join();
}

void Alarm::set(uint64_t at_ns, Target* target) {
  std::lock_guard lock(mutex_);
  if (!thread_.joinable()) thread_ = std::thread([this] { loop(); });
  due_.emplace(at_ns, target);
  changed_.notify_one();
}

void Alarm::forget(Target* target) {
  std::lock_guard lock(mutex_);
  std::erase_if(due_, [&](const auto& entry) { return entry.second == target; });
}

void Alarm::loop() {
  pthread_setname_np(pthread_self(), "alarm");
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    if (due_.empty()) {
      changed_.wait(lock);
      continue;
    }
    const uint64_t at = due_.begin()->first, now = os::monotonic_ns();
    if (at > now) {
      changed_.wait_for(lock, std::chrono::nanoseconds(at - now));
      continue;
    }
    Target* target = due_.begin()->second;
    due_.erase(due_.begin());
    target->on_alarm();
  }
}

}  // namespace verge::runtime
