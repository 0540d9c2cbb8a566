// What a simulated server knows of a model: its variants and exits with the accuracy and the times that were measured.
#pragma once

#include <string>
#include <vector>

#include "core/manifest.h"
#include "core/profile.h"
#include "core/status.h"
#include "simulate/service.h"

namespace verge::simulate {

struct SimExit {
  std::string name;
  double accuracy = -1;
};

struct SimVariant {
  std::string id, model;          // `model`: of a family the member
  bool is_default = false;
  double accuracy = -1;
  std::vector<SimExit> exits;     // empty: it has none
  std::vector<ServiceCurve> stages;  // one a stage; one where it has no exits
  std::vector<ExitPoint> confidence, entropy;
};

struct SimModel {
  std::string name;               // as tenants ask for it
  MetricKind metric = MetricKind::kNone;
  int64_t most_rows = 64;         // samples that may share a run
  std::vector<SimVariant> variants;
};

struct ModelOptions {
  std::vector<std::string> variants;  // which are resident, with '*'; empty: the default one, of a family each member's
  std::string device;                 // fingerprint; empty: this one's profile, else the latest
  double stretch = 1;                 // all service times are multiplied by it
};
// Packages (ZOO, ZOO/NAME, ZOO/NAME/VERSION) as models under their names; those of a family together under its name too.
Result<std::vector<SimModel>> load_models(const std::vector<std::string>& paths, const ModelOptions& options);

// A model made of figures alone, for tests and what-if: one variant with this cell.
SimModel plain_model(const std::string& name, const LatencyCell& cell, double accuracy);

}  // namespace verge::simulate
