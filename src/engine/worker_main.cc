// The child's side of worker.h: does one job and reports each phase before it begins, so that a crash has a name.
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <exception>
#include <limits>
#include <new>

#include "engine/worker.h"
#include "engine/worker_chain.h"
#include "engine/worker_latency.h"
#include "engine/worker_protocol.h"
#include "engine/worker_run.h"
#include "os/files.h"
#include "os/process.h"

namespace verge::engine {
namespace {

constexpr int kEventsFd = 3;
constexpr size_t kMaxJobBytes = size_t{16} << 20;
// Share of the time limit after which no further latency cell is begun: the rest is for finishing.
constexpr double kGridShare = 0.85;

void send_text(std::string_view line) {
  while (!line.empty()) {
    ssize_t n = ::write(kEventsFd, line.data(), line.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) ::_exit(1);  // nobody listens any more
    line.remove_prefix(static_cast<size_t>(n));
  }
}

void send(const Json& event) { send_text(event.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n"); }
void progress(const std::string& text) { send({{"event", "progress"}, {"text", text}}); }

// Allocations are refused under the memory limit. The parent is told once, because what an engine makes of it may be any crash.
void on_out_of_memory() {
  static constexpr std::string_view kEvent = "{\"event\":\"memory\"}\n";
  std::set_new_handler(nullptr);
  send_text(kEvent);
  throw std::bad_alloc();
}

void become_worker() {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  for (int s = 1; s < NSIG; ++s)
    if (s != SIGKILL && s != SIGSTOP) ::signal(s, SIG_DFL);
  ::signal(SIGXFSZ, SIG_IGN);  // a write past the file limit fails with EFBIG, which has a message
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  rlimit no_core{0, 0};
  ::setrlimit(RLIMIT_CORE, &no_core);
  // Where the machine itself runs out of memory, this process goes before any server.
  if (int fd = ::open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC); fd >= 0) {
    [[maybe_unused]] ssize_t n = ::write(fd, "1000", 4);
    ::close(fd);
  }
  std::set_new_handler(on_out_of_memory);
}

// The job's line. An end of input without one means that the parent is gone.
Result<std::string> read_job() {
  std::string text;
  char chunk[65536];
  while (text.find('\n') == std::string::npos) {
    ssize_t n = ::read(0, chunk, sizeof chunk);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return unavailable("no job came on standard input");
    text.append(chunk, static_cast<size_t>(n));
    if (text.size() > kMaxJobBytes) return resource_exhausted("the job is larger than 16 MiB");
  }
  text.resize(text.find('\n'));
  return text;
}

double ms_since(uint64_t start) { return static_cast<double>(os::monotonic_ns() - start) / 1e6; }

class Worker {
 public:
  explicit Worker(WorkerJob job) : job_(std::move(job)), started_(os::monotonic_ns()) {
    all_cores_ = job_.load.cores.empty() ? os::usable_cores() : job_.load.cores;
  }

  Status measure();
  Status cached_load();
  const WorkerResult& result() const { return result_; }

 private:
  Status open_engine(const std::vector<int>& cores);
  Status load(const std::vector<int>& cores, int threads, const std::string& cache_dir);
  Status make_runner();
  Status load_and_warm();
  void measure_memory(uint64_t before, uint64_t created, const std::vector<int>& cores, int threads);
  Status verify();
  Status evaluate();
  Status profile();
  Status profile_cores(int64_t cores, size_t& done, size_t total);
  Status profile_energy();
  void fill_cache();
  Status open_samples();
  void drop_model();
  std::vector<int> first_cores(int64_t n) const;
  std::vector<int64_t> runnable_batches() const;
  void partial() { send({{"event", "partial"}, {"result", result_json(result_)}}); }

  WorkerJob job_;
  uint64_t started_;
  std::vector<int> all_cores_;
  WorkerResult result_;
  std::shared_ptr<Catalog> catalog_;
  std::shared_ptr<Engine> engine_;
  std::optional<Loaded> model_;
  std::vector<int> loaded_cores_;  // what model_ was loaded for
  int loaded_threads_ = 0;
  std::unique_ptr<Runnable> runner_;
  ChainRunner* chain_ = nullptr;  // runner_, of a multi-exit model
  std::optional<SampleSet> samples_;
};

std::vector<int> Worker::first_cores(int64_t n) const {
  auto count = static_cast<size_t>(std::clamp<int64_t>(n, 1, static_cast<int64_t>(all_cores_.size())));
  return {all_cores_.begin(), all_cores_.begin() + static_cast<std::ptrdiff_t>(count)};
}

void Worker::drop_model() {
  chain_ = nullptr;
  runner_.reset();
  model_.reset();
  trim_memory();
}

Status Worker::open_engine(const std::vector<int>& cores) {
  // An engine may count the cores when it starts, and never use more than it found then.
  VERGE_RETURN_IF_ERROR(os::pin_thread(all_cores_));
  VERGE_ASSIGN(catalog_, Catalog::scan(job_.plugin_dir.empty() ? os::install().plugin_dir : job_.plugin_dir));
  catalog_->configure({{job_.engine, job_.settings}});
  VERGE_ASSIGN(engine_, catalog_->get(job_.engine));
  result_.engine_version = engine_->version();
  // Threads that it makes from here on inherit this.
  return os::pin_thread(cores);
}

Status Worker::load(const std::vector<int>& cores, int threads, const std::string& cache_dir) {
  loaded_cores_ = cores;
  loaded_threads_ = threads;
  VERGE_ASSIGN(Loaded loaded, load_all(*engine_, job_, cores, threads, cache_dir));
  model_.emplace(std::move(loaded));
  return {};
}

// For the cores that model_ was loaded for.
Status Worker::make_runner() {
  if (job_.stages.empty()) {
    VERGE_ASSIGN(Runner runner, Runner::create(model_->stages[0], loaded_cores_, loaded_threads_));
    runner_ = std::make_unique<Runner>(std::move(runner));
    return {};
  }
  VERGE_ASSIGN(auto chain, ChainRunner::create(*model_, job_.stages, loaded_cores_, loaded_threads_));
  chain_ = chain.get();
  runner_ = std::move(chain);
  return {};
}

Status Worker::open_samples() {
  Result<SampleSet> opened = job_.golden_inputs.empty() ? SampleSet::synthetic(model_->signature)
                                                        : SampleSet::open(model_->signature, job_.golden_inputs, job_.names);
  if (!opened.ok()) return opened.status();
  samples_.emplace(std::move(opened).value());
  return {};
}

Status Worker::load_and_warm() {
  progress("loading");
  const int threads = std::max(1, job_.load.threads);
  const auto cores = job_.load.cores.empty() ? first_cores(threads) : job_.load.cores;
  VariantProfile& p = result_.profile;
  const uint64_t before = os::resident_bytes();
  VERGE_RETURN_IF_ERROR(open_engine(cores));
  const uint64_t created = os::resident_bytes();
  const uint64_t start = os::monotonic_ns();
  VERGE_RETURN_IF_ERROR(load(cores, threads, ""));
  p.load_ms_cold = ms_since(start);
  result_.signature = model_->signature;
  p.executed_precision = model_->executed_precision;
  p.executed_precision_source = model_->executed_precision_source;

  progress("running its first sample");
  VERGE_RETURN_IF_ERROR(open_samples());
  VERGE_RETURN_IF_ERROR(make_runner());
  const auto& fixed = model_->fixed_batches;
  VERGE_ASSIGN(auto inputs, samples_->gather(0, 1, fixed.empty() ? 1 : fixed.front()));
  const uint64_t first = os::monotonic_ns();
  VERGE_RETURN_IF_ERROR(runner_->run(inputs));
  p.first_run_ms = ms_since(first);
  VERGE_RETURN_IF_ERROR(runner_->run(inputs));
  measure_memory(before, created, cores, threads);
  partial();
  return {};
}

// Engines load parts of themselves only with the first model, so its growth says little about the next one's. A second copy of the model
// does: what it adds is the variant's, the rest of the first growth the engine's.
void Worker::measure_memory(uint64_t before, uint64_t created, const std::vector<int>& cores, int threads) {
  auto settled = [] {
    trim_memory();
    return os::resident_bytes();
  };
  auto since = [](uint64_t now, uint64_t then) { return now > then ? now - then : 0; };
  const uint64_t warm = settled(), first = since(warm, created);
  uint64_t own = first;
  rlimit limit{};
  const bool room = ::getrlimit(RLIMIT_DATA, &limit) != 0 || first < limit.rlim_cur / 8;
  if (room) {
    progress("loading a second copy");
    const auto& fixed = model_->fixed_batches;
    auto inputs = samples_->gather(0, 1, fixed.empty() ? 1 : fixed.front());
    // Stage by stage, each fed with what the first copy has fed its own.
    std::vector<std::unique_ptr<Runner>> copies;
    uint64_t so_far = warm;
    for (size_t k = 0; inputs.ok() && k < model_->stages.size(); ++k) {
      auto copy = load_stage(*engine_, job_, k, cores, threads, "");
      auto runner = copy.ok() ? Runner::create(*copy, cores, threads) : Result<Runner>(copy.status());
      const auto fed = chain_ ? chain_->inputs_of(k) : *inputs;
      if (!runner.ok() || !runner->run(fed).ok() || !runner->run(fed).ok()) break;
      copies.push_back(std::make_unique<Runner>(std::move(runner).value()));
      const uint64_t now = settled();
      if (chain_) result_.profile.stages[k].resident_bytes = static_cast<int64_t>(since(now, so_far));
      so_far = std::max(now, so_far);
    }
    if (copies.size() == model_->stages.size()) own = std::min(first, since(so_far, warm));
  }
  result_.profile.resident_bytes = static_cast<int64_t>(own);
  result_.profile.engine_fixed_bytes = static_cast<int64_t>(since(warm, before) > own ? since(warm, before) - own : 0);
}

Status Worker::verify() {
  if (job_.golden_outputs.empty() || job_.golden_inputs.empty()) return {};
  progress("verifying");
  VERGE_ASSIGN(Comparison c, compare_outputs(*runner_, *samples_, model_->signature, model_->fixed_batches, job_.evaluation_batch, job_.golden_outputs, job_.names));
  VariantProfile& p = result_.profile;
  p.compared_samples = c.samples;
  p.max_abs_diff = c.max_abs_diff;
  if (c.not_numbers || c.unequal_strings) {
    // No number says how wrong that is; the largest there is keeps every limit from passing it.
    p.max_abs_diff = std::numeric_limits<double>::max();
    p.verdict = Verdict::kRejected;
    p.reason = std::to_string(c.not_numbers ? c.not_numbers : c.unequal_strings) + " of " + std::to_string(c.elements) +
               (c.not_numbers ? " outputs are NaN or infinite where the reference has numbers, or the other way round"
                              : " output strings differ from the reference's");
  }
  partial();
  return {};
}

Status Worker::evaluate() {
  using FileOf = std::string (*)(const WorkerJob&, size_t);
  auto answer = [&](const std::map<std::string, std::string>& inputs, FileOf file, std::vector<std::string>& outputs) -> Status {
    if (inputs.empty()) return {};
    VERGE_ASSIGN(SampleSet samples, SampleSet::open(model_->signature, inputs, job_.names));
    VERGE_RETURN_IF_ERROR(write_outputs(*runner_, samples, model_->signature, model_->fixed_batches, job_.evaluation_batch, [&](size_t i) { return file(job_, i); }));
    for (size_t i = 0; i < model_->signature.outputs.size(); ++i) outputs.push_back(file(job_, i));
    return {};
  };
  if (job_.evaluation_inputs.empty() && job_.calibration_inputs.empty()) return {};
  progress("evaluating");
  VERGE_RETURN_IF_ERROR(answer(job_.evaluation_inputs, evaluation_file, result_.evaluation_outputs));
  VERGE_RETURN_IF_ERROR(answer(job_.calibration_inputs, calibration_file, result_.calibration_outputs));
  partial();
  return {};
}

// Where a grid is wanted, of files with a fixed batch every size that there is.
std::vector<int64_t> Worker::runnable_batches() const {
  const auto& fixed = model_->fixed_batches;
  std::vector<int64_t> wanted = job_.batches, batches;
  if (wanted.size() > 1) wanted.insert(wanted.end(), fixed.begin(), fixed.end());
  std::sort(wanted.begin(), wanted.end());
  wanted.erase(std::unique(wanted.begin(), wanted.end()), wanted.end());
  for (int64_t b : wanted) {
    if (b < 1 || (b > 1 && !samples_->inputs_batched())) continue;
    if (!fixed.empty() && std::find(fixed.begin(), fixed.end(), b) == fixed.end()) continue;
    batches.push_back(b);
  }
  return batches;
}

Status Worker::profile_cores(int64_t cores, size_t& done, size_t total) {
  const auto list = first_cores(cores);
  const auto threads = static_cast<int>(cores);
  if (threads != loaded_threads_ || list != loaded_cores_) {
    drop_model();
    VERGE_RETURN_IF_ERROR(os::pin_thread(list));
    VERGE_RETURN_IF_ERROR(load(list, threads, ""));
    VERGE_RETURN_IF_ERROR(open_samples());
    VERGE_RETURN_IF_ERROR(make_runner());
  }
  CellLimits limits{job_.cell_seconds, job_.cell_runs, job_.thorough, started_ + static_cast<uint64_t>(job_.time_limit_s * kGridShare * 1e9)};
  for (int64_t batch : runnable_batches()) {
    if (os::monotonic_ns() >= limits.deadline_ns) return {};
    progress("profiling " + std::to_string(++done) + "/" + std::to_string(total));
    std::vector<std::vector<uint64_t>> stage_times(chain_ ? chain_->stages() : 0);
    auto counted = [&] {
      for (size_t k = 0; k < stage_times.size(); ++k) stage_times[k].push_back(chain_->stage_ns(k));
    };
    auto cell = measure_cell(*runner_, *samples_, batch, cores, limits, chain_ ? std::function<void()>(counted) : nullptr);
    if (!cell.ok() && batch == 1) return cell.status();
    if (!cell.ok()) {
      std::fprintf(stderr, "batch %lld is left out: %s\n", static_cast<long long>(batch), cell.status().to_string().c_str());
      continue;
    }
    result_.profile.latency.push_back(std::move(*cell));
    for (size_t k = 0; k < stage_times.size(); ++k) result_.profile.stages[k].latency.push_back(latency_cell(batch, cores, stage_times[k]));
  }
  return {};
}

Status Worker::profile_energy() {
  VariantProfile& p = result_.profile;
  auto meter = os::open_energy_meter();
  if (!meter.ok()) {
    p.energy_source = "not available: " + meter.status().message();
    return {};
  }
  p.energy_source = (*meter)->about();
  const auto& fixed = model_->fixed_batches;
  if (!fixed.empty() && fixed.front() != 1) return {};
  VERGE_ASSIGN(p.energy_mj, measure_energy(*runner_, *samples_, 1, **meter));
  if (p.energy_mj < 0) p.energy_source = "not available: the counters did not move";
  return {};
}

Status Worker::profile() {
  if (job_.batches.empty() || job_.core_counts.empty()) return {};
  std::vector<int64_t> counts;
  for (int64_t c : job_.core_counts)
    if (c >= 1 && c <= static_cast<int64_t>(all_cores_.size())) counts.push_back(c);
  const size_t total = counts.size() * runnable_batches().size();
  size_t done = 0;
  for (int64_t c : counts) {
    VERGE_RETURN_IF_ERROR(profile_cores(c, done, total));
    if (c == counts.front()) VERGE_RETURN_IF_ERROR(profile_energy());
    partial();
  }
  return {};
}

// Leaves a compiled blob in the cache folder for the second process that measures a cached load. An engine without a cache leaves the
// folder empty, and there is nothing to measure then.
void Worker::fill_cache() {
  if (!job_.measure_cached_load || job_.load.cache_dir.empty()) return;
  progress("filling the engine's cache");
  drop_model();
  const int threads = std::max(1, job_.load.threads);
  Status loaded = load(job_.load.cores.empty() ? first_cores(threads) : job_.load.cores, threads, job_.load.cache_dir);
  if (!loaded.ok()) std::fprintf(stderr, "loading with a cache failed: %s\n", loaded.to_string().c_str());
}

Status Worker::measure() {
  result_.profile.id = job_.variant_id;
  result_.profile.energy_source = "not available: not measured";
  result_.profile.stages.resize(job_.stages.size());
  VERGE_RETURN_IF_ERROR(load_and_warm());
  VERGE_RETURN_IF_ERROR(verify());
  VERGE_RETURN_IF_ERROR(evaluate());
  VERGE_RETURN_IF_ERROR(profile());
  fill_cache();
  return {};
}

Status Worker::cached_load() {
  progress("loading from its cache");
  const int threads = std::max(1, job_.load.threads);
  const auto cores = job_.load.cores.empty() ? first_cores(threads) : job_.load.cores;
  VERGE_RETURN_IF_ERROR(open_engine(cores));
  const uint64_t start = os::monotonic_ns();
  VERGE_RETURN_IF_ERROR(load(cores, threads, job_.load.cache_dir));
  result_.profile.load_ms_cached = ms_since(start);
  return {};
}

int run_job() {
  auto line = read_job();
  WorkerTask task = WorkerTask::kMeasure;
  auto job = line.ok() ? parse_job(*line, task) : Result<WorkerJob>(line.status());
  if (!job.ok()) {
    std::fprintf(stderr, "verge worker: %s\n", job.status().message().c_str());
    return 2;
  }
  Worker worker(std::move(*job));
  Status s = task == WorkerTask::kMeasure ? worker.measure() : worker.cached_load();
  WorkerResult result = worker.result();
  if (!s.ok()) {
    result.profile.verdict = Verdict::kFailed;
    result.profile.reason = s.message();
  } else if (result.profile.verdict == Verdict::kNotMeasured) {
    result.profile.verdict = Verdict::kOk;
  }
  send({{"event", "result"}, {"result", result_json(result)}});
  // Everything is said. Some runtimes crash in their exit handlers, which would tell nothing about the variant.
  std::fflush(nullptr);
  ::_exit(0);
}

}  // namespace

int worker_main() {
  become_worker();
  try {
    return run_job();
  } catch (const std::bad_alloc&) {
    send_text("{\"event\":\"memory\"}\n");
  } catch (const std::exception& e) {
    std::fprintf(stderr, "verge worker: %s\n", e.what());
  }
  return 3;
}

}  // namespace verge::engine
