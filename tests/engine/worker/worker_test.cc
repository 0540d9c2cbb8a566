// Workers with the identity engine, an engine that fails on purpose, and ONNX Runtime where it is installed.
#include "engine/worker.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmath>
#include <limits>

#include "core/npy.h"
#include "engine/worker_latency.h"
#include "engine/worker_run.h"
#include "os/files.h"

namespace verge::engine {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string g_home;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

class WorkerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto dir = os::make_temp_dir(g_home, "case");
    ASSERT_TRUE(dir.ok()) << dir.status().message();
    dir_ = *dir;
  }
  std::string file(const std::string& name, std::string_view content) {
    std::string path = os::join(dir_, name);
    Status s = os::write_file_atomic(path, content);
    EXPECT_TRUE(s.ok()) << s.message();
    return path;
  }
  std::string npy(const std::string& name, const Shape& shape, const std::vector<float>& values) {
    Tensor t(DType::kFp32, shape);
    std::copy(values.begin(), values.end(), t.as<float>());
    return file(name, print_npy(t));
  }
  WorkerJob identity(const std::string& json) {
    WorkerJob job;
    job.variant_id = "identity";
    job.engine = "identity";
    job.load.format = "identity";
    job.load.files = {{file("model.json", json), 0}};
    job.log_path = os::join(dir_, "log");
    job.time_limit_s = 60;
    return job;
  }
  WorkerJob faulty(const std::string& script) {
    WorkerJob job;
    job.variant_id = "faulty";
    job.engine = "faulty";
    job.plugin_dir = VERGE_FAULTY_PLUGINS;
    job.load.format = "script";
    job.load.files = {{file("script", script), 0}};
    job.log_path = os::join(dir_, "log");
    job.time_limit_s = 60;
    return job;
  }
  WorkerResult run(const WorkerJob& job) {
    auto r = run_worker(job, [&](const std::string& phase) { phases_.push_back(phase); });
    EXPECT_TRUE(r.ok()) << r.status().message();
    return r.ok() ? *r : WorkerResult();
  }
  std::string log() { return os::read_file(os::join(dir_, "log"), 1 << 20).value(); }

  std::string dir_;
  std::vector<std::string> phases_;
};

constexpr char kPair[] = R"({"tensors": [{"name": "x", "output": "y", "dtype": "FP32", "shape": [-1, 2]}]})";

TEST_F(WorkerTest, MeasuresVerifiesAndEvaluates) {
  WorkerJob job = identity(kPair);
  job.names = {{"image", "x"}, {"probabilities", "y"}};
  job.golden_inputs = {{"image", npy("in.npy", {3, 2}, {1, 2, 3, 4, 5, 6})}};
  job.golden_outputs = {{"probabilities", npy("out.npy", {3, 2}, {1, 2, 3, 4.5, 5, 6})}};
  job.evaluation_inputs = {{"image", npy("eval.npy", {5, 2}, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9})}};
  job.evaluation_outputs_dir = dir_;
  job.evaluation_batch = 2;
  job.batches = {1, 8};
  job.core_counts = {1, 4096};
  job.cell_seconds = 0.05;
  WorkerResult r = run(job);
  ASSERT_EQ(r.profile.verdict, Verdict::kOk) << r.profile.reason;
  EXPECT_EQ(r.profile.id, "identity");
  EXPECT_DOUBLE_EQ(r.profile.max_abs_diff, 0.5);
  EXPECT_EQ(r.profile.compared_samples, 3);
  EXPECT_GT(r.profile.load_ms_cold, 0);
  EXPECT_GT(r.profile.first_run_ms, 0);
  EXPECT_GE(r.profile.resident_bytes, 0);
  EXPECT_LT(r.profile.resident_bytes, 64 << 20);
  EXPECT_EQ(r.profile.executed_precision, "f32");
  EXPECT_EQ(r.signature.inputs.at(0).name, "x");
  ASSERT_EQ(r.profile.latency.size(), 2u);  // 4,096 cores are left out
  const LatencyCell* cell = r.profile.cell(8, 1);
  ASSERT_NE(cell, nullptr);
  EXPECT_LE(cell->n, 1000);
  EXPECT_GT(cell->p50_us, 0);
  EXPECT_EQ(cell->p99_us < 0, cell->n < 1000);
  EXPECT_FALSE(r.profile.energy_source.empty());

  ASSERT_EQ(r.evaluation_outputs.size(), 1u);
  auto text = os::read_file(r.evaluation_outputs[0], 1 << 20);
  ASSERT_TRUE(text.ok());
  auto out = parse_npy(*text, "out");
  ASSERT_TRUE(out.ok()) << out.status().message();
  EXPECT_EQ(out->shape, (Shape{5, 2}));
  for (int i = 0; i < 10; ++i) EXPECT_EQ(out->as<float>()[i], static_cast<float>(i));
  EXPECT_THAT(phases_, ElementsAre("loading", "running its first sample", "loading a second copy", "verifying", "evaluating", "profiling 1/2", "profiling 2/2"));
}

