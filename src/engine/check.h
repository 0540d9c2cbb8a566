// The contract's own test suite: runs every clause of include/verge/engine.h against a plugin. For authors of plugins, ours included.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "core/status.h"

namespace verge::engine {

struct ClauseResult {
  std::string clause;  // what is expected: "an unknown load option is refused by name"
  bool ok = false;
  bool skipped = false;  // does not apply to this plugin; `detail` says why
  std::string detail;    // what came instead
};

// Runs all clauses, each in a forked child with a time limit, so that a crash or a hang is a result. `artifact` and `format` name the file
// to load; empty: those that the descriptor lists under "check", and without any, only the clauses that need none. `report`, when set, is called
// with each result as it comes. Must be called while the process has one thread. Fails where there is no such plugin.
Result<std::vector<ClauseResult>> engine_check(const std::string& plugin_or_descriptor, const std::string& artifact, const std::string& format,
                                               const std::function<void(const ClauseResult&)>& report);

// `verge engine check`: prints each clause with "ok", "FAILED" or "skipped". Returns 0 if all hold, 1 if one failed, 2 if there is no such
// plugin or artifact.
int engine_check_main(const std::string& plugin_or_descriptor, const std::string& artifact, const std::string& format);

}  // namespace verge::engine
