#include "net/encoding.h"

#include <algorithm>

namespace verge::net {
namespace {

std::string_view trim(std::string_view s) {
  while (!s.empty() && (s.front() == ' ' || s.front() == '\t')) s.remove_prefix(1);
  while (!s.empty() && (s.back() == ' ' || s.back() == '\t')) s.remove_suffix(1);
  return s;
}

bool equal_ignoring_case(std::string_view a, std::string_view lower) {
  return a.size() == lower.size() && std::equal(a.begin(), a.end(), lower.begin(), [](char x, char y) { return (x >= 'A' && x <= 'Z' ? x + 32 : x) == y; });
}

// "q=0", "q=0.0", …: not acceptable.
bool refused(std::string_view parameters) {
  const size_t q = parameters.find("q=");
  if (q == std::string_view::npos) return false;
  const std::string_view weight = trim(parameters.substr(q + 2));
  return weight.starts_with('0') && weight.find_first_of("123456789") == std::string_view::npos;
}

}  // namespace

Encoding encoding_from_name(std::string_view name) {
  name = trim(name);
  if (name.empty() || equal_ignoring_case(name, "identity")) return Encoding::kIdentity;
  if (equal_ignoring_case(name, "gzip") || equal_ignoring_case(name, "x-gzip")) return Encoding::kGzip;
  return equal_ignoring_case(name, "deflate") ? Encoding::kDeflate : Encoding::kUnknown;
}

std::string_view encoding_name(Encoding e) {
  switch (e) {
    case Encoding::kGzip: return "gzip";
    case Encoding::kDeflate: return "deflate";
    default: return "identity";
  }
}

Encoding best_encoding(std::string_view accepted) {
  Encoding best = Encoding::kIdentity;
  while (!accepted.empty()) {
    const size_t comma = std::min(accepted.find(','), accepted.size());
    std::string_view item = accepted.substr(0, comma);
    accepted.remove_prefix(std::min(comma + 1, accepted.size()));
    const size_t semicolon = std::min(item.find(';'), item.size());
    const Encoding e = encoding_from_name(item.substr(0, semicolon));
    if (e == Encoding::kUnknown || e == Encoding::kIdentity || refused(item.substr(semicolon))) continue;
    if (e == Encoding::kGzip) return e;
    best = e;
  }
  return best;
}

}  // namespace verge::net
