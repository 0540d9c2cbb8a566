// Jobs for worker processes: verifying a variant against samples, and measuring it.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "core/manifest.h"
#include "core/profile.h"
#include "core/status.h"
#include "core/tensor.h"
#include "engine/worker.h"
#include "package/package.h"

namespace verge::build {

using NpyFiles = std::map<std::string, std::string>;  // network tensor -> npy

// Runs the variant on `inputs` and leaves its answers under `outputs_dir`. With `golden`, these are compared by the worker, too.
engine::WorkerJob verify_job(const package::Package& package, const VariantSpec& variant, const NpyFiles& inputs, const std::string& outputs_dir,
                             const std::string& log_path);

// Load times, memory and latency over batch x cores; `inputs` are the samples that it runs on. `cache_dir` is an empty folder of its own.
engine::WorkerJob profile_job(const package::Package& package, const VariantSpec& variant, const NpyFiles& inputs, bool thorough,
                              const std::string& cache_dir, const std::string& log_path);

// What a job has left under outputs_dir, by network output.
Result<std::map<std::string, Tensor>> read_outputs(const engine::WorkerResult& result, const VariantSpec& variant, const Signature& network);

// Takes over what profile_job() measures; verdict and accuracy stay.
void take_measurements(VariantProfile& into, const VariantProfile& measured);

// The golden samples of a package as absolute paths.
NpyFiles golden_inputs(const package::Package& package);
NpyFiles golden_outputs(const package::Package& package);

// A profile of this device for the package, without variants.
Profile new_profile(const package::Package& package);

Result<Tensor> read_npy(const std::string& path);

}  // namespace verge::build
