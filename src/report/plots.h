// The plots of report.html. Each returns a whole <svg>, or nothing where there is nothing to plot.
#pragma once

#include <string>

#include "report/summary.h"

namespace verge::report {

int engine_index(std::string_view engine);          // its colour and marker, 0 … 5
std::string engine_class(std::string_view engine);  // "e0" … "e5"

// Quality against batch-1 latency, the front joined by a line. `width` in pixels; a phone gets a narrow one of its own.
std::string quality_plot(const Summary& s, double width, double height);
// Latency against batch on the fewest cores: the variants of one engine in colour, all others behind in grey.
std::string batch_plot(const Summary& s, std::string_view engine);
// One bar a variant. Rows without a value are left out.
enum class Bar { kSize, kLoad, kResident, kGenerate };
std::string bar_plot(const Summary& s, Bar bar);

}  // namespace verge::report
