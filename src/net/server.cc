#include "net/server.h"

#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>

#include "net/access_log.h"
#include "net/front.h"
#include "net/listener.h"
#include "net/peer.h"

namespace verge::net {
namespace {

constexpr int kAcceptsPerTurn = 4;
constexpr uint64_t kAcceptPauseNs = 100'000'000;  // when the machine has no descriptors left

Status check(const ServerOptions& o) {
  auto bad = [](const char* what) { return invalid_argument(std::string("server option ") + what); };
  if (o.listeners.empty()) return bad("listeners must name at least one");
  for (const ListenOptions& l : o.listeners)
    if (l.tls && (o.tls.certificate.empty() || o.tls.key.empty())) return bad("tls.certificate and tls.key must be given: a listener has TLS");
  if (o.tls.clients != ClientCertificates::kNone && o.tls.client_ca.empty()) return bad("tls.client_ca must say whose client certificates are accepted");
  if (o.tenants.empty() || o.tenants.size() > runtime::kMostTenants) return bad("tenants must name one to kMostTenants");
  if (std::any_of(o.auth.tokens.begin(), o.auth.tokens.end(), [&](const Token& t) { return t.tenant >= o.tenants.size(); }))
    return bad("auth has a token of a tenant that there is not");
  if (o.max_handshakes < 1) return bad("max_handshakes must be at least 1");
  if (o.fronts < 1 || o.fronts > 1024) return bad("fronts must be between 1 and 1024");
  if (o.max_connections < 1) return bad("max_connections must be at least 1");
  if (o.max_streams < 1) return bad("max_streams must be at least 1");
  if (o.max_stream_messages < 1) return bad("max_stream_messages must be at least 1");
  if (o.max_requests < 1) return bad("max_requests must be at least 1");
  if (o.max_header_bytes < 1024 || o.max_header_bytes > 1 << 20) return bad("max_header_bytes must be between 1 KiB and 1 MiB");
  if (o.max_message_bytes < 1024 || o.max_message_bytes > uint64_t{1} << 40) return bad("max_message_bytes is out of range");
  if (o.receive_budget_bytes < 1 << 20 || o.receive_budget_bytes > uint64_t{1} << 50) return bad("receive_budget_bytes is out of range");
  for (double s : {o.handshake_timeout_s, o.header_timeout_s, o.body_timeout_s, o.write_timeout_s, o.idle_timeout_s, o.drain_timeout_s})
    if (!(s > 0 && s < 1e7)) return bad("timeouts must be positive seconds");
  return {};
}

}  // namespace

// Accepts on the first front and hands connections to the front that has the fewest.
class Server::Impl final {
 public:
  Impl(ServerOptions options, runtime::Runtime& runtime, std::vector<Listener> listeners)
      : shared(std::move(options), runtime), address(listeners.front().text()), port(listeners.front().port()), pause_timers_(kAcceptPauseNs) {
    for (Listener& l : listeners) acceptors_.push_back(std::make_unique<Acceptor>(*this, std::move(l)));
    for (const auto& a : acceptors_) addresses.push_back(a->listener.text());
    shared.metrics_text = [this] { return metrics_text(); };
  }

  Status start() {
    for (int i = 0; i < shared.options.fronts; ++i) {
      VERGE_ASSIGN(auto front, Front::create(shared, i));
      fronts_.push_back(std::move(front));
    }
    fronts_[0]->loop().add_timers(&pause_timers_);
    for (auto& a : acceptors_) VERGE_RETURN_IF_ERROR(fronts_[0]->loop().add(a->listener.fd(), EPOLLIN, a.get(), Loop::Place::kFirst));
    if (shared.options.access_log) {
      std::vector<LineRing*> rings;
      for (auto& front : fronts_) rings.push_back(front->log_lines());
      access_log_ = std::make_unique<AccessLog>(std::move(rings), shared.options.access_log);
      shared.access_log = access_log_.get();
    }
    const auto& cores = shared.options.front_cores;
    for (size_t i = 0; i < fronts_.size(); ++i) fronts_[i]->start_thread(cores.empty() ? -1 : cores[i % cores.size()]);
    started_ = true;
    return {};
  }

  void begin_stop(std::function<void()> drained) {
    {
      std::lock_guard lock(mutex_);
      if (stopping_) return;
      stopping_ = true;
      drained_ = std::move(drained);
      fronts_left_ = fronts_.size();
    }
    fronts_[0]->post([this] {
      // Connections that the kernel has already accepted are served too.
      for (auto& a : acceptors_) {
        a->accept(shared.options.max_connections);
        TimerList::cancel(*a);
        fronts_[0]->loop().remove(a->listener.fd(), a.get(), Loop::Place::kFirst);
        a->listener.close();
      }
      for (auto& front : fronts_) {
        Front* f = front.get();
        f->post([this, f] {
          f->begin_stop([this] { front_stopped(); });
          if (abandon_.load()) f->close_all();
        });
      }
    });
  }

  void join() {
    for (auto& front : fronts_) front->join();
    access_log_.reset();  // the last lines are written
  }

  void stop_now() {
    if (!started_) return;
    abandon_.store(true);
    begin_stop({});
    // A stop that began before may be waiting for clients.
    for (auto& front : fronts_) {
      Front* f = front.get();
      f->post([f] { f->close_all(); });
    }
    join();
  }

