// Build keys: what decides the bytes of a package and of each variant. An equal key means that nothing needs to be made again. All of
// it can be computed without starting the tool chain.
#pragma once

#include <string>
#include <vector>

#include "build/infer.h"
#include "build/recipe.h"
#include "build/targets.h"
#include "core/status.h"
#include "engine/catalog.h"

namespace verge::build {

// Raised when this code makes other packages of the same recipe.
inline constexpr int kBuildFormat = 2;

// The converters by what installs and drives them: digest of the pinned requirements and of the tool chain's sources. "none" where the
// tool chain is not installed.
Result<std::string> toolchain_identity();

// A data set by its selection and the content of its files.
Result<std::string> dataset_identity(const data::DatasetSpec& spec);

struct KeyParts {
  std::string name;       // of the model
  std::string source_sha256;
  std::string source_kind;
  Json recipe;            // normalised_recipe()
  std::string labels_sha256;
  std::string calibration;  // dataset_identity(), empty: none
  std::string evaluation;
  std::string toolchain;
  std::vector<std::string> engines;    // those available
  std::vector<std::string> cpu_flags;  // the CPU class: decides bf16 variants and what calibration computes
};
std::string package_key(const KeyParts& parts);

// Of a package whose build was cut short: differs from the whole build's key, so that the next build finishes the work.
std::string incomplete_key(const std::string& key);

// Of one conversion: what decides its artifacts' bytes.
std::string conversion_key(const KeyParts& parts, const ConversionTarget& target, const std::string& signature, const std::vector<int64_t>& batches);

}  // namespace verge::build
