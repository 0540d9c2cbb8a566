#include "report/text.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace verge::report {
namespace {

constexpr std::string_view kNone = "–";
constexpr uint32_t kReplacement = 0xFFFD;

std::string print(const char* format, double v) {
  char text[400];  // of the largest double
  std::snprintf(text, sizeof text, format, v);
  return text;
}

// The next code point, kReplacement where the bytes are no UTF-8; `s` moves on.
uint32_t take(std::string_view& s) {
  auto at = [&](size_t i) { return static_cast<unsigned char>(s[i]); };
  const unsigned char first = at(0);
  size_t length = first < 0x80 ? 1 : first >> 5 == 6 ? 2 : first >> 4 == 14 ? 3 : first >> 3 == 30 ? 4 : 0;
  uint32_t c = length == 1 ? first : length == 2 ? first & 0x1F : length == 3 ? first & 0x0F : first & 0x07;
  bool good = length > 0 && length <= s.size();
  for (size_t i = 1; good && i < length; ++i) {
    good = (at(i) & 0xC0) == 0x80;
    c = c << 6 | (at(i) & 0x3F);
  }
  constexpr uint32_t kLeast[] = {0, 0, 0x80, 0x800, 0x10000};
  good = good && c >= kLeast[length] && c <= 0x10FFFF && !(c >= 0xD800 && c < 0xE000);
  s.remove_prefix(good ? length : 1);
  return good ? c : kReplacement;
}

void put(std::string& out, uint32_t c) {
  auto byte = [&](uint32_t b) { out += static_cast<char>(b); };
  if (c < 0x80) {
    byte(c);
  } else if (c < 0x800) {
    byte(0xC0 | c >> 6), byte(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    byte(0xE0 | c >> 12), byte(0x80 | (c >> 6 & 0x3F)), byte(0x80 | (c & 0x3F));
  } else {
    byte(0xF0 | c >> 18), byte(0x80 | (c >> 12 & 0x3F)), byte(0x80 | (c >> 6 & 0x3F)), byte(0x80 | (c & 0x3F));
  }
}

bool acts(uint32_t c) {
  return c < 0x20 || (c >= 0x7F && c < 0xA0) || (c >= 0x202A && c <= 0x202E) || (c >= 0x2066 && c <= 0x2069) || c == 0x200E || c == 0x200F ||
         c == 0x2028 || c == 0x2029 || c == 0xFEFF;
}

struct Range {
  uint32_t first, last;
};
constexpr Range kWide[] = {{0x1100, 0x115F}, {0x2E80, 0xA4CF}, {0xAC00, 0xD7A3}, {0xF900, 0xFAFF}, {0xFE30, 0xFE6F}, {0xFF00, 0xFF60},
                           {0xFFE0, 0xFFE6}, {0x1F300, 0x1F64F}, {0x1F680, 0x1F6FF}, {0x1F900, 0x1F9FF}, {0x20000, 0x3FFFD}};
constexpr Range kZero[] = {{0x0300, 0x036F}, {0x1AB0, 0x1AFF}, {0x20D0, 0x20FF}, {0x200B, 0x200D}, {0xFE00, 0xFE0F}, {0xFE20, 0xFE2F}};

int width_of(uint32_t c) {
  auto in = [c](const Range& r) { return c >= r.first && c <= r.last; };
  if (std::any_of(std::begin(kZero), std::end(kZero), in)) return 0;
  return std::any_of(std::begin(kWide), std::end(kWide), in) ? 2 : 1;
}

}  // namespace

std::string significant(double v, int digits) {
  if (v == 0) return "0";
  char text[400];  // of the largest double
  // Rounded to its digits first, so that 0.9996 is "1.00" and not "1.000".
  std::snprintf(text, sizeof text, "%.*e", digits - 1, v);
  const int magnitude = std::atoi(std::strchr(text, 'e') + 1);
  std::snprintf(text, sizeof text, "%.*f", std::clamp(digits - 1 - magnitude, 0, 12), v);
  return text;
}

std::string time_us(double us) {
  if (us < 0 || !std::isfinite(us)) return std::string(kNone);
  if (us < 999.5) return significant(us, 3) + " µs";
  if (us < 999.5e3) return significant(us / 1e3, 3) + " ms";
  return significant(us / 1e6, 3) + " s";
}

std::string tick_us(double us) {
  std::string s = time_us(us);
  const size_t unit = s.find(' '), point = s.find('.');
  if (unit == std::string::npos || point > unit) return s;
  size_t end = s.find_last_not_of('0', unit - 1);
  s.erase(end == point ? end : end + 1, unit - (end == point ? end : end + 1));
  return s;
}

std::string bytes(double n) {
  if (n < 0 || !std::isfinite(n)) return std::string(kNone);
  if (n < 999.5) return print("%.0f B", n);
  if (n < 999.5e3) return significant(n / 1e3, 3) + " kB";
  if (n < 999.5e6) return significant(n / 1e6, 3) + " MB";
  return significant(n / 1e9, 3) + " GB";
}

std::string rate(double per_second) {
  if (per_second < 0 || !std::isfinite(per_second)) return std::string(kNone);
  if (per_second < 100) return significant(per_second, 3);
  // Three significant digits, thousands apart.
  const double step = std::pow(10, std::floor(std::log10(per_second)) - 2);
  std::string s = print("%.0f", std::round(per_second / step) * step);
  for (auto at = static_cast<std::ptrdiff_t>(s.size()) - 3; at > 0; at -= 3) s.insert(static_cast<size_t>(at), ",");
  return s;
}

std::string fraction(double v) { return v < 0 ? std::string(kNone) : print("%.4f", v); }

std::string signed_fraction(double v) {
  if (std::abs(v) < 5e-5) return "±0";
  return (v < 0 ? "−" : "+") + print("%.4f", std::abs(v));
}

std::string difference(double v) {
  if (v < 0) return std::string(kNone);
  if (v > 1e300) return "NaN";
  return print("%.2g", v);
}

std::string times(double ratio) { return "×" + (ratio < 99.5 ? significant(ratio, 2) : print("%.0f", ratio)); }

std::string clean(std::string_view s) {
  std::string out;
  out.reserve(s.size());
  while (!s.empty()) {
    uint32_t c = take(s);
    if (c == '\n' || c == '\r' || c == '\t') c = ' ';
    put(out, acts(c) ? kReplacement : c);
  }
  return out;
}

std::string html(std::string_view s) {
  std::string out;
  for (char c : clean(s)) switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '"': out += "&quot;"; break;
      case '\'': out += "&#39;"; break;
      default: out += c;
    }
  return out;
}

