// Samples on their way to the network: data sets loaded, proved apart, run through the input chains and written as npy.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "build/recipe.h"
#include "build/served.h"
#include "core/status.h"
#include "core/tensor.h"
#include "data/dataset.h"

namespace verge::build {

// What the network is given: by network input name, samples leading (also where the network has no batch axis).
struct NetworkSamples {
  std::map<std::string, Tensor> inputs;
  int64_t count = 0;
};

// Bounds what one data set may occupy after its chains: a decoded image folder is far larger than its files.
inline constexpr uint64_t kMaxSampleBytes = uint64_t{4} << 30;

Result<NetworkSamples> run_chains(const Served& served, const data::Dataset& dataset);

// An error naming the samples that stand in both sets; ids are digests of content.
Status prove_apart(const data::Dataset& calibration, const data::Dataset& evaluation);

// Deterministic values within what a tensor of that type usually holds; for numeric comparison only, never for accuracy or calibration.
Result<NetworkSamples> noise_samples(const Signature& network, int64_t count);

// The first `count` samples.
NetworkSamples head(const NetworkSamples& samples, int64_t count);
Tensor head(const Tensor& t, int64_t count);

// One npy an input, NAME.npy with the input's index for NAME; network input -> path.
Result<std::map<std::string, std::string>> write_samples(const NetworkSamples& samples, const std::string& dir, const std::string& prefix);

uint64_t bytes_of(const NetworkSamples& samples);

}  // namespace verge::build
