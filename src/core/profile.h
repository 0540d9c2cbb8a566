// What was measured of a package's variants on one device.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "core/json.h"
#include "core/status.h"

namespace verge {

enum class Verdict { kOk, kRejected, kFailed, kNotMeasured };
std::string_view verdict_name(Verdict v);  // "ok", "rejected", "failed", "not measured"

// Latency of one (batch, cores) cell. Times are of one run of the whole batch, in microseconds. A quantile that n does not carry is
// negative: p90 needs 20 runs, p99 needs 1,000.
struct LatencyCell {
  int64_t batch = 1;
  int64_t cores = 1;
  int64_t n = 0;
  double mean_us = 0;
  double min_us = 0;
  double p50_us = -1;
  double p90_us = -1;
  double p99_us = -1;
  double max_us = 0;
  // Quantile sketch: counts in log-spaced buckets, bucket i covers [2^(i/8), 2^((i+1)/8)) microseconds. Pairs (i, count).
  std::vector<std::pair<int, int64_t>> sketch;
};

// One stage of a chain: times of the stage alone.
struct StageProfile {
  std::vector<LatencyCell> latency;
  int64_t resident_bytes = -1;
  const LatencyCell* cell(int64_t batch, int64_t cores) const;
};

// One exit of a chain, its answers taken for all evaluation samples.
struct ExitProfile {
  double accuracy = -1;      // in the manifest's metric; -1: not evaluated
  double max_abs_diff = -1;  // against the whole network's answer at this exit
};

// One point of an accuracy/cost curve: thresholds chosen on calibration samples, all else measured on the evaluation samples.
struct ExitPoint {
  std::vector<double> thresholds;  // of each exit but the last
  std::vector<double> shares;      // of samples that leave at each exit
  double accuracy = -1;            // in the manifest's metric
  double cost = -1;                // mean time against the full chain's, 0…1
  double calibration_loss = 0;     // what the thresholds were chosen for: loss against the last exit on calibration samples, in the metric's unit
};

struct VariantProfile {
  std::string id;
  Verdict verdict = Verdict::kNotMeasured;
  std::string reason;              // empty when ok
  double accuracy = -1;            // in the manifest's metric; -1: not evaluated
  int64_t accuracy_samples = 0;
  double max_abs_diff = -1;        // against the reference; -1: not compared
  int64_t compared_samples = 0;
  std::string executed_precision;  // "f32", "bf16", "f16", "int8", "mixed"; empty: unknown
  std::string executed_precision_source;  // how that is known
  double load_ms_cold = -1;        // first load in a fresh worker, no compiled blob
  double load_ms_cached = -1;      // with the engine's cache; -1: the engine has none
  double first_run_ms = -1;
  int64_t resident_bytes = -1;     // growth of the worker's RSS by load and warm-up, the engine's fixed cost apart
  int64_t engine_fixed_bytes = -1;
  double energy_mj = -1;           // a batch-1 inference; -1: not available
  std::string energy_source;       // "rapl", or why it is not available
  std::vector<LatencyCell> latency;  // of the whole variant: all stages
  std::vector<StageProfile> stages;  // of a multi-exit model, as the manifest's; else empty, as all that follows
  std::vector<ExitProfile> exits;
  std::vector<ExitPoint> confidence;  // leave where the largest score >= threshold; ascending cost
  std::vector<ExitPoint> entropy;     // leave where the entropy (nats) <= threshold; ascending cost
  const LatencyCell* cell(int64_t batch, int64_t cores) const;  // nullptr if not measured
};

struct Device {
  std::string fingerprint;  // first 16 hex digits of the sha256 of the facts below
  std::string cpu_model;
  std::string architecture;            // "x86_64", "aarch64"
  int64_t cores = 0;                   // usable by this process
  std::vector<std::string> cpu_flags;  // those that decide precisions: avx2, avx512f, avx512_bf16, amx_bf16, asimd, …
  int64_t memory_bytes = 0;
};

struct Profile {
  static constexpr int kFormat = 1;
  Device device;
  std::string manifest_sha256;  // of the manifest file it was measured for
  std::string measured_at;      // RFC 3339, UTC
  std::string verge_version;
  std::map<std::string, std::string> engine_versions;
  double build_seconds = -1;    // wall time of the build that made it; -1: measured later
  std::vector<VariantProfile> variants;
  const VariantProfile* variant(std::string_view id) const;
  VariantProfile* variant(std::string_view id);
};

Result<Profile> parse_profile(std::string_view text);
std::string print_profile(const Profile& p);
Json variant_profile_json(const VariantProfile& v);
Result<VariantProfile> parse_variant_profile(const Json& j, const std::string& where);

}  // namespace verge
