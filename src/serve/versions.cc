#include "serve/versions.h"

#include <algorithm>

#include "core/json.h"

namespace verge::serve {

std::string policy_text(const VersionPolicy& policy) {
  if (policy.kind == VersionPolicy::Kind::kLatest) return "latest";
  if (policy.kind == VersionPolicy::Kind::kAll) return "all";
  std::string all;
  for (const int64_t v : policy.listed) all += (all.empty() ? "[" : ", ") + std::to_string(v);
  return all + "]";
}

Selection select_versions(const VersionPolicy& policy, const std::vector<int64_t>& present, int64_t pinned) {
  std::vector<int64_t> open;
  for (const int64_t v : present) {
    if (pinned == 0 || v <= pinned) open.push_back(v);
  }
  Selection s;
  if (open.empty()) return s;
  switch (policy.kind) {
    case VersionPolicy::Kind::kAll: s.wanted = open; return s;
    case VersionPolicy::Kind::kLatest:
      s.wanted = {open.back()};
      s.fallback.assign(open.rbegin() + 1, open.rend());
      return s;
    case VersionPolicy::Kind::kListed:
      for (const int64_t v : open) {
        if (v == pinned || std::binary_search(policy.listed.begin(), policy.listed.end(), v)) s.wanted.push_back(v);
      }
      return s;
  }
  return s;
}

std::string not_selected(const VersionPolicy& policy, int64_t version, int64_t pinned) {
  if (pinned != 0 && version > pinned) {
    return "not served: rolled back to version " + std::to_string(pinned) + " (" + kServingFile + "; `verge rollback --latest` ends that)";
  }
  return "not served: the configuration's versions are " + policy_text(policy);
}

Result<int64_t> parse_serving(std::string_view text) {
  const Json j = Json::parse(text, nullptr, false);
  const Status wrong = invalid_argument(R"(it must be {"version": N} with a version's number)");
  if (!j.is_object() || j.size() != 1) return wrong;
  const auto version = j.find("version");
  if (version == j.end() || !version->is_number_integer()) return wrong;
  const int64_t n = version->get<int64_t>();
  return n >= 1 ? Result<int64_t>(n) : wrong;
}

std::string print_serving(int64_t version) { return Json{{"version", version}}.dump() + "\n"; }

}  // namespace verge::serve
