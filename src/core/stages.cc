#include "core/stages.h"

#include <algorithm>
#include <map>
#include <set>

namespace verge {
namespace {

constexpr size_t kMostArtifacts = 64;  // of one stage: a fixed batch size each
constexpr size_t kMostNames = 2048;    // inputs and outputs of a stage

std::string quoted(const std::string& name) { return "'" + name.substr(0, 128) + "'"; }

// Equal, or free on either side.
bool same_shape(const Shape& a, const Shape& b) {
  if (a.rank() != b.rank()) return false;
  for (int i = 0; i < a.rank(); ++i)
    if (a[i] >= 0 && b[i] >= 0 && a[i] != b[i]) return false;
  return true;
}

std::string misfit(const TensorSpec& takes, const TensorSpec& made) {
  if (takes.dtype != made.dtype) return "is " + std::string(dtype_name(takes.dtype)) + " here and " + std::string(dtype_name(made.dtype)) + " where it is made";
  if (!same_shape(takes.shape, made.shape)) return "has the shape " + takes.shape.to_string() + " here and " + made.shape.to_string() + " where it is made";
  if (takes.batch_axis != made.batch_axis) return "has another batch axis here than where it is made";
  return {};
}

Json names_json(const std::map<std::string, std::string>& names) {
  Json j = Json::object();
  for (const auto& [network, artifact] : names) j[network] = artifact;
  return j;
}

}  // namespace

Json stages_json(const std::vector<StageSpec>& stages) {
  Json list = Json::array();
  for (const StageSpec& s : stages) list.push_back({{"exit", s.exit}, {"output", s.output}, {"network", signature_json(s.network)}});
  return list;
}

Result<std::vector<StageSpec>> parse_stages(const Json& array, const std::string& where) {
  if (array.size() > kMostStages) return invalid_argument(where + ": more than " + std::to_string(kMostStages) + " stages");
  std::vector<StageSpec> stages;
  for (size_t i = 0; i < array.size(); ++i) {
    JsonReader r(array[i], where + "[" + std::to_string(i) + "]");
    StageSpec s;
    s.exit = r.str("exit");
    s.output = r.str("output");
    const Json& network = r.object("network");
    VERGE_RETURN_IF_ERROR(r.status());
    VERGE_ASSIGN(s.network, parse_signature(network, r.where() + ".network"));
    stages.push_back(std::move(s));
  }
  return stages;
}

Status check_stages(const std::vector<StageSpec>& stages, const Signature& network) {
  if (stages.size() < 2) return invalid_argument("stages: a multi-exit model has at least two");
  if (stages.size() > kMostStages) return invalid_argument("stages: more than " + std::to_string(kMostStages));
  if (network.outputs.size() != 1)
    return invalid_argument("stages: the exits stand for the network's one output, and it has " + std::to_string(network.outputs.size()));
  const TensorSpec& answer = network.outputs[0];
  std::map<std::string, const TensorSpec*> known;
  for (const TensorSpec& in : network.inputs) known.emplace(in.name, &in);
  std::set<std::string> exits;
  for (size_t k = 0; k < stages.size(); ++k) {
    const StageSpec& s = stages[k];
    const std::string where = "stages[" + std::to_string(k) + "]";
    if (!valid_name(s.exit)) return invalid_argument(where + ": " + quoted(s.exit) + " is not a valid name of an exit");
    if (!exits.insert(s.exit).second) return invalid_argument(where + ": the exit " + quoted(s.exit) + " stands twice");
    if (s.network.inputs.empty()) return invalid_argument(where + ": takes nothing");
    std::set<std::string> taken;
    for (const TensorSpec& in : s.network.inputs) {
      if (!taken.insert(in.name).second) return invalid_argument(where + ": takes " + quoted(in.name) + " twice");
      const auto made = known.find(in.name);
      if (made == known.end()) return invalid_argument(where + ": takes " + quoted(in.name) + ", which is neither an input of the network nor made by an earlier stage");
      if (const std::string what = misfit(in, *made->second); !what.empty()) return invalid_argument(where + ": " + quoted(in.name) + " " + what);
    }
    const TensorSpec* exit = s.network.output(s.output);
    if (!exit) return invalid_argument(where + ": its exit answers with " + quoted(s.output) + ", which is not an output of it");
    if (exit->dtype != answer.dtype || !same_shape(exit->shape, answer.shape) || exit->batch_axis != answer.batch_axis)
      return invalid_argument(where + ": its exit's output " + quoted(s.output) + " has another type or shape than the network's " + quoted(answer.name));
    for (const TensorSpec& out : s.network.outputs)
      if (!known.emplace(out.name, &out).second) return invalid_argument(where + ": makes " + quoted(out.name) + ", a name that another tensor has already");
  }
  if (stages.back().output != answer.name)
    return invalid_argument("stages: the network's output is " + quoted(answer.name) + ", the last exit's " + quoted(stages.back().output));
  return {};
}

Json variant_stages_json(const std::vector<VariantStage>& stages) {
  Json list = Json::array();
  for (const VariantStage& s : stages) {
    Json j = {{"artifacts", s.artifacts}};
    if (!s.names.empty()) j["names"] = names_json(s.names);
    list.push_back(std::move(j));
  }
  return list;
}

Result<std::vector<VariantStage>> parse_variant_stages(const Json& array, const std::string& where) {
  if (array.size() > kMostStages) return invalid_argument(where + ": more than " + std::to_string(kMostStages) + " stages");
  std::vector<VariantStage> stages;
  for (size_t i = 0; i < array.size(); ++i) {
    JsonReader r(array[i], where + "[" + std::to_string(i) + "]");
    VariantStage s;
    s.artifacts = r.strings("artifacts");
    if (r.has("names"))
      for (const auto& [network, artifact] : r.object("names").items()) {
        if (!artifact.is_string()) return invalid_argument(r.where() + ": names." + network + " must be a string");
        s.names[network] = artifact.get<std::string>();
      }
    VERGE_RETURN_IF_ERROR(r.status());
    if (s.artifacts.size() > kMostArtifacts || s.names.size() > kMostNames) return invalid_argument(r.where() + ": too many artifacts or names");
    stages.push_back(std::move(s));
  }
  return stages;
}

Status check_variant_stages(const VariantSpec& v, size_t stages) {
  const std::string where = "variant '" + v.id + "'";
  if (v.stages.empty() && (stages == 0 || v.conversion != Conversion::kOk)) return {};
  if (v.stages.size() != stages)
    return invalid_argument(where + " has " + std::to_string(v.stages.size()) + " stages, the model " + std::to_string(stages));
  for (size_t k = 0; k < stages; ++k) {
    if (v.stages[k].artifacts.empty()) return invalid_argument(where + ": stage " + std::to_string(k) + " has no artifacts");
    for (const std::string& id : v.stages[k].artifacts)
      if (std::find(v.artifacts.begin(), v.artifacts.end(), id) == v.artifacts.end())
        return invalid_argument(where + ": stage " + std::to_string(k) + " names an artifact that the variant does not");
  }
  return {};
}

}  // namespace verge
