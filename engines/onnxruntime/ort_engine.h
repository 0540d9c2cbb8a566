// The ONNX Runtime plugin's objects. Everything here may throw; plugin.cc turns that into codes.
#pragma once

#include <onnxruntime_c_api.h>

#include <atomic>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "common/plugin.h"

namespace verge_ort {

// Throws for an OrtStatus that is no success, and releases it.
void check(const OrtApi* api, OrtStatus* status);

template <auto Release>
struct Releaser {
  const OrtApi* api = nullptr;
  template <typename T>
  void operator()(T* p) const {
    (api->*Release)(p);
  }
};
template <typename T, auto Release>
using Owned = std::unique_ptr<T, Releaser<Release>>;

using Env = Owned<OrtEnv, &OrtApi::ReleaseEnv>;
using Session = Owned<OrtSession, &OrtApi::ReleaseSession>;
using SessionOptions = Owned<OrtSessionOptions, &OrtApi::ReleaseSessionOptions>;
using RunOptions = Owned<OrtRunOptions, &OrtApi::ReleaseRunOptions>;
using MemoryInfo = Owned<OrtMemoryInfo, &OrtApi::ReleaseMemoryInfo>;
using Value = Owned<OrtValue, &OrtApi::ReleaseValue>;
using TypeInfo = Owned<OrtTypeInfo, &OrtApi::ReleaseTypeInfo>;
using ShapeInfo = Owned<OrtTensorTypeAndShapeInfo, &OrtApi::ReleaseTensorTypeAndShapeInfo>;

// One file of an artifact. Sessions may be entered from several threads.
struct Part {
  int64_t batch = 0;  // 0: free
  std::string path;
  std::shared_ptr<OrtSession> session;
};

int32_t dtype_of(ONNXTensorElementDataType type);  // VERGE_DTYPE_INVALID where there is none
ONNXTensorElementDataType element_type(int32_t dtype);

}  // namespace verge_ort

struct verge_engine {
  const verge_host_api* host = nullptr;
  const OrtApi* api = nullptr;
  std::string version;
  verge_ort::Env env;
  verge_ort::MemoryInfo memory;
  OrtAllocator* allocator = nullptr;  // ONNX Runtime's default one, never released
  uint64_t fixed_cost = 0;            // resident bytes, measured
};

struct verge_model {
  verge_engine* engine = nullptr;
  verge_plugin::Placement placement;
  std::vector<verge_ort::Part> parts;  // ascending batches
  std::deque<std::string> names;
  std::vector<verge_tensor_info> inputs, outputs;
  std::vector<const char*> input_names, output_names;
  std::vector<int64_t> fixed_batches;
  std::string precision, precision_source;
  verge_model_info info{};

  static std::unique_ptr<verge_model> load(verge_engine* engine, const verge_artifact& artifact, verge_plugin::Options options,
                                           const verge_plugin::Placement& placement);
  // `optimized_path`: where the graph that is run is written to; empty: nowhere.
  static std::shared_ptr<OrtSession> make_session(verge_engine* engine, const std::string& path, const verge_plugin::Placement& placement,
                                                  const std::string& optimized_path);
};

struct verge_instance {
  // A value over the host's memory, kept so that a host that takes turns among a few buffers costs nothing.
  struct Kept {
    void* data = nullptr;
    int32_t rank = -1;
    int64_t dims[VERGE_MAX_RANK] = {};
    verge_ort::Value value;
  };
  struct Port {
    static constexpr size_t kKept = 4;
    Kept kept[kKept];
    size_t next = 0;
    verge_ort::Value own;            // outputs that ONNX Runtime allocated
    std::vector<uint64_t> offsets;   // BYTES outputs
    std::vector<char> blob;
  };

  verge_model* model = nullptr;
  std::vector<verge_ort::Part> parts;  // the model's sessions, or own ones for another placement
  verge_ort::RunOptions run_options;
  std::vector<Port> inputs, outputs;
  std::vector<const OrtValue*> in_values;
  std::vector<OrtValue*> out_values;
  std::vector<bool> lent;             // by output: its value lies over the host's buffer
  std::atomic<bool> cancelled{false};
  bool external_outputs = true;  // until the network's output shapes prove not to follow the batch

  static std::unique_ptr<verge_instance> make(verge_model* model, const verge_plugin::Placement& placement);
  void run(const verge_tensor* in, uint32_t input_count, verge_tensor* out, uint32_t output_count);
  void preferred(bool is_output, uint32_t index, int64_t batch, verge_buffer_preference* out) const;
  void cancel();

 private:
  OrtSession* session_for(const verge_tensor* in) const;
  const OrtValue* input_value(size_t i, const verge_tensor& t, int64_t elements);
  OrtValue* output_value(size_t i, const verge_tensor& t, int64_t batch);
  OrtValue* kept_value(Port& port, int32_t dtype, void* data, uint64_t bytes, const int64_t* dims, int32_t rank);
  void read_output(size_t i, OrtValue* value, verge_tensor& t);
  void read_strings(Port& port, const OrtValue* value, size_t count, verge_tensor& t);
};
