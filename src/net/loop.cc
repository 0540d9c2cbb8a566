#include "net/loop.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace verge::net {
namespace {

constexpr int kEventsPerTurn = 256;
constexpr int kTimersPerTurn = 8;  // of a list: thousands that are due at once, each the end of a connection, would hold up a turn
constexpr uint64_t kAsideShareNs = 50'000;   // of a turn, and what the last step takes

// Whose turn it is on this thread.
thread_local const Loop* running = nullptr;

std::string errno_text(const char* what) { return std::string(what) + ": " + std::strerror(errno); }

}  // namespace

uint64_t now_ns() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<uint64_t>(t.tv_sec) * 1'000'000'000u + static_cast<uint64_t>(t.tv_nsec);
}

TimerList::TimerList(uint64_t duration_ns) : duration_ns_(duration_ns) { head_.prev_ = head_.next_ = &head_; }

void TimerList::arm(Timer& timer, uint64_t now) {
  cancel(timer);
  timer.at_ns_ = now + duration_ns_;
  timer.prev_ = head_.prev_;
  timer.next_ = &head_;
  head_.prev_->next_ = &timer;
  head_.prev_ = &timer;
}

void TimerList::cancel(Timer& timer) {
  if (!timer.prev_) return;
  timer.prev_->next_ = timer.next_;
  timer.next_->prev_ = timer.prev_;
  timer.prev_ = timer.next_ = nullptr;
}

uint64_t TimerList::next_ns() const { return head_.next_ == &head_ ? UINT64_MAX : head_.next_->at_ns_; }

void TimerList::fire(uint64_t now) {
  for (int i = 0; i < kTimersPerTurn && head_.next_ != &head_ && head_.next_->at_ns_ <= now; ++i) {
    Timer* timer = head_.next_;
    cancel(*timer);
    timer->on_timer();
  }
}

Result<std::unique_ptr<Loop>> Loop::create() {
  std::unique_ptr<Loop> loop(new Loop);
  loop->epoll_ = epoll_create1(EPOLL_CLOEXEC);
  loop->aside_epoll_ = epoll_create1(EPOLL_CLOEXEC);
  if (loop->epoll_ < 0 || loop->aside_epoll_ < 0) return unavailable(errno_text("epoll_create1"));
  loop->wake_fd_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (loop->wake_fd_ < 0) return unavailable(errno_text("eventfd"));
  VERGE_RETURN_IF_ERROR(loop->add(loop->wake_fd_, EPOLLIN, nullptr, Place::kFirst));
  VERGE_RETURN_IF_ERROR(loop->add(loop->aside_epoll_, EPOLLIN, &loop->aside_, Place::kFirst));
  loop->ready_.reserve(kEventsPerTurn);
  loop->now_ = now_ns();
  return loop;
}

Loop::~Loop() {
  if (wake_fd_ >= 0) close(wake_fd_);
  if (aside_epoll_ >= 0) close(aside_epoll_);
  if (epoll_ >= 0) close(epoll_);
}

Status Loop::add(int fd, uint32_t epoll_events, EventHandler* handler, Place place) {
  epoll_event e{};
  e.events = epoll_events;
  e.data.ptr = handler;
  if (epoll_ctl(epoll_of(place), EPOLL_CTL_ADD, fd, &e) != 0) return unavailable(errno_text("epoll_ctl"));
  return {};
}

void Loop::modify(int fd, uint32_t epoll_events, EventHandler* handler, Place place) {
  epoll_event e{};
  e.events = epoll_events;
  e.data.ptr = handler;
  epoll_ctl(epoll_of(place), EPOLL_CTL_MOD, fd, &e);
}

void Loop::remove(int fd, EventHandler* handler, Place place) {
  epoll_ctl(epoll_of(place), EPOLL_CTL_DEL, fd, nullptr);
  for (size_t i = ready_at_; i < ready_.size(); ++i)
    if (ready_[i].handler == handler) ready_[i].events = 0;
}

void Loop::wake() {
  // From its own thread: the next turn simply does not wait.
  if (running == this) return again();
  if (wake_pending_.exchange(true, std::memory_order_acq_rel)) return;
  const uint64_t one = 1;
  [[maybe_unused]] ssize_t n = write(wake_fd_, &one, sizeof one);
}

void Loop::run_aside() {
  const uint64_t end = now_ns() + kAsideShareNs;
  const EventHandler* first = nullptr;
  do {
    epoll_event e;  // one at a time: what it does may remove others
    if (epoll_wait(aside_epoll_, &e, 1, 0) != 1) return;
    auto* handler = static_cast<EventHandler*>(e.data.ptr);
    if (handler == first) return;  // each had its step
    if (!first) first = handler;
    handler->on_event(e.events);
  } while (now_ns() < end);
}

void Loop::run(const std::function<void()>& end_of_turn, const std::function<uint64_t()>& next_timer_ns) {
  epoll_event events[kEventsPerTurn];
  running = this;
  while (running_) {
    uint64_t next = next_timer_ns();
    for (const TimerList* list : timers_) next = std::min(next, list->next_ns());
    // Deadlines of requests are finer than a millisecond.
    timespec wait{};
    const timespec* timeout = nullptr;
    if (again_) {
      timeout = &wait;
    } else if (next != UINT64_MAX) {
      const uint64_t now = now_ns();
      const uint64_t left = next <= now ? 0 : std::min<uint64_t>(next - now, 3'600'000'000'000);
      wait = {static_cast<time_t>(left / 1'000'000'000), static_cast<long>(left % 1'000'000'000)};
      timeout = &wait;
    }
    again_ = false;
    const int n = epoll_pwait2(epoll_, events, kEventsPerTurn, timeout, nullptr);
    now_ = now_ns();
    ready_.clear();
    for (int i = 0; i < n; ++i) ready_.push_back({events[i].events, static_cast<EventHandler*>(events[i].data.ptr)});
    for (ready_at_ = 0; ready_at_ < ready_.size(); ++ready_at_) {
      const Ready r = ready_[ready_at_];
      if (!r.events) continue;
      if (r.handler) {
        r.handler->on_event(r.events);
      } else {
        uint64_t count;
        [[maybe_unused]] ssize_t got = read(wake_fd_, &count, sizeof count);
        // Cleared before the end of the turn looks for work: whatever is announced later writes again.
        wake_pending_.store(false, std::memory_order_seq_cst);
      }
    }
    ready_.clear();
    ready_at_ = 0;
    if (std::exchange(aside_.due, false)) run_aside();
    for (TimerList* list : timers_) list->fire(now_);
    end_of_turn();
  }
  running = nullptr;
}

}  // namespace verge::net
