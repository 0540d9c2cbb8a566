// Which versions of a model are served: a pure choice from what lies in its folder, the configuration and a roll-back.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"

namespace verge::serve {

struct VersionPolicy {
  enum class Kind { kLatest, kAll, kListed };
  Kind kind = Kind::kLatest;
  std::vector<int64_t> listed;  // kListed: ascending
  bool operator==(const VersionPolicy&) const = default;
};
std::string policy_text(const VersionPolicy& policy);  // "latest", "all", "[1, 3]"

struct Selection {
  std::vector<int64_t> wanted;    // ascending
  std::vector<int64_t> fallback;  // to be tried one after the other while none that is wanted can answer; the highest first
};
// `present`: the versions that lie there, ascending. `pinned`: the version that a roll-back names, 0: none. Later ones than that are not
// served, and it is, whatever the policy says.
Selection select_versions(const VersionPolicy& policy, const std::vector<int64_t>& present, int64_t pinned);
// Why `version`, which lies there, is not among those wanted.
std::string not_selected(const VersionPolicy& policy, int64_t version, int64_t pinned);

// A roll-back, as a file in the model's folder that a rename publishes.
inline constexpr const char* kServingFile = "serving.json";
Result<int64_t> parse_serving(std::string_view text);
std::string print_serving(int64_t version);

}  // namespace verge::serve