std::string markdown(std::string_view s) {
  std::string out;
  for (char c : clean(s)) {
    if (c == '<') {
      out += "&lt;";
      continue;
    }
    if (c == '&') {
      out += "&amp;";
      continue;
    }
    if (std::string_view("\\|`*_[]!~").find(c) != std::string_view::npos) out += '\\';
    out += c;
  }
  return out;
}

std::string csv(std::string_view s) {
  std::string text = clean(s);
  // Spreadsheets run what begins like this.
  if (!text.empty() && std::string_view("=+-@").find(text[0]) != std::string_view::npos) text.insert(0, 1, '\'');
  if (text.find_first_of(",\"") == std::string::npos) return text;
  std::string out = "\"";
  for (char c : text) out += c == '"' ? std::string("\"\"") : std::string(1, c);
  return out + "\"";
}

int columns(std::string_view s) {
  int n = 0;
  while (!s.empty()) n += width_of(take(s));
  return n;
}

std::string shortened(std::string_view s, int max_columns) {
  if (columns(s) <= max_columns) return std::string(s);
  std::string out;
  int used = 0;
  while (!s.empty()) {
    uint32_t c = take(s);
    if (used + width_of(c) > max_columns - 1) break;
    used += width_of(c);
    put(out, c);
  }
  return out + "…";
}

}  // namespace verge::report
