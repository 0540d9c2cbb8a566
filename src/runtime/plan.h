// How one request is to be answered, decided at admission, and what came of it. Part of a run.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "policy/exit_rule.h"
#include "runtime/bounds.h"

namespace verge::runtime {

inline constexpr uint32_t kNoExit = UINT32_MAX;

struct Plan {
  bool every_exit = false;  // earlier exits' answers are handed out
  bool keeps = false;  // or kept, for the front to give out at the deadline
  bool said = false;  // the answer tells what was chosen
  const policy::ExitRule* rule = nullptr;  // of a multi-exit model
  policy::ExitSettings settings;
  uint64_t arrival_ns = 0;
  uint64_t deadline_ns = policy::kNoDeadline;  // from arrival
  uint64_t margin_ns = 0;
  uint32_t exit = kNoExit;      // chosen
  uint64_t needs_ns = 0;        // cautious time of the least that would do; 0: unknown
  double accuracy = -1;         // expected of what was chosen
  uint64_t predicted_ns = 0;    // from arrival; 0: unknown
  double watts = 0;             // of the lane while it works; 0: unknown
  const char* reason = "";
  std::string_view family;      // under whose name it was asked; empty: none
  std::shared_ptr<const TenantBounds> defaults;  // keeps what the settings point to
  std::unique_ptr<policy::ExitConditions> conditions;  // of the request itself; kept for the next one
  std::string trace;            // empty: not asked for

  // --- what came of it ---
  uint32_t left_at = kNoExit;
  double confidence = -1;
  uint64_t shared_bytes = 0, copied_bytes = 0;  // features passed from stage to stage

  void clear() {
    every_exit = keeps = said = false;
    rule = nullptr;
    settings = {};
    arrival_ns = margin_ns = needs_ns = predicted_ns = 0;
    deadline_ns = policy::kNoDeadline;
    exit = left_at = kNoExit;
    accuracy = confidence = -1;
    watts = 0;
    reason = "";
    family = {};
    defaults.reset();
    trace.clear();
    shared_bytes = copied_bytes = 0;
  }
};

}  // namespace verge::runtime
