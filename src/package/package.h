// Packages on disk: reading a zoo, opening a version, checking its files.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/manifest.h"
#include "core/profile.h"
#include "core/status.h"
#include "engine/catalog.h"

namespace verge::package {

struct Package {
  std::string dir;  // absolute: ZOO/NAME/VERSION
  Manifest manifest;
  std::string manifest_sha256;
  std::vector<std::string> labels;
  std::vector<Profile> profiles;        // those bound to this manifest; others are skipped and named in `warnings`
  std::vector<std::string> warnings;
  const Profile* profile_for(std::string_view fingerprint) const;  // nullptr if this device has none
};

// Reads manifest, labels and profiles, all bounded and checked; artifacts are checked by verify_artifact() when they are needed.
Result<Package> open_package(const std::string& dir);

// Every artifact file of the variant: present, of the stated size and sha256, nothing else in the folder. Cost: reads the files once.
Status verify_variant(const Package& package, const VariantSpec& variant);
Status verify_golden(const Package& package);

// What an engine is given for this variant.
engine::LoadSpec load_spec(const Package& package, const VariantSpec& variant);
// … and for one stage of a variant of a multi-exit model; `stage` < variant.stages.size().
engine::LoadSpec load_spec(const Package& package, const VariantSpec& variant, size_t stage);

struct ZooEntry {
  std::string name;
  std::vector<int64_t> versions;  // ascending
};
// Folders NAME/VERSION with a manifest.json. Temporary and foreign folders are ignored.
Result<std::vector<ZooEntry>> list_zoo(const std::string& zoo);

// Accepts ZOO/NAME/VERSION, ZOO/NAME (its latest version) and a ZOO that holds one model.
Result<std::string> resolve_package(const std::string& path);

// The variant to answer with where the request names none: verdict ok on this profile, accuracy within the manifest's limit of the
// reference, lowest p50 at batch 1. nullptr where there is none.
const VariantSpec* default_variant(const Manifest& manifest, const Profile& profile);

}  // namespace verge::package