// x, p1 -> (f1, e1) under other names; f1, p2 -> (f2, e2).
TEST_F(WorkerTest, AChainRunsStageAfterStageAndAnswersAtEveryExit) {
  WorkerJob job = identity(kPair);
  job.load.files.clear();
  auto stage = [&](const std::string& n, const std::string& before, const std::string& delay, std::map<std::string, std::string> names) {
    StageJob s;
    s.load.format = "identity";
    s.load.files = {{file("stage" + n + ".json", R"({"tensors": [{"name": "in", "output": "features", "dtype": "FP32", "shape": [-1, 2]},
      {"name": "p)" + n + R"(", "output": "e)" + n + R"(", "dtype": "FP32", "shape": [-1, 3]}], "delay_us": )" + delay + "}"), 0}};
    s.names = std::move(names);
    s.names[before] = "in";
    s.names["f" + n] = "features";
    s.inputs = {before, "p" + n};
    s.outputs = {"e" + n, "f" + n};
    s.exit = "e" + n;
    return s;
  };
  job.stages = {stage("1", "x", "500", {}), stage("2", "f1", "2000", {})};
  job.stages[1].exit = "f2";  // the features have come through both stages
  const std::string x = npy("x.npy", {3, 2}, {1, 2, 3, 4, 5, 6}), p = npy("p.npy", {3, 3}, {1, 2, 3, 4, 5, 6, 7, 8, 9});
  job.golden_inputs = job.evaluation_inputs = job.calibration_inputs = {{"x", x}, {"p1", p}, {"p2", p}};
  job.golden_outputs = {{"e1", p}, {"f2", x}};
  job.evaluation_outputs_dir = dir_;
  job.calibration_outputs_dir = os::join(dir_, "calibration");
  ASSERT_TRUE(os::make_dirs(job.calibration_outputs_dir).ok());
  job.evaluation_batch = 2;
  job.batches = {1, 4};
  job.core_counts = {1};
  job.cell_runs = 10;
  WorkerResult r = run(job);
  ASSERT_EQ(r.profile.verdict, Verdict::kOk) << r.profile.reason;
  EXPECT_EQ(r.profile.max_abs_diff, 0);
  EXPECT_EQ(r.profile.compared_samples, 3);
  ASSERT_EQ(r.signature.inputs.size(), 3u);
  ASSERT_EQ(r.signature.outputs.size(), 2u);
  EXPECT_EQ(r.signature.outputs[1].name, "f2");
  ASSERT_EQ(r.evaluation_outputs.size(), 2u);
  ASSERT_EQ(r.calibration_outputs.size(), 2u);
  for (const auto& outputs : {r.evaluation_outputs, r.calibration_outputs}) {
    EXPECT_EQ(os::read_file(outputs[0], 1 << 20).value(), os::read_file(p, 1 << 20).value());
    EXPECT_EQ(os::read_file(outputs[1], 1 << 20).value(), os::read_file(x, 1 << 20).value());
  }
  ASSERT_EQ(r.profile.stages.size(), 2u);
  for (int64_t batch : {1, 4}) {
    const LatencyCell *whole = r.profile.cell(batch, 1), *first = r.profile.stages[0].cell(batch, 1), *second = r.profile.stages[1].cell(batch, 1);
    ASSERT_TRUE(whole && first && second);
    EXPECT_EQ(whole->n, second->n);
    EXPECT_GE(first->min_us, 500);
    EXPECT_GE(second->min_us, 2000);
    EXPECT_GE(whole->mean_us, first->mean_us + second->mean_us);
  }
  EXPECT_GE(r.profile.stages[1].resident_bytes, 0);

  job.stages[1].inputs[0] = "f9";
  EXPECT_THAT(run(job).profile.reason, HasSubstr("stage 2: the artifact has no input 'f9'"));
  job.stages[1].inputs[0] = "f1";
  job.stages[0].outputs = {"e1"};
  EXPECT_THAT(run(job).profile.reason, HasSubstr("'f1'"));  // taken for a network input now, of which there are no samples
  job.stages[0].load.files[0].first = os::join(dir_, "missing.json");
  EXPECT_THAT(run(job).profile.reason, HasSubstr("stage 1: "));
}

