// All that protocols see of the runtime: requests in, answers out, and what there is to say about models.
//
// Threads. A front thread owns its connections, its Requests and one Front. It fills in a Request and calls Runtime::infer(). The request
// comes back exactly once, on the same front thread, by Request::done: either before infer() returns (errors, inline runs) or later
// from Front::drain(), which the front's loop calls after its wake function was called (from any thread).
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
};

// What a request demands. Parameters that the protocol carries under these names ("verge.variant"); views as above.
struct Bounds {
  uint64_t deadline_ns = 0;    // absolute, os::monotonic_ns(); 0: none
  std::string_view variant;    // "verge.variant"; empty: the server chooses
};

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
  uint64_t arrival_ns = 0;
  void (*done)(Request*) = nullptr;  // on the front thread
  void* owner = nullptr;             // the front's own (its stream)

  // --- the answer ---
  Status status;
  std::vector<OutputTensor> outputs;   // reused
  std::string_view answered_model;     // name, version and variant that answered; valid until release()
  int64_t answered_version = 0;
  std::string_view answered_variant;
  uint64_t queue_ns = 0, compute_ns = 0;

  // Gives back what the answer's views point to. Called by the front when the response is written; idempotent.
  void release();
  // Marks the request as abandoned (client gone, stream reset). It still comes back by `done`, with kCancelled unless it already ran.
  void cancel() { cancelled.store(true, std::memory_order_relaxed); }

  // --- the runtime's ---
  std::atomic<bool> cancelled{false};
  Request* next = nullptr;
  Front* front = nullptr;
  void* run = nullptr;  // buffers of the run that answered
};

// The runtime's part of a front thread.
class Front {
 public:
  virtual ~Front() = default;
  // Ends the requests that lanes have finished, runs posted functions. Called on the front thread after a wake-up, and once a loop turn.
  virtual void drain() = 0;
  // Runs `fn` on the front thread. Any thread. Not for the request path: it allocates.
  virtual void post(std::function<void()> fn) = 0;
};

struct ModelDoc {
  std::string name;
  std::vector<int64_t> versions;
  std::string platform;  // "verge"
  std::vector<TensorSpec> inputs, outputs;
  std::string default_variant;
  Json parameters;  // variants with accuracy, latency and state, for metadata's `parameters`
};

class Runtime {
 public:
  virtual ~Runtime() = default;

  // One for each front thread, made before the loops start. `wake` is called from any thread when drain() has something to do.
  virtual std::unique_ptr<Front> make_front(std::function<void()> wake) = 0;

  // On the front's own thread.
  virtual void infer(Front& front, Request& request) = 0;

  // Never wait for a load. Called on front threads.
  virtual bool live() const = 0;
  virtual bool ready() const = 0;  // every model's default variant is loaded and warm
  virtual Result<bool> model_ready(Front& front, std::string_view name, int64_t version) const = 0;  // kNotFound if unknown
  virtual Result<ModelDoc> model_doc(Front& front, std::string_view name, int64_t version) const = 0;

  // Prometheus text exposition of the runtime's counters and histograms. Any thread.
  virtual std::string metrics_text() const = 0;

  // Stops taking work (infer answers kUnavailable), and calls `drained` (any thread) when everything accepted has come back.
  virtual void begin_drain(std::function<void()> drained) = 0;
};

}  // namespace verge::runtime
