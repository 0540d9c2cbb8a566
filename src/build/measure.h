// Jobs for worker processes: verifying a variant against samples, and measuring it.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "build/verify.h"
#include "core/manifest.h"
#include "core/profile.h"
#include "core/status.h"
#include "core/tensor.h"
#include "engine/worker.h"
#include "package/package.h"

namespace verge::build {

using NpyFiles = std::map<std::string, std::string>;  // network tensor -> npy

// Runs the variant on `inputs` and leaves its answers under `outputs_dir`; of a multi-exit model those of every exit. With `golden`, these are compared by the worker, too.
engine::WorkerJob verify_job(const package::Package& package, const VariantSpec& variant, const NpyFiles& inputs, const std::string& outputs_dir,
                             const std::string& log_path);

// Load times, memory and latency over batch x cores; `inputs` are the samples that it runs on. `cache_dir` is an empty folder of its own.
engine::WorkerJob profile_job(const package::Package& package, const VariantSpec& variant, const NpyFiles& inputs, bool thorough,
                              const std::string& cache_dir, const std::string& log_path);

// What a job has left under outputs_dir, by network output.
Result<std::map<std::string, Tensor>> read_outputs(const engine::WorkerResult& result, const VariantSpec& variant, const Signature& network);

// Takes over what profile_job() measures; verdict and accuracy stay.
void take_measurements(VariantProfile& into, const VariantProfile& measured);

// The exits of a multi-exit model as the outputs of a network of its inputs.
Signature exits_signature(const Manifest& manifest);
std::vector<std::string> exit_names(const Manifest& manifest);
// One reference an exit, each with that exit's part of `outputs`. Agreement becomes top-1 by what the last exit answers: an exit that agrees with
// itself says nothing.
Result<std::vector<Reference>> exit_references(const Manifest& manifest, const Reference& whole, const std::map<std::string, Tensor>& outputs);

// The golden samples of a package as absolute paths.
NpyFiles golden_inputs(const package::Package& package);
NpyFiles golden_outputs(const package::Package& package);

// A profile of this device for the package, without variants.
Profile new_profile(const package::Package& package);

Result<Tensor> read_npy(const std::string& path);

}  // namespace verge::build
