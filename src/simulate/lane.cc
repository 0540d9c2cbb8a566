#include "simulate/lane.h"

namespace verge::simulate {

SimLane::SimLane(const std::vector<double>& weights, const std::vector<const SimVariant*>& variants) : queue(places, weights), groups(std::make_unique<SimGroup[]>(variants.size())) {
  for (size_t v = 0; v < variants.size(); ++v) {
    SimGroup& g = groups[v];
    g.predictors = std::make_unique<policy::Predictor[]>(variants[v]->stages.size());
    for (size_t k = 0; k < variants[v]->stages.size(); ++k)
      for (const auto& cell : variants[v]->stages[k].cells()) g.predictors[k].seed(cell.rows, cell.p50_ns, cell.p99_ns);
    if (variants[v]->exits.empty())
      for (const auto& cell : variants[v]->stages[0].cells()) g.curve.seed(cell.rows, cell.p50_ns);
  }
}

}  // namespace verge::simulate
