// What requests carry: a data set's samples, or tensors made up from the model's metadata.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "bench/protocol.h"
#include "core/status.h"

namespace verge::bench {

struct InputOptions {
  std::map<std::string, std::string> files;  // input -> npy/npz/idx/raw…; the key "" where the model has one input
  std::string labels;                        // class ids: npy, idx, raw or text
  std::string fill = "random";               // without files: "random" (seeded) or "zeros"
  std::map<std::string, std::vector<int64_t>> shapes;  // of inputs with free dimensions beside the batch
  int64_t most_samples = 1000;
  uint64_t seed = 1;
};

// Requests' worth of data for one model.
struct Inputs {
  std::vector<Sample> requests;              // each of `batch` samples
  std::vector<std::vector<int64_t>> labels;  // of each request; empty: there are none
  std::string description;
};

// `batch` samples a request. An input whose first dimension is free, or 1, has it as its batch axis.
Result<Inputs> make_inputs(const ModelInfo& model, const InputOptions& options, int64_t batch);

}  // namespace verge::bench
