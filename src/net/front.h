// One front thread: its loop, its connections, its pools, and its side of the runtime. Everything but post() belongs to the thread.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include "net/bytes.h"
#include "net/call.h"
#include "net/loop.h"
#include "net/message_stream.h"
#include "net/metrics.h"
#include "net/peer.h"
#include "net/pool_mem.h"
#include "net/recoding.h"
#include "net/server.h"
#include "net/service.h"
#include "net/shared_memory.h"
#include "net/tls.h"

namespace verge::net {

class AccessLog;
class Connection;
class LineRing;

// What the fronts of a server have in common.
struct Shared {
  Shared(ServerOptions o, runtime::Runtime& r)
      : options(std::move(o)),
        runtime(r),
        budget(static_cast<int64_t>(options.receive_budget_bytes)),
        memory(options.shared_memory ? std::make_unique<SharedMemory>() : nullptr) {}
  // A connection that was accepted is no more.
  void let_go(const Peer& peer) {
    connections.fetch_sub(1, std::memory_order_relaxed);
    if (peer.counted) peers.give(peer.key);
  }
  const ServerOptions options;
  runtime::Runtime& runtime;
  ReceiveBudget budget;
  std::unique_ptr<SharedMemory> memory;  // nullptr: not enabled
  std::atomic<int> connections{0};
  PeerCounts peers;  // empty without a limit of them
  AccessLog* access_log = nullptr;  // nullptr: none is wanted
  std::unique_ptr<TlsContext> tls;  // nullptr: no listener has it
  std::function<std::string()> metrics_text;  // of the whole server's net layer
  std::mutex samples_mutex;                  // of what the page was shown last
  std::shared_ptr<const Json> samples;
  uint64_t samples_ns = 0;
};

class Front {
 public:
  static constexpr size_t kReadBytes = size_t{128} << 10;

  static Result<std::unique_ptr<Front>> create(Shared& shared, int index);
  ~Front();

  void start_thread(int core);  // -1: anywhere
  void join();
  // What the thread does: turns, until begin_stop() has come to its end. On the caller's thread where none was started.
  void run();
  // Any thread.
  void post(std::function<void()> fn);
  // Connections it has or was promised.
  int connection_count() const { return connection_count_.load(std::memory_order_relaxed); }
  void expect_connection() { connection_count_.fetch_add(1, std::memory_order_relaxed); }

  // --- the front's own thread ---
  void adopt(int fd, const Peer& peer);  // an accepted socket
  void adopt_expected(int fd, const Peer& peer) {
    connection_count_.fetch_sub(1, std::memory_order_relaxed);
    adopt(fd, peer);
  }
  // Ends idle connections, tells the others to finish, and calls `stopped` once nothing is left; then the thread ends.
  void begin_stop(std::function<void()> stopped);
  bool stopping() const { return stopping_; }
  void close_all();

  Call* acquire_call();  // nullptr at the limits; counted
  void recycle(Call* call);
  MessageStream* acquire_stream();
  void recycle(MessageStream* stream) { free_streams_.push_back(stream); }
  void mark_dirty(Connection* connection);
  void bury(Connection* connection);  // closed; deleted at the turn's end
  // Its step is taken at the end of a turn, this one or a later one: handshakes are the dearest thing that a stranger can ask for.
  void queue_handshake(Connection* connection);
  void handshake_ended(uint64_t took_ns);  // 0: without success

  // The access log's ring; nullptr where none is wanted.
  LineRing* log_lines() { return log_lines_.get(); }
  void note_log_line() { log_lines_new_ = true; }
  uint64_t* random() { return &random_; }

  Loop& loop() { return *loop_; }
  // Of the bytes that are being handled: when the last of them came to this machine, if the kernel noted that (0: not, or none are), and whether somebody wants to know of this connection's
  // next ones. What waits in a socket while the front runs an engine has less time left than it seems.
  struct Arrival {
    uint64_t noted_ns = 0;
    bool wanted = false;
  };
  Arrival arrival;
  uint64_t arrival_ns() const { return arrival.noted_ns != 0 ? arrival.noted_ns : loop_->now(); }
  // Has the kernel note when what comes by this socket arrives.
  bool stamp(int fd);
  void tell_arrival(runtime::Request& r) const {
    r.arrival_ns = arrival_ns();
    r.arrival_noted = arrival.noted_ns != 0;
  }
  Shared& shared() { return shared_; }
  const ServerOptions& options() const { return shared_.options; }
  Metrics& metrics() { return metrics_; }
  BlockPool& blocks() { return blocks_; }
  LocalBudget& budget() { return budget_; }
  const LocalBudget& budget() const { return budget_; }
  PoolMem& http2_memory() { return http2_memory_; }
  runtime::Front& runtime_front() { return *runtime_front_; }
  Service& service() { return *service_; }
  RecodingPool& recodings() { return recodings_; }
  char* read_buffer() { return read_buffer_.get(); }

  // A body or an answer has to come on by so much within its timeout, or it is ended: one KiB a second.
  const size_t least_body_bytes, least_write_bytes;
  TimerList handshake_timers, header_timers, body_timers, write_timers, idle_timers, linger_timers, notice_timers;
  std::set<std::pair<uint64_t, MessageStream*>> stream_deadlines;  // of streams that have one

 private:
  Front(Shared& shared, int index);
  void end_of_turn();
  void settle_dirty();
  uint64_t next_timer_ns() const;
  void finish_if_stopped();
  void run_handshakes();

  Shared& shared_;
  const int index_;
  std::unique_ptr<Loop> loop_;
  Metrics metrics_;
  LocalBudget budget_;
  BlockPool blocks_;
  PoolMem http2_memory_;
  RecodingPool recodings_;
  std::unique_ptr<Service> service_;
  std::unique_ptr<runtime::Front> runtime_front_;
  std::unique_ptr<char[]> read_buffer_;
  std::unique_ptr<LineRing> log_lines_;
  bool log_lines_new_ = false;
  uint64_t random_;  // of trace and span ids
  int stamping_fd_ = -1;
  std::vector<std::unique_ptr<Call>> calls_;
  std::vector<Call*> free_calls_;
  std::vector<std::unique_ptr<MessageStream>> streams_;
  std::vector<MessageStream*> free_streams_;
  std::vector<Connection*> connections_;
  std::vector<Connection*> dirty_, settling_;
  std::vector<Connection*> graveyard_;
  std::vector<Connection*> handshakes_;  // whose step is due, in order
  size_t handshakes_open_ = 0;
  std::atomic<int> connection_count_{0};
  std::mutex posted_mutex_;
  std::vector<std::function<void()>> posted_;
  std::atomic<bool> has_posted_{false};
  bool answers_held_ = false;
  bool stopping_ = false;
  std::function<void()> stopped_;
  struct DrainTimer final : Timer {
    explicit DrainTimer(Front& f) : front(f) {}
    void on_timer() override;
    Front& front;
  } drain_timer_{*this};
  TimerList drain_timers_;
  std::thread thread_;
};

}  // namespace verge::net
