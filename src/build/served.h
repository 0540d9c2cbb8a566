// The served signature: what clients send and see, the chains between that and the network, and the proof that both fit.
#pragma once

#include <string>
#include <vector>

#include "build/recipe.h"
#include "core/manifest.h"
#include "core/status.h"
#include "transform/chain.h"

namespace verge::build {

struct Served {
  std::vector<ServedInput> inputs;    // one for each input of the network but those that the sequence feeds, in the recipe's order
  std::vector<ServedOutput> outputs;
  std::vector<transform::Chain> input_chains;  // as inputs
  std::vector<TensorSpec> by_sequence;         // network inputs that data sets know nothing of
};

// Errors name the recipe's file, line and field, and for a chain the step.
Result<Served> resolve_served(const Recipe& recipe, const Signature& network, const std::vector<std::string>& labels);

// Whether what a chain makes can be given to (or taken from) a tensor: same type, and every dimension equal or free on the taker's side.
// Empty if it fits, else what does not.
std::string misfit(const TensorSpec& made, const TensorSpec& wanted);

}  // namespace verge::build
