#include "echo_runtime.h"

#include <time.h>

#include <algorithm>
#include <chrono>

namespace verge::runtime {
void Request::release() {
  if (run) test::EchoRuntime::count_release();
  delete static_cast<std::string*>(pending);
  run = pending = nullptr;
}
}  // namespace verge::runtime

namespace verge::test {
namespace {

using runtime::Request;

uint64_t now_ns() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<uint64_t>(t.tv_sec) * 1'000'000'000u + static_cast<uint64_t>(t.tv_nsec);
}

// INPUT3 is answered as OUTPUT3, every other name as itself.
std::string_view output_name(std::string_view input) {
  static constexpr std::string_view kOutputs[] = {"OUTPUT0", "OUTPUT1", "OUTPUT2", "OUTPUT3", "OUTPUT4",
                                                  "OUTPUT5", "OUTPUT6", "OUTPUT7", "OUTPUT8", "OUTPUT9"};
  if (input.size() == 6 && input.starts_with("INPUT") && input[5] >= '0' && input[5] <= '9') return kOutputs[input[5] - '0'];
  return input;
}

// One BYTES element.
void answer_json(Request& r, std::string_view name, const Json& j) {
  const std::string text = j.dump();
  const auto n = static_cast<uint32_t>(text.size());
  auto* held = new std::string(reinterpret_cast<const char*>(&n), 4);
  held->append(text);
  r.pending = held;
  r.outputs.push_back({name, DType::kBytes, Shape{1}, std::as_bytes(std::span(held->data(), held->size()))});
  r.answered_model = r.model;
  r.answered_version = 1;
  r.run = &r;
}

Json timeout_us(const Request& r) { return r.bounds.deadline_ns ? Json((r.bounds.deadline_ns - r.arrival_ns) / 1000) : Json(); }

// What arrived of a request's parameters.
void answer_bounds(Request& r) {
  Json j = {{"priority", r.bounds.priority}, {"sequence_id", r.sequence.id}, {"sequence_text", r.sequence.text},
            {"sequence_start", r.sequence.start}, {"sequence_end", r.sequence.end}, {"variant", r.bounds.variant}};
  const runtime::Bounds& b = r.bounds;
  j.update({{"min_accuracy", b.min_accuracy}, {"max_energy_mj", b.max_energy_mj}, {"objective", static_cast<int>(b.objective)}, {"rule", b.rule},
            {"confidence", b.confidence}, {"max_accuracy_loss", b.max_accuracy_loss}, {"exit", b.exit}, {"conditions", b.conditions},
            {"trace", b.trace}, {"given", b.given()}});
  j["timeout_us"] = timeout_us(r);
  answer_json(r, "BOUNDS", j);
}

void answer_arrival(Request& r) {
  answer_json(r, "ARRIVAL", {{"arrival_noted", r.arrival_noted}, {"timeout_us", timeout_us(r)}, {"waited_us", (now_ns() - r.arrival_ns) / 1000}});
}

// What a choice is said to have been.
void choose(Request& r) {
  static constexpr std::string_view kTrace = R"({"candidates":[{"variant":"other","passed_over":"accuracy 0.81 < 0.9 \u00e4"}]})";
  r.chosen = {.said = true, .model = "wide", .exit = "exit2", .rule = r.bounds.rule.empty() ? "predictive" : r.bounds.rule, .reason = "the next stage \"may\" be late",
              .accuracy = 0.89, .predicted_ms = 12.5, .measured_ms = 11, .confidence = 0.7, .energy_mj = r.bounds.max_energy_mj >= 0 ? 3.25 : -1,
              .energy_measured = r.bounds.objective == runtime::Objective::kEnergy, .trace = r.bounds.trace ? kTrace : std::string_view()};
}

void answer(Request& r) {
  r.outputs.clear();
  if (r.model == "chosen") {
    if (r.bounds.min_accuracy > 0.95) {
      r.status = failed_precondition("no variant of 'chosen' has an accuracy of 0.96; the best has 0.91");
      return;
    }
    if (r.bounds.deadline_ns && r.bounds.deadline_ns < r.arrival_ns + 1'000'000) {
      r.status = {Code::kDeadlineExceeded, "the deadline cannot be met; 1 ms could be"};
      return;
    }
    choose(r);
  }
  if (r.model == "bounds") return answer_bounds(r);
  if (r.model == "arrival") return answer_arrival(r);
  if (!r.bounds.variant.empty() && r.bounds.variant != "plain" && r.bounds.variant != "other") {
    r.status = not_found("model '" + std::string(r.model) + "' has no variant '" + std::string(r.bounds.variant) + "'");
    return;
  }
  for (const auto& t : r.inputs)
    if (r.wanted_outputs.empty()) r.outputs.push_back({output_name(t.name), t.dtype, t.shape, t.data});
  for (std::string_view wanted : r.wanted_outputs) {
    bool found = false;
    for (const auto& t : r.inputs) {
      if (output_name(t.name) != wanted) continue;
      r.outputs.push_back({wanted, t.dtype, t.shape, t.data});
      found = true;
    }
    if (!found) {
      r.status = invalid_argument("model '" + std::string(r.model) + "' has no output '" + std::string(wanted) + "'");
      return;
    }
  }
  static const std::vector<std::string> kLabels = {"cat", "dog", "sea lion"};
  for (auto& t : r.outputs)
    if (t.shape.rank() && t.shape[t.shape.rank() - 1] == 3) t.labels = &kLabels;
  r.answered_model = r.model;
  r.answered_version = 1;
  r.answered_variant = r.bounds.variant.empty() ? "plain" : r.bounds.variant;
  r.run = &r;
}

}  // namespace

