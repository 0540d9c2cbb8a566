#include "net/front.h"

#include <pthread.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <random>

#include "net/access_log.h"
#include "net/connection.h"

namespace verge::net {
namespace {

// What a request in progress costs beside its body: the Call, its small buffers and HTTP/2's stream.
constexpr int64_t kCallBytes = 16 << 10;
// Calls kept ready; more are made under load and freed again.
constexpr size_t kCallsKept = 4096;

// Of one turn, once the first step is taken.
constexpr uint64_t kHandshakeShareNs = 500'000;

// A turn longer than this kept everybody else waiting.
constexpr uint64_t kStallNs = 20'000'000;

uint64_t to_ns(double seconds) { return static_cast<uint64_t>(seconds * 1e9); }

}  // namespace

Front::Front(Shared& shared, int index)
    : least_body_bytes(static_cast<size_t>(shared.options.body_timeout_s * 1024)),
      least_write_bytes(static_cast<size_t>(shared.options.write_timeout_s * 1024)),
      handshake_timers(to_ns(shared.options.handshake_timeout_s)),
      header_timers(to_ns(shared.options.header_timeout_s)),
      body_timers(to_ns(shared.options.body_timeout_s)),
      write_timers(to_ns(shared.options.write_timeout_s)),
      idle_timers(to_ns(shared.options.idle_timeout_s)),
      linger_timers(2'000'000'000),
      notice_timers(1'000'000'000),
      shared_(shared),
      index_(index),
      budget_(shared.budget),
      read_buffer_(new char[kReadBytes]),
      log_lines_(shared.options.access_log ? std::make_unique<LineRing>() : nullptr),
      random_(std::random_device{}() | (uint64_t{std::random_device{}()} << 32)),
      drain_timers_(to_ns(shared.options.drain_timeout_s)) {}

Front::~Front() {
  join();
  for (Connection* c : graveyard_) delete c;
  // Answers from other threads may still come until they are told that nobody takes them, and go through post().
  service_.reset();
  if (stamping_fd_ >= 0) close(stamping_fd_);
}

// The kernel notes times while any socket of the machine wants them, and takes a moment to begin, in which it patches its own code: one socket that is never used keeps that from happening with each connection.
bool Front::stamp(int fd) {
  const auto ask = [](int socket) {
    constexpr int kOn = 1;
    return setsockopt(socket, SOL_SOCKET, SO_TIMESTAMPNS, &kOn, sizeof kOn) == 0;
  };
  if (stamping_fd_ < 0) {
    stamping_fd_ = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (stamping_fd_ >= 0) ask(stamping_fd_);
  }
  return ask(fd);
}

Result<std::unique_ptr<Front>> Front::create(Shared& shared, int index) {
  std::unique_ptr<Front> front(new Front(shared, index));
  VERGE_ASSIGN(front->loop_, Loop::create());
  Front* f = front.get();
  for (TimerList* list : {&f->handshake_timers, &f->header_timers, &f->body_timers, &f->write_timers, &f->idle_timers, &f->linger_timers, &f->notice_timers,
                          &f->drain_timers_})
    f->loop_->add_timers(list);
  front->runtime_front_ = shared.runtime.make_front([loop = f->loop_.get()] { loop->wake(); });
  front->service_ = std::make_unique<Service>(*f);
  front->runtime_front_->on_change([f] { f->service_->changed(); });
  return front;
}

void Front::start_thread(int core) {
  thread_ = std::thread([this, core] {
    if (core >= 0) {
      cpu_set_t set;
      CPU_ZERO(&set);
      CPU_SET(static_cast<size_t>(core), &set);
      sched_setaffinity(0, sizeof set, &set);
    }
    pthread_setname_np(pthread_self(), ("front-" + std::to_string(index_)).c_str());
    run();
  });
}

void Front::join() {
  if (thread_.joinable()) thread_.join();
}

void Front::post(std::function<void()> fn) {
  {
    std::lock_guard lock(posted_mutex_);
    posted_.push_back(std::move(fn));
  }
  has_posted_.store(true, std::memory_order_release);
  loop_->wake();
}

void Front::run() {
  loop_->run([this] { end_of_turn(); }, [this] { return next_timer_ns(); });
}

uint64_t Front::next_timer_ns() const {
  const uint64_t next = runtime_front_->next_timer_ns();
  return stream_deadlines.empty() ? next : std::min(next, stream_deadlines.begin()->first);
}

void Front::settle_dirty() {
  settling_.swap(dirty_);
  for (Connection* c : settling_) c->settle();
  settling_.clear();
}

void Front::end_of_turn() {
  if (has_posted_.load(std::memory_order_acquire)) {
    std::vector<std::function<void()>> posted;
    {
      std::lock_guard lock(posted_mutex_);
      posted.swap(posted_);
      has_posted_.store(false, std::memory_order_relaxed);
    }
    for (auto& fn : posted) fn();
  }
  while (!stream_deadlines.empty() && stream_deadlines.begin()->first <= loop_->now()) {
    MessageStream* stream = stream_deadlines.begin()->second;
    stream_deadlines.erase(stream_deadlines.begin());
    stream->expired();
  }
  run_handshakes();
  if (answers_held_) settle_dirty();
  runtime_front_->drain();
  // Where requests are being turned away, the next turn begins at once and brings more of them on most connections: the answers of this turn go with those refusals, by one
  // system call a connection, and at the latest before the next run begins.
  answers_held_ = runtime_front_->crowded() && !stopping_;
  if (!answers_held_) settle_dirty();
  if (!graveyard_.empty()) {
    // One that was marked while the others settled is in dirty_ and goes next turn.
    std::erase_if(graveyard_, [](Connection* c) {
      if (c->dirty || c->handshake_queued) return false;
      delete c;
      return true;
    });
  }
  if (!dirty_.empty()) loop_->again();
  if (log_lines_new_) {
    log_lines_new_ = false;
    shared_.access_log->wake(*log_lines_);
  }
  if (stopping_) finish_if_stopped();
  const uint64_t took = now_ns() - loop_->now();
  metrics_.turns.add(took);
  if (took > kStallNs) metrics_.stalls.add();
}

void Front::adopt(int fd, const Peer& peer) {
  if (stopping_) {
    close(fd);
    shared_.let_go(peer);
    metrics_.count_shed(Shed::kStopping);
    return;
  }
  std::unique_ptr<TlsStream> tls;
  if (peer.tls) {
    // The oldest makes room: whoever stalls loses, whoever comes has its chance.
    const size_t most = std::max<size_t>(1, shared_.options.max_handshakes / static_cast<size_t>(shared_.options.fronts));
    if (handshakes_open_ >= most) {
      metrics_.count_shed(Shed::kHandshakes);
      if (Timer* oldest = handshake_timers.first()) static_cast<Connection*>(oldest)->close_now();
    }
    tls = shared_.tls->accept(fd);
    if (tls) ++handshakes_open_;
  }
  if (peer.tls && !tls) {
    close(fd);
    shared_.let_go(peer);
    metrics_.count_shed(Shed::kConnections);
    return;
  }
  auto* c = new Connection(*this, fd, peer, std::move(tls));
  if (!c->open()) {
    if (peer.tls) --handshakes_open_;
    delete c;
    close(fd);
    shared_.let_go(peer);
    return;
  }
  c->index = connections_.size();
  connections_.push_back(c);
  connection_count_.fetch_add(1, std::memory_order_relaxed);
  metrics_.connections.add();
  metrics_.connections_open.add();
}

void Front::bury(Connection* c) {
  connections_[c->index] = connections_.back();
  connections_[c->index]->index = c->index;
  connections_.pop_back();
  connection_count_.fetch_sub(1, std::memory_order_relaxed);
  shared_.let_go(c->peer());
  metrics_.connections_open.sub();
  graveyard_.push_back(c);
}

void Front::queue_handshake(Connection* c) {
  if (c->handshake_queued) return;
  c->handshake_queued = true;
  handshakes_.push_back(c);
}

void Front::run_handshakes() {
  if (handshakes_.empty()) return;
  const uint64_t end = now_ns() + kHandshakeShareNs;
  size_t done = 0;
  do {
    Connection* c = handshakes_[done++];
    c->handshake_queued = false;
    c->step_handshake();
  } while (done < handshakes_.size() && now_ns() < end);
  handshakes_.erase(handshakes_.begin(), handshakes_.begin() + static_cast<ptrdiff_t>(done));
  if (!handshakes_.empty()) loop_->again();
}

void Front::handshake_ended(uint64_t took_ns) {
  --handshakes_open_;
  if (took_ns) metrics_.handshakes.add(took_ns);
}

void Front::mark_dirty(Connection* c) {
  if (c->dirty) return;
  c->dirty = true;
  dirty_.push_back(c);
}

Call* Front::acquire_call() {
  if (free_calls_.empty()) {
    if (calls_.size() >= shared_.options.max_requests) {
      metrics_.count_shed(Shed::kStreams);
      return nullptr;
    }
    calls_.push_back(std::make_unique<Call>(blocks_, budget_));
    calls_.back()->options.memory = shared_.memory.get();
    free_calls_.reserve(calls_.capacity());
    free_calls_.push_back(calls_.back().get());
    calls_.back()->pool_index = calls_.size() - 1;
  }
  if (!budget_.take(kCallBytes)) {
    metrics_.count_shed(Shed::kReceiveBudget);
    return nullptr;
  }
  Call* c = free_calls_.back();
  free_calls_.pop_back();
  return c;
}

MessageStream* Front::acquire_stream() {
  if (free_streams_.empty()) {
    streams_.push_back(std::make_unique<MessageStream>(*this));
    free_streams_.reserve(streams_.capacity());
    return streams_.back().get();
  }
  MessageStream* s = free_streams_.back();
  free_streams_.pop_back();
  return s;
}

void Front::recycle(Call* c) {
  c->request.release();
  if (c->deferred) service_->deferred().forget(c);
  if (c->recoding) recodings_.release(std::exchange(c->recoding, nullptr));
  c->clear();
  budget_.give(kCallBytes);
  if (calls_.size() > kCallsKept && free_calls_.size() > kCallsKept / 2) {
    const size_t at = c->pool_index;
    calls_[at].swap(calls_.back());
    calls_[at]->pool_index = at;
    calls_.pop_back();
    return;
  }
  free_calls_.push_back(c);
}

void Front::begin_stop(std::function<void()> stopped) {
  stopping_ = true;
  stopped_ = std::move(stopped);
  drain_timers_.arm(drain_timer_, loop_->now());
  const std::vector<Connection*> all = connections_;
  for (Connection* c : all) c->begin_stop();
  loop_->again();
}

void Front::close_all() {
  const std::vector<Connection*> all = connections_;
  for (Connection* c : all) c->close_now();
}

void Front::DrainTimer::on_timer() { front.close_all(); }

void Front::finish_if_stopped() {
  // Calls of clients that went away must come back from the runtime too.
  if (!connections_.empty() || !graveyard_.empty() || free_calls_.size() != calls_.size()) return;
  TimerList::cancel(drain_timer_);
  loop_->stop();
  if (stopped_) std::exchange(stopped_, nullptr)();
}

}  // namespace verge::net
