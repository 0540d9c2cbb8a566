// One lane's use of a session: the tensors bound to its inputs, and what the last run gave.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "model.h"

struct verge_instance {
  struct Input {
    TF_Output port{};
    TF_Tensor* tensor = nullptr;  // over the host's memory, kept while the host brings the same memory in the same shape
    const void* memory = nullptr;
    int64_t dims[VERGE_MAX_RANK] = {};
    int rank = -1;
    bool own = false;  // TensorFlow's memory: strings, and tensors that the graph may keep
  };
  struct Output {
    TF_Output port{};
    std::vector<char> bytes;  // BYTES, and what would otherwise point into the host's inputs
    std::vector<uint64_t> offsets;
  };

  verge_model* model;
  std::shared_ptr<verge::tensorflow::Session> session;
  std::vector<Input> inputs;
  std::vector<Output> outputs;

  verge_instance(verge_model* owner, const verge_plugin::Placement& placement);
  ~verge_instance();
  verge_instance(const verge_instance&) = delete;
  verge_instance& operator=(const verge_instance&) = delete;
  void run(const verge_tensor* in, uint32_t input_count, verge_tensor* out, uint32_t output_count);
  void preferred_buffer(bool is_output, uint32_t index, int64_t batch, verge_buffer_preference* out) const;

 private:
  void bind(Input& input, const verge_tensor& t, int64_t count);
  void unbind(Input& input);
  void give(size_t index, TF_Tensor* tensor, verge_tensor& out, const verge_tensor* in);
  // Scratch of a run.
  std::vector<TF_Output> input_ports_, output_ports_;
  std::vector<TF_Tensor*> input_tensors_, output_tensors_;
};
