// Measuring the variants of a package on this device, one after the other, with nothing else of ours running.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "build/progress.h"
#include "core/profile.h"
#include "core/status.h"
#include "engine/catalog.h"
#include "package/package.h"

namespace verge::build {

// Why a variant cannot run on this device; empty: it can.
std::string why_not_here(const VariantSpec& variant, const Device& device, const engine::Catalog& catalog);

// Measures every variant of `profile` whose verdict is ok and that `wanted` takes. A variant that fails here gets the verdict. kCancelled when
// interrupted; what is measured by then stays in `profile`. `scratch` is a folder for compiled blobs; logs go to `log_dir`.
Status measure_variants(const package::Package& package, const std::function<bool(const std::string& id)>& wanted, bool thorough,
                        const std::string& scratch, const std::string& log_dir, Profile& profile, Progress& progress);

// Writes profiles/FINGERPRINT.json below the package's folder.
Status write_profile(const std::string& package_dir, const Profile& profile);

}  // namespace verge::build
