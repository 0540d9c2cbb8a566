#include "net/infer_options.h"

#include <algorithm>
#include <limits>
#include <string>

#include "net/bounds.h"

namespace verge::net {
namespace {

using Kind = ParameterValue::Kind;

Status wrong(std::string_view name, std::string_view expected) {
  return invalid_argument("parameter '" + std::string(name) + "' must be " + std::string(expected));
}

Status set_natural(std::string_view name, const ParameterValue& value, uint64_t* out) {
  return value.natural(out) ? Status() : wrong(name, "a whole number of at least 0");
}

Status set_flag(std::string_view name, const ParameterValue& value, bool* out) {
  if (value.kind != Kind::kBool) return wrong(name, "a boolean");
  *out = value.flag;
  return {};
}

Status set_sequence_id(std::string_view name, const ParameterValue& value, runtime::Sequence* sequence) {
  sequence->id = 0;
  sequence->text = {};
  if (value.kind != Kind::kString)
    return value.natural(&sequence->id) ? Status() : wrong(name, "a whole number of at least 0, or a string");
  if (value.text.size() > kMaxSequenceText)
    return wrong(name, "at most " + std::to_string(kMaxSequenceText) + " bytes long, not " + std::to_string(value.text.size()));
  sequence->text = value.text;
  return {};
}

}  // namespace

Status set_request_parameter(std::string_view name, const ParameterValue& value, runtime::Request* request, InferOptions* options) {
  switch (name.size()) {
    case 7:
      if (name == "timeout") return set_natural(name, value, &options->timeout_us);
      break;
    case 8:
      if (name == "priority") return set_natural(name, value, &request->bounds.priority);
      break;
    case 11:
      if (name == "sequence_id") return set_sequence_id(name, value, &request->sequence);
      break;
    case 12:
      if (name == "sequence_end") return set_flag(name, value, &request->sequence.end);
      break;
    case 14:
      if (name == "sequence_start") return set_flag(name, value, &request->sequence.start);
      break;
    case 18:
      if (name == "binary_data_output") return set_flag(name, value, &options->binary_outputs);
      break;
    case 34:
      if (name == "triton_enable_empty_final_response") return set_flag(name, value, &options->empty_final_response);
      break;
    default: break;
  }
  if (name.starts_with("verge.")) return set_bound(name, value, &request->bounds, &options->deadline_ms);
  return {};
}

Status set_output_parameter(std::string_view name, const ParameterValue& value, WantedOutput* output, bool* known) {
  switch (name.size()) {
    case 11:
      if (name != "binary_data") break;
      *known = output->binary_given = true;
      return set_flag(name, value, &output->binary);
    case 14: {
      if (name != "classification") break;
      uint64_t classes = 0;
      VERGE_RETURN_IF_ERROR(set_natural(name, value, &classes));
      *known = true;
      output->classes = static_cast<uint32_t>(std::min<uint64_t>(classes, std::numeric_limits<uint32_t>::max()));
      return {};
    }
    default:
      VERGE_RETURN_IF_ERROR(set_place_parameter(name, value, &output->place));
      *known = *known || !output->place.region.empty();
      break;
  }
  return {};
}

Status set_place_parameter(std::string_view name, const ParameterValue& value, SharedPlace* place) {
  if (!name.starts_with("shared_memory_")) return {};
  if (name == "shared_memory_region") {
    if (value.kind != Kind::kString || value.text.empty()) return wrong(name, "a string that is not empty");
    place->region = value.text;
  } else if (name == "shared_memory_offset") {
    return set_natural(name, value, &place->offset);
  } else if (name == "shared_memory_byte_size") {
    return set_natural(name, value, &place->bytes);
  }
  return {};
}

void bound_deadline(const InferOptions& options, runtime::Request* request) {
  if (!options.timeout_us && options.deadline_ms <= 0) return;
  // A century is as good as for ever, and stays far from overflow when added to a clock.
  constexpr uint64_t kLongestNs = uint64_t{100} * 365 * 24 * 3'600 * 1'000'000'000u;
  uint64_t wait = kLongestNs;
  if (options.timeout_us) wait = std::min(options.timeout_us, kLongestNs / 1'000) * 1'000;
  if (options.deadline_ms > 0 && options.deadline_ms * 1e6 < static_cast<double>(wait)) wait = static_cast<uint64_t>(options.deadline_ms * 1e6);
  const uint64_t deadline = request->arrival_ns + wait;
  uint64_t& bound = request->bounds.deadline_ns;
  bound = bound ? std::min(bound, deadline) : deadline;
}

}  // namespace verge::net
