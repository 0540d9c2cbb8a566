#pragma once

#include <string>

#include "report/report.h"
#include "report/summary.h"

namespace verge::report {

std::string terminal_table(const Summary& s, const Options& options);
std::string csv_table(const Summary& s);
std::string markdown_table(const Summary& s);
std::string json_report(const Summary& s);
std::string html_report(const Summary& s);

// "f32", or "f32 → bf16" where something else is executed than was asked for; "f32 → ?" where that is unknown.
std::string precision_text(const Row& row);
std::string load_text(const Row& row);  // "48.1 ms", or "48.1 / 16.2 ms": cold / cached
// "12 ok, 1 rejected, 2 failed, 1 not measured"
std::string verdict_counts(const Summary& s);

}  // namespace verge::report