TEST_F(WorkerTest, StringsAreComparedForEquality) {
  WorkerJob job = identity(R"({"tensors": [{"name": "s", "dtype": "BYTES", "shape": [-1, 1]}]})");
  auto strings = [&](const std::string& name, const std::vector<std::string>& items) {
    Tensor t;
    t.dtype = DType::kBytes;
    t.shape = Shape{static_cast<int64_t>(items.size()), 1};
    for (const auto& s : items) {
      auto n = static_cast<uint32_t>(s.size());
      auto* p = reinterpret_cast<const std::byte*>(&n);
      t.data.insert(t.data.end(), p, p + 4);
      p = reinterpret_cast<const std::byte*>(s.data());
      t.data.insert(t.data.end(), p, p + s.size());
    }
    return file(name, print_npy(t));
  };
  job.golden_inputs = job.evaluation_inputs = {{"s", strings("in.npy", {"cat", "", "three words here"})}};
  job.golden_outputs = {{"s", strings("same.npy", {"cat", "", "three words here"})}};
  job.evaluation_outputs_dir = dir_;
  WorkerResult r = run(job);
  EXPECT_EQ(r.profile.verdict, Verdict::kOk) << r.profile.reason;
  EXPECT_EQ(r.profile.max_abs_diff, 0);
  ASSERT_EQ(r.evaluation_outputs.size(), 1u);
  EXPECT_EQ(os::read_file(r.evaluation_outputs[0], 1 << 20).value(), os::read_file(job.golden_inputs["s"], 1 << 20).value());

  job.golden_outputs = {{"s", strings("other.npy", {"cat", "", "three words"})}};
  r = run(job);
  EXPECT_EQ(r.profile.verdict, Verdict::kRejected);
  EXPECT_THAT(r.profile.reason, HasSubstr("1 of 3 output strings"));
}

TEST_F(WorkerTest, BatchAxisThatIsNotInFrontRunsSampleBySample) {
  WorkerJob job = identity(R"({"tensors": [{"name": "x", "dtype": "FP32", "shape": [2, -1], "batch_axis": 1}]})");
  job.golden_inputs = job.golden_outputs = job.evaluation_inputs = {{"x", npy("in.npy", {3, 2}, {1, 2, 3, 4, 5, 6})}};
  job.evaluation_outputs_dir = dir_;
  job.batches = {1, 4};
  job.core_counts = {1};
  job.cell_runs = 5;
  WorkerResult r = run(job);
  ASSERT_EQ(r.profile.verdict, Verdict::kOk) << r.profile.reason;
  EXPECT_EQ(r.profile.max_abs_diff, 0);
  EXPECT_EQ(r.profile.latency.size(), 1u);
  auto out = parse_npy(os::read_file(r.evaluation_outputs.at(0), 1 << 20).value(), "out");
  ASSERT_TRUE(out.ok());
  EXPECT_EQ(out->shape, (Shape{3, 2}));
}

TEST_F(WorkerTest, SaysWhatIsWrongWithSamples) {
  WorkerJob job = identity(kPair);
  job.golden_inputs = {{"x", npy("in.npy", {3, 4}, std::vector<float>(12))}};
  EXPECT_THAT(run(job).profile.reason, AllOf(HasSubstr("takes [-1,2]"), HasSubstr("is [1,4]")));
  job.golden_inputs = {{"x", file("cut.npy", print_npy(Tensor(DType::kFp32, {3, 2})).substr(0, 260))}};
  EXPECT_THAT(run(job).profile.reason, HasSubstr("cut.npy"));
  job.golden_inputs = {{"x", file("ints.npy", print_npy(Tensor(DType::kInt32, {3, 2})))}};
  EXPECT_THAT(run(job).profile.reason, AllOf(HasSubstr("FP32"), HasSubstr("INT32")));
  job.golden_inputs = {{"x", npy("good.npy", {3, 2}, std::vector<float>(6))}};
  job.golden_outputs = {{"y", npy("less.npy", {2, 2}, std::vector<float>(4))}};
  WorkerResult r = run(job);
  EXPECT_EQ(r.profile.verdict, Verdict::kFailed);
  EXPECT_THAT(r.profile.reason, HasSubstr("more elements than the reference"));
  job.golden_outputs = {{"z", npy("z.npy", {3, 2}, std::vector<float>(6))}, {"y", npy("y.npy", {3, 2}, std::vector<float>(6))}};
  EXPECT_THAT(run(job).profile.reason, HasSubstr("no output 'z'"));
}