std::atomic<int> EchoRuntime::released_{0};
void EchoRuntime::count_release() { ++released_; }

void EchoFront::drain() {
  Request* list;
  std::vector<std::function<void()>> posted;
  {
    std::lock_guard lock(mutex_);
    list = first_;
    first_ = last_ = nullptr;
    posted.swap(posted_);
  }
  for (auto& fn : posted) fn();
  while (list) {
    Request* next = list->next;
    list->done(list);
    list = next;
  }
}

void EchoFront::post(std::function<void()> fn) {
  std::lock_guard lock(mutex_);
  posted_.push_back(std::move(fn));
  wake_();
}

void EchoRuntime::post(std::function<void()> fn) {
  std::lock_guard lock(fronts_mutex_);
  fronts_.front()->post(std::move(fn));
}

// The wake-up belongs under the lock: once drain() can see the request, the front may end, and this object with it.
void EchoFront::finished(Request* r) {
  r->next = nullptr;
  std::lock_guard lock(mutex_);
  (last_ ? last_->next : first_) = r;
  last_ = r;
  wake_();
}

EchoRuntime::EchoRuntime() : worker_([this] { work(); }) {}

EchoRuntime::~EchoRuntime() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  worker_.join();
}

std::unique_ptr<runtime::Front> EchoRuntime::make_front(std::function<void()> wake) {
  auto front = std::make_unique<EchoFront>(*this, std::move(wake));
  std::lock_guard lock(fronts_mutex_);
  fronts_.push_back(front.get());
  return front;
}

EchoFront::~EchoFront() {
  std::lock_guard lock(owner_.fronts_mutex_);
  std::erase(owner_.fronts_, this);
}

void EchoRuntime::set_ready(bool ready) {
  ready_ = ready;
  std::lock_guard lock(fronts_mutex_);
  for (EchoFront* front : fronts_) front->post([front] { front->changed(); });
}

bool EchoFront::crowded() const { return owner_.crowded_; }

Status EchoRuntime::refuse(runtime::Front&, const Request& r) {
  if (!crowded_ || r.model != "full" || r.bounds.priority == 1) return {};
  return {Code::kDeadlineExceeded, "too much waits before it"};
}

bool EchoRuntime::known(std::string_view name) const {
  return name == "echo" || name == "threaded" || name == "slow" || name == "stuck" || name == "kept" || name == "full" || name == "broken" || name == "bounds" || name == "arrival" || name == "chosen" || name == "damaged";
}