  std::string metrics_text() const {
    std::vector<const Metrics*> all;
    int64_t held = shared.budget.taken();
    for (const auto& front : fronts_) {
      all.push_back(&front->metrics());
      held -= front->budget().spare();
    }
    // A front may have taken more since.
    return net::metrics_text(all, std::max<int64_t>(held, 0), shared.budget.limit());
  }

  Shared shared;

 private:
  struct Acceptor final : EventHandler, Timer {
    Acceptor(Impl& s, Listener l) : server(s), listener(std::move(l)) {}
    void on_event(uint32_t) override { accept(kAcceptsPerTurn); }
    void on_timer() override { static_cast<void>(server.fronts_[0]->loop().add(listener.fd(), EPOLLIN, this, Loop::Place::kFirst)); }
    void accept(int limit) {
      Front& front = *server.fronts_[0];
      for (int i = 0; i < limit; ++i) {
        bool exhausted;
        PeerAddress from;
        const int fd = listener.accept(&from, &exhausted);
        if (fd >= 0) {
          server.take(fd, listener, from);
          continue;
        }
        if (exhausted) {
          // Level-triggered: without a pause the loop would spin on the connection that cannot be taken.
          front.metrics().count_shed(Shed::kConnections);
          front.loop().remove(listener.fd(), this, Loop::Place::kFirst);
          server.pause_timers_.arm(*this, front.loop().now());
        }
        return;
      }
    }
    Impl& server;
    Listener listener;
  };

  void take(int fd, const Listener& listener, const PeerAddress& from) {
    if (shared.connections.fetch_add(1, std::memory_order_relaxed) >= shared.options.max_connections) {
      shared.connections.fetch_sub(1, std::memory_order_relaxed);
      fronts_[0]->metrics().count_shed(Shed::kConnections);
      ::close(fd);
      return;
    }
    Peer peer;
    if (const uint32_t most = shared.options.max_peer_connections; most && find_key(from, &peer.key)) {
      peer.counted = shared.peers.take(peer.key, most);
      if (!peer.counted) {
        shared.let_go(peer);
        fronts_[0]->metrics().count_shed(Shed::kPeerConnections);
        ::close(fd);
        return;
      }
    }
    peer.number = ++accepted_;
    peer.role = listener.options().role;
    peer.tls = listener.options().tls;
    peer.checked = peer.role != Role::kAll || shared.options.auth.enabled;
    describe(from, &peer);
    Front* best = fronts_[0].get();
    for (auto& front : fronts_)
      if (front->connection_count() < best->connection_count()) best = front.get();
    if (best == fronts_[0].get()) {
      best->adopt(fd, peer);
    } else {
      best->expect_connection();
      best->post([best, fd, peer] { best->adopt_expected(fd, peer); });
    }
  }

  void front_stopped() {
    std::function<void()> drained;
    {
      std::lock_guard lock(mutex_);
      if (--fronts_left_) return;
      drained = std::move(drained_);
    }
    if (drained) drained();
  }

 public:
  const std::string address;
  const int port;
  std::vector<std::string> addresses;

 private:
  TimerList pause_timers_;
  std::vector<std::unique_ptr<Acceptor>> acceptors_;
  uint32_t accepted_ = 0;
  std::vector<std::unique_ptr<Front>> fronts_;
  std::unique_ptr<AccessLog> access_log_;  // reads the fronts' rings
  bool started_ = false;
  std::atomic<bool> abandon_{false};
  std::mutex mutex_;
  bool stopping_ = false;
  size_t fronts_left_ = 0;
  std::function<void()> drained_;
};

Server::Server() = default;

Result<std::unique_ptr<Server>> Server::start(ServerOptions options, runtime::Runtime& runtime) {
  VERGE_RETURN_IF_ERROR(check(options));
  std::unique_ptr<TlsContext> tls;
  if (std::any_of(options.listeners.begin(), options.listeners.end(), [](const ListenOptions& l) { return l.tls; })) {
    VERGE_ASSIGN(tls, TlsContext::create(options.tls));
  }
  std::vector<Listener> listeners;
  for (const ListenOptions& o : options.listeners) {
    VERGE_ASSIGN(auto listener, Listener::open(o));
    listeners.push_back(std::move(listener));
  }
  std::unique_ptr<Server> server(new Server);
  server->impl_ = std::make_unique<Impl>(std::move(options), runtime, std::move(listeners));
  server->impl_->shared.tls = std::move(tls);
  VERGE_RETURN_IF_ERROR(server->impl_->start());
  return server;
}

Server::~Server() {
  if (impl_) impl_->stop_now();
}

const std::string& Server::address() const { return impl_->address; }
int Server::port() const { return impl_->port; }
std::vector<std::string> Server::addresses() const { return impl_->addresses; }
void Server::begin_stop(std::function<void()> drained) { impl_->begin_stop(std::move(drained)); }
void Server::join() { impl_->join(); }
Status Server::reload_tls() { return impl_->shared.tls ? impl_->shared.tls->reload() : Status(); }
int64_t Server::tls_valid_until() const { return impl_->shared.tls ? impl_->shared.tls->valid_until() : 0; }
std::string Server::metrics_text() const { return impl_->metrics_text(); }

}  // namespace verge::net
