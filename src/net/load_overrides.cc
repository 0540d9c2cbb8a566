#include "net/load_overrides.h"

#include <charconv>
#include <string>

#include "net/json_pull.h"

namespace verge::net {
namespace {

// A whole number, also as a string: protobuf's JSON has both.
Status read_max_batch(JsonPull& json, int64_t* out) {
  std::string_view text;
  bool escaped = false;
  const JsonPull::Type type = json.peek();
  const bool read = type == JsonPull::Type::kString ? json.string(&text, &escaped) : type == JsonPull::Type::kNumber && json.number(&text);
  if (json.failed()) return {};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *out);
  if (!read || error != std::errc() || end != text.data() + text.size() || *out < 1 || *out > runtime::kMostBatch)
    return invalid_argument("its max_batch_size must be a whole number from 1 to " + std::to_string(runtime::kMostBatch));
  return {};
}

}  // namespace

Result<runtime::Repository::Overrides> read_load_config(std::string_view text) {
  if (text.size() > kMaxLoadConfig)
    return invalid_argument("its configuration has " + std::to_string(text.size()) + " bytes, the limit is " + std::to_string(kMaxLoadConfig));
  runtime::Repository::Overrides out;
  JsonPull json(text);
  json.enter_object();
  std::string_view key;
  while (json.next_key(&key)) {
    if (key != "max_batch_size")
      return invalid_argument("'" + std::string(key.substr(0, 64)) + "' cannot be overridden: of a model's configuration only max_batch_size can");
    if (out.max_batch != 0) return invalid_argument("its configuration says max_batch_size twice");
    VERGE_RETURN_IF_ERROR(read_max_batch(json, &out.max_batch));
  }
  if (!json.at_end()) return invalid_argument("its configuration is malformed JSON: " + json.error());
  return out;
}

}  // namespace verge::net
