// The plots of a result's page; each returns a whole <svg>, or nothing where there is nothing to plot.
#pragma once

#include <string>
#include <vector>

#include "bench/record.h"

namespace verge::bench {

// One line of a plot: a tenant of a run. Lines of a second run are thin.
struct Series {
  const Part* part = nullptr;
  const Record* record = nullptr;
  std::string name;
  int colour = 0;
  bool other = false;
};

std::string percentile_plot(const std::vector<Series>& series, double width, double height);
std::string rate_plot(const std::vector<Series>& series, double width, double height);     // answered a second over time, offered behind
std::string latency_time_plot(const std::vector<Series>& series, double width, double height);  // p50 and p99 over time
// Shares as one bar a line: in time, late, refused, …
std::string outcome_plot(const std::vector<Series>& series, double width);
// Which variants or exits answered.
std::string share_plot(const std::vector<Series>& series, bool exits, double width);

}  // namespace verge::bench
