// An in-process server without sockets: models of the identity engine, a runtime, and fronts driven by the test's own thread.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "core/json.h"
#include "engine/catalog.h"
#include "os/files.h"
#include "os/process.h"
#include "runtime/runtime.h"

namespace verge::runtime {

// Looks whether the machine lets a thread that wants to run do so: sleeps for two milliseconds again and again, and tells by how much it ever overslept.
class StallProbe {
 public:
  StallProbe()
      : thread_([this] {
          using Clock = std::chrono::steady_clock;
          constexpr std::chrono::milliseconds kPause{2};
          std::unique_lock lock(mutex_);
          while (!ended_) {
            const auto due = Clock::now() + kPause;
            changed_.wait_until(lock, due, [this] { return ended_; });
            if (!ended_) worst_ = std::max(worst_, Clock::now() - due);
          }
        }) {}
  ~StallProbe() { (void)end(); }
  StallProbe(const StallProbe&) = delete;

  // The longest that it was late.
  std::chrono::nanoseconds end() {
    {
      std::lock_guard lock(mutex_);
      ended_ = true;
    }
    changed_.notify_one();
    if (thread_.joinable()) thread_.join();
    return worst_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool ended_ = false;
  std::chrono::steady_clock::duration worst_{};
  std::thread thread_;
};

// A scenario of milliseconds that whoever else uses the machine can spoil: it has to come out as it should once in a few tries, each with whatever it
// learns from its own. A try in which the machine stood still is not counted, as long as it does not do so always. `attempt(i)` says what was wrong, or nothing.
template <typename Attempt>
std::string in_some_try(Attempt attempt, int tries = 5) {
  std::string wrong;
  for (int i = 0, counted = 0; counted < tries && i < 5 * tries; ++i) {
    StallProbe probe;
    wrong = attempt(i);
    if (wrong.empty()) break;
    counted += probe.end() < std::chrono::milliseconds(10) ? 1 : 0;
  }
  return wrong;
}

inline uint64_t after_ms(uint64_t ms) { return os::monotonic_ns() + ms * 1'000'000; }

class TempDir {
 public:
  TempDir() {
    auto made = os::make_temp_dir("/tmp", "verge-test-");
    EXPECT_TRUE(made.ok()) << made.status().to_string();
    if (made.ok()) path = *made;
  }
  ~TempDir() { (void)os::remove_tree(path).ok(); }
  std::string path;
};

// A front whose loop is the test's thread: waits for wake-ups, drains.
class TestFront {
 public:
  explicit TestFront(Runtime& runtime) : runtime_(runtime) {
    front_ = runtime.make_front([this] {
      std::lock_guard lock(mutex_);
      woken_ = true;
      changed_.notify_one();
    });
  }
  Front& front() { return *front_; }
  // As at the end of a loop turn in which the request came in: what was sent to the front before is seen.
  void infer(Request& request) {
    front_->drain();
    runtime_.infer(*front_, request);
  }

  // A loop's turns until `done` holds.
  template <typename Done>
  bool run_until(Done done, uint64_t limit_ms = 60'000) {
    const uint64_t end = after_ms(limit_ms);
    while (true) {
      front_->drain();
      if (done()) return true;
      std::unique_lock lock(mutex_);
      const uint64_t now = os::monotonic_ns();
      if (now >= end) return false;
      const uint64_t at = std::min(end, front_->next_timer_ns());
      if (at > now) changed_.wait_for(lock, std::chrono::nanoseconds(at - now), [&] { return woken_; });
      woken_ = false;
    }
  }

 private:
  Runtime& runtime_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool woken_ = false;
  std::unique_ptr<Front> front_;  // ends first: until then lanes may be in its wake function
};

// A request with one FP32 input and what came of it.
struct Call {
  Request request;
  std::vector<float> data;
  bool done = false;
  int times = 0;

  Call() {
    request.owner = this;
    request.done = [](Request* r) {
      Call* c = static_cast<Call*>(r->owner);
      c->done = true;
      ++c->times;
    };
  }
  ~Call() { request.release(); }
  Call(const Call&) = delete;

