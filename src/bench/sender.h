// One thread that sends requests when they are due and counts how they end.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "bench/channel.h"
#include "bench/inputs.h"
#include "bench/plan.h"
#include "bench/protocol.h"
#include "bench/tally.h"

namespace verge::bench {

// All that a tenant's requests are made from, ready to be sent. One thread's own: bodies are patched.
struct TenantLoad {
  std::vector<RequestBody> bodies;
  std::vector<Form> forms;  // of each body
  const std::vector<std::vector<int64_t>>* labels = nullptr;
  std::string output;       // whose classes are compared with labels
  int64_t batch = 1;
  uint64_t deadline_ns = 0;
  bool send_deadline = true;
};

// What all threads see while a run goes on.
struct RunState {
  uint64_t begin_ns = 0, measured_ns = 0, end_ns = 0;  // os::monotonic_ns(): start, end of the warm-up, end of sending
  uint64_t most_requests = 0;                          // measured; 0: no limit
  std::atomic<uint64_t> measured{0}, answered{0}, refused{0};
  std::atomic<bool> stop{false};  // interrupted, or one thread cannot go on
};

struct SenderOptions {
  Target target;
  Protocol protocol = Protocol::kGrpc;
  int connections = 1;
  uint32_t index = 0, threads = 1;  // takes every `threads`-th arrival
  double drain_seconds = 10;        // for what is under way when sending ends
  uint64_t spin_ns = 0;             // before a request is due, wait awake for so long; UINT64_MAX: never sleep
  int core = -1;
};

class Sender {
 public:
  Sender(const SenderOptions& options, const Plan& plan, std::vector<TenantLoad> loads, RunState& run, size_t slots);
  ~Sender();
  Status connect();  // before run()
  void run();        // returns when all is over
  const std::vector<Tally>& tallies() const { return tallies_; }
  const Status& status() const { return status_; }     // why it ended early
  const std::string& first_error() const { return first_error_; }
  uint64_t reconnects() const { return reconnects_; }
  uint64_t sending_ended_ns() const { return sending_ended_; }

 private:
  struct Waiting {
    uint64_t intended;
    uint32_t tenant, source;
  };
  void push(const Waiting& w);
  void make_due(uint64_t now);
  void send_waiting(uint64_t now);
  bool flush_all();
  void end(Exchange* e, uint64_t now);
  void lost(size_t channel, const char* why);
  uint64_t next_due() const;
  void watch(size_t channel);
  Exchange* take_exchange();
  bool may_send(uint64_t intended);
  void count_unsent(const Waiting& w, End how);
  void start_closed(uint32_t source, uint64_t now);

  const SenderOptions options_;
  const Plan& plan_;
  std::vector<TenantLoad> loads_;
  RunState& run_;
  std::vector<Source> sources_;
  std::vector<int> closed_;
  std::vector<Source::Arrival> ahead_;  // of each open source
  std::vector<uint64_t> arrival_number_;
  std::vector<uint32_t> next_sample_;
  std::vector<Waiting> waiting_;        // a ring
  size_t waiting_head_ = 0, waiting_count_ = 0;
  std::vector<std::unique_ptr<Channel>> channels_;
  std::vector<bool> asks_to_write_;
  std::vector<std::unique_ptr<Exchange>> exchanges_;
  std::vector<Exchange*> spare_, done_;
  std::vector<Tally> tallies_;
  size_t turn_ = 0, under_way_ = 0;
  bool sending_ = true;
  int poll_ = -1;
  uint64_t reconnects_ = 0, sending_ended_ = 0;
  Status status_;
  std::string first_error_;
};

}  // namespace verge::bench
