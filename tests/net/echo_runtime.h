// A Runtime for tests of the data plane: answers are the inputs, with labels where the last axis is 3 long. OUTPUT0 is batched. Models by name:
//   echo      answers before infer() returns
//   threaded  answers from another thread
//   slow      is held until it is cancelled, its deadline passes, or release_slow() is called
//   stuck     says that its deadline has passed while it runs, and is held until release_slow()
//   kept      answers at its deadline while it runs, and is held until release_slow()
//   full      is refused by its head once set_crowded(true) was called; else it echoes
//   broken    fails with kInternal
//   damaged   cannot be served
//   bounds    answers what arrived of the parameters, as JSON in one BYTES output
//   arrival   answers how long ago the request arrived, and whether the kernel noted it, likewise
//   chosen    echoes, and says that something was chosen; refuses accuracies above 0.95 and deadlines below 1 ms
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <thread>

#include "runtime/api.h"

namespace verge::test {

class EchoRuntime;

class EchoFront final : public runtime::Front {
 public:
  EchoFront(EchoRuntime& owner, std::function<void()> wake) : owner_(owner), wake_(std::move(wake)) {}
  ~EchoFront() override;
  void drain() override;
  uint64_t next_timer_ns() const override { return UINT64_MAX; }
  void post(std::function<void()> fn) override;
  void on_change(std::function<void()> fn) override { changed_ = std::move(fn); }
  bool crowded() const override;
  void changed() {
    if (changed_) changed_();
  }
  void finished(runtime::Request* request);  // any thread

 private:
  EchoRuntime& owner_;
  std::function<void()> wake_, changed_;
  std::mutex mutex_;
  runtime::Request* first_ = nullptr;
  runtime::Request* last_ = nullptr;
  std::vector<std::function<void()>> posted_;
};

class EchoRuntime final : public runtime::Runtime {
 public:
  EchoRuntime();
  ~EchoRuntime() override;

  std::unique_ptr<runtime::Front> make_front(std::function<void()> wake) override;
  void infer(runtime::Front& front, runtime::Request& request) override;
  void cancel(runtime::Front& front, runtime::Request& request) override;
  Status refuse(runtime::Front& front, const runtime::Request& request) override;
  Status set_bounds(uint32_t tenant, runtime::BoundsDefaults bounds) override;
  Result<runtime::BoundsDefaults> bounds(uint32_t tenant) const override;
  bool live() const override { return true; }
  bool ready() const override { return ready_; }
  Result<bool> model_ready(runtime::Front&, std::string_view name, int64_t version) const override;
  Result<runtime::ModelDoc> model_doc(runtime::Front&, std::string_view name, int64_t version) const override;
  Result<std::vector<runtime::ModelStatistics>> statistics(runtime::Front&, std::string_view name, int64_t version) const override;
  std::string metrics_text() const override { return "# HELP echo_runs_total Runs.\n# TYPE echo_runs_total counter\necho_runs_total 0\n"; }
  void begin_drain(std::function<void()> drained) override { drained(); }

  void set_ready(bool ready);
  void set_crowded(bool crowded) { crowded_ = crowded; }
  void post(std::function<void()> fn);  // to the first front's thread
  int inferred() const { return inferred_; }
  void release_slow();
  int waiting_slow();
  // Until exactly so many are held, or so many were cancelled in all; false if that takes a minute.
  bool wait_slow(int n);
  bool wait_cancelled(int n);
  int cancelled() const { return cancelled_; }
  int released() const { return released_; }
  static void count_release();

 private:
  friend class EchoFront;
  void work();
  bool known(std::string_view name) const;

  std::atomic<bool> ready_{true}, crowded_{false};
  std::atomic<int> inferred_{0};
  std::atomic<int> cancelled_{0};
  static std::atomic<int> released_;
  std::mutex mutex_;
  std::condition_variable changed_, counted_;
  std::deque<runtime::Request*> queue_, slow_;
  bool release_ = false;
  bool stop_ = false;
  mutable std::mutex bounds_mutex_;
  std::map<uint32_t, runtime::BoundsDefaults> bounds_;
  std::mutex fronts_mutex_;
  std::vector<EchoFront*> fronts_;
  std::thread worker_;
};

// A Repository for the same tests. Loading "bad" fails, what is done to "held" is done when "release" is loaded; all on another thread.
class EchoRepository final : public runtime::Repository {
 public:
  ~EchoRepository() override;
  std::vector<Entry> index(bool ready_only) const override;
  void load(std::string name, Overrides overrides, Done done) override;
  void unload(std::string name, Done done) override;
  bool wait_held(size_t n);  // until so many wait; false if that takes a minute

 private:
  void change(std::string name, std::string state, Done done);
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::string, std::string> states_{{"echo", "READY"}, {"gone", "UNAVAILABLE"}};
  std::map<std::string, int64_t> max_batch_;  // what was said at the load, told as the reason
  std::vector<Done> held_;
  std::vector<std::thread> threads_;
};

}  // namespace verge::test
