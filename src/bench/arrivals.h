// When requests are meant to be sent, and of whom: the same sequence for a seed, whoever asks for it, live or simulated.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"

namespace verge::bench {

// xoshiro256**; its sequences are the same on every machine.
class Random {
 public:
  explicit Random(uint64_t seed);
  uint64_t next();
  double uniform() { return static_cast<double>(next() >> 11) * 0x1p-53; }  // [0, 1)
  double exponential(double mean);

 private:
  uint64_t s_[4];
};

enum class ArrivalKind { kClosed, kUniform, kPoisson, kBursts, kReplay };
std::string_view arrival_name(ArrivalKind kind);  // "closed", "uniform", "poisson", "bursts", "replay"
Result<ArrivalKind> arrival_from_name(std::string_view name);

struct ArrivalSpec {
  ArrivalKind kind = ArrivalKind::kClosed;
  int in_flight = 1;      // closed: how many requests are always under way
  double rate = 0;        // open: mean, a second. Replay: 0 keeps the trace's own rate
  double burst_factor = 5;             // bursts: the rate within them over the rate between them
  double burst_seconds = 0.2, pause_seconds = 0.8;  // mean lengths, exponentially distributed
  std::shared_ptr<const std::vector<double>> trace;  // replay: seconds from its start, ascending; it begins again when it ends
  std::string text() const;  // "Poisson, 100/s"
};
Status check_arrivals(const ArrivalSpec& spec);
double trace_rate(const std::vector<double>& times);  // mean, a second

// Times of an open arrival process.
class Arrivals {
 public:
  Arrivals(const ArrivalSpec& spec, uint64_t seed);
  uint64_t next();  // ns from the start, never descending

 private:
  ArrivalSpec spec_;
  Random random_;
  double now_ = 0;  // s
  bool burst_ = false;
  double state_until_ = 0;
  size_t at_ = 0;
  double scale_ = 1, offset_ = 0;
};

// One arrival process that several tenants share by weight.
class Source {
 public:
  struct Arrival {
    uint64_t ns = 0;
    uint32_t tenant = 0;
  };
  Source(const ArrivalSpec& spec, std::vector<uint32_t> tenants, const std::vector<double>& weights, uint64_t seed);
  Arrival next() { return {arrivals_.next(), pick()}; }
  uint32_t pick();  // a tenant alone: closed loops have no times
  bool closed() const { return closed_; }

 private:
  Arrivals arrivals_;
  Random choice_;
  std::vector<uint32_t> tenants_;
  std::vector<double> until_;  // cumulative shares
  bool closed_;
};

// Arrival times from a column of a CSV file, by name or number from 0; empty: the first. `unit`: "s", "ms", "us", "ns" for numbers; dates
// ("2023-11-16 18:15:46.68", with 'T' or a space) need none. At most `limit` of them. Sorted, from 0.
Result<std::vector<double>> parse_trace(std::string_view text, const std::string& column, std::string_view unit, const std::string& what);

}  // namespace verge::bench
