#include "net/trace_context.h"

#include <algorithm>
#include <cstring>

namespace verge::net {
namespace {

constexpr size_t kMembers = 32;  // of a tracestate

bool is_hex(std::string_view s) {
  return std::all_of(s.begin(), s.end(), [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}
bool all_zero(std::string_view s) {
  return std::all_of(s.begin(), s.end(), [](char c) { return c == '0'; });
}
int digit(char c) { return c <= '9' ? c - '0' : c - 'a' + 10; }

bool valid_key(std::string_view key) {
  if (key.empty() || key.size() > 256) return false;
  if (!((key[0] >= 'a' && key[0] <= 'z') || (key[0] >= '0' && key[0] <= '9'))) return false;
  return std::all_of(key.begin(), key.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '*' || c == '/' || c == '@';
  });
}

}  // namespace

void TraceContext::take_parent(std::string_view v) {
  // 00-<trace id>-<parent id>-<flags>; later versions may have more after it.
  constexpr size_t kBytes = 55;
  given = false;
  if (v.size() < kBytes || v[2] != '-' || v[35] != '-' || v[52] != '-') return;
  const std::string_view version = v.substr(0, 2), trace = v.substr(3, kTraceId), parent = v.substr(36, kSpanId), bits = v.substr(53, 2);
  if (!is_hex(version) || version == "ff" || !is_hex(trace) || all_zero(trace) || !is_hex(parent) || all_zero(parent) || !is_hex(bits)) return;
  if (v.size() > kBytes && (version == "00" || v[kBytes] != '-')) return;
  given = true;
  std::memcpy(trace_id, trace.data(), kTraceId);
  std::memcpy(parent_id, parent.data(), kSpanId);
  flags = static_cast<uint8_t>(digit(bits[0]) * 16 + digit(bits[1]));
}

void TraceContext::take_state(std::string_view value) {
  if (valid_trace_state(value))
    state.assign(value);
  else
    state.clear();
}

bool valid_trace_state(std::string_view value) {
  if (value.size() > TraceContext::kLongestState) return false;
  for (size_t members = 0; !value.empty(); ++members) {
    if (members == kMembers) return false;
    const size_t comma = value.find(',');
    std::string_view member = value.substr(0, comma);
    value = comma == std::string_view::npos ? std::string_view() : value.substr(comma + 1);
    while (!member.empty() && (member.front() == ' ' || member.front() == '\t')) member.remove_prefix(1);
    while (!member.empty() && (member.back() == ' ' || member.back() == '\t')) member.remove_suffix(1);
    if (member.empty()) continue;
    const size_t equals = member.find('=');
    if (equals == std::string_view::npos || !valid_key(member.substr(0, equals))) return false;
    const std::string_view text = member.substr(equals + 1);
    if (text.empty() || text.size() > 256) return false;
    if (!std::all_of(text.begin(), text.end(), [](char c) { return c >= 0x20 && c <= 0x7e && c != '='; })) return false;
  }
  return true;
}

void random_hex(uint64_t* state, char* out, size_t digits) {
  constexpr char kHex[] = "0123456789abcdef";
  for (size_t i = 0; i < digits; i += 16) {
    // splitmix64
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    z = (z ^ (z >> 31)) | 1;
    for (size_t d = i; d < std::min(digits, i + 16); ++d, z >>= 4) out[d] = kHex[z & 15];
  }
}

}  // namespace verge::net
