// Manifests and profiles: what is accepted is written and read back as the same.
#include "core/manifest.h"
#include "core/profile.h"
#include "fuzz.h"

using namespace verge;
using verge::fuzz::require;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input = fuzz::text_of(data, size);
  if (auto m = parse_manifest(input); m.ok()) {
    const std::string printed = print_manifest(*m);
    auto again = parse_manifest(printed);
    require(again.ok(), "a printed manifest is read:", again.ok() ? "" : again.status().message());
    require(print_manifest(*again) == printed, "a manifest is printed as it was read");
    for (const Artifact& a : m->artifacts)
      for (const ManifestFile& f : a.files) require(valid_relative_path(f.path), "paths stay inside");
  }
  if (auto p = parse_profile(input); p.ok()) {
    const std::string printed = print_profile(*p);
    auto again = parse_profile(printed);
    require(again.ok(), "a printed profile is read:", again.ok() ? "" : again.status().message());
    require(print_profile(*again) == printed, "a profile is printed as it was read");
  }
  return 0;
}
