// What a simulated tenant's requests ask: its parameters as the server would understand them.
#pragma once

#include <memory>
#include <string>

#include "bench/plan.h"
#include "core/status.h"
#include "policy/choose.h"
#include "policy/exit_rule.h"
#include "simulate/model.h"

namespace verge::simulate {

struct SimDemand {
  const SimModel* model = nullptr;
  policy::Demands bounds;  // without left_ns
  const policy::ExitRule* rule = nullptr;
  std::string exit, variant;
  double confidence = -1, max_accuracy_loss = -1;
  std::string conditions_text;
  std::shared_ptr<policy::ExitConditions> conditions;
  bool narrows = false;    // there is something to choose a variant by
  bool bounded = false;    // it gives bounds, be there a choice or not; a deadline does not count
  uint64_t deadline_ns = 0;
  uint32_t priority = 4;
  int64_t rows = 1;
};
Result<SimDemand> demand_of(const bench::TenantSpec& tenant, const std::vector<SimModel>& models);

// The point of a variant's curve that the demand's rule uses; nullptr where it needs none or there is none.
const ExitPoint* point_of(const SimDemand& demand, const SimVariant& variant);

}  // namespace verge::simulate
