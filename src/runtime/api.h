// All that protocols see of the runtime: requests in, answers out, and what there is to say about models.
//
// Threads. A front thread owns its connections, its Requests and one Front. It fills in a Request and calls Runtime::infer(). The request
// comes back exactly once, on the same front thread, by Request::done: before infer() or cancel() returns (errors, inline runs, queue places
// given up), or later from Front::drain(), which the front's loop calls after its wake function was called (from any thread) and at
// Front::next_timer_ns().
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/json.h"
#include "core/manifest.h"
#include "core/status.h"
#include "core/tensor.h"

namespace verge::runtime {

// A tensor of a request. Everything points into memory that the front keeps until the request is done. BYTES data is in wire form.
struct InputTensor {
  std::string_view name;
  DType dtype = DType::kInvalid;
  Shape shape;
  std::span<const std::byte> data;
};

struct OutputTensor {
  std::string_view name;
  DType dtype = DType::kInvalid;
  Shape shape;
  std::span<const std::byte> data;  // valid until Request::release()
  const std::vector<std::string>* labels = nullptr;  // of the classes along the last axis, where the model has as many
};

enum class Objective : uint8_t { kUnset, kAccuracy, kLatency, kEnergy };

// What a request demands. Parameters that the protocol carries under these names ("verge.variant"); views as above. What is not given here is
// the tenant's default (BoundsDefaults).
struct Bounds {
  uint64_t deadline_ns = 0;    // absolute, os::monotonic_ns(); 0: none. "verge.deadline_ms" counts from arrival
  std::string_view variant = {};  // "verge.variant"; empty: the server chooses
  double min_accuracy = -1;    // "verge.min_accuracy", in the unit of the model's metric, which must be one where larger is better; negative: none
  double max_energy_mj = -1;   // "verge.max_energy_mj", of one request; negative: none
  Objective objective = Objective::kUnset;  // "verge.objective": "accuracy", "latency", "energy": what is best among those within the bounds
  std::string_view rule = {};  // "verge.rule": which exit rule: "predictive", "reactive", "confidence", "entropy", "fixed", "conditions"
  double confidence = -1;      // "verge.confidence", 0…1: leave at the first exit whose largest score reaches it; negative: not given
  double max_accuracy_loss = -1;    // "verge.max_accuracy_loss": which point of the calibrated curve the rules confidence and entropy take
  std::string_view exit = {};  // "verge.exit": the exit of rule "fixed", by name
  std::string_view conditions = {};  // "verge.conditions": a condition an exit, "exit1: elapsed > 20 or confidence >= 0.9; exit2: …"
  bool every_exit = false;     // "verge.every_exit": the answers of earlier exits too, each when it is there (Request::early)
  bool trace = false;          // "verge.trace": say which candidates there were, and why each was passed over
  bool given() const {
    return min_accuracy >= 0 || max_energy_mj >= 0 || objective != Objective::kUnset || !rule.empty() || confidence >= 0 || max_accuracy_loss >= 0 || !exit.empty() ||
           !conditions.empty() || every_exit || trace;
  }
  uint64_t priority = 0;       // 1 goes first, then 2, …; 0: the default, kDefaultPriority. Larger than kLowestPriority counts as that
};
inline constexpr uint64_t kDefaultPriority = 4;
inline constexpr uint64_t kLowestPriority = 7;

// A tenant's bounds for requests that do not name their own. Changed as a whole while requests run (Runtime::set_bounds).
struct BoundsDefaults {
  double deadline_ms = 0;      // from arrival; 0: none
  double min_accuracy = -1;
  double max_energy_mj = -1;
  Objective objective = Objective::kUnset;
  std::string rule;            // empty: "predictive"
  double confidence = -1;
  double max_accuracy_loss = -1;
  std::string exit;
  std::string conditions;
};

// What answered and why. Said to the client where the request or its tenant has bounds, or the model has exits.
struct Chosen {
  bool said = false;
  bool several = false;        // answers of earlier exits may have gone before
  std::string_view model;      // of a family: the member that answered
  std::string_view exit;       // empty: the model has none
  std::string_view rule;
  std::string_view reason;     // why it left at this exit, or why this variant: a few words
  double accuracy = -1;        // expected, in the metric's unit; negative: unknown, as below
  double predicted_ms = -1;    // from arrival to the answer, the cautious quantile, at admission
  double measured_ms = -1;     // from arrival until the answer was there
  double confidence = -1;      // largest score of the answer
  double energy_mj = -1;       // of this request
  bool energy_measured = false;  // by a meter; else by the declared model
  std::string_view trace;      // JSON: {"candidates": [{"model", "variant", "exit", "accuracy", "predicted_ms", "energy_mj", "passed_over": "accuracy 0.81 < 0.9"}, …]}
};

struct Request;
// The answer of an exit beyond which the model goes on, where every exit's are asked for. Of the model, the version and so on what Request says in the end.
struct EarlyAnswer {
  EarlyAnswer* next = nullptr;
  Request* request = nullptr;
  std::vector<OutputTensor> outputs;
  std::string_view model, variant;
  int64_t version = 0;
  Chosen chosen;  // without the trace
};

// Requests that belong together, in order, on one engine instance (sequence_id, sequence_start, sequence_end).
struct Sequence {
  uint64_t id = 0;          // 0 and no text: the request belongs to none
  std::string_view text;    // an id that is a string
  bool start = false, end = false;
  bool given() const { return id != 0 || !text.empty(); }
};

// Who asks: an index in RuntimeOptions::tenants and ServerOptions' list alike. 0 is the default tenant, which always exists.
inline constexpr uint32_t kMostTenants = 64;

// The most samples that a request to a model without a limit of its own may hold.
inline constexpr int64_t kMostBatch = 1024;

class ModelState;  // the runtime's own
class Front;

// Owned and pooled by a front. The front fills the first part, the runtime the second. Not copied, not moved.
struct Request {
  // --- filled in by the front ---
  std::string_view model;
  int64_t version = 0;  // 0: the latest served
  std::string_view id;
  std::vector<InputTensor> inputs;                // reused: keeps its capacity
  std::vector<std::string_view> wanted_outputs;   // empty: all
  Bounds bounds;
  Sequence sequence;
  uint32_t tenant = 0;
  uint32_t flow = 0;     // the connection: requests of one tenant's flows take turns
  uint64_t arrival_ns = 0;  // os::monotonic_ns(); when its last byte came to this machine, or if nobody noted that, when the front saw that there was something to read
  bool arrival_noted = false;
  void (*done)(Request*) = nullptr;  // on the front thread
  // Called once, before `done`, where the deadline passes while a lane runs the request; `status` says so then; or, of a model with exits, shortly before it, with
  // the answer of the last exit that was reached, which stays until release(), after `done`. What runs cannot be stopped, but nobody need wait for it: until `done` the
  // request, and what its views point to, stay the runtime's. nullptr: nobody wants to know.
  void (*late)(Request*) = nullptr;
  // On the front thread, before `done`: an exit's answer while the model goes on; it is gone when this returns. nullptr: the caller takes one answer only.
  void (*early)(Request*, const EarlyAnswer&) = nullptr;
  void* owner = nullptr;             // the front's own (its stream)

