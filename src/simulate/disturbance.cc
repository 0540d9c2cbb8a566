#include "simulate/disturbance.h"

#include <algorithm>
#include <charconv>
#include <string>

namespace verge::simulate {

Result<Disturbance> parse_disturbance(std::string_view text) {
  double numbers[3] = {0, 0, 0};
  int n = 0;
  const char *p = text.data(), *end = p + text.size();
  bool ok = true;
  while (ok && p < end && n < 3) {
    const auto [next, error] = std::from_chars(p, end, numbers[n]);
    ok = error == std::errc() && numbers[n] >= 0 && numbers[n] <= 1e6 && (next == end || *next == ',');
    ++n;
    p = next + (next < end);
  }
  if (!ok || p != end || text.ends_with(',') || n < 2 || numbers[1] <= 0 || (n == 3 && numbers[2] < 1)) {
    return invalid_argument("disturbance '" + std::string(text.substr(0, 40)) + "': must be AT,SECONDS or AT,SECONDS,FACTOR with a factor of at least 1, e.g. 5,0.5 or 5,3,4");
  }
  return Disturbance{static_cast<uint64_t>(numbers[0] * 1e9), static_cast<uint64_t>((numbers[0] + numbers[1]) * 1e9), n == 3 ? numbers[2] : 0};
}

Machine::Machine(std::vector<Disturbance> disturbances, uint64_t offset_ns) : all_(std::move(disturbances)) {
  std::sort(all_.begin(), all_.end(), [](const Disturbance& a, const Disturbance& b) { return a.from_ns < b.from_ns; });
  for (Disturbance& d : all_) d.from_ns += offset_ns, d.until_ns += offset_ns;
}

uint64_t Machine::done(uint64_t start, uint64_t work_ns) const {
  uint64_t now = start;
  auto left = static_cast<double>(work_ns);
  for (const Disturbance& d : all_) {
    if (d.until_ns <= now) continue;
    const double before = d.from_ns > now ? static_cast<double>(d.from_ns - now) : 0;
    if (left <= before) break;
    left -= before;
    now = std::max(now, d.from_ns);
    const auto span = static_cast<double>(d.until_ns - now);
    if (d.slower > 0 && left * d.slower <= span) return now + static_cast<uint64_t>(left * d.slower);
    if (d.slower > 0) left -= span / d.slower;
    now = d.until_ns;
  }
  return now + static_cast<uint64_t>(left);
}

}  // namespace verge::simulate
