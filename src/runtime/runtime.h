// How a server makes a runtime and tells it what to serve.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/json.h"
#include "core/manifest.h"
#include "core/profile.h"
#include "core/status.h"
#include "core/tensor.h"
#include "engine/catalog.h"
#include "os/energy.h"
#include "runtime/api.h"

namespace verge::runtime {

enum class LogLevel { kDebug, kInfo, kWarning, kError };
// Called from any of the runtime's threads. `fields` is an object.
using LogFn = std::function<void(LogLevel level, std::string_view event, Json fields)>;

// One version of a model, as the server found it.
struct ModelSource {
  std::string name;
  int64_t version = 1;
  Status broken;  // not ok: it cannot be served, and why; all below is then empty

  Manifest manifest;
  std::vector<std::string> labels;
  Profile profile;              // of this device; a variant it lacks counts as not measured
  std::string default_variant;  // empty: none may answer, `no_default` says why
  std::string no_default;
  std::vector<std::string> resident;  // variants to load at once, the default one among them or not
  bool decoupled = false;       // in streams, requests are answered once an exit without asking for it, and unary ones are refused
  int64_t max_batch = 0;        // samples that a request, or a batch of several, may hold; 0: no limit but the model's own
  int threads = -1;             // of an engine instance, as RuntimeOptions::threads; -1: as that says

  // On the loader thread, each time a variant is to be loaded: checks its files and whatever else has to be checked before an engine of this
  // process sees them, and says what the engine is given.
  std::function<Result<engine::LoadSpec>(const VariantSpec&)> prepare;
  // One real sample for each network input by name, batch 1, to warm a variant with. Without it zeros are used, and an engine that refuses
  // them still counts as warm.
  std::function<Result<std::map<std::string, Tensor>>()> warm_up;
};

// Samples that one request of such a model may hold along the batch axis; 0: not every tensor has it as its first axis.
int64_t most_batch(const Manifest& manifest);

// Who asks, and what they are due. Tenant 0 is the default one.
struct TenantOptions {
  std::string name = "default";
  double weight = 1;           // share of lane time under contention, relative to the others'
  uint32_t queue_limit = 0;    // requests of it that may wait for lanes; 0: only the server's limit counts
  BoundsDefaults bounds;       // at start; Runtime::set_bounds() changes them
};

struct RuntimeOptions {
  std::shared_ptr<engine::Catalog> catalog;
  uint32_t fronts = 1;  // how many make_front() will be asked for, at most kMostFronts
  // The cores of each lane. Empty: no lane threads; each front is a lane of its own and runs its requests after the loop turn's reads, long ones on a second thread.
  std::vector<std::vector<int>> lanes;
  int threads = 1;              // of an engine instance, at most the lane's cores; 0: one for each core of the lane; -1: chosen for each variant from its profile
  uint32_t queue_limit = 4096;  // requests that may wait for a lane, or for a variant to be loaded
  std::vector<TenantOptions> tenants = {{}};  // at most kMostTenants
  uint64_t memory_limit = 0;    // bytes of resident memory, 0: none
  // After a failed load, requests for the variant get its error at once for this time, doubled with each further failure up to a minute.
  uint64_t load_retry_ns = 1'000'000'000;
  uint64_t hand_off_ns = 20'000;  // what it takes until another thread has begun a run; shorter ones may run on the front
  os::EnergyModel energy;                         // stands in for a meter; not declared: no energy is told
  std::shared_ptr<os::EnergyMeter> energy_meter;  // counts what the machine uses; nullptr: energy is modelled
  LogFn log;
};

// What `verge models` and the log say of one variant.
struct VariantReport {
  std::string model;
  int64_t version;
  std::string variant;
  std::string state;
  std::string error;  // of the last load, empty if it worked
};

class ServerRuntime : public Runtime {
 public:
  // Serves this version. Any thread; returns at once. `loaded` is called on the loader's thread when its default variant and those to be
  // resident are loaded or have failed, with what kept the default variant from answering.
  // In place of one of the same name and number that answers already: takes over when its default variant is resident; where it is broken or
  // cannot be loaded, the old one stays as it is. Otherwise what is wrong is logged, and answered to those who ask for this version.
  virtual void serve(std::shared_ptr<const ModelSource> source, std::function<void(Status)> loaded = {}) = 0;
  // Stops serving it: its variants unload when their last requests have ended; then `unloaded` is called on the loader's thread.
  virtual void retire(std::string name, int64_t version, std::function<void()> unloaded = {}) = 0;
  // While true, ready() is false: the server still finds out what to serve. What is served after the first false does not make the server
  // unready while it loads. Any thread.
  virtual void set_preparing(bool preparing) = 0;
  // Waits until every variant that is to be resident is loaded or has failed, and everything to be unloaded is. Not on a front thread.
  virtual void settle() = 0;
  virtual std::vector<VariantReport> variants() const = 0;  // any thread
};

// Fronts must be destroyed before the runtime, after their loops have ended and every request has come back.
Result<std::unique_ptr<ServerRuntime>> make_runtime(RuntimeOptions options);

}  // namespace verge::runtime
