// One thread's event loop: readiness of file descriptors, a wake-up from other threads, and timers of fixed durations.
//
// Everything but wake() belongs to the loop's own thread. Level-triggered; nothing polls: the wait ends by an event, a wake-up or the
// earliest timer.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "core/status.h"

namespace verge::net {

uint64_t now_ns();  // CLOCK_MONOTONIC, as os::monotonic_ns()

// What the loop calls when its file descriptor is ready.
class EventHandler {
 public:
  virtual void on_event(uint32_t epoll_events) = 0;

 protected:
  ~EventHandler() = default;
};

// Intrusive; a timer is in at most one list. Must be cancelled before it is destroyed.
class Timer {
 public:
  virtual ~Timer() = default;
  virtual void on_timer() = 0;
  bool armed() const { return prev_ != nullptr; }

 private:
  friend class TimerList;
  Timer* prev_ = nullptr;
  Timer* next_ = nullptr;
  uint64_t at_ns_ = 0;
};

// Timers that all run for the same duration: arming and cancelling are O(1), and the first one is the next to fire.
class TimerList {
 public:
  explicit TimerList(uint64_t duration_ns);
  TimerList(const TimerList&) = delete;
  TimerList& operator=(const TimerList&) = delete;

  void arm(Timer& timer, uint64_t now);  // re-arms when armed, in whichever list
  static void cancel(Timer& timer);
  uint64_t next_ns() const;  // UINT64_MAX when empty
  Timer* first() const { return head_.next_ == &head_ ? nullptr : head_.next_; }
  // Those that are due, at most some: the next turn, which begins at once, goes on.
  void fire(uint64_t now);

 private:
  struct Head final : Timer {
    void on_timer() override {}
  };
  uint64_t duration_ns_;
  Head head_;
};

class Loop {
 public:
  static Result<std::unique_ptr<Loop>> create();
  ~Loop();
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  // Whom a turn serves: kFirst all that are ready, kAside those after them, one after another, for a share of the turn's time.
  enum class Place : uint8_t { kFirst, kAside };
  Status add(int fd, uint32_t epoll_events, EventHandler* handler, Place place);
  void modify(int fd, uint32_t epoll_events, EventHandler* handler, Place place);
  // Events of this turn that were already fetched for the handler are dropped.
  void remove(int fd, EventHandler* handler, Place place);
  void add_timers(TimerList* list) { timers_.push_back(list); }

  // Any thread; async-signal-safe. Many calls before the loop wakes cost one.
  void wake();

  // Runs turns until stop(). A turn: events, due timers, then `end_of_turn`.
  // `next_timer_ns` tells of one more point in time at which a turn is due.
  void run(const std::function<void()>& end_of_turn, const std::function<uint64_t()>& next_timer_ns);
  void stop() { running_ = false; }
  // Makes the next wait return at once.
  void again() { again_ = true; }

  uint64_t now() const { return now_; }  // as of this turn's start

 private:
  struct Aside final : EventHandler {
    void on_event(uint32_t) override { due = true; }
    bool due = false;
  };
  Loop() = default;
  int epoll_of(Place place) const { return place == Place::kFirst ? epoll_ : aside_epoll_; }
  void run_aside();

  int epoll_ = -1;
  int aside_epoll_ = -1;  // itself one of those in epoll_
  Aside aside_;
  int wake_fd_ = -1;
  bool running_ = true;
  bool again_ = false;
  uint64_t now_ = 0;
  std::atomic<bool> wake_pending_{false};
  std::vector<TimerList*> timers_;
  struct Ready {
    uint32_t events;
    EventHandler* handler;
  };
  std::vector<Ready> ready_;
  size_t ready_at_ = 0;
};

}  // namespace verge::net
