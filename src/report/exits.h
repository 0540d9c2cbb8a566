// What the report says of a multi-exit model: where it can answer, how well and how soon, what leaving early gains, and what engines mixed stage by
// stage would.
#pragma once

#include <string>
#include <vector>

#include "core/json.h"
#include "report/summary.h"

namespace verge::report {

struct ExitRow {
  std::string name;
  double accuracy = -1;      // -1: not evaluated
  double max_abs_diff = -1;  // against the whole network's same exit
  double stage_us = -1;      // p50 of its stage alone, as below
  double p50_us = -1;        // of all stages up to here, one sample, the fewest cores; -1: not measured
  double share = -1;         // of the whole chain's time
};
std::vector<ExitRow> exits_of(const Summary& s, const Row& row);  // empty: the model or the row has none

// Each stage by whichever variant runs it fastest: what a chain of mixed engines could at most gain, since passing features between engines is free at best.
struct Mixed {
  struct Stage {
    std::string exit;
    const Row* row = nullptr;
    double us = 0;
  };
  std::vector<Stage> stages;    // empty: fewer than two variants are measured
  double us = 0;                // of the mixed chain
  const Row* single = nullptr;  // the fastest chain of one variant
  double single_us = 0;
  bool one() const;             // the same variant is fastest everywhere
};
Mixed mixed_engines(const Summary& s);
std::string mixed_text(const Mixed& m);  // a sentence

// Accuracy against mean cost: the calibrated curves, and each exit as if all left there. Empty where nothing is calibrated.
std::string exit_plot(const Summary& s, const Row& row, double width, double height);
std::string exits_section(const Summary& s);  // of report.html
std::string exits_lines(const Summary& s);    // for a terminal
void add_exits(Json& variant, const Summary& s, const Row& row);
void add_exits(Json& report, const Summary& s);

}  // namespace verge::report
