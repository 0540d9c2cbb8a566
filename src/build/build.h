// `verge build` and `verge profile`: one model in, a package of verified and measured variants out.
//
// Exit codes (both): 0 at least one variant is ok; 1 none is, or the model was refused; 2 the recipe, the data or the command line is
// wrong; 3 the environment failed (no space, no permission, no tool chain, a broken package); 130 interrupted (a first version is published with
// what was verified by then, the rest marked; an older version stays the latest).
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace verge::build {

inline constexpr int kExitOk = 0;
inline constexpr int kExitNothingOk = 1;
inline constexpr int kExitUsage = 2;
inline constexpr int kExitEnvironment = 3;
inline constexpr int kExitInterrupted = 130;

struct BuildOptions {
  std::string model;                 // a model file or folder, or a model.yaml
  std::string zoo;                   // folder; made if absent
  std::string name;                  // overrides the recipe's; empty: the recipe's, or the file's
  std::vector<std::string> targets;  // variant ids with '*'; overrides targets.include. "!pattern" leaves out
  bool thorough = false;             // longer profiling: at least 1,000 runs a cell
  bool profile = true;               // false: verify only
  int jobs = 1;                      // variants verified at the same time while others convert
  bool quiet = false;                // errors only
  // Called once at the end with the package's folder, for the report.
  std::function<void(const std::string& package_dir)> report;
};

struct ProfileOptions {
  std::string package;                // ZOO/NAME/VERSION, ZOO/NAME or a zoo with one model
  std::vector<std::string> variants;  // ids with '*'; empty: all
  bool thorough = false;
  bool quiet = false;
  std::function<void(const std::string& package_dir)> report;
};

int build_main(const BuildOptions& options);

// Verifies every variant again with the golden samples and measures it on this device; writes profiles/FINGERPRINT.json.
int profile_main(const ProfileOptions& options);

// JSON Schema (2020-12) of model.yaml.
std::string recipe_schema_json();

}  // namespace verge::build
