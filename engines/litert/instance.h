// One lane's use of a loaded model: its compiled form and the memory bound to it.
#pragma once

#include <array>
#include <memory>
#include <vector>

#include "model.h"

namespace verge::litert {

// Memory that LiteRT may read past.
struct AlignedBuffer {
  void* data = nullptr;
  size_t capacity = 0;
  AlignedBuffer() = default;
  AlignedBuffer(const AlignedBuffer&) = delete;
  AlignedBuffer& operator=(const AlignedBuffer&) = delete;
  ~AlignedBuffer();
  void reserve(size_t bytes);  // loses the content when it grows
};

// One input or output at the shape now set, with the last few memories bound to it: a host that alternates between buffers does not
// make new ones.
struct Port {
  struct Binding {
    void* memory = nullptr;
    LrtTensorBuffer buffer = nullptr;
  };
  const LrtApi* api = nullptr;
  LrtRankedType type{};
  size_t bytes = 0;
  size_t most_bytes = 0;  // at any shape so far
  std::array<Binding, 4> bindings{};
  size_t next = 0;
  AlignedBuffer own;
  // Outputs only. A graph may name one tensor twice, or an input as its output.
  int same_as_input = -1, same_as_output = -1;
  void* target = nullptr;
  const void* result = nullptr;
  bool lent = false;

  ~Port();
  void forget();
  LrtTensorBuffer bind(void* memory, size_t capacity);
};

// The ports of one compiled file.
struct PortSet {
  std::vector<std::unique_ptr<Port>> inputs, outputs;
  std::vector<LrtTensorBuffer> input_buffers, output_buffers;
  std::vector<LrtLayout> layouts;
  bool shaped = false;
  // LiteRT knows the outputs' shapes only after a run, `layouts` holds what they must be. Until then it checks buffers against the
  // shapes of the run before.
  bool deferred = false;
};

}  // namespace verge::litert

struct verge_instance {
  verge_model* model;
  std::vector<std::unique_ptr<verge::litert::Compiled>> compiled;  // as model->files
  std::vector<verge::litert::PortSet> sets;

  verge_instance(verge_model* owner, const verge_plugin::Placement& placement);
  void run(const verge_tensor* inputs, uint32_t input_count, verge_tensor* outputs, uint32_t output_count);
  // Whether the model runs at this batch size and its outputs arrive where they are wanted. Does not run a graph that XNNPACK runs whole.
  std::string probe(int64_t batch, bool accelerated);
  void preferred_buffer(bool is_output, uint32_t index, int64_t batch, verge_buffer_preference* out) const;

 private:
  size_t choose(const verge_tensor* inputs, int64_t& batch) const;
  void shape(size_t file, const verge_tensor* inputs, int64_t batch);
  void confirm_shapes(size_t file);
};
