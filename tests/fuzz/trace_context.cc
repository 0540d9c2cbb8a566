// The headers of W3C Trace Context: a line of traceparent, then tracestate. Both go into the access log.
#include "fuzz.h"
#include "net/trace_context.h"

using namespace verge::net;
using verge::fuzz::require;

namespace {

std::string written(const TraceContext& c) {
  constexpr char kHex[] = "0123456789abcdef";
  std::string out = "00-" + std::string(c.trace_id, TraceContext::kTraceId) + "-" + std::string(c.parent_id, TraceContext::kSpanId) + "-";
  out.push_back(kHex[c.flags >> 4]);
  out.push_back(kHex[c.flags & 15]);
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string input(verge::fuzz::text_of(data, size));
  const size_t end = std::min(input.find('\n'), input.size());
  const std::string parent = input.substr(0, end), state = input.substr(std::min(input.size(), end + 1));
  TraceContext c;
  c.take_parent(parent);
  c.take_state(state);
  if (c.given) {
    const std::string text = written(c);
    require(parent.compare(3, 52, text, 3, 52) == 0, "what was taken is what came:", text);
    TraceContext again;
    again.take_parent(text);
    require(again.given && written(again) == text, "what was taken can be sent on:", text);
  }
  require(c.state.empty() || (c.state == state && state.size() <= TraceContext::kLongestState), "a state is kept as it came");
  for (const char ch : c.state) require((ch >= ' ' && ch <= '~') || ch == '\t', "a state is printable");
  require(valid_trace_state(state) == (c.state == state), "a state that is not valid is dropped");
  c.clear();
  require(!c.given && c.state.empty(), "nothing is left");
  return 0;
}
