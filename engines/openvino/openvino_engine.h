// The OpenVINO plugin's objects. Everything here may throw; plugin.cc turns that into codes.
#pragma once

#include <atomic>
#include <deque>
#include <memory>
#include <mutex>
#include <openvino/openvino.hpp>
#include <string>
#include <vector>

#include "common/plugin.h"

struct verge_engine {
  const verge_host_api* host = nullptr;
  ov::Core core;
  std::string version;
  bool has_bf16 = false;
  bool has_f16 = false;
  uint64_t fixed_cost = 0;  // resident bytes, measured
};

namespace verge_openvino {

// One file of an artifact: a network of a free batch size, or of a fixed one.
struct Part {
  int64_t batch = 0;                  // 0: free
  std::string path;                   // of an imported blob, for further instances
  std::shared_ptr<ov::Model> network; // null for an imported blob
  ov::CompiledModel compiled;
};

struct Precision {
  std::string executed;
  std::string source;
};
// What the nodes of the compiled graph compute in.
Precision executed_precision(const ov::CompiledModel& compiled, const std::string& asked);

// OpenVINO's messages are many lines of source positions: keeps what says the cause.
std::string cause(const char* what);

int32_t dtype_of(const ov::element::Type& type);  // VERGE_DTYPE_INVALID where there is none
ov::element::Type element_type(int32_t dtype);

}  // namespace verge_openvino

struct verge_model {
  verge_engine* engine = nullptr;
  verge_plugin::Placement placement;
  ov::AnyMap config;
  std::string asked_precision;
  std::vector<verge_openvino::Part> parts;  // ascending batches
  std::atomic<bool> compiled_taken{false};  // an instance uses the parts' own compiled models
  std::deque<std::string> names;
  std::vector<verge_tensor_info> inputs, outputs;
  std::vector<int64_t> fixed_batches;
  bool outputs_follow_batch = false;  // proved by shape inference
  bool fixes_sizes = false;  // instances may compile parts[0] with the batch fixed
  std::mutex cloning;        // of parts[0].network
  verge_openvino::Precision precision;
  verge_model_info info{};

  static std::unique_ptr<verge_model> load(verge_engine* engine, const verge_artifact& artifact, verge_plugin::Options options,
                                           const verge_plugin::Placement& placement);
  std::string blob_key() const;
};

struct verge_instance {
  struct Bound {
    void* data = nullptr;
    ov::Tensor tensor;
  };
  // An input or output of one request: a few of the buffers that were seen, so that a host that takes turns among some costs nothing.
  struct Port {
    static constexpr size_t kKept = 4;
    Bound kept[kKept];
    size_t next = 0;
    ov::Tensor own;  // outputs: OpenVINO's own buffer
    void* current = nullptr;
    ov::Shape current_shape;
    bool current_own = false;
  };
  struct Request {
    int64_t batch = 0;
    ov::CompiledModel compiled;
    ov::InferRequest request;
    std::vector<Port> inputs, outputs;
  };

  verge_model* model = nullptr;
  bool took_compiled = false;
  std::vector<Request> requests;  // as model->parts, then of sizes compiled for themselves
  uint32_t tried = 0;             // such sizes, a bit for each
  verge_plugin::Placement placement;
  ov::AnyMap config;
  ~verge_instance();

  static std::unique_ptr<verge_instance> make(verge_model* model, const verge_plugin::Placement& placement);
  void run(const verge_tensor* in, uint32_t input_count, verge_tensor* out, uint32_t output_count);
  void preferred(bool is_output, uint32_t index, int64_t batch, verge_buffer_preference* out) const;

 private:
  void add_request(int64_t batch, ov::CompiledModel compiled);
  bool add_size(int64_t batch);
  Request& request_for(const verge_tensor* in);
  void bind_input(Request& r, size_t i, const verge_tensor& t);
  void bind_output(Request& r, size_t i, const verge_tensor& t, int64_t batch);
};