void EchoRuntime::infer(runtime::Front& front, Request& r) {
  r.front = &front;
  ++inferred_;
  if (!known(r.model)) {
    r.status = not_found("unknown model '" + std::string(r.model) + "'");
    r.done(&r);
  } else if (r.version > 1) {
    r.status = not_found("model '" + std::string(r.model) + "' has no version " + std::to_string(r.version));
    r.done(&r);
  } else if (r.model == "broken") {
    r.status = internal_error("it is 100% broken: \xc3\xa4");
    r.done(&r);
  } else if (r.model == "damaged") {
    r.status = unavailable("model 'damaged' cannot be served: its manifest is damaged");
    r.done(&r);
  } else if (r.model == "echo" || r.model == "full" || r.model == "bounds" || r.model == "arrival" || r.model == "chosen") {
    answer(r);
    r.done(&r);
  } else {
    {
      std::lock_guard lock(mutex_);
      (r.model == "slow" || r.model == "stuck" || r.model == "kept" ? slow_ : queue_).push_back(&r);
    }
    changed_.notify_all();
    counted_.notify_all();
    if (r.model == "stuck" && r.late) {
      r.status = {Code::kDeadlineExceeded, "the deadline passed while it ran"};
      r.late(&r);
    }
    if (r.model == "kept" && r.late) {
      answer(r);
      r.run = nullptr;  // what the answer lies in goes when it has come back
      r.late(&r);
    }
  }
}

void EchoRuntime::cancel(runtime::Front&, Request& r) {
  {
    std::lock_guard lock(mutex_);
    const auto at = std::find(slow_.begin(), slow_.end(), &r);
    if (at == slow_.end() || r.model == "stuck" || r.model == "kept") return;  // it is on its way back
    slow_.erase(at);
    ++cancelled_;
  }
  counted_.notify_all();
  r.status = {Code::kCancelled, "cancelled"};
  r.done(&r);
}

void EchoRuntime::work() {
  std::unique_lock lock(mutex_);
  while (true) {
    while (!queue_.empty()) {
      Request* r = queue_.front();
      queue_.pop_front();
      lock.unlock();
      answer(*r);
      static_cast<EchoFront*>(r->front)->finished(r);
      lock.lock();
    }
    for (size_t i = 0; i < slow_.size();) {
      Request* r = slow_[i];
      const bool late = r->bounds.deadline_ns && now_ns() >= r->bounds.deadline_ns;
      if (!late && !release_ && !stop_) {
        ++i;
        continue;
      }
      slow_.erase(slow_.begin() + static_cast<ptrdiff_t>(i));
      if (late)
        r->status = {Code::kDeadlineExceeded, "deadline exceeded"};
      else if (r->model == "kept")
        r->run = r;
      else
        answer(*r);
      static_cast<EchoFront*>(r->front)->finished(r);
      counted_.notify_all();
    }
    if (slow_.empty()) release_ = false;
    if (stop_ && slow_.empty() && queue_.empty()) return;
    if (slow_.empty())
      changed_.wait(lock);
    else
      changed_.wait_for(lock, std::chrono::milliseconds(2));
  }
}

void EchoRuntime::release_slow() {
  {
    std::lock_guard lock(mutex_);
    release_ = true;
  }
  changed_.notify_all();
}

int EchoRuntime::waiting_slow() {
  std::lock_guard lock(mutex_);
  return static_cast<int>(slow_.size());
}

bool EchoRuntime::wait_slow(int n) {
  std::unique_lock lock(mutex_);
  return counted_.wait_for(lock, std::chrono::minutes(1), [&] { return static_cast<int>(slow_.size()) == n; });
}

bool EchoRuntime::wait_cancelled(int n) {
  std::unique_lock lock(mutex_);
  return counted_.wait_for(lock, std::chrono::minutes(1), [&] { return cancelled_ == n; });
}

// Knows the rules whose names begin with p.
Status EchoRuntime::set_bounds(uint32_t tenant, runtime::BoundsDefaults bounds) {
  if (!bounds.rule.empty() && bounds.rule[0] != 'p') return invalid_argument("there is no rule '" + bounds.rule + "'");
  std::lock_guard lock(bounds_mutex_);
  bounds_[tenant] = std::move(bounds);
  return {};
}

Result<runtime::BoundsDefaults> EchoRuntime::bounds(uint32_t tenant) const {
  std::lock_guard lock(bounds_mutex_);
  const auto found = bounds_.find(tenant);
  return found == bounds_.end() ? runtime::BoundsDefaults{} : found->second;
}

