// The pull parser: a walk over everything, and skip(), agree on what is JSON.
#include <memory>

#include "fuzz.h"
#include "net/json_pull.h"

using namespace verge::net;
using verge::fuzz::require;

namespace {

bool walk(JsonPull& json, int depth) {
  require(depth <= JsonPull::kMaxDepth + 1, "depth is bounded");
  std::string_view text;
  bool flag;
  switch (json.peek()) {
    case JsonPull::Type::kObject:
      if (!json.enter_object()) return false;
      while (json.next_key(&text))
        if (!walk(json, depth + 1)) return false;
      return !json.failed();
    case JsonPull::Type::kArray:
      if (!json.enter_array()) return false;
      while (json.next_element())
        if (!walk(json, depth + 1)) return false;
      return !json.failed();
    case JsonPull::Type::kString: {
      if (!json.string(&text, &flag)) return false;
      const std::unique_ptr<char[]> out(new char[text.size()]);  // exactly the room that is promised to do
      if (flag) {
        const size_t n = json_unescape(text, out.get());
        require(n == SIZE_MAX || n <= text.size(), "unescaping shortens");
      }
      return true;
    }
    case JsonPull::Type::kNumber: return json.number(&text) && !text.empty();
    case JsonPull::Type::kBool: return json.boolean(&flag);
    case JsonPull::Type::kNull: return json.skip();
    case JsonPull::Type::kNone: return false;
  }
  return false;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string input(verge::fuzz::text_of(data, size));
  JsonPull walked(input), skipped(input);
  const bool a = walk(walked, 0) && walked.at_end(), b = skipped.skip() && skipped.at_end();
  require(a == b, "walking and skipping disagree");
  if (!a) require(!walked.failed() || !walked.error().empty(), "an error says what");
  return 0;
}
