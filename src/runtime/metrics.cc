#include "runtime/metrics.h"

#include <algorithm>
#include <bit>

#include "core/exposition.h"
#include "runtime/run.h"
#include "runtime/runtime.h"

namespace verge::runtime {
namespace {

using exposition::decimal;
using exposition::escaped;
using exposition::head;
using exposition::line;
using exposition::seconds;

void gauge(std::string& out, const char* name, const char* help, uint64_t value) {
  head(out, name, "gauge", help);
  line(out, name, "", value);
}

}  // namespace

const char* reason_name(Reason r) {
  switch (r) {
    case Reason::kUnknownModel: return "unknown_model";
    case Reason::kUnknownVersion: return "unknown_version";
    case Reason::kUnknownVariant: return "unknown_variant";
    case Reason::kVariantNotOk: return "variant_not_ok";
    case Reason::kBrokenModel: return "broken_model";
    case Reason::kInvalidInput: return "invalid_input";
    case Reason::kUnknownOutput: return "unknown_output";
    case Reason::kQueueFull: return "queue_full";
    case Reason::kExpired: return "expired";
    case Reason::kCancelled: return "cancelled";
    case Reason::kDraining: return "draining";
    case Reason::kHopeless: return "hopeless";
    case Reason::kTenantLimit: return "tenant_limit";
    case Reason::kSequence: return "sequence";
    case Reason::kLoadFailed: return "load_failed";
    case Reason::kMemoryLimit: return "memory_limit";
    case Reason::kTransform: return "transform";
    case Reason::kEngine: return "engine";
    case Reason::kDeadlineBound: return "deadline";
    case Reason::kAccuracyBound: return "accuracy";
    case Reason::kEnergyBound: return "energy";
    case Reason::kBounds: return "bounds";
    case Reason::kOverrun: return "overrun";
  }
  return "invalid";
}

size_t BatchStats::index_of(int64_t rows) {
  if (rows <= 16) return static_cast<size_t>(std::max<int64_t>(rows, 1)) - 1;
  // 17 … 32 count as 32, and so on; the last one takes all that is larger.
  return std::min<size_t>(kSizes - 1, 11 + static_cast<size_t>(std::bit_width(static_cast<uint64_t>(rows) - 1)));
}

uint64_t BatchStats::size_at(size_t index) { return index < 16 ? index + 1 : uint64_t{1} << (index - 11); }

void VariantStats::Part::add(const Run& run, const Request& r, uint64_t now) {
  if (!run.overran) answered.add(1);
  samples.add(static_cast<uint64_t>(run.batch));
  if (run.padded != 0) padded.add(run.padded);
  if (r.bounds.deadline_ns != 0 && run.assembled_ns > r.bounds.deadline_ns) late.add(1);
  if (r.bounds.deadline_ns != 0 && !run.overran && !run.stood) {
    if (run.finished_ns > r.bounds.deadline_ns) {
      if (run.assembled_ns <= r.bounds.deadline_ns) overdue_run.add(1);
    } else if (now > r.bounds.deadline_ns) {
      overdue_turn.add(1);
    }
  }
  last_ns.set(run.finished_ns);
  if (run.plan.said) chosen.add(1);
  if (run.plan.left_at != kNoExit && exits != nullptr) {
    exits[run.plan.left_at].add(1);
    chain_shared.add(run.plan.shared_bytes);
    chain_copied.add(run.plan.copied_bytes);
  }
  if (r.chosen.energy_mj > 0) energy_uj.add(static_cast<uint64_t>(r.chosen.energy_mj * 1000));
  queue.add(r.queue_ns);
  assembly.add(r.assembly_ns);
  compute.add(r.compute_ns);
  total.add(r.queue_ns + r.assembly_ns + r.compute_ns);
  if (!run.counts_run) return;
  runs.add(1);
  BatchStats::Size& size = batches.sizes[BatchStats::index_of(run.run_rows)];
  size.runs.add(1);
  size.assembly_ns.add(r.assembly_ns);
  size.compute_ns.add(r.compute_ns);
}

Metrics::Metrics(uint32_t fronts, const std::vector<TenantOptions>& tenants) : fronts_(fronts) {
  for (const TenantOptions& t : tenants) tenants_.push_back(t.name);
}

ModelStats* Metrics::model(const std::string& name) {
  std::lock_guard lock(mutex_);
  auto& slot = models_[name];
  if (slot == nullptr) {
    slot = std::make_unique<ModelStats>();
    slot->model = name;
    slot->front_count = fronts_;
    slot->fronts = std::make_unique<ModelStats::PerFront[]>(fronts_);
  }
  return slot.get();
}

std::shared_ptr<VariantStats> Metrics::variant(const std::string& model, int64_t version, const std::string& variant, std::vector<std::string> exits) {
  std::lock_guard lock(mutex_);
  auto& slot = variants_[{model, version, variant}];
  // The same version may come again with other exits; what was counted before stays with whoever still counts.
  if (slot == nullptr || slot->exits != exits) {
    slot = std::make_shared<VariantStats>();
    slot->model = model;
    slot->version = version;
    slot->variant = variant;
    slot->tenants = static_cast<uint32_t>(tenants_.size());
    slot->part_count = size_t{fronts_} * tenants_.size();
    slot->parts = std::make_unique<VariantStats::Part[]>(slot->part_count);
    slot->exits = std::move(exits);
    for (size_t i = 0; i < slot->part_count && !slot->exits.empty(); ++i) slot->parts[i].exits = std::make_unique<Counter[]>(slot->exits.size());
  }
  return slot;
}

void Metrics::forget(const std::string& model, int64_t version) {
  std::lock_guard lock(mutex_);
  std::erase_if(variants_, [&](const auto& v) { return std::get<0>(v.first) == model && std::get<1>(v.first) == version; });
}

std::string Metrics::text(const Gauges& g) const {
  std::lock_guard lock(mutex_);
  std::string out;
  out.reserve(4096);

  const auto labels_of = [](const VariantStats& s) {
    return "model=\"" + escaped(s.model) + "\",version=\"" + std::to_string(s.version) + "\",variant=\"" + escaped(s.variant) + "\"";
  };
  const auto tenant_label = [&](size_t t) { return tenants_.size() < 2 ? std::string() : ",tenant=\"" + escaped(tenants_[t]) + "\""; };
  // A variant that was never used has no series but its residency.
  const auto counter = [&](const char* name, const char* help, Counter VariantStats::Part::*field) {
    head(out, name, "counter", help);
    for (const auto& [key, s] : variants_) {
      for (uint32_t t = 0; t < tenants_.size(); ++t) {
        uint64_t sum = 0;
        for (uint32_t f = 0; f < fronts_; ++f) sum += (s->at(f, t).*field).get();
        if (sum != 0 || (t == 0 && s->loads.load(std::memory_order_relaxed) != 0)) line(out, name, labels_of(*s) + tenant_label(t), sum);
      }
    }
  };
  counter("verge_requests_total", "Requests answered.", &VariantStats::Part::answered);
  counter("verge_samples_total", "Samples in answered requests.", &VariantStats::Part::samples);
  counter("verge_runs_total", "Engine runs; several requests may share one.", &VariantStats::Part::runs);
  counter("verge_late_runs_total", "Requests that reached the engine after their deadline.", &VariantStats::Part::late);
  counter("verge_overdue_runs_total", "Requests whose deadline passed while the engine ran.", &VariantStats::Part::overdue_run);
  counter("verge_overdue_answers_total", "Answers that were there in time and were made after their deadline.", &VariantStats::Part::overdue_turn);
  counter("verge_padded_samples_total", "Samples of padding that engines of fixed batch sizes computed.", &VariantStats::Part::padded);

  counter("verge_choices_total", "Requests whose variant or exit was a matter of bounds.", &VariantStats::Part::chosen);
  counter("verge_chain_bytes_shared_total", "Bytes of features that a stage took where the one before had left them.", &VariantStats::Part::chain_shared);
  counter("verge_chain_bytes_copied_total", "Bytes of features that had to be copied on their way to a stage.", &VariantStats::Part::chain_copied);
  head(out, "verge_exits_total", "counter", "Answers of multi-exit models, by exit.");
  for (const auto& [key, s] : variants_) {
    for (uint32_t t = 0; t < tenants_.size(); ++t) {
      for (size_t e = 0; e < s->exits.size(); ++e) {
        uint64_t sum = 0;
        for (uint32_t f = 0; f < fronts_; ++f) sum += s->at(f, t).exits[e].get();
        if (sum != 0) line(out, "verge_exits_total", labels_of(*s) + ",exit=\"" + escaped(s->exits[e]) + "\"" + tenant_label(t), sum);
      }
    }
  }
  head(out, "verge_energy_mj_total", "counter", "Energy of answered requests in millijoules, by the lanes' busy time.");
  for (uint32_t t = 0; t < tenants_.size(); ++t) {
    uint64_t sum = 0;
    for (const auto& [key, s] : variants_) {
      for (uint32_t f = 0; f < fronts_; ++f) sum += s->at(f, t).energy_uj.get();
    }
    line(out, "verge_energy_mj_total", "tenant=\"" + escaped(tenants_[t]) + "\"", std::to_string(sum / 1000) + "." + std::to_string(1000 + sum % 1000).substr(1));
  }

  head(out, "verge_failures_total", "counter", "Requests not answered, by status code and reason.");
  for (const auto& [name, s] : models_) {
    for (size_t c = 0; c < kCodes; ++c) {
      for (size_t r = 0; r < kReasons; ++r) {
        uint64_t sum = 0;
        for (uint32_t f = 0; f < fronts_; ++f) sum += s->fronts[f].failures[c][r].get();
        if (sum == 0) continue;
        line(out, "verge_failures_total",
             "model=\"" + escaped(name) + "\",code=\"" + std::string(code_name(static_cast<Code>(c))) + "\",reason=\"" +
                 reason_name(static_cast<Reason>(r)) + "\"",
             sum);
      }
    }
  }

  const auto series = [&](const char* name, VariantStats& s, uint32_t tenant, Histogram VariantStats::Part::*field) {
    std::array<uint64_t, kBucketsNs.size() + 1> buckets{};
    uint64_t sum_ns = 0, count = 0;
    for (uint32_t f = 0; f < fronts_; ++f) {
      const Histogram& h = s.at(f, tenant).*field;
      for (size_t b = 0; b < buckets.size(); ++b) buckets[b] += h.buckets[b].get();
      sum_ns += h.sum_ns.get();
    }
    for (const uint64_t b : buckets) count += b;
    if (count == 0) return;
    const std::string labels = labels_of(s) + tenant_label(tenant);
    uint64_t below = 0;
    for (size_t b = 0; b < buckets.size(); ++b) {
      below += buckets[b];
      const std::string le = b < kBucketsNs.size() ? seconds(kBucketsNs[b]) : "+Inf";
      line(out, std::string(name) + "_bucket", labels + ",le=\"" + le + "\"", below);
    }
    line(out, std::string(name) + "_sum", labels, seconds(sum_ns));
    line(out, std::string(name) + "_count", labels, count);
  };
  const auto histogram = [&](const char* name, const char* help, Histogram VariantStats::Part::*field) {
    head(out, name, "histogram", help);
    for (const auto& [key, s] : variants_) {
      for (uint32_t t = 0; t < tenants_.size(); ++t) series(name, *s, t, field);
    }
  };
  histogram("verge_queue_seconds", "Time from the arrival of a request until a lane began it.", &VariantStats::Part::queue);
  histogram("verge_assembly_seconds", "Time on the lane before the engine: steps of the inputs, putting the batch together.", &VariantStats::Part::assembly);
  histogram("verge_compute_seconds", "Time on the lane from the engine's start: the engine, steps of the outputs.", &VariantStats::Part::compute);
  histogram("verge_encode_seconds", "Time to write the answer down in the client's protocol.", &VariantStats::Part::encode);
  histogram("verge_request_seconds", "Time from the arrival of a request until its answer was ready to be written down.", &VariantStats::Part::total);

  head(out, "verge_batch_samples", "histogram", "Samples of an engine run.");
  for (const auto& [key, s] : variants_) {
    std::array<uint64_t, BatchStats::kSizes> runs{};
    uint64_t all = 0, samples = 0;
    for (uint32_t f = 0; f < fronts_; ++f) {
      for (uint32_t t = 0; t < tenants_.size(); ++t) {
        for (size_t i = 0; i < runs.size(); ++i) {
          const uint64_t n = s->at(f, t).batches.sizes[i].runs.get();
          runs[i] += n;
          all += n;
        }
        samples += s->at(f, t).samples.get();
      }
    }
    if (all == 0) continue;
    uint64_t below = 0;
    for (size_t i = 0; i < runs.size(); ++i) {
      below += runs[i];
      const bool last = i + 1 == runs.size();
      const uint64_t size = BatchStats::size_at(i);
      if (last || std::has_single_bit(size)) line(out, "verge_batch_samples_bucket", labels_of(*s) + ",le=\"" + (last ? "+Inf" : std::to_string(size)) + "\"", below);
    }
    line(out, "verge_batch_samples_sum", labels_of(*s), samples);
    line(out, "verge_batch_samples_count", labels_of(*s), all);
  }

  head(out, "verge_loads_total", "counter", "Loads of variants, by result.");
  for (const auto& [key, s] : variants_) {
    const uint64_t ok = s->loads.load(std::memory_order_relaxed), failed = s->failed_loads.load(std::memory_order_relaxed);
    if (ok != 0) line(out, "verge_loads_total", labels_of(*s) + ",result=\"ok\"", ok);
    if (failed != 0) line(out, "verge_loads_total", labels_of(*s) + ",result=\"failed\"", failed);
  }
  head(out, "verge_unloads_total", "counter", "Unloads of variants.");
  for (const auto& [key, s] : variants_) {
    if (const uint64_t n = s->unloads.load(std::memory_order_relaxed); n != 0) line(out, "verge_unloads_total", labels_of(*s), n);
  }
  head(out, "verge_variant_resident_bytes", "gauge", "Memory reserved for a loaded variant; 0 when it is not loaded.");
  for (const auto& [key, s] : variants_) {
    line(out, "verge_variant_resident_bytes", labels_of(*s), s->resident_bytes.load(std::memory_order_relaxed));
  }

  head(out, "verge_lane_waiting", "gauge", "Requests that wait for a lane.");
  for (size_t i = 0; i < g.lane_waiting.size(); ++i) {
    line(out, "verge_lane_waiting", "lane=\"" + std::to_string(i) + "\"", g.lane_waiting[i]);
  }
  gauge(out, "verge_memory_limit_bytes", "The limit set by --memory; 0: none.", g.memory_limit);
  gauge(out, "verge_memory_base_bytes", "Resident memory of the server without models.", g.memory_base);
  gauge(out, "verge_memory_reserved_bytes", "Memory reserved for loaded variants and their engines.", g.memory_reserved);
  gauge(out, "verge_ready", "1 when every default variant is loaded and warm.", g.ready ? 1 : 0);
  gauge(out, "process_resident_memory_bytes", "Resident memory of the process.", g.process_resident);
  return out;
}

}  // namespace verge::runtime