  // --- the answer ---
  Status status;
  std::vector<OutputTensor> outputs;   // reused
  std::string_view answered_model;     // name, version and variant that answered; valid until release()
  int64_t answered_version = 0;
  std::string_view answered_variant;
  Chosen chosen;             // valid until release()
  uint64_t queue_ns = 0;     // from arrival until a lane took it
  uint64_t assembly_ns = 0;  // transforms and putting the batch together
  uint64_t compute_ns = 0;   // the engine, and transforms of the outputs
  uint32_t batch = 0;        // samples in the engine run that answered

  // --- measured by the front, for the runtime's histograms; set before release() ---
  uint64_t encode_ns = 0;    // from `done` to the encoded response

  // Gives back what the answer's views point to. Called by the front when the response is written; idempotent.
  void release();

  // --- the runtime's ---
  Request* next = nullptr;
  Front* front = nullptr;
  void* pending = nullptr;  // the run that is to answer
  void* run = nullptr;      // buffers of the run that answered
};

// The runtime's part of a front thread.
class Front {
 public:
  virtual ~Front() = default;
  // Ends the requests that lanes have finished, runs posted functions. Called on the front thread after a wake-up, and once a loop turn.
  virtual void drain() = 0;
  // When drain() is to be called even without a wake-up (a queued request's deadline), as os::monotonic_ns(); UINT64_MAX: never.
  virtual uint64_t next_timer_ns() const = 0;
  // Runs `fn` on the front thread. Any thread. Not for the request path: it allocates.
  virtual void post(std::function<void()> fn) = 0;
  // `fn` is called on the front thread, from drain(), after what is served has changed, or Runtime::ready(). Once, before the loops start.
  virtual void on_change(std::function<void()> fn) = 0;
  // Whether requests are being turned away lately, so that it pays to ask Runtime::refuse() before a request is read to its end. On the front's own thread.
  virtual bool crowded() const { return false; }
};

struct ModelDoc {
  std::string name;
  int64_t version = 0;
  std::vector<int64_t> versions;
  std::string platform;  // "verge"
  int64_t max_batch = 0;      // samples that a request may hold along the batch axis; 0: not every tensor has one as its first axis
  uint32_t instances = 1;     // lanes that run it
  bool decoupled = false;     // in streams a request is answered once an exit, whether it asks for that or not
  bool sequences = false;     // it keeps state from one request of a sequence to the next
  Status unavailable;         // not ok: it cannot answer, and why
  std::vector<TensorSpec> inputs, outputs;
  std::string default_variant;
  Json parameters;  // variants with accuracy, latency and state, for metadata's `parameters`
};

// What the statistics extension tells of one version of a model. All counters since the server started.
struct DurationStat {
  uint64_t count = 0, ns = 0;
};
struct ModelStatistics {
  std::string name;
  int64_t version = 0;
  uint64_t last_inference_ms = 0;  // since 1970; 0: never
  uint64_t inference_count = 0;    // samples
  uint64_t execution_count = 0;    // engine runs
  DurationStat success, fail, queue, compute_input, compute_infer, compute_output;
  struct Batch {
    uint64_t size = 0;
    DurationStat compute_input, compute_infer, compute_output;
  };
  std::vector<Batch> batches;  // ascending sizes that were run
};

// Whoever manages what is served, as protocols see it. Any thread; nothing here waits for a load.
class Repository {
 public:
  struct Entry {
    std::string name;
    int64_t version = 0;
    std::string state;   // "READY", "LOADING", "UNLOADING", "UNAVAILABLE"
    std::string reason;  // of what is not ready
  };
  // What a load asks to be other than the packages say; it holds until the model is unloaded, or loaded again without it.
  struct Overrides {
    int64_t max_batch = 0;  // the most samples that a request or a batch of several may hold; 0: as ever
  };
  using Done = std::function<void(Status)>;  // called once, on any thread, also before the call that was given it returns
  // `report`: {"changed": […], "refused": […]}, lists of texts for a person; what was refused changed nothing.
  using Reported = std::function<void(Json report)>;