  Call& to(std::string_view model) {
    request.model = model;
    return *this;
  }
  Call& input(std::string_view name, Shape shape, std::vector<float> values) {
    data = std::move(values);
    request.inputs = {{name, DType::kFp32, shape, std::as_bytes(std::span(data))}};
    return *this;
  }
  std::vector<float> floats(size_t output = 0) const {
    const auto bytes = request.outputs.at(output).data;
    std::vector<float> out(bytes.size() / 4);
    std::memcpy(out.data(), bytes.data(), bytes.size());
    return out;
  }
};

struct Options {
  uint32_t fronts = 1;
  size_t lanes = 1;  // 0: the front runs
  uint32_t queue_limit = 4096;
  uint64_t memory_limit = 0;
  uint64_t hand_off_ns = 0;  // 0: a front never takes a lane
  uint64_t load_retry_ns = 0;
  os::EnergyModel energy = {};
  std::shared_ptr<os::EnergyMeter> energy_meter = {};
};

class Server {
 public:
  explicit Server(Options o = {}) {
    auto catalog = engine::Catalog::scan(os::install().plugin_dir);
    EXPECT_TRUE(catalog.ok()) << catalog.status().to_string();
    RuntimeOptions options;
    options.catalog = *catalog;
    options.fronts = o.fronts;
    options.lanes.resize(o.lanes);
    options.queue_limit = o.queue_limit;
    options.memory_limit = o.memory_limit;
    options.hand_off_ns = o.hand_off_ns;
    options.load_retry_ns = o.load_retry_ns;
    options.energy = o.energy;
    options.energy_meter = o.energy_meter;
    options.log = [this](LogLevel, std::string_view event, Json fields) {
      std::lock_guard lock(log_mutex_);
      log_.push_back(std::string(event) + " " + fields.dump());
    };
    auto made = make_runtime(std::move(options));
    EXPECT_TRUE(made.ok()) << made.status().to_string();
    runtime = std::move(made).value();
  }

  std::string logged() const {
    std::lock_guard lock(log_mutex_);
    std::string all;
    for (const auto& line : log_) all += line + "\n";
    return all;
  }

  // A source of one identity network with the given tensors, served as they are, with variants "fast" (default) and "slow".
  std::shared_ptr<ModelSource> source(const std::string& name, std::vector<TensorSpec> tensors, int64_t version = 1) {
    auto s = std::make_shared<ModelSource>();
    s->name = name;
    s->version = version;
    Manifest& m = s->manifest;
    m.name = name;
    m.version = version;
    Json list = Json::array();
    for (const TensorSpec& t : tensors) {
      list.push_back({{"name", t.name}, {"dtype", dtype_name(t.dtype)}, {"shape", Json(std::vector<int64_t>(t.shape.dims().begin(), t.shape.dims().end()))},
                      {"batch_axis", t.batch_axis}});
      m.network.inputs.push_back(t);
      m.network.outputs.push_back(t);
      m.inputs.push_back({t, t.name, {}});
      m.outputs.push_back({t, t.name, {}});
    }
    const std::string path = os::join(dir_.path, name + "-" + std::to_string(version) + ".json");
    EXPECT_TRUE(os::write_file_atomic(path, Json{{"tensors", list}}.dump()).ok());
    for (const char* id : {"fast", "slow", "never"}) {
      VariantSpec v;
      v.id = id;
      v.engine = "identity";
      m.variants.push_back(v);
      VariantProfile p;
      p.id = id;
      p.verdict = std::string_view(id) == "never" ? Verdict::kRejected : Verdict::kOk;
      if (p.verdict != Verdict::kOk) p.reason = "differs from the reference by 0.9, the limit is 0.1";
      p.resident_bytes = 1 << 20;
      s->profile.variants.push_back(p);
    }
    s->default_variant = "fast";
    s->prepare = [path, delay = slow_us_](const VariantSpec& v) -> Result<engine::LoadSpec> {
      engine::LoadSpec l;
      l.files = {{path, 0}};
      l.format = "identity";
      if (v.id == "slow") l.options["delay_us"] = std::to_string(delay);
      return l;
    };
    return s;
  }
  static TensorSpec vector_spec(const std::string& name, int64_t width) { return {name, DType::kFp32, Shape{-1, width}, 0, {}}; }

  void serve(std::shared_ptr<ModelSource> s) {
    runtime->serve(std::move(s));
    runtime->settle();
  }
  void slow_us(int us) { slow_us_ = us; }

  const std::string& dir() const { return dir_.path; }

 private:
  TempDir dir_;
  int slow_us_ = 20'000;
  mutable std::mutex log_mutex_;
  std::vector<std::string> log_;

 public:
  std::unique_ptr<ServerRuntime> runtime;  // ends first: its threads log
};

}  // namespace verge::runtime
