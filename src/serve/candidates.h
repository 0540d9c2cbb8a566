// Variants without a verdict on this device: loaded, compared and timed shortly in workers, so that one can be chosen.
#pragma once

#include <functional>
#include <string>

#include "core/profile.h"
#include "core/status.h"
#include "engine/catalog.h"
#include "package/package.h"

namespace verge::serve {

// Measures what may run here: converted, its engine installed, its files sound, and not rejected on another device. A verdict for every
// variant of the manifest; accuracy is taken over from another device where the executed precision is the same.
Result<Profile> measure_candidates(const package::Package& package, const engine::Catalog& catalog, const std::string& log_dir,
                                   const std::function<void(const VariantProfile&)>& measured);

// Why this install cannot load the variant: its engine is not there, or does not read its format. Empty if it can.
std::string not_installed(const Manifest& manifest, const VariantSpec& variant, const engine::Catalog& catalog);
// A profile may come from an install with more engines: what this one cannot load becomes "not measured", so that it is never chosen.
void leave_out_not_installed(const Manifest& manifest, const engine::Catalog& catalog, Profile& profile);

// The profiles that servers keep: STATE/profiles/MANIFEST-SHA256.FINGERPRINT.json.
Result<Profile> read_kept_profile(const std::string& state_dir, const std::string& manifest_sha256, const std::string& fingerprint);
Status keep_profile(const std::string& state_dir, const Profile& profile);

// One load and a run in a worker, within limits of time and memory: what the variant would do to this process.
// `settings`: of the engine.
Status try_in_worker(const std::string& variant_id, const std::string& engine, const std::map<std::string, std::string>& settings, const engine::LoadSpec& load, const std::map<std::string, std::string>& names,
                     const std::map<std::string, std::string>& golden_inputs, const std::string& log_dir);

}  // namespace verge::serve
