#include "engine/worker.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "engine/worker_protocol.h"
#include "os/files.h"

namespace verge::engine {
namespace {

// A worker writes outputs on the evaluation data, compiled blobs and its log; nothing of that comes near this.
constexpr uint64_t kFileLimit = uint64_t{8} << 30;
constexpr double kCachedLoadLimit = 60;

// The sanitizers' shadow memory counts as private data, so that their builds cannot start under a limit.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kMemoryLimits = false;
#else
constexpr bool kMemoryLimits = true;
#endif

std::string gibibytes(uint64_t bytes) {
  char text[32];
  if (bytes >= uint64_t{1} << 30)
    std::snprintf(text, sizeof text, "%.1f GiB", static_cast<double>(bytes) / (1 << 30));
  else
    std::snprintf(text, sizeof text, "%.0f MiB", static_cast<double>(bytes) / (1 << 20));
  return text;
}

std::string seconds(double s) {
  char text[32];
  std::snprintf(text, sizeof text, "%g s", s);
  return text;
}

WorkerResult failed(const WorkerJob& job, WorkerResult partial, std::string reason) {
  partial.profile.id = job.variant_id;
  partial.profile.verdict = Verdict::kFailed;
  partial.profile.reason = std::move(reason);
  partial.evaluation_outputs.clear();
  partial.calibration_outputs.clear();
  return partial;
}

// One worker process from start to end.
Result<WorkerResult> run_one(const WorkerJob& job, WorkerTask task, double time_limit_s, const std::function<void(const std::string&)>& progress) {
  os::SpawnOptions options;
  options.argv = {os::install().executable, "worker"};
  options.log_path = job.log_path;
  options.memory_limit = kMemoryLimits ? job.memory_limit : 0;
  options.file_limit = kFileLimit;
  VERGE_ASSIGN(os::LineProcess child, os::LineProcess::start(options));
  // A child that is gone already has a reason, which wait() below tells.
  (void)child.write_line(print_job(job, task));
  child.close_input();

  const uint64_t start = os::monotonic_ns();
  std::string phase = "starting";
  WorkerResult partial;
  bool refused_memory = false;
  auto with_memory = [&](std::string reason) {
    if (refused_memory) reason += "; it hit its memory limit of " + gibibytes(job.memory_limit);
    return reason;
  };
  for (;;) {
    const double left = time_limit_s - static_cast<double>(os::monotonic_ns() - start) / 1e9;
    auto line = child.read_line(std::max(left, 0.0));
    if (!line.ok()) {
      switch (line.status().code()) {
        case Code::kCancelled:
          return line.status();
        case Code::kDeadlineExceeded:
          child.kill_group();
          return failed(job, partial, "stopped after " + seconds(time_limit_s) + ", its time limit, while " + phase);
        case Code::kUnavailable:
          return failed(job, partial, with_memory(child.wait(5).to_string() + " while " + phase));
        default:
          child.kill_group();
          return failed(job, partial, line.status().message() + " while " + phase);
      }
    }
    auto event = parse_json(*line, "a worker's event");
    const Json json = event.ok() ? std::move(*event) : Json::object();
    JsonReader r(json, "a worker's event");
    const std::string kind = r.str("event", "");
    if (kind == "progress") {
      phase = r.str("text", "").substr(0, 200);
      if (progress) progress(phase);
    } else if (kind == "memory") {
      refused_memory = true;
    } else if (kind == "partial" || kind == "result") {
      auto result = parse_result(r.object("result"), job);
      if (!result.ok()) return failed(job, partial, "sent a result that makes no sense (" + result.status().message() + ") while " + phase);
      partial = std::move(*result);
      if (kind == "partial") continue;
      child.wait(5);
      if (partial.profile.verdict == Verdict::kFailed) {
        if (task == WorkerTask::kMeasure) partial.profile.reason = with_memory(std::move(partial.profile.reason));
        partial.evaluation_outputs.clear();
        partial.calibration_outputs.clear();
      }
      return partial;
    } else {
      child.kill_group();
      return failed(job, partial, "wrote what is no event of a worker while " + phase);
    }
  }
}

}  // namespace

Result<WorkerResult> run_worker(const WorkerJob& job, const std::function<void(const std::string&)>& progress) {
  VERGE_ASSIGN(WorkerResult result, run_one(job, WorkerTask::kMeasure, job.time_limit_s, progress));
  if (!job.measure_cached_load || job.load.cache_dir.empty() || result.profile.verdict == Verdict::kFailed) return result;
  auto cached = os::list_dir(job.load.cache_dir);
  if (!cached.ok() || cached->empty()) return result;
  VERGE_ASSIGN(WorkerResult again, run_one(job, WorkerTask::kCachedLoad, std::min(job.time_limit_s, kCachedLoadLimit), progress));
  if (again.profile.verdict == Verdict::kOk) result.profile.load_ms_cached = again.profile.load_ms_cached;
  return result;
}

}  // namespace verge::engine
