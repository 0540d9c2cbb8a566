// A run's results as a value: what `verge bench` and `verge simulate` print, write as JSON and plot, and read again to compare.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bench/plan.h"
#include "bench/tally.h"
#include "core/json.h"
#include "core/status.h"

namespace verge::bench {

// Times in microseconds.
struct Latency {
  uint64_t n = 0;
  double mean = 0, p50 = 0, p90 = 0, p95 = 0, p99 = 0, p999 = 0, max = 0;
  std::vector<std::pair<double, uint64_t>> buckets;  // (largest value, count); of from_intended only
  double quantile(double q) const;                   // from the buckets
};

struct RecordSlot {
  double offered = 0, answered = 0, in_time = 0, refused = 0;  // a second
  double p50 = 0, p99 = 0;                                     // µs; 0: nothing was answered
};

// One tenant, or all together.
struct Part {
  std::string name;
  Json settings = Json::object();
  double deadline_ms = 0;
  uint64_t offered = 0, sent = 0, answered = 0, in_time = 0, nearly_in_time = 0, refused = 0, unsent = 0, unanswered = 0;
  uint64_t samples = 0, right = 0, right_in_time = 0;
  Latency from_intended, from_sending, client_wait, refusals;
  std::vector<std::pair<std::string, uint64_t>> codes, variants, exits;
  double expected_accuracy = -1, predicted_ms = -1, measured_ms = -1, energy_mj = -1;
  bool energy_measured = false;
  std::vector<RecordSlot> timeline;
  std::vector<LateAnswer> late;  // in order of time, the first few hundred; of a tenant

  double rate(double seconds) const { return seconds > 0 ? static_cast<double>(answered) / seconds : 0; }
  // Share of what was offered that was not answered in time; -1 where there is no deadline.
  double miss_rate() const { return has_deadline && offered ? 1 - static_cast<double>(in_time) / static_cast<double>(offered) : -1; }
  // Measured on labels, else what the server expects of what it chose; -1: neither.
  double accuracy() const { return samples ? static_cast<double>(right) / static_cast<double>(samples) : expected_accuracy; }
  // Share of answers that came within 1.1 times their deadline; -1 where there is no deadline.
  double nearly_share() const { return has_deadline && answered ? static_cast<double>(nearly_in_time) / static_cast<double>(answered) : -1; }
  bool has_deadline = false;
};

struct Record {
  static constexpr int kFormat = 1;
  std::string kind;  // "live", "simulated", "clairvoyant"
  std::string at, verge_version, machine, server, protocol, data;
  Json settings = Json::object();
  double seconds = 0, slot_seconds = 0;
  bool interrupted = false;
  Part total;
  std::vector<Part> tenants;
  std::vector<std::string> notes;  // what a reader must know: the client was late, errors came
  std::string title() const;
};

Part make_part(const std::string& name, const Tally& t, double slot_seconds);
// Tallies in the order of the plan's tenants. `seconds`: how long was measured.
Record make_record(const Plan& plan, const std::vector<Tally>& tallies, double seconds);
std::string machine_text();  // processor, cores, memory of this machine

Json record_json(const Record& r);
Result<Record> parse_record(std::string_view text, const std::string& what);
Result<Record> read_record(const std::string& path);

std::string record_text(const Record& r);                                // for a terminal
std::string record_page(const Record& r, const Record* other = nullptr); // HTML; beside another where there is one
std::string compare_text(const Record& a, const Record& b);

}  // namespace verge::bench
