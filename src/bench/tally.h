// What became of requests, counted as they end: of one tenant, in one thread. A live run and a simulated one fill the same.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "bench/histogram.h"

namespace verge::bench {

enum class End : uint8_t {
  kAnswered,
  kRefused,     // an error came back; `code` names it
  kUnsent,      // its deadline had passed before the client could send it
  kUnanswered,  // nothing came until the run was over, or the connection broke
};

struct Outcome {
  End end = End::kAnswered;
  uint64_t intended = 0;  // ns from the beginning of what is measured
  uint64_t sent = 0, done = 0;
  uint64_t deadline_ns = 0;  // allowed, from intended; 0: none
  std::string_view code;     // of a refusal
  // What the server said of its choice; negative or empty: nothing.
  std::string_view variant, exit;
  double expected_accuracy = -1, predicted_ms = -1, measured_ms = -1, energy_mj = -1;
  bool energy_measured = false;
  int samples = 0, right = 0;  // that have labels, and that were answered right
};

// Counts by name. Few names; a new one allocates, a known one does not.
class NameCounts {
 public:
  void add(std::string_view name, uint64_t n = 1);
  void add(const NameCounts& o);
  struct Entry {
    std::string name;
    uint64_t count;
  };
  const std::vector<Entry>& entries() const { return entries_; }
  uint64_t of(std::string_view name) const;

 private:
  std::vector<Entry> entries_;
};

// One part of the run's time, by intended sending.
struct TimeSlot {
  static constexpr int kPerOctave = 8, kOctaves = 30;  // latencies from 1 µs on, a twelfth wide
  uint32_t offered = 0, answered = 0, in_time = 0, refused = 0;
  std::vector<uint32_t> latencies;  // empty until there is one
  void record(uint64_t ns);
  double quantile_us(double q) const;  // 0 where there is nothing
};

// An answer that came after its deadline, in ns: when it was meant to be sent, how much later it was, when its answer was there, and how much of that the server's own clock saw (ms; negative:
// it did not say).
struct LateAnswer {
  uint64_t intended, waited, took;
  double measured_ms;
};

struct Tally {
  static constexpr size_t kMostLate = 256;  // of which each is told
  // Slots of the time line and how long each is.
  explicit Tally(size_t parts = 0, uint64_t part_ns = 1) : slot_ns(part_ns), slots(parts) { late.reserve(kMostLate); }
  void record(const Outcome& o);
  void add(const Tally& o);

  uint64_t offered = 0, sent = 0, answered = 0, in_time = 0, nearly_in_time = 0;  // nearly: within 1.1 times its deadline
  uint64_t refused = 0, unsent = 0, unanswered = 0;
  uint64_t samples = 0, right = 0, right_in_time = 0;
  Histogram from_intended, from_sending, client_wait, refusals;  // of answers, answers, all sent, refusals (from intended)
  NameCounts codes, variants, exits;
  struct Mean {
    double sum = 0;
    uint64_t n = 0;
    void add(double v) {
      if (v < 0) return;
      sum += v;
      ++n;
    }
    double value() const { return n ? sum / static_cast<double>(n) : -1; }
  };
  Mean expected_accuracy, predicted_ms, measured_ms, energy_mj;
  uint64_t energies_measured = 0;
  std::vector<LateAnswer> late;  // the first of them
  uint64_t slot_ns;
  std::vector<TimeSlot> slots;
};

}  // namespace verge::bench
