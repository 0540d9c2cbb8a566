// W3C Trace Context: which trace a request belongs to, taken from its headers and carried to the access log.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace verge::net {

struct TraceContext {
  static constexpr size_t kTraceId = 32, kSpanId = 16;  // hexadecimal digits
  static constexpr size_t kLongestState = 512;

  bool given = false;  // a valid traceparent came
  char trace_id[kTraceId];
  char parent_id[kSpanId];
  uint8_t flags = 0;
  std::string state;  // tracestate as it came, where it is valid; keeps its capacity

  void clear() {
    given = false;
    flags = 0;
    state.clear();
  }
  // What is malformed is ignored, as the specification wants it.
  void take_parent(std::string_view value);
  void take_state(std::string_view value);
};

bool valid_trace_state(std::string_view value);

// Writes `digits` hexadecimal digits, not all zero, from a generator that is not secret. `state` is one thread's own, not 0.
void random_hex(uint64_t* state, char* out, size_t digits);

}  // namespace verge::net
