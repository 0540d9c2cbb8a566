// Arrival times out of CSV files.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <optional>

#include "bench/arrivals.h"

namespace verge::bench {
namespace {

constexpr size_t kMostArrivals = 50'000'000;

std::vector<std::string_view> fields_of(std::string_view line) {
  std::vector<std::string_view> out;
  while (true) {
    size_t end;
    if (!line.empty() && line[0] == '"') {
      end = line.find('"', 1);
      if (end == std::string_view::npos) end = line.size();
      out.push_back(line.substr(1, end - 1));
      end = line.find(',', end);
    } else {
      end = line.find(',');
      out.push_back(line.substr(0, end));
    }
    if (end == std::string_view::npos) return out;
    line.remove_prefix(end + 1);
  }
}

bool digits(std::string_view s, size_t at, size_t n, int* out) {
  if (at + n > s.size()) return false;
  *out = 0;
  for (size_t i = at; i < at + n; ++i) {
    if (s[i] < '0' || s[i] > '9') return false;
    *out = *out * 10 + (s[i] - '0');
  }
  return true;
}

// Days since 1970 in the Gregorian calendar.
int64_t day_number(int y, int m, int d) {
  y -= m <= 2;
  const int64_t era = y / 400;
  const int yoe = y - static_cast<int>(era) * 400, doy = (153 * (m + (m > 2 ? -3 : 9)) + 2) / 5 + d - 1, doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
  return era * 146097 + doe - 719468;
}

std::optional<double> parse_date(std::string_view s) {
  int year, month, day, hour, minute, second;
  if (!digits(s, 0, 4, &year) || !digits(s, 5, 2, &month) || !digits(s, 8, 2, &day) || !digits(s, 11, 2, &hour) || !digits(s, 14, 2, &minute) || !digits(s, 17, 2, &second) ||
      s[4] != '-' || s[7] != '-' || (s[10] != ' ' && s[10] != 'T') || s[13] != ':' || s[16] != ':' || month < 1 || month > 12 || day < 1 || day > 31)
    return {};
  double fraction = 0, place = 0.1;
  size_t at = 19;
  if (at < s.size() && s[at] == '.')
    for (++at; at < s.size() && s[at] >= '0' && s[at] <= '9'; ++at, place /= 10) fraction += place * (s[at] - '0');
  return static_cast<double>(day_number(year, month, day) * 86400 + hour * 3600 + minute * 60 + second) + fraction;
}

std::optional<double> parse_number(std::string_view s) {
  while (!s.empty() && s.front() == ' ') s.remove_prefix(1);
  double v;
  const auto [end, error] = std::from_chars(s.data(), s.data() + s.size(), v);
  if (error != std::errc() || !std::isfinite(v) || std::any_of(end, s.data() + s.size(), [](char c) { return c != ' '; })) return {};
  return v;
}

}  // namespace

Result<std::vector<double>> parse_trace(std::string_view text, const std::string& column, std::string_view unit, const std::string& what) {
  const double scale = unit == "s" || unit.empty() ? 1 : unit == "ms" ? 1e-3 : unit == "us" ? 1e-6 : unit == "ns" ? 1e-9 : 0;
  if (scale == 0) return invalid_argument("unit '" + std::string(unit) + "': must be s, ms, us or ns");
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
  std::vector<double> out;
  size_t at = 0, line_number = 0;
  while (!text.empty()) {
    ++line_number;
    const size_t end = text.find('\n');
    std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty()) continue;
    const auto fields = fields_of(line);
    if (line_number == 1) {
      bool header = false;
      if (!column.empty()) {
        const auto named = std::find(fields.begin(), fields.end(), column);
        const auto [p, error] = std::from_chars(column.data(), column.data() + column.size(), at);
        if (named != fields.end()) {
          at = static_cast<size_t>(named - fields.begin());
          header = true;
        } else if (error != std::errc() || p != column.data() + column.size()) {
          std::string names;
          for (size_t i = 0; i < fields.size() && i < 20; ++i) names += (i ? ", " : "") + std::string(fields[i].substr(0, 40));
          return invalid_argument(what + ": no column '" + column + "'; the first line has " + names);
        }
      }
      if (header || (at < fields.size() && !parse_number(fields[at]) && !parse_date(fields[at]))) continue;
    }
    if (at >= fields.size()) return invalid_argument(what + ":" + std::to_string(line_number) + ": there is no column " + std::to_string(at));
    std::optional<double> v = parse_number(fields[at]);
    if (v) *v *= scale;
    else v = parse_date(fields[at]);
    if (!v) return invalid_argument(what + ":" + std::to_string(line_number) + ": '" + std::string(fields[at].substr(0, 40)) + "' is neither a number nor a date and time");
    out.push_back(*v);
    if (out.size() > kMostArrivals) return invalid_argument(what + ": more than " + std::to_string(kMostArrivals) + " arrivals");
  }
  if (out.size() < 2) return invalid_argument(what + ": a trace needs two arrivals at least");
  std::sort(out.begin(), out.end());
  const double first = out.front();
  for (double& v : out) v -= first;
  if (out.back() <= 0) return invalid_argument(what + ": all arrivals are at the same time");
  return out;
}

}  // namespace verge::bench