  virtual ~Repository() = default;
  virtual std::vector<Entry> index(bool ready_only) const = 0;
  // Looks at the model's folder again and serves what is there; done when its default variants are loaded or have failed. Overrides that its versions cannot
  // be served with are refused, and change nothing.
  virtual void load(std::string name, Overrides overrides, Done done) = 0;
  // Stops serving the model; done when its last request has ended and its memory is given back.
  virtual void unload(std::string name, Done done) = 0;
  // Looks at everything again: all models' folders, the configuration, certificates. `done` when all that came of it is loaded or refused.
  virtual void reload(Reported done) { done({{"changed", Json::array()}, {"refused", Json::array({"this server has nothing to reload"})}}); }
};

class Runtime {
 public:
  virtual ~Runtime() = default;

  // One for each front thread, made before the loops start. `wake` is called from any thread when drain() has something to do.
  virtual std::unique_ptr<Front> make_front(std::function<void()> wake) = 0;

  // On the front's own thread.
  virtual void infer(Front& front, Request& request) = 0;
  // Whether infer() would turn the request away at once, whatever its tensors hold: for the time that what is before it takes, or for want of a place. Model, version, bounds,
  // sequence, tenant, flow and arrival are filled in. An error is its answer, and is counted. On the front's own thread.
  virtual Status refuse(Front& /*front*/, const Request& /*request*/) { return {}; }
  // On the front's own thread: nobody waits for this request any more (client gone, stream reset). Where it has not begun, its place in the
  // queue is free and `done` has been called, with kCancelled, when this returns; where it runs, `done` comes when the run ends.
  virtual void cancel(Front& front, Request& request) = 0;

  // Checks and takes over a tenant's defaults. Any thread; requests that come after this returns, on any front, follow the new ones soon (each front at
  // its next turn); those under way keep theirs.
  virtual Status set_bounds(uint32_t /*tenant*/, BoundsDefaults) { return Status(Code::kUnimplemented, "this runtime keeps no bounds"); }
  virtual Result<BoundsDefaults> bounds(uint32_t /*tenant*/) const { return BoundsDefaults{}; }

  // Never wait for a load. Called on front threads.
  virtual bool live() const = 0;
  virtual bool ready() const = 0;  // every model's default variant is loaded and warm
  virtual Result<bool> model_ready(Front& front, std::string_view name, int64_t version) const = 0;  // kNotFound if unknown
  virtual Result<ModelDoc> model_doc(Front& front, std::string_view name, int64_t version) const = 0;
  // Of one model (version 0: all of its versions), or of all (empty name).
  virtual Result<std::vector<ModelStatistics>> statistics(Front& front, std::string_view name, int64_t version) const = 0;

  // Prometheus text exposition of the runtime's counters and histograms. Any thread.
  virtual std::string metrics_text() const = 0;

  // Stops taking work (infer answers kUnavailable), and calls `drained` (any thread) when everything accepted has come back.
  virtual void begin_drain(std::function<void()> drained) = 0;
};

}  // namespace verge::runtime
