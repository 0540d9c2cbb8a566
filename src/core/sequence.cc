#include "core/sequence.h"

#include <algorithm>
#include <set>

namespace verge {
namespace {

constexpr size_t kMaxNameBytes = 1024;

const TensorSpec* find(const std::vector<TensorSpec>& specs, const std::string& name) {
  const auto it = std::find_if(specs.begin(), specs.end(), [&](const TensorSpec& t) { return t.name == name; });
  return it == specs.end() ? nullptr : &*it;
}

bool is_flag_type(DType t) { return t == DType::kBool || t == DType::kInt32 || t == DType::kFp32; }
bool is_id_type(DType t) { return t == DType::kInt32 || t == DType::kUint32 || t == DType::kInt64 || t == DType::kUint64 || t == DType::kBytes; }

// Free dimensions but for the batch have no size before the first request.
bool has_size(const TensorSpec& t) {
  for (int i = 0; i < t.shape.rank(); ++i) {
    if (t.shape[i] < 0 && i != t.batch_axis && i != 0) return false;
  }
  return true;
}

int64_t elements_of_one(const TensorSpec& t) {
  int64_t n = 1;
  for (int i = 0; i < t.shape.rank(); ++i) n *= std::max<int64_t>(i == t.batch_axis ? 1 : std::abs(t.shape[i]), 0);
  return n;
}

}  // namespace

bool SequenceSpec::feeds(const std::string& input) const {
  if (input.empty()) return false;
  return input == start || input == end || input == ready || input == id ||
         std::any_of(state.begin(), state.end(), [&](const SequenceState& s) { return s.input == input; });
}

bool SequenceSpec::takes(const std::string& output) const {
  return std::any_of(state.begin(), state.end(), [&](const SequenceState& s) { return s.output == output; });
}

Status check_sequence(const SequenceSpec& s, const Signature& network) {
  std::set<std::string> inputs, outputs;
  for (const auto& [control, name] : {std::pair{"start", &s.start}, std::pair{"end", &s.end}, std::pair{"ready", &s.ready}, std::pair{"id", &s.id}}) {
    if (name->empty()) continue;
    const std::string where = std::string("sequence.controls.") + control;
    const TensorSpec* t = find(network.inputs, *name);
    if (t == nullptr) return invalid_argument(where + ": the network takes no '" + *name + "'");
    const bool is_id = std::string_view(control) == "id";
    if (!(is_id ? is_id_type(t->dtype) : is_flag_type(t->dtype))) {
      return invalid_argument(where + ": '" + *name + "' is " + std::string(dtype_name(t->dtype)) + "; " +
                              (is_id ? "INT32, UINT32, INT64, UINT64 or BYTES" : "BOOL, INT32 or FP32") + " is expected");
    }
    if (elements_of_one(*t) != 1) return invalid_argument(where + ": '" + *name + "' holds more than one element a sample");
    if (!inputs.insert(*name).second) return invalid_argument(where + ": '" + *name + "' is named twice");
  }
  for (const SequenceState& state : s.state) {
    const std::string where = "sequence.state";
    const TensorSpec *in = find(network.inputs, state.input), *out = find(network.outputs, state.output);
    if (in == nullptr) return invalid_argument(where + ": the network takes no '" + state.input + "'");
    if (out == nullptr) return invalid_argument(where + ": the network gives no '" + state.output + "'");
    if (in->dtype != out->dtype || in->shape.rank() != out->shape.rank()) {
      return invalid_argument(where + ": '" + state.input + "' and '" + state.output + "' differ in type or rank");
    }
    for (int i = 0; i < in->shape.rank(); ++i) {
      if (in->shape[i] >= 0 && out->shape[i] >= 0 && in->shape[i] != out->shape[i]) return invalid_argument(where + ": '" + state.input + "' and '" + state.output + "' differ in shape");
    }
    if (in->dtype == DType::kBytes) return invalid_argument(where + ": '" + state.input + "' holds strings, which a state cannot");
    if (!has_size(*in)) return invalid_argument(where + ": '" + state.input + "' has a free dimension beside the batch, so that nobody knows how long a first state is");
    if (!inputs.insert(state.input).second) return invalid_argument(where + ": '" + state.input + "' is named twice");
    if (!outputs.insert(state.output).second) return invalid_argument(where + ": '" + state.output + "' is named twice");
  }
  return {};
}

Json sequence_json(const SequenceSpec& s) {
  Json controls = Json::object(), state = Json::array();
  for (const auto& [control, name] : {std::pair{"start", &s.start}, std::pair{"end", &s.end}, std::pair{"ready", &s.ready}, std::pair{"id", &s.id}}) {
    if (!name->empty()) controls[control] = *name;
  }
  for (const SequenceState& one : s.state) state.push_back({{"input", one.input}, {"output", one.output}, {"initial", "zeros"}});
  return {{"controls", std::move(controls)}, {"state", std::move(state)}, {"limit", s.limit}, {"idle_seconds", s.idle_seconds}};
}

Result<SequenceSpec> parse_sequence(const Json& j, const std::string& where) {
  JsonReader r(j, where);
  SequenceSpec s;
  if (r.has("controls")) {
    JsonReader c(r.object("controls"), where + ".controls");
    for (const auto& [control, name] : {std::pair{"start", &s.start}, std::pair{"end", &s.end}, std::pair{"ready", &s.ready}, std::pair{"id", &s.id}}) {
      *name = c.str(control, "");
      if (name->size() > kMaxNameBytes) return invalid_argument(where + ".controls." + control + ": the name is too long");
    }
    VERGE_RETURN_IF_ERROR(c.status());
  }
  if (r.has("state")) {
    const Json& list = r.array("state");
    VERGE_RETURN_IF_ERROR(r.status());
    if (list.size() > kMostStates) return invalid_argument(where + ".state: more than " + std::to_string(kMostStates) + " tensors");
    for (const Json& one : list) {
      JsonReader e(one, where + ".state");
      SequenceState state{e.str("input"), e.str("output")};
      const std::string initial = e.str("initial", "zeros");
      VERGE_RETURN_IF_ERROR(e.status());
      if (initial != "zeros") return invalid_argument(where + ".state: initial: '" + initial.substr(0, 64) + "' is unknown; known is zeros");
      s.state.push_back(std::move(state));
    }
  }
  s.limit = r.integer("limit", s.limit);
  s.idle_seconds = r.number("idle_seconds", s.idle_seconds);
  VERGE_RETURN_IF_ERROR(r.status());
  if (s.limit < 1 || s.limit > kMostSequences) return invalid_argument(where + ".limit: a number from 1 to " + std::to_string(kMostSequences) + " is expected");
  if (!(s.idle_seconds > 0 && s.idle_seconds <= 86'400)) return invalid_argument(where + ".idle_seconds: seconds up to 86400 are expected");
  return s;
}

}  // namespace verge
