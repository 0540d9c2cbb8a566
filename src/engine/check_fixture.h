// What the clauses of the contract check work with: a plugin opened in this (forked) process, and its objects as owners.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "engine/plugin.h"

namespace verge::engine::check {

// Thrown by a clause: what came instead of what was expected.
struct Failed {
  std::string what;
};
// Thrown by a clause that does not apply.
struct Skipped {
  std::string why;
};
inline void expect(bool condition, const std::string& what) {
  if (!condition) throw Failed{what};
}

// A host that counts what the plugin takes and gives back.
class CountingHost {
 public:
  CountingHost();
  const verge_host_api* api() const { return &api_; }
  int64_t allocations() const { return allocations_; }
  std::map<std::string, int64_t> accounts() const;

 private:
  verge_host_api api_{};
  std::atomic<int64_t> allocations_{0};
  mutable std::mutex mutex_;
  std::map<std::string, int64_t> accounts_;
};

using Pairs = std::vector<std::pair<std::string, std::string>>;

struct Call {
  verge_code code = VERGE_OK;
  std::string message;
  bool ok() const { return code == VERGE_OK; }
  std::string to_string() const { return ok() ? "success" : "code " + std::to_string(code) + " (\"" + message + "\")"; }
};

class Fixture;

// A tensor with its memory.
struct Buffer {
  verge_tensor tensor{};
  std::vector<uint64_t> data;     // 8-byte aligned
  std::vector<uint64_t> offsets;  // BYTES
};

// What a run answered, copied.
struct Answer {
  int32_t dtype = 0;
  std::vector<int64_t> dims;
  std::string bytes;
  std::vector<uint64_t> offsets;
};

class LoadedInstance {
 public:
  LoadedInstance(const verge_engine_vtable* v, verge_instance* handle) : v_(v), handle_(handle) {}
  LoadedInstance(LoadedInstance&& o) noexcept : v_(o.v_), handle_(std::exchange(o.handle_, nullptr)) {}
  ~LoadedInstance() {
    if (handle_) v_->instance_destroy(handle_);
  }
  verge_instance* get() const { return handle_; }
  Call run(const std::vector<Buffer>& inputs, std::vector<verge_tensor>& outputs) const;
  // Runs with no buffers lent, copies the outputs and gives owned ones back.
  std::vector<Answer> answer(const std::vector<Buffer>& inputs, size_t outputs) const;

 private:
  const verge_engine_vtable* v_;
  verge_instance* handle_;
};

class LoadedModel {
 public:
  LoadedModel(const verge_engine_vtable* v, verge_model* handle) : v_(v), handle_(handle) {}
  LoadedModel(LoadedModel&& o) noexcept : v_(o.v_), handle_(std::exchange(o.handle_, nullptr)) {}
  LoadedModel& operator=(LoadedModel&&) = delete;
  ~LoadedModel() {
    if (handle_) v_->model_unload(handle_);
  }
  verge_model* get() const { return handle_; }
  const verge_model_info& info() const { return *v_->model_info(handle_); }
  const verge_tensor_info& input(uint32_t i) const { return *info_at(info().inputs, i); }
  const verge_tensor_info& output(uint32_t i) const { return *info_at(info().outputs, i); }
  LoadedInstance instance(int threads = 1) const;
  // A batch size that it runs, near to the wanted one.
  int64_t batch(int64_t wanted) const;
  // Inputs of this batch size with values that differ by `seed`.
  std::vector<Buffer> inputs(int64_t batch, int seed = 0) const;
  const verge_engine_vtable* vtable() const { return v_; }

 private:
  const verge_engine_vtable* v_;
  verge_model* handle_;
};

// The plugin, opened and created. Destroys the engine last.
class Fixture {
 public:
  Fixture(const Descriptor& descriptor, std::string artifact, std::string format);
  ~Fixture() { destroy(); }
  const Descriptor& descriptor;
  const std::string artifact, format;
  CountingHost host;
  const verge_engine_vtable* v = nullptr;
  verge_engine* engine = nullptr;

  void destroy();
  Call load(const std::string& path, const std::string& as_format, const Pairs& options, int threads, verge_model** out) const;
  LoadedModel load(int threads = 1) const;  // the artifact; throws Failed
};

std::string describe(const std::vector<Answer>& answers);
// Equal in type, shape and strings; numbers within 1e-5 of their size.
bool equal(const std::vector<Answer>& a, const std::vector<Answer>& b);
std::vector<Answer> copy_outputs(const std::vector<verge_tensor>& outputs);

struct Clause {
  const char* text;
  bool needs_artifact;
  void (*run)(const Descriptor& descriptor, const std::string& artifact, const std::string& format);
};
const std::vector<Clause>& clauses();

}  // namespace verge::engine::check
