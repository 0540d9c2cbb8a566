// A server under the virtual clock while it runs a plan. Its parts: the clock and what it knows (server.cc), requests on their way in and out (server_requests.cc), what a lane does
// (server_lane.cc).
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <queue>
#include <string_view>
#include <vector>

#include "policy/admission.h"
#include "policy/dispatch.h"
#include "simulate/demand.h"
#include "simulate/lane.h"
#include "simulate/server.h"

namespace verge::simulate {

using bench::End;
using bench::Outcome;
using Does = SimLane::Does;

inline constexpr uint64_t kNever = UINT64_MAX;
inline constexpr uint64_t kConfidenceDraw = 1000, kAnswerDraw = 2000, kWayDraw = 3000;
inline constexpr std::string_view kTooLate = "DEADLINE_EXCEEDED";

// Where a queue puts what ended while it waited.
struct Ended {
  std::vector<Job*> jobs;
  void push(Job* j) { jobs.push_back(j); }
};

class VirtualServer {
 public:
  VirtualServer(const bench::Plan& plan, const std::vector<SimModel>& models, const ServerOptions& o, size_t slots);
  Status prepare();
  SimResult run();

 private:
  // A variant up to an exit, of one model's table.
  struct Option {
    uint32_t variant;  // in variants_
    uint32_t exit;
    double accuracy;
    bool dominated = false;
  };
  struct Table {
    const SimModel* model;
    uint32_t first;
    std::vector<Option> options;
    uint32_t worth;  // options that are not dominated
    bool staged, family;
  };
  struct Again {
    uint64_t ns;
    uint32_t source;
    bool operator>(const Again& o) const { return ns != o.ns ? ns > o.ns : source > o.source; }
  };
  struct Due {
    uint64_t ns, serial;
    Job* job;
    bool operator>(const Due& o) const { return ns != o.ns ? ns > o.ns : serial > o.serial; }
  };

  void rank(Table& t) const;
  Job* take_job();
  void recycle(Job* j);
  uint64_t actual(const Job& j, uint32_t variant, uint32_t stage, int64_t rows) const;

  // --- requests in ---
  void arrive(uint64_t intended, uint32_t tenant, uint32_t source, bool closed);
  void decide(Job* j);
  void infer_plain(Job* j, const Table& table);
  void admit(Job* j, const Table& table);
  void settle(Job* j, uint32_t lane, uint32_t variant, int64_t most);
  void enter(Job* j);
  void expire();

  // --- a lane ---
  static bool occupied(const SimLane& l) { return l.does != Does::kNothing || l.places.waiting.load(std::memory_order_relaxed) != 0; }
  void look(SimLane& lane);
  bool take_over(SimLane& lane);
  void end_all();
  void begin(SimLane& lane);
  void run_stage(SimLane& lane);
  void on_event(SimLane& lane);
  void has_run(SimLane& lane);
  void give_out_kept(const SimLane& lane, Job& j);
  bool is_kept(const SimLane& lane, const Job& j) const;
  void is_free(SimLane& lane);
  void known_stages(SimLane& lane, const Job& j, const SimVariant& v);
  policy::ExitState state_of(const SimLane& lane, const Job& j) const;
  policy::Decision after_stage(const SimLane& lane, const Job& j) const;

  // --- a front that is its own lane: reads what has come, runs for a turn, sends its answers ---
  void begin_reading(SimLane& lane);
  void has_read(SimLane& lane);
  void run_turn(SimLane& lane);
  void begin_writing(SimLane& lane);
  void has_written(SimLane& lane);
  void send_answers(SimLane& lane);

  // --- answers out ---
  void finish(SimLane& lane, Job* j, std::string_view exit);
  void answer(Job* j, std::string_view exit, uint64_t finished);
  void report(const Job& j, std::string_view exit, uint64_t finished, uint64_t sent);
  void refuse(Job* j, std::string_view code);
  void tell_refused(Job& j, std::string_view code);
  void tell(const Job& j, Outcome& o, uint64_t sent);

  const bench::Plan& plan_;
  const std::vector<SimModel>& models_;
  const ServerOptions o_;
  const Machine machine_;
  std::vector<const SimVariant*> variants_;  // of all models
  std::vector<Table> tables_;
  std::vector<SimDemand> demands_;
  std::vector<const Table*> table_of_;       // of each tenant
  std::vector<uint32_t> server_tenant_;
  std::vector<std::unique_ptr<SimLane>> lanes_;
  std::priority_queue<Again, std::vector<Again>, std::greater<>> again_;
  std::priority_queue<Due, std::vector<Due>, std::greater<>> due_;
  std::deque<Job> jobs_;
  std::vector<Job*> spare_;
  Ended ended_;
  std::vector<policy::LaneLoad> loads_;
  std::vector<policy::Candidate> candidates_;
  std::vector<uint32_t> considered_;
  SimResult result_;
  policy::Probes hopeless_;
  uint64_t now_ = 0, half_ns_ = 0, read_ns_ = 0, warm_ns_ = 0, end_ns_ = 0, number_ = 0, serial_ = 0, measured_ = 0;
  bool front_is_lane_ = false, stopped_ = false;
};

}  // namespace verge::simulate