TEST_F(WorkerTest, UnknownEngineAndBrokenArtifactAreVerdicts) {
  WorkerJob job = identity("{ not json");
  WorkerResult r = run(job);
  EXPECT_EQ(r.profile.verdict, Verdict::kFailed);
  EXPECT_THAT(r.profile.reason, HasSubstr("model.json"));
  job.engine = "abacus";
  EXPECT_THAT(run(job).profile.reason, HasSubstr("abacus"));
}

TEST_F(WorkerTest, CrashNamesSignalAndPhase) {
  WorkerResult r = run(faulty("at=load do=segv"));
  EXPECT_EQ(r.profile.verdict, Verdict::kFailed);
  EXPECT_EQ(r.profile.reason, "killed by signal 11 (SIGSEGV) while loading");
  r = run(faulty("at=run1 do=exit"));
  EXPECT_EQ(r.profile.reason, "ended with exit code 7 while running its first sample");
  // What was known before the crash is kept.
  WorkerJob job = faulty("at=run10 do=segv");
  job.batches = {1};
  job.core_counts = {1};
  r = run(job);
  EXPECT_EQ(r.profile.verdict, Verdict::kFailed);
  EXPECT_EQ(r.profile.reason, "killed by signal 11 (SIGSEGV) while profiling 1/1");
  EXPECT_GT(r.profile.load_ms_cold, 0);
}

TEST_F(WorkerTest, HangEndsAtTheTimeLimit) {
  WorkerJob job = identity(kPair);
  job.load.options = {{"delay_us", "50000000"}};
  job.time_limit_s = 0.5;
  WorkerResult r = run(job);
  EXPECT_EQ(r.profile.verdict, Verdict::kFailed);
  EXPECT_EQ(r.profile.reason, "stopped after 0.5 s, its time limit, while running its first sample");
}

TEST_F(WorkerTest, MemoryLimitIsNamed) {
  if (kSanitized) GTEST_SKIP() << "skipped: sanitizer builds have no memory limits";
  WorkerJob job = faulty("at=load do=allocate");
  job.memory_limit = uint64_t{256} << 20;
  WorkerResult r = run(job);
  EXPECT_EQ(r.profile.verdict, Verdict::kFailed);
  EXPECT_THAT(r.profile.reason, AllOf(HasSubstr("not enough memory"), HasSubstr("memory limit of 256 MiB")));
}

TEST_F(WorkerTest, EngineErrorIsTheReason) {
  WorkerResult r = run(faulty("at=run1 do=error"));
  EXPECT_EQ(r.profile.verdict, Verdict::kFailed);
  EXPECT_THAT(r.profile.reason, HasSubstr("node 'Conv_7' has no kernel"));
}

TEST_F(WorkerTest, LyingWorkerIsNotBelieved) {
  WorkerResult r = run(faulty("at=run1 do=garble"));
  EXPECT_EQ(r.profile.verdict, Verdict::kFailed);
  EXPECT_THAT(r.profile.reason, HasSubstr("makes no sense"));
  r = run(faulty("short"));
  EXPECT_THAT(r.profile.reason, HasSubstr("a size that is not that of its shape"));
}

TEST_F(WorkerTest, NanIsRejectedAndPassesNoLimit) {
  WorkerJob job = faulty("nan");
  job.golden_inputs = job.golden_outputs = {{"x", npy("in.npy", {2, 2}, {1, 2, 3, 4})}};
  WorkerResult r = run(job);
  EXPECT_EQ(r.profile.verdict, Verdict::kRejected);
  EXPECT_EQ(r.profile.max_abs_diff, std::numeric_limits<double>::max());
  EXPECT_THAT(r.profile.reason, HasSubstr("1 of 4 outputs are NaN"));
  // NaN in both is equal.
  job.golden_outputs = {{"x", npy("nan.npy", {2, 2}, {1, 2, 3, NAN})}};
  r = run(job);
  EXPECT_EQ(r.profile.verdict, Verdict::kOk) << r.profile.reason;
  EXPECT_EQ(r.profile.max_abs_diff, 0);
}

TEST_F(WorkerTest, FixedBatchRunsInItsSizeAndIsMeasuredInIt) {
  WorkerJob job = faulty("off batch=1");
  job.golden_inputs = job.golden_outputs = {{"x", npy("in.npy", {3, 2}, {1, 2, 3, 4, 5, 6})}};
  job.batches = {1, 8};
  job.core_counts = {1};
  job.cell_runs = 7;
  WorkerResult r = run(job);
  EXPECT_EQ(r.profile.verdict, Verdict::kOk) << r.profile.reason;
  EXPECT_DOUBLE_EQ(r.profile.max_abs_diff, 0.25);
  EXPECT_EQ(r.profile.compared_samples, 3);
  ASSERT_EQ(r.profile.latency.size(), 1u);
  EXPECT_EQ(r.profile.latency[0].batch, 1);
  EXPECT_EQ(r.profile.latency[0].n, 7);
  EXPECT_LT(r.profile.latency[0].p90_us, 0) << "seven runs carry no p90";
}

