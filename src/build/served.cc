#include "build/served.h"

#include <algorithm>

#include "build/recipe_fields.h"

namespace verge::build {
namespace {

std::string names_of(const std::vector<TensorSpec>& specs) {
  std::string out;
  for (const TensorSpec& s : specs) out += (out.empty() ? "'" : ", '") + s.name + "'";
  return out;
}

// The network tensor that a served one belongs to: the one named, of the same name, or the only one.
Result<const TensorSpec*> find_tensor(const Recipe& recipe, const std::vector<TensorSpec>& all, const std::string& wanted, const std::string& name,
                                      const std::string& path, const char* field, const char* side) {
  auto by_name = [&](const std::string& n) -> const TensorSpec* {
    auto it = std::find_if(all.begin(), all.end(), [&](const TensorSpec& t) { return t.name == n; });
    return it == all.end() ? nullptr : &*it;
  };
  if (!wanted.empty()) {
    if (const TensorSpec* t = by_name(wanted)) return t;
    std::vector<std::string_view> names;
    for (const TensorSpec& t : all) names.push_back(t.name);
    return recipe.error(path + "." + field, "the network has no " + std::string(side) + " '" + wanted + "'" + did_you_mean(wanted, names) + " (it has " + names_of(all) + ")");
  }
  if (const TensorSpec* t = by_name(name)) return t;
  if (all.size() == 1) return &all[0];
  return recipe.error(path, "`" + std::string(field) + "` is needed: the network has several " + side + "s (" + names_of(all) + ") and none is named '" + name + "'");
}

Result<TensorSpec> served_input_spec(const Recipe& recipe, const RecipeInput& in, const TensorSpec& network, const std::string& path) {
  TensorSpec spec = network;
  spec.name = in.name;
  if (in.dtype != DType::kInvalid) spec.dtype = in.dtype;
  if (in.steps.empty() && spec.dtype != network.dtype) {
    return recipe.error(path + ".dtype", "is " + std::string(dtype_name(spec.dtype)) + ", the network's input '" + network.name + "' takes " +
                                             std::string(dtype_name(network.dtype)) + "; add a step ({cast: {dtype: " + std::string(dtype_name(network.dtype)) + "}})");
  }
  if (!in.steps.empty()) spec.quantization.clear();
  if (in.shape) {
    spec.shape = *in.shape;
    spec.batch_axis = -1;
    if (network.batch_axis >= 0) {
      // The batch leads on the served side whatever the network's axis is; a chain or the host never moves it.
      spec.shape.insert(0, -1);
      spec.batch_axis = 0;
    }
  }
  return spec;
}

}  // namespace

std::string misfit(const TensorSpec& made, const TensorSpec& wanted) {
  if (made.dtype != wanted.dtype) return std::string(dtype_name(made.dtype)) + " where " + std::string(dtype_name(wanted.dtype)) + " is wanted";
  std::string shapes = made.shape.to_string() + " where " + wanted.shape.to_string() + " is wanted";
  if (made.shape.rank() != wanted.shape.rank() || made.batch_axis != wanted.batch_axis) return shapes;
  for (int i = 0; i < made.shape.rank(); ++i) {
    if (i == wanted.batch_axis) continue;
    if (wanted.shape[i] != -1 && made.shape[i] != wanted.shape[i]) return shapes;
  }
  return {};
}

Result<Served> resolve_served(const Recipe& recipe, const Signature& network, const std::vector<std::string>& labels) {
  Served served;
  if (Status s = check_sequence(recipe.sequence, network); !s.ok()) return recipe.error("sequence", s.message());
  transform::Context context{labels};
  std::vector<RecipeInput> inputs = recipe.inputs;
  if (inputs.empty()) {
    for (const TensorSpec& t : network.inputs) {
      if (!recipe.sequence.feeds(t.name)) inputs.push_back({t.name, DType::kInvalid, std::nullopt, t.name, {}});
    }
  }
  std::vector<std::string> fed;
  for (size_t i = 0; i < inputs.size(); ++i) {
    const RecipeInput& in = inputs[i];
    std::string path = "inputs[" + std::to_string(i) + "]";
    VERGE_ASSIGN(const TensorSpec* target, find_tensor(recipe, network.inputs, in.feeds, in.name, path, "feeds", "input"));
    if (std::find(fed.begin(), fed.end(), target->name) != fed.end()) {
      return recipe.error(path + ".feeds", "the network's input '" + target->name + "' is fed twice");
    }
    if (recipe.sequence.feeds(target->name)) return recipe.error(path + ".feeds", "the network's input '" + target->name + "' is fed by the sequence");
    fed.push_back(target->name);
    VERGE_ASSIGN(TensorSpec spec, served_input_spec(recipe, in, *target, path));
    auto chain = transform::Chain::build(in.steps, spec, context, "input '" + in.name + "'");
    if (!chain.ok()) return recipe.error(path + ".steps", chain.status().message());
    if (std::string why = misfit(chain->output(), *target); !why.empty()) {
      return recipe.error(path + (in.steps.empty() ? ".shape" : ".steps"),
                          "input '" + in.name + "': " + (in.steps.empty() ? "it" : "the last step (" + in.steps.back().op + ")") + " gives " + why +
                              " by the network's input '" + target->name + "'");
    }
    served.inputs.push_back({spec, target->name, in.steps});
    served.input_chains.push_back(std::move(*chain));
  }
  for (const TensorSpec& t : network.inputs) {
    if (std::find(fed.begin(), fed.end(), t.name) == fed.end() && !recipe.sequence.feeds(t.name)) {
      return recipe.error("inputs", "nothing feeds the network's input '" + t.name + "' (" + std::string(dtype_name(t.dtype)) + " " + t.shape.to_string() + ")");
    }
  }

  std::vector<RecipeOutput> outputs = recipe.outputs;
  if (outputs.empty()) {
    for (const TensorSpec& t : network.outputs) {
      if (!recipe.sequence.takes(t.name)) outputs.push_back({t.name, t.name, {}});
    }
  }
  for (size_t i = 0; i < outputs.size(); ++i) {
    const RecipeOutput& out = outputs[i];
    std::string path = "outputs[" + std::to_string(i) + "]";
    VERGE_ASSIGN(const TensorSpec* source, find_tensor(recipe, network.outputs, out.from, out.name, path, "from", "output"));
    auto chain = transform::Chain::build(out.steps, *source, context, "output '" + out.name + "'");
    if (!chain.ok()) return recipe.error(path + ".steps", chain.status().message());
    ServedOutput o{chain->output(), source->name, out.steps};
    o.spec.name = out.name;
    served.outputs.push_back(std::move(o));
  }
  for (const TensorSpec& t : network.inputs) {
    if (recipe.sequence.feeds(t.name)) served.by_sequence.push_back(t);
  }
  return served;
}

}  // namespace verge::build
