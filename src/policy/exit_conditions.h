// A condition for each exit, as a user writes it: "exit1: elapsed > 20 or confidence >= 0.9; exit2: energy > 5 and accuracy >= 0.8; *: elapsed > 40".
//
//   table       = entry { ";" entry }
//   entry       = exit ":" alternative { "or" alternative }        exit: its name, or "*" for all that have no entry of their own
//   alternative = comparison { "and" comparison }
//   comparison  = quantity ("<" | "<=" | ">" | ">=" | "==") number
//   quantity    = elapsed (ms) | confidence (0…1) | entropy (nats) | accuracy | energy (mJ) | computation (share of the chain, 0…1) | exit (1, 2, …)
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "core/status.h"

namespace verge::policy {

struct ExitState;

// Does not allocate; names are views into the text.
struct ExitConditions {
  static constexpr size_t kMostText = 4096, kMostEntries = 32, kMostComparisons = 96;
  enum class Quantity : uint8_t { kElapsed, kConfidence, kEntropy, kAccuracy, kEnergy, kComputation, kExit };
  enum class Operator : uint8_t { kLess, kLessEqual, kGreater, kGreaterEqual, kEqual };
  struct Comparison {
    Quantity quantity;
    Operator op;
    bool begins;  // an alternative
    double value;
  };
  struct Entry {
    std::string_view exit;
    uint16_t first, count;
  };
  std::array<Entry, kMostEntries> entries;
  std::array<Comparison, kMostComparisons> comparisons;
  uint16_t entry_count = 0, comparison_count = 0;

  const Entry* find(std::string_view exit) const;  // its own, else that of "*"; nullptr where there is none
  bool holds(const Entry& entry, const ExitState& state) const;
};

// `out` is undefined after an error, which says where in the text it is.
Status parse_exit_conditions(std::string_view text, ExitConditions& out);

}  // namespace verge::policy
