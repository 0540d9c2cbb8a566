// Bounds by the names that people give them: parameters "verge.NAME" of requests, and settings NAME of tenants. Kinds and ranges are checked
// here; what a rule, an exit or a condition means is the runtime's.
#pragma once

#include <string_view>

#include "core/json.h"
#include "core/status.h"
#include "net/parameter.h"
#include "runtime/api.h"

namespace verge::net {

inline constexpr size_t kMaxRuleName = 64;       // bytes
inline constexpr size_t kMaxExitName = 128;      // bytes
inline constexpr size_t kMaxConditions = 1024;   // bytes

// A request's parameter whose name begins with "verge.". An unknown one is refused with what it may have been meant to be. "verge.deadline_ms"
// goes to *deadline_ms, since it counts from an arrival.
Status set_bound(std::string_view parameter, const ParameterValue& value, runtime::Bounds* bounds, double* deadline_ms);

// One setting of a tenant.
Status set_default_bound(std::string_view name, const Json& value, runtime::BoundsDefaults* bounds);
// All of a tenant's: an object, of which all fields may be absent.
Result<runtime::BoundsDefaults> bounds_from_json(const Json& json);
Json bounds_to_json(const runtime::BoundsDefaults& bounds);  // what is set
Json bounds_schema();

std::string_view objective_name(runtime::Objective objective);  // "accuracy", "latency", "energy"; "" where unset

}  // namespace verge::net
