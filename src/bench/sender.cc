#include "bench/sender.h"

#include <sys/epoll.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "os/process.h"

namespace verge::bench {
namespace {

constexpr size_t kMostWaiting = size_t{1} << 20;
constexpr uint64_t kNever = UINT64_MAX;
constexpr uint64_t kMostReconnects = 10'000;

}  // namespace

Sender::Sender(const SenderOptions& options, const Plan& plan, std::vector<TenantLoad> loads, RunState& run, size_t slots)
    : options_(options), plan_(plan), loads_(std::move(loads)), run_(run), sources_(make_sources(plan)), closed_(closed_loops(plan)), waiting_(1024) {
  const uint64_t span = static_cast<uint64_t>(plan.seconds * 1e9);
  for (size_t i = 0; i < plan.tenants.size(); ++i) tallies_.emplace_back(slots, std::max<uint64_t>(1, span / std::max<size_t>(slots, 1)));
  ahead_.resize(sources_.size());
  arrival_number_.resize(sources_.size());
  next_sample_.assign(plan.tenants.size(), options.index);
}

Sender::~Sender() {
  if (poll_ >= 0) ::close(poll_);
}

Status Sender::connect() {
  poll_ = ::epoll_create1(EPOLL_CLOEXEC);
  if (poll_ < 0) return unavailable(std::string("epoll: ") + std::strerror(errno));
  for (int i = 0; i < options_.connections; ++i) {
    VERGE_ASSIGN(auto channel, Channel::open(options_.target));
    channels_.push_back(std::move(channel));
    asks_to_write_.push_back(false);
    epoll_event e{};
    e.events = EPOLLIN;
    e.data.u64 = channels_.size() - 1;
    ::epoll_ctl(poll_, EPOLL_CTL_ADD, channels_.back()->fd(), &e);
  }
  return {};
}

Exchange* Sender::take_exchange() {
  if (spare_.empty()) {
    exchanges_.push_back(std::make_unique<Exchange>());
    return exchanges_.back().get();
  }
  Exchange* e = spare_.back();
  spare_.pop_back();
  e->reset();
  return e;
}

// Counts a request as one that is measured. False where enough were.
bool Sender::may_send(uint64_t intended) {
  if (intended < run_.measured_ns || !run_.most_requests) return true;
  if (run_.measured.fetch_add(1, std::memory_order_relaxed) < run_.most_requests) return true;
  sending_ = false;
  return false;
}

void Sender::push(const Waiting& w) {
  if (!may_send(w.intended)) return;
  if (waiting_count_ == waiting_.size()) {
    if (waiting_count_ >= kMostWaiting) return count_unsent(w, End::kUnsent);
    std::vector<Waiting> larger(waiting_.size() * 2);
    for (size_t i = 0; i < waiting_count_; ++i) larger[i] = waiting_[(waiting_head_ + i) % waiting_.size()];
    waiting_.swap(larger);
    waiting_head_ = 0;
  }
  waiting_[(waiting_head_ + waiting_count_++) % waiting_.size()] = w;
}

void Sender::make_due(uint64_t now) {
  for (uint32_t s = 0; s < sources_.size() && sending_; ++s) {
    if (closed_[s]) continue;
    while (sending_ && run_.begin_ns + ahead_[s].ns <= now) {
      const uint64_t intended = run_.begin_ns + ahead_[s].ns;
      if (intended >= run_.end_ns) break;
      // Each thread goes through the whole sequence and takes its part.
      if (arrival_number_[s]++ % options_.threads == options_.index) push({intended, ahead_[s].tenant, s});
      ahead_[s] = sources_[s].next();
    }
  }
}

uint64_t Sender::next_due() const {
  uint64_t due = kNever;
  for (size_t s = 0; s < sources_.size(); ++s)
    if (!closed_[s]) due = std::min(due, run_.begin_ns + ahead_[s].ns);
  return due;
}

void Sender::count_unsent(const Waiting& w, End how) {
  if (w.intended < run_.measured_ns) return;
  Outcome o;
  o.end = how;
  o.intended = w.intended - run_.measured_ns;
  tallies_[w.tenant].record(o);
}

void Sender::start_closed(uint32_t source, uint64_t now) {
  if (sending_ && now < run_.end_ns) push({now, sources_[source].pick(), source});
}

void Sender::send_waiting(uint64_t now) {
  while (waiting_count_) {
    const Waiting w = waiting_[waiting_head_];
    TenantLoad& load = loads_[w.tenant];
    auto drop = [&] {
      waiting_head_ = (waiting_head_ + 1) % waiting_.size();
      --waiting_count_;
    };
    if (load.deadline_ns && now >= w.intended + load.deadline_ns && !closed_[w.source]) {
      // It would be late before it left.
      count_unsent(w, End::kUnsent);
      drop();
      continue;
    }
    size_t tried = 0;
    while (tried < channels_.size() && !channels_[turn_]->free()) {
      turn_ = (turn_ + 1) % channels_.size();
      ++tried;
    }
    if (tried == channels_.size()) return;
    drop();
    Exchange* e = take_exchange();
    const uint32_t sample = next_sample_[w.tenant] % static_cast<uint32_t>(load.bodies.size());
    next_sample_[w.tenant] += options_.threads;
    e->form = &load.forms[sample];
    e->tenant = w.tenant;
    e->source = w.source;
    e->sample = sample;
    e->intended = w.intended;
    e->sent = now;
    e->measured = w.intended >= run_.measured_ns;
    if (load.deadline_ns && load.send_deadline) {
      const uint64_t left = std::max<uint64_t>((w.intended + load.deadline_ns - std::min(now, w.intended + load.deadline_ns - 1000)) / 1000, 1);
      e->timeout_us = left;
      patch_timeout(load.bodies[sample], left);
    }
    e->body = load.bodies[sample].bytes;
    ++under_way_;
    channels_[turn_]->send(e);
    turn_ = (turn_ + 1) % channels_.size();
  }
}

void Sender::end(Exchange* e, uint64_t now) {
  --under_way_;
  const Answer a = read_answer(options_.protocol, *e);
  if (!a.ok && first_error_.empty()) first_error_ = error_text(options_.protocol, *e);
  (a.ok ? run_.answered : run_.refused).fetch_add(1, std::memory_order_relaxed);
  if (e->measured) {
    const TenantLoad& load = loads_[e->tenant];
    Outcome o;
    o.end = a.ok ? End::kAnswered : e->broken ? End::kUnanswered : End::kRefused;
    o.intended = e->intended - run_.measured_ns;
    o.sent = e->sent - run_.measured_ns;
    o.done = now - run_.measured_ns;
    o.deadline_ns = load.deadline_ns;
    o.code = a.code;
    o.variant = a.variant;
    o.exit = a.exit;
    o.expected_accuracy = a.expected_accuracy;
    o.predicted_ms = a.predicted_ms;
    o.measured_ms = a.measured_ms;
    o.energy_mj = a.energy_mj;
    o.energy_measured = a.energy_measured;
    if (a.ok && load.labels && !load.labels->empty()) {
      const int right = count_right(options_.protocol, *e, load.output, (*load.labels)[e->sample].data(), load.batch);
      if (right >= 0) {
        o.samples = static_cast<int>(load.batch);
        o.right = right;
      }
    }
    tallies_[e->tenant].record(o);
  }
  const uint32_t source = e->source;
  spare_.push_back(e);
  if (closed_[source]) start_closed(source, now);
}

void Sender::lost(size_t i, const char* why) {
  channels_[i]->give_up(done_, why);
  if (!sending_ && under_way_ <= done_.size()) {
    ::epoll_ctl(poll_, EPOLL_CTL_DEL, channels_[i]->fd(), nullptr);
    return;
  }
  auto again = reconnects_ < kMostReconnects ? Channel::open(options_.target) : Result<std::unique_ptr<Channel>>(unavailable("the server closes every connection"));
  ++reconnects_;
  if (!again.ok()) {
    status_ = again.status().prefixed("the connection broke, and a new one failed");
    sending_ = false;
    run_.stop.store(true);
    return;
  }
  channels_[i] = std::move(*again);
  asks_to_write_[i] = false;
  epoll_event e{};
  e.events = EPOLLIN;
  e.data.u64 = i;
  ::epoll_ctl(poll_, EPOLL_CTL_ADD, channels_[i]->fd(), &e);
}

void Sender::watch(size_t i) {
  const bool write = channels_[i]->wants_to_write();
  if (write == asks_to_write_[i]) return;
  asks_to_write_[i] = write;
  epoll_event e{};
  e.events = EPOLLIN | (write ? EPOLLOUT : 0u);
  e.data.u64 = i;
  ::epoll_ctl(poll_, EPOLL_CTL_MOD, channels_[i]->fd(), &e);
}

bool Sender::flush_all() {
  bool any = false;
  for (size_t i = 0; i < channels_.size() && status_.ok(); ++i) {
    if (channels_[i]->draining() && channels_[i]->under_way() == 0 && sending_) lost(i, "connection closed");
    if (!status_.ok()) break;
    if (!channels_[i]->flush()) {
      lost(i, "connection lost");
      any = true;
      continue;
    }
    watch(i);
  }
  return any;
}

void Sender::run() {
  // Timers to the nanosecond: the kernel may else add 50 µs to each wait.
  ::prctl(PR_SET_TIMERSLACK, 1UL);
  if (options_.core >= 0) (void)os::pin_thread({options_.core}).ok();
  for (uint32_t s = 0; s < sources_.size(); ++s) {
    if (!closed_[s]) {
      ahead_[s] = sources_[s].next();
      continue;
    }
    int mine = closed_[s] / static_cast<int>(options_.threads) + (static_cast<int>(options_.index) < closed_[s] % static_cast<int>(options_.threads));
    while (mine-- > 0) start_closed(s, run_.begin_ns);
  }
  uint64_t give_up_at = 0;
  while (true) {
    uint64_t now = os::monotonic_ns();
    const bool stopped = run_.stop.load(std::memory_order_relaxed);
    // At the end too: what was due before it, and this thread, late itself, comes to only now.
    if (sending_ && !stopped) make_due(now);
    if (stopped || now >= run_.end_ns) sending_ = false;
    if (!sending_ && !give_up_at) {
      sending_ended_ = std::min(now, run_.end_ns);
      give_up_at = now + static_cast<uint64_t>(options_.drain_seconds * 1e9);
      if (run_.stop.load()) waiting_count_ = 0;
    }
    send_waiting(now);
    flush_all();
    if (!done_.empty()) {
      now = os::monotonic_ns();
      for (size_t i = 0; i < done_.size(); ++i) end(done_[i], now);
      done_.clear();
      if (!sending_ && !status_.ok()) break;
      continue;
    }
    if (!status_.ok()) break;
    // An open run that was not interrupted still sends what was due before its end.
    if (!sending_ && ((under_way_ == 0 && waiting_count_ == 0) || now >= give_up_at)) break;
    const uint64_t due = sending_ ? std::min(next_due(), run_.end_ns) : give_up_at;
    timespec wait{0, 0};
    now = os::monotonic_ns();
    if (options_.spin_ns != kNever && due > now + options_.spin_ns) {
      const uint64_t ns = std::min<uint64_t>(due - now - options_.spin_ns, 50'000'000);
      wait = {static_cast<time_t>(ns / 1'000'000'000), static_cast<long>(ns % 1'000'000'000)};
    }
    epoll_event events[64];
    const int n = ::epoll_pwait2(poll_, events, 64, &wait, nullptr);
    for (int i = 0; i < n; ++i) {
      const size_t c = events[i].data.u64;
      if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
        const size_t before = done_.size();
        const bool well = channels_[c]->receive(done_);
        // Each answer counts from when it was read, not from when the last of a batch was.
        const uint64_t read_at = os::monotonic_ns();
        const size_t finished = done_.size();
        if (!well) lost(c, "connection lost");
        for (size_t k = before; k < finished; ++k) end(done_[k], read_at);
        done_.erase(done_.begin() + static_cast<ptrdiff_t>(before), done_.begin() + static_cast<ptrdiff_t>(finished));
        if (!status_.ok()) break;
      }
    }
  }
  for (auto& c : channels_) c->give_up(done_, "no answer");
  const uint64_t now = os::monotonic_ns();
  if (!sending_ended_) sending_ended_ = std::min(now, run_.end_ns);
  for (Exchange* e : done_) end(e, now);
  for (; waiting_count_; --waiting_count_, waiting_head_ = (waiting_head_ + 1) % waiting_.size())
    if (!run_.stop.load()) count_unsent(waiting_[waiting_head_], End::kUnsent);
}

}  // namespace verge::bench
