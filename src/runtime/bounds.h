// What a request demands once its tenant's defaults are put in.
#pragma once

#include <memory>

#include "core/status.h"
#include "policy/exit_rule.h"
#include "runtime/api.h"

namespace verge::runtime {

// A tenant's defaults, checked. Never changes: new ones take its place, and whoever still follows the old ones holds on to them.
struct TenantBounds {
  BoundsDefaults given;
  const policy::ExitRule* rule = nullptr;
  policy::ExitConditions conditions;  // of given.conditions, where there are some
  bool any = false;                   // there is a default at all
};
// kInvalidArgument names the field.
Result<std::shared_ptr<const TenantBounds>> check_bounds(BoundsDefaults defaults);

struct Demand {
  policy::Demands bounds;              // without left_ns
  const policy::ExitRule* rule = nullptr;
  double confidence = -1, max_accuracy_loss = -1;
  std::string_view exit;
  const policy::ExitConditions* conditions = nullptr;
  bool own_exit = false;               // what only multi-exit models understand was said by the request itself
  bool narrows = false;                // there is something to choose a variant by
};
// `own` has room for the request's conditions, if it has some: called at most once.
Result<Demand> merge_bounds(const Bounds& request, const TenantBounds& tenant, std::unique_ptr<policy::ExitConditions>& own);

}  // namespace verge::runtime
