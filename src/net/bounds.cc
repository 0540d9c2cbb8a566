#include "net/bounds.h"

#include <array>
#include <charconv>
#include <cmath>
#include <limits>
#include <string>

#include "core/suggest.h"

namespace verge::net {
namespace {

using Kind = ParameterValue::Kind;
using runtime::Objective;

constexpr std::string_view kPrefix = "verge.";
constexpr double kNoLimit = std::numeric_limits<double>::infinity();

enum class Bound : uint8_t { kDeadline, kMinAccuracy, kMaxEnergy, kObjective, kRule, kConfidence, kMaxAccuracyLoss, kExit, kConditions, kVariant, kEveryExit, kTrace };

// What a value must be.
struct Entry {
  std::string_view name;
  Bound bound;
  enum Type : uint8_t { kNumber, kText, kFlag } type;
  double above;       // of numbers; texts are neither empty nor longer than `most`
  double most;
  bool least_allowed;  // `above` itself may be it
  std::string_view expected;
  std::string_view about;  // in the schema of a tenant's settings; empty: of requests alone
};

constexpr std::array<Entry, 12> kEntries = {{
    {"deadline_ms", Bound::kDeadline, Entry::kNumber, 0, kNoLimit, false, "a number of milliseconds larger than 0", "from arrival to the answer"},
    {"min_accuracy", Bound::kMinAccuracy, Entry::kNumber, 0, 1, true, "a number from 0 to 1", "in the model's metric"},
    {"max_energy_mj", Bound::kMaxEnergy, Entry::kNumber, 0, kNoLimit, false, "a number of millijoules larger than 0", "millijoules of one request"},
    {"objective", Bound::kObjective, Entry::kText, 0, 16, false, "'accuracy', 'latency' or 'energy'", "what is best among those within the bounds"},
    {"rule", Bound::kRule, Entry::kText, 0, kMaxRuleName, false, "the name of an exit rule", "exit rule; default predictive"},
    {"confidence", Bound::kConfidence, Entry::kNumber, 0, 1, true, "a number from 0 to 1", "leave at the first exit whose largest score reaches it"},
    {"max_accuracy_loss", Bound::kMaxAccuracyLoss, Entry::kNumber, 0, 1, true, "a number from 0 to 1",
     "which point of the calibrated curve the rules confidence and entropy take"},
    {"exit", Bound::kExit, Entry::kText, 0, kMaxExitName, false, "the name of an exit", "exit of the rule fixed"},
    {"conditions", Bound::kConditions, Entry::kText, 0, kMaxConditions, false, "a text of at most 1024 bytes", "a condition an exit, for the rule conditions"},
    {"variant", Bound::kVariant, Entry::kText, 0, kNoLimit, true, "a string", ""},
    {"every_exit", Bound::kEveryExit, Entry::kFlag, 0, 0, false, "true or false", ""},
    {"trace", Bound::kTrace, Entry::kFlag, 0, 0, false, "true or false", ""},
}};

const Entry* find_entry(std::string_view name) {
  for (const Entry& e : kEntries)
    if (e.name == name) return &e;
  return nullptr;
}

std::string number_text(double v) {
  char text[32];
  return {text, std::to_chars(text, text + sizeof text, v).ptr};
}

// A value as an error shows it: short, and cut between characters.
std::string shown(const ParameterValue& value) {
  switch (value.kind) {
    case Kind::kNone: return "not a number, a string or a boolean";
    case Kind::kBool: return value.flag ? "true" : "false";
    case Kind::kInt: return std::to_string(static_cast<int64_t>(value.bits));
    case Kind::kUint: return std::to_string(value.bits);
    case Kind::kDouble: return number_text(std::bit_cast<double>(value.bits));
    case Kind::kString: break;
  }
  size_t n = std::min<size_t>(value.text.size(), 48);
  if (n == value.text.size()) return "'" + std::string(value.text) + "'";
  while (n && (static_cast<unsigned char>(value.text[n]) & 0xc0) == 0x80) --n;
  return "'" + std::string(value.text.substr(0, n)) + "…' (" + std::to_string(value.text.size()) + " bytes)";
}

bool fits(const Entry& e, const ParameterValue& value, double* number) {
  switch (e.type) {
    case Entry::kFlag: return value.kind == Kind::kBool;
    case Entry::kText:
      return value.kind == Kind::kString && (e.least_allowed || !value.text.empty()) && static_cast<double>(value.text.size()) <= e.most;
    case Entry::kNumber:
      return value.number(number) && std::isfinite(*number) && (*number > e.above || (e.least_allowed && *number == e.above)) && *number <= e.most;
  }
  return false;
}

bool read_objective(std::string_view text, Objective* out) {
  for (Objective o : {Objective::kAccuracy, Objective::kLatency, Objective::kEnergy}) {
    if (text != objective_name(o)) continue;
    *out = o;
    return true;
  }
  return false;
}

// Of what bounds and a tenant's defaults have in common. False where the value is none of the words there are.
template <typename T>
bool set_common(Bound bound, std::string_view text, double number, T* to) {
  switch (bound) {
    case Bound::kMinAccuracy: to->min_accuracy = number; break;
    case Bound::kMaxEnergy: to->max_energy_mj = number; break;
    case Bound::kObjective: return read_objective(text, &to->objective);
    case Bound::kRule: to->rule = text; break;
    case Bound::kConfidence: to->confidence = number; break;
    case Bound::kMaxAccuracyLoss: to->max_accuracy_loss = number; break;
    case Bound::kExit: to->exit = text; break;
    case Bound::kConditions: to->conditions = text; break;
    default: break;
  }
  return true;
}

Status wrong(std::string_view what, std::string_view name, const ParameterValue& value, const Entry& e) {
  return invalid_argument(std::string(what) + "'" + std::string(name) + "' is " + shown(value) + ", expected " + std::string(e.expected));
}

ParameterValue value_of(const Json& json) {
  if (json.is_boolean()) return {Kind::kBool, json.get<bool>(), 0, {}};
  if (json.is_number_unsigned()) return {Kind::kUint, false, json.get<uint64_t>(), {}};
  if (json.is_number_integer()) return {Kind::kInt, false, static_cast<uint64_t>(json.get<int64_t>()), {}};
  if (json.is_number()) return {Kind::kDouble, false, std::bit_cast<uint64_t>(json.get<double>()), {}};
  if (json.is_string()) return {Kind::kString, false, 0, json.get_ref<const std::string&>()};
  return {};
}

}  // namespace

std::string_view objective_name(Objective objective) {
  switch (objective) {
    case Objective::kAccuracy: return "accuracy";
    case Objective::kLatency: return "latency";
    case Objective::kEnergy: return "energy";
    case Objective::kUnset: break;
  }
  return "";
}

Status set_bound(std::string_view parameter, const ParameterValue& value, runtime::Bounds* bounds, double* deadline_ms) {
  const Entry* e = find_entry(parameter.substr(kPrefix.size()));
  if (!e) {
    std::array<std::string, kEntries.size()> names;
    std::array<std::string_view, kEntries.size()> views;
    std::string known;
    for (size_t i = 0; i < kEntries.size(); ++i) {
      names[i] = std::string(kPrefix) + std::string(kEntries[i].name);
      views[i] = names[i];
      known += (i ? ", " : "") + names[i];
    }
    return invalid_argument("unknown parameter '" + std::string(parameter.substr(0, 128)) + "'" + did_you_mean(parameter, views) + " (known: " + known + ")");
  }
  double number = 0;
  if (!fits(*e, value, &number)) return wrong("parameter ", parameter, value, *e);
  switch (e->bound) {
    case Bound::kDeadline: *deadline_ms = number; return {};
    case Bound::kVariant: bounds->variant = value.text; return {};
    case Bound::kEveryExit: bounds->every_exit = value.flag; return {};
    case Bound::kTrace: bounds->trace = value.flag; return {};
    default: return set_common(e->bound, value.text, number, bounds) ? Status() : wrong("parameter ", parameter, value, *e);
  }
}

Status set_default_bound(std::string_view name, const Json& json, runtime::BoundsDefaults* bounds) {
  const Entry* e = find_entry(name);
  if (!e || e->about.empty()) {
    std::array<std::string_view, kEntries.size()> names;
    size_t n = 0;
    std::string known;
    for (const Entry& k : kEntries) {
      if (k.about.empty()) continue;
      known += (n ? ", " : "") + std::string(k.name);
      names[n++] = k.name;
    }
    return invalid_argument("unknown field '" + std::string(name.substr(0, 128)) + "'" + did_you_mean(name, {names.data(), n}) + " (known: " + known + ")");
  }
  const ParameterValue value = value_of(json);
  double number = 0;
  if (!fits(*e, value, &number)) return wrong("", name, value, *e);
  if (e->bound == Bound::kDeadline)
    bounds->deadline_ms = number;
  else if (!set_common(e->bound, value.text, number, bounds))
    return wrong("", name, value, *e);
  return {};
}

Result<runtime::BoundsDefaults> bounds_from_json(const Json& json) {
  if (!json.is_object()) return invalid_argument("an object of bounds is expected");
  runtime::BoundsDefaults out;
  for (const auto& [name, value] : json.items()) VERGE_RETURN_IF_ERROR(set_default_bound(name, value, &out));
  return out;
}

Json bounds_to_json(const runtime::BoundsDefaults& b) {
  Json out = Json::object();
  if (b.deadline_ms > 0) out["deadline_ms"] = b.deadline_ms;
  if (b.min_accuracy >= 0) out["min_accuracy"] = b.min_accuracy;
  if (b.max_energy_mj >= 0) out["max_energy_mj"] = b.max_energy_mj;
  if (b.objective != Objective::kUnset) out["objective"] = objective_name(b.objective);
  if (!b.rule.empty()) out["rule"] = b.rule;
  if (b.confidence >= 0) out["confidence"] = b.confidence;
  if (b.max_accuracy_loss >= 0) out["max_accuracy_loss"] = b.max_accuracy_loss;
  if (!b.exit.empty()) out["exit"] = b.exit;
  if (!b.conditions.empty()) out["conditions"] = b.conditions;
  return out;
}

Json bounds_schema() {
  Json fields = Json::object();
  for (const Entry& e : kEntries) {
    if (e.about.empty()) continue;
    Json field = {{"type", e.type == Entry::kNumber ? "number" : "string"}};
    if (e.type == Entry::kNumber) {
      field[e.least_allowed ? "minimum" : "exclusiveMinimum"] = e.above;
      if (std::isfinite(e.most)) field["maximum"] = e.most;
    } else if (e.bound == Bound::kObjective) {
      field["enum"] = {"accuracy", "latency", "energy"};
    } else {
      field["minLength"] = 1;
      field["maxLength"] = static_cast<uint64_t>(e.most);
    }
    field["description"] = e.about;
    fields[std::string(e.name)] = std::move(field);
  }
  return {{"type", "object"}, {"additionalProperties", false}, {"properties", std::move(fields)}};
}

}  // namespace verge::net
