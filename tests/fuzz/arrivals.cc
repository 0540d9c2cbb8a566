// Traces of arrivals: a CSV file of whoever recorded it.
#include <algorithm>
#include <cmath>

#include "bench/arrivals.h"
#include "fuzz.h"

using namespace verge;
using verge::fuzz::require;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static constexpr const char* kUnits[] = {"s", "ms", "us", "ns", "", "days"};
  static constexpr const char* kColumns[] = {"", "0", "1", "at", "99999999999999999999", "-1"};
  fuzz::Choices choices(fuzz::text_of(data, size));
  const uint8_t how = choices.byte();
  const auto times = bench::parse_trace(choices.rest(), kColumns[how % 6], kUnits[how / 6 % 6], "f");
  if (!times.ok()) return 0;
  require(!times->empty() && times->size() <= size, "there are arrivals, each with its line");
  require(std::is_sorted(times->begin(), times->end()) && times->front() == 0, "they are in order, from 0");
  require(std::all_of(times->begin(), times->end(), [](double t) { return std::isfinite(t); }), "they are numbers");
  return 0;
}
