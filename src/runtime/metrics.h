// Counters and histograms of the request path. Each front writes its own copy; a scrape adds them up. No locks where requests pass.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <tuple>
#include <vector>

#include "core/status.h"

namespace verge::runtime {

struct Run;
struct Request;
struct TenantOptions;

// Why a request was not answered. Each is a value of the label `reason`.
enum class Reason : uint8_t {
  kUnknownModel,
  kUnknownVersion,
  kUnknownVariant,
  kVariantNotOk,
  kBrokenModel,
  kInvalidInput,
  kUnknownOutput,
  kQueueFull,
  kExpired,
  kCancelled,
  kDraining,
  kHopeless,
  kTenantLimit,
  kSequence,
  kLoadFailed,
  kMemoryLimit,
  kTransform,
  kEngine,
  kDeadlineBound,
  kAccuracyBound,
  kEnergyBound,
  kBounds,
  kOverrun,
};
inline constexpr size_t kReasons = 23;
const char* reason_name(Reason r);  // "queue_full", …

inline constexpr size_t kCodes = 17;
inline constexpr uint32_t kMostFronts = 256;

// Written by one thread, read by any.
class Counter {
 public:
  void add(uint64_t n) { v_.store(v_.load(std::memory_order_relaxed) + n, std::memory_order_relaxed); }
  void set(uint64_t n) { v_.store(n, std::memory_order_relaxed); }
  uint64_t get() const { return v_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> v_{0};
};

inline constexpr std::array<uint64_t, 19> kBucketsNs = {
    10'000,     20'000,     50'000,      100'000,     200'000,     500'000,       1'000'000,     2'000'000,     5'000'000,     10'000'000,
    20'000'000, 50'000'000, 100'000'000, 200'000'000, 500'000'000, 1'000'000'000, 2'000'000'000, 5'000'000'000, 10'000'000'000};

struct Histogram {
  std::array<Counter, kBucketsNs.size() + 1> buckets;
  Counter sum_ns;
  void add(uint64_t ns) {
    size_t i = 0;
    while (i < kBucketsNs.size() && ns > kBucketsNs[i]) ++i;
    buckets[i].add(1);
    sum_ns.add(ns);
  }
};

struct ModelStats {
  struct alignas(64) PerFront {
    std::array<std::array<Counter, kReasons>, kCodes> failures;
  };
  std::string model;
  size_t front_count = 0;
  std::unique_ptr<PerFront[]> fronts;
};

// Engine runs by their number of samples: 1 … 16, then powers of two.
struct BatchStats {
  static constexpr size_t kSizes = 24;
  static size_t index_of(int64_t rows);
  static uint64_t size_at(size_t index);
  struct Size {
    Counter runs, assembly_ns, compute_ns;
  };
  std::array<Size, kSizes> sizes;
};

struct VariantStats {
  // Of one front and tenant.
  struct alignas(64) Part {
    Counter answered;
    Counter samples;
    Counter padded;
    Counter runs;
    Counter late;     // requests that reached the engine after their deadline
    Counter overdue_run, overdue_turn;  // answers whose deadline had passed: when the run ended; when they were made, of runs that ended before it
    Counter last_ns;  // os::monotonic_ns() of the last answer
    Counter chosen;   // requests whose variant or exit was a matter of bounds
    Counter energy_uj;
    Counter chain_shared, chain_copied;  // bytes of features from stage to stage
    std::unique_ptr<Counter[]> exits;    // answers by exit; of a multi-exit model
    Histogram queue, assembly, compute, encode, total;
    BatchStats batches;
    void add(const Run& run, const Request& answered_request, uint64_t now);
  };
  std::string model, variant;
  std::vector<std::string> exits;  // names
  int64_t version = 0;
  uint32_t tenants = 1;
  size_t part_count = 0;
  std::unique_ptr<Part[]> parts;
  Part& at(uint32_t front, uint32_t tenant) { return parts[size_t{front} * tenants + tenant]; }
  std::atomic<uint64_t> loads{0}, failed_loads{0}, unloads{0};  // by the loader
  std::atomic<uint64_t> resident_bytes{0};                      // reserved for it; 0 while it is absent
};

// Owns the stats of everything that was ever served, so that counters never fall back.
class Metrics {
 public:
  Metrics(uint32_t fronts, const std::vector<TenantOptions>& tenants);
  ModelStats* model(const std::string& name);
  std::shared_ptr<VariantStats> variant(const std::string& model, int64_t version, const std::string& variant, std::vector<std::string> exits = {});
  // A version's figures are told no more; whoever still counts in them may.
  void forget(const std::string& model, int64_t version);
  ModelStats& unknown() { return *model(""); }  // requests for models that are not served

  struct Gauges {
    uint64_t memory_limit, memory_base, memory_reserved;
    std::vector<uint32_t> lane_waiting;
    bool ready;
    uint64_t process_resident;
  };
  std::string text(const Gauges& gauges) const;

 private:
  const uint32_t fronts_;
  std::vector<std::string> tenants_;  // names; labels where there is more than one
  mutable std::mutex mutex_;  // of the maps; the request path holds pointers into them
  std::map<std::string, std::unique_ptr<ModelStats>> models_;
  std::map<std::tuple<std::string, int64_t, std::string>, std::shared_ptr<VariantStats>> variants_;
};

}  // namespace verge::runtime