TEST_F(WorkerTest, CachedLoadIsMeasuredWhereThereIsACache) {
  WorkerJob job = faulty("cache");
  job.load.cache_dir = os::join(dir_, "cache");
  ASSERT_TRUE(os::make_dirs(job.load.cache_dir).ok());
  EXPECT_GT(run(job).profile.load_ms_cached, 0);
  job = faulty("no blob");
  job.load.cache_dir = os::join(dir_, "empty");
  ASSERT_TRUE(os::make_dirs(job.load.cache_dir).ok());
  EXPECT_LT(run(job).profile.load_ms_cached, 0);
}

TEST_F(WorkerTest, MissingProgramIsNoVerdict) {
  // With a log path that cannot be written no worker can be started: that is not the variant's fault.
  WorkerJob job = identity(kPair);
  job.log_path = os::join(dir_, "no/such/folder/log");
  EXPECT_FALSE(run_worker(job, nullptr).ok());
}

TEST_F(WorkerTest, OnnxRuntimeRefusesATruncatedModel) {
  auto catalog = Catalog::scan(VERGE_BUILD_PLUGINS);
  ASSERT_TRUE(catalog.ok()) << catalog.status().message();
  const Descriptor* d = (*catalog)->find("onnxruntime");
  if (!d || !d->unavailable.empty()) GTEST_SKIP() << "skipped: " << (d ? d->unavailable : "ONNX Runtime's plugin is not built");
  WorkerJob job = identity(kPair);
  job.engine = "onnxruntime";
  job.load.format = "onnx";
  job.load.files = {{file("model.onnx", std::string("\x08\x08\x12\x0bskl2onnx:\xff\xff\xff\xff", 18)), 0}};
  WorkerResult r = run(job);
  EXPECT_EQ(r.profile.verdict, Verdict::kFailed);
  EXPECT_FALSE(r.profile.reason.empty());
}

TEST(LatencyCellTest, QuantilesNeedEnoughRuns) {
  std::vector<uint64_t> times;
  for (uint64_t i = 1; i <= 1000; ++i) times.push_back(i * 1000);
  LatencyCell c = latency_cell(1, 1, times);
  EXPECT_DOUBLE_EQ(c.p50_us, 500);
  EXPECT_DOUBLE_EQ(c.p90_us, 900);
  EXPECT_DOUBLE_EQ(c.p99_us, 990);
  EXPECT_DOUBLE_EQ(c.mean_us, 500.5);
  int64_t sketched = 0;
  for (auto [bucket, count] : c.sketch) sketched += count;
  EXPECT_EQ(sketched, 1000);
  EXPECT_EQ(c.sketch.front(), std::make_pair(0, int64_t{1}));
  times.resize(19);
  c = latency_cell(1, 1, times);
  EXPECT_DOUBLE_EQ(c.p50_us, 10);
  EXPECT_LT(c.p90_us, 0);
  EXPECT_LT(c.p99_us, 0);
}

}  // namespace
}  // namespace verge::engine

// The program is its own worker: run_worker starts the install's executable, and VERGE_HOME makes this one an install.
int main(int argc, char** argv) {
  if (argc > 1 && std::string_view(argv[1]) == "worker") return verge::engine::worker_main();
  auto home = verge::os::make_temp_dir("/tmp", "worker_test");
  if (!home.ok()) return 2;
  verge::engine::g_home = *home;
  auto self = verge::os::absolute("/proc/self/exe");
  const std::string plugins = *home + "/lib/verge/plugins";
  if (!self.ok() || !verge::os::make_dirs(*home + "/bin").ok() || !verge::os::make_dirs(*home + "/lib/verge").ok()) return 2;
  if (::symlink(self->c_str(), (*home + "/bin/verge").c_str()) != 0 || ::symlink(VERGE_BUILD_PLUGINS, plugins.c_str()) != 0) return 2;
  ::setenv("VERGE_HOME", home->c_str(), 1);
  ::testing::InitGoogleTest(&argc, argv);
  int rc = RUN_ALL_TESTS();
  (void)verge::os::remove_tree(*home);
  return rc;
}