Result<bool> EchoRuntime::model_ready(runtime::Front&, std::string_view name, int64_t version) const {
  if (!known(name) || version > 1) return not_found("unknown model '" + std::string(name) + "'");
  return ready_.load() && name != "damaged";
}

Result<std::vector<runtime::ModelStatistics>> EchoRuntime::statistics(runtime::Front&, std::string_view name, int64_t) const {
  if (!name.empty() && !known(name)) return not_found("unknown model '" + std::string(name) + "'");
  runtime::ModelStatistics s;
  s.name = name.empty() ? "echo" : name;
  s.version = 1;
  s.inference_count = 3;
  s.execution_count = 2;
  s.success = {3, 3000};
  s.batches = {{1, {}, {1, 900}, {}}, {2, {}, {1, 1200}, {}}};
  return std::vector<runtime::ModelStatistics>{s};
}

Result<runtime::ModelDoc> EchoRuntime::model_doc(runtime::Front&, std::string_view name, int64_t version) const {
  if (!known(name) || version > 1) return not_found("unknown model '" + std::string(name) + "'");
  runtime::ModelDoc doc;
  doc.name = name;
  doc.versions = {1};
  doc.platform = "verge";
  TensorSpec t;
  t.name = "INPUT0";
  t.dtype = DType::kFp32;
  t.shape = Shape{-1, 16};
  t.batch_axis = 0;
  doc.inputs = {t};
  t.name = "OUTPUT0";
  doc.outputs = {t};
  doc.max_batch = 64;
  doc.instances = 2;
  if (name == "slow") {  // one without a batch axis, with state
    doc.max_batch = 0;
    doc.sequences = true;
    doc.inputs[0].batch_axis = doc.outputs[0].batch_axis = -1;
    doc.inputs[0].shape = Shape{};
  }
  if (name == "damaged") {
    doc.inputs.clear();
    doc.outputs.clear();
    doc.unavailable = failed_precondition("model 'damaged' cannot be served: its manifest is damaged");
  }
  doc.default_variant = "plain";
  doc.parameters = Json{{"default_variant", "plain"}};
  if (name == "echo") doc.parameters["family"] = "threaded";  // whose members it names in turn
  if (name == "threaded") doc.parameters["family"] = Json::array({"echo"});
  return doc;
}

EchoRepository::~EchoRepository() {
  for (auto& t : threads_) t.join();
}

std::vector<runtime::Repository::Entry> EchoRepository::index(bool ready_only) const {
  std::lock_guard lock(mutex_);
  std::vector<Entry> out;
  for (const auto& [name, state] : states_)
    if (!ready_only || state == "READY") {
      const auto most = max_batch_.find(name);
      const std::string told = most == max_batch_.end() || most->second == 0 ? "" : "max_batch " + std::to_string(most->second);
      out.push_back({name, name == "gone" ? 0 : 1, state, state == "READY" ? told : "unloaded"});
    }
  return out;
}

void EchoRepository::change(std::string name, std::string state, Done done) {
  std::lock_guard lock(mutex_);
  if (name == "held") {
    held_.push_back(std::move(done));
    changed_.notify_all();
    return;
  }
  std::vector<Done> released;
  if (name == "release") released.swap(held_);
  changed_.notify_all();
  threads_.emplace_back([this, name, state, done, released] {
    for (const auto& d : released) d({});
    if (name == "bad") return done(invalid_argument("model 'bad': its manifest is damaged"));
    if (name == "unknown") return done(not_found("no package 'unknown' in the zoo"));
    {
      std::lock_guard again(mutex_);
      states_[name] = state;
    }
    done({});
  });
}

void EchoRepository::load(std::string name, Overrides overrides, Done done) {
  {
    std::lock_guard lock(mutex_);
    max_batch_[name] = overrides.max_batch;
  }
  change(std::move(name), "READY", std::move(done));
}
void EchoRepository::unload(std::string name, Done done) { change(std::move(name), "UNAVAILABLE", std::move(done)); }

bool EchoRepository::wait_held(size_t n) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, std::chrono::minutes(1), [&] { return held_.size() == n; });
}

}  // namespace verge::test
