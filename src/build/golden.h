// The golden samples of a package: a few inputs and the reference's answers, with which any device verifies the variants again.
#pragma once

#include <map>
#include <string>

#include "build/samples.h"
#include "core/manifest.h"
#include "core/status.h"

namespace verge::build {

inline constexpr int64_t kMaxGoldenSamples = 256;
inline constexpr uint64_t kMaxGoldenBytes = uint64_t{8} << 20;  // inputs and answers together; one sample is always kept
inline constexpr int64_t kNoiseSamples = 16;

// The first samples that fit, leaving room for the answers.
NetworkSamples choose_golden(const NetworkSamples& from);

// Writes golden/ below `package_dir`, with fewer samples where the answers are large.
Result<Golden> write_golden(const NetworkSamples& samples, const std::map<std::string, Tensor>& answers, const Signature& network,
                            const std::string& source, const std::string& package_dir);

}  // namespace verge::build
