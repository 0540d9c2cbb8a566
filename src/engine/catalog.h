// The host's side of the engine interface: finds plugins, loads them lazily, and wraps their C objects in owners.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/status.h"
#include "core/tensor.h"
#include "verge/engine.h"

namespace verge::engine {

// One library a plugin needs, and where it was found.
struct LibraryNeed {
  std::string name;                 // file name, "libonnxruntime.so.1.31.1"
  std::vector<std::string> search;  // folders; relative ones are relative to the descriptor
  bool preload = false;             // opened by the host before the plugin, which is linked against it
  std::string found;                // absolute path, or empty
};

// NAME.engine.json beside a plugin.
struct Descriptor {
  std::string name;
  std::string summary;
  std::string plugin;  // absolute path of the shared object
  uint32_t abi_major = 0;
  std::vector<std::string> formats;     // what it loads: "openvino-ir", "onnx", …
  std::vector<std::string> precisions;  // what it may be asked to execute
  std::vector<LibraryNeed> libraries;
  std::vector<std::pair<std::string, std::string>> check;  // tiny artifacts for the contract check: absolute path, format
  std::string unavailable;  // why the engine is disabled; empty if it can be loaded. Found out without loading anything
};

class Engine;
class Model;

// One instance of a loaded model, for one lane. Never entered twice.
class Instance {
 public:
  ~Instance();
  // See instance_run in verge/engine.h. Throws nothing; a plugin's message comes back in the Status.
  Status run(std::span<const verge_tensor> inputs, std::span<verge_tensor> outputs);
  Result<verge_buffer_preference> preferred_buffer(bool output, uint32_t index, int64_t batch) const;
  void cancel();
  const Model& model() const { return *model_; }

 private:
  friend class Model;
  Instance(std::shared_ptr<const Model> model, verge_instance* handle) : model_(std::move(model)), handle_(handle) {}
  std::shared_ptr<const Model> model_;
  verge_instance* handle_;
};

struct LoadSpec {
  std::vector<std::pair<std::string, int64_t>> files;  // path, fixed batch (0: free)
  std::string format;
  std::string signature;
  std::string cache_dir;  // empty: none
  std::map<std::string, std::string> options;
  std::vector<int> cores;  // empty: the caller's affinity
  int threads = 1;
  bool no_batch = false;  // the network has no batch axis: what the engine takes for one is a dimension like any other
};

// A loaded model. Kept alive by its instances.
class Model : public std::enable_shared_from_this<Model> {
 public:
  ~Model();
  const Signature& signature() const { return signature_; }
  const std::vector<int64_t>& fixed_batches() const { return fixed_batches_; }
  const std::string& executed_precision() const { return executed_precision_; }
  const std::string& executed_precision_source() const { return executed_precision_source_; }
  uint64_t weight_bytes() const { return weight_bytes_; }
  const Engine& engine() const { return *engine_; }
  Result<std::unique_ptr<Instance>> create_instance(const std::vector<int>& cores, int threads) const;

 private:
  friend class Engine;
  friend class Instance;
  Model() = default;
  std::shared_ptr<Engine> engine_;
  verge_model* handle_ = nullptr;
  Signature signature_;
  std::vector<int64_t> fixed_batches_;
  std::string executed_precision_, executed_precision_source_;
  uint64_t weight_bytes_ = 0;
};

// A created engine: its plugin stays mapped until the process ends.
class Engine : public std::enable_shared_from_this<Engine> {
 public:
  ~Engine();
  const std::string& name() const { return name_; }
  uint64_t capabilities() const { return vtable_->capabilities; }
  std::string version() const;
  uint64_t fixed_cost_bytes() const;
  Result<std::map<std::string, std::string>> device_facts() const;
  Result<std::shared_ptr<Model>> load(const LoadSpec& spec);

 private:
  friend class Catalog;
  friend class Model;
  friend class Instance;
  Engine() = default;
  std::string name_;
  const verge_engine_vtable* vtable_ = nullptr;
  verge_engine* handle_ = nullptr;
  std::mutex load_mutex_;  // loads and unloads of engines that are not re-entrant
};

// The plugins of one folder. Thread-safe after scan().
class Catalog {
 public:
  // Reads every *.engine.json of `plugin_dir`, checks that its libraries exist, loads nothing. A bad descriptor becomes an
  // unavailable engine with the reason.
  static Result<std::shared_ptr<Catalog>> scan(const std::string& plugin_dir);
  const std::vector<Descriptor>& descriptors() const { return descriptors_; }
  const Descriptor* find(std::string_view engine) const;
  // Settings that an engine is created with, beside where its libraries lie; it refuses what it does not know, by name. Before the first get().
  void configure(std::map<std::string, std::map<std::string, std::string>> settings) { settings_ = std::move(settings); }
  const std::map<std::string, std::string>& settings(const std::string& engine) const;
  // The engine, created on first use.
  Result<std::shared_ptr<Engine>> get(std::string_view engine);

 private:
  friend Result<std::shared_ptr<Catalog>> scan_one(const std::string& plugin_or_descriptor);
  std::vector<Descriptor> descriptors_;
  std::map<std::string, std::map<std::string, std::string>> settings_;
  std::mutex mutex_;
  std::map<std::string, std::shared_ptr<Engine>, std::less<>> engines_;
};

// For `verge engine check`: opens a plugin by path with its descriptor beside it.
Result<std::shared_ptr<Catalog>> scan_one(const std::string& plugin_or_descriptor);

const verge_host_api& host_api();

// Returns freed heap pages to the system; called after an unload.
void trim_memory();

// BYTES: wire form (length-prefixed) <-> offsets and a blob. `offsets` and `blob` are reused buffers.
Status bytes_to_engine(const TensorView& wire, std::vector<uint64_t>& offsets, std::vector<std::byte>& blob);
void bytes_from_engine(const verge_tensor& t, std::vector<std::byte>& wire);

}  // namespace verge::engine
