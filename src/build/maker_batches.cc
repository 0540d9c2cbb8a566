// Files of a larger batch for networks whose runs are mostly the cost of the call.
#include <algorithm>
#include <utility>

#include "build/batches.h"
#include "build/maker.h"
#include "build/measure.h"
#include "build/profile.h"
#include "engine/worker.h"
#include "os/files.h"
#include "os/process.h"

namespace verge::build {
namespace {

constexpr double kMeasureLimitS = 60;

}  // namespace

// Whether what was made for a target is to be measured before it is verified: files of the default sizes.
bool Maker::may_grow(size_t target) {
  return growing_ == Growing::kMayBegin && c_.recipe.targets.batches.empty() && targets_[target].conversion.format == "tflite" &&
         variant(target).artifacts.size() == wanted_batches().size();
}

// Measures one of those held back that can be run here; all are the same network. The other precisions follow it, and so do the other devices.
bool Maker::large_batch_worth(size_t target) {
  const VariantSpec& v = variant(target);
  package::Package view;
  {
    std::lock_guard lock(mutex_);
    view.dir = package_dir_;
    view.manifest.variants = {v};
    view.manifest.network = package_.manifest.network;
    view.manifest.artifacts = package_.manifest.artifacts;
  }
  engine::WorkerJob job = profile_job(view, v, files_.golden, false, "", os::join(logs_, v.id + ".batches.log"));
  job.batches = {kBatchOfOne, kSmallBatch};
  job.core_counts = {1};
  job.measure_cached_load = false;
  job.time_limit_s = kMeasureLimitS;
  auto result = engine::run_worker(job, nullptr);
  if (!result.ok()) return false;  // verifying will say why
  double one = 0, eight = 0;
  for (const LatencyCell& c : result->profile.latency) {
    // The least: variants are being verified on the other cores.
    if (c.batch == kBatchOfOne) one = c.min_us;
    if (c.batch == kSmallBatch) eight = c.min_us;
  }
  if (!large_batch_pays(one, eight)) return false;
  c_.progress.line(v.id + ": a run of " + std::to_string(kSmallBatch) + " takes " + short_number(eight) + " us, of one " + short_number(one) + ": converting for batch " +
                   std::to_string(kLargeBatch) + ", too");
  return true;
}

std::vector<int64_t> Maker::wanted_batches() const {
  if (!c_.recipe.targets.batches.empty()) return c_.recipe.targets.batches;
  return {kBatchOfOne, kSmallBatch};
}

// Begins to verify what was held back, with files of a larger batch where they pay. What fails on the way costs only those.
Status Maker::grow_batches(Status s) {
  const std::vector<size_t> held = std::exchange(held_, {});
  const auto here = std::find_if(held.begin(), held.end(), [&](size_t i) {
    return targets_[i].engine == "litert" && why_not_here(variant(i), c_.device, c_.catalog).empty();
  });
  if (s.ok() && here != held.end() && !os::interrupted() && large_batch_worth(*here)) {
    std::vector<ConversionTarget> again;
    for (size_t i : held)
      if (std::find(again.begin(), again.end(), targets_[i].conversion) == again.end()) again.push_back(targets_[i].conversion);
    growing_ = Growing::kBegun;
    // A file that was there already is left where the tool chain made it, and would become a part of the next one.
    (void)os::remove_tree(os::join(c_.toolchain.work, "artifacts"));
    s = convert(again, {kLargeBatch});
    if (!s.ok() && s.code() != Code::kCancelled && s.code() != Code::kResourceExhausted) {
      c_.progress.warning("no files for batch " + std::to_string(kLargeBatch) + ": " + s.message());
      s = {};
    }
  }
  growing_ = Growing::kOver;
  for (size_t i : held) verify_later(i);
  return s;
}

// What is not ok with a file that was only a gain may be without it. When all has been verified.
void Maker::doubt_large_batches() {
  for (size_t i : grown_) {
    if (os::interrupted() || profile_.variants[i].verdict == Verdict::kOk || profile_.variants[i].verdict == Verdict::kNotMeasured) continue;
    variant(i).artifacts.pop_back();
    verify(i);
  }
}

}  // namespace verge::build
