#include <algorithm>
#include <string>

#include "runtime/execute.h"

namespace verge::runtime {
namespace {

template <typename Served>
std::string names_of(const std::vector<Served>& served) {
  std::string out;
  for (const Served& s : served) out += (out.empty() ? "'" : ", '") + s.spec.name + "'";
  return out;
}

std::string model_of(const Request& r) { return "model '" + std::string(r.model) + "'"; }

// Outside text in an error message: bounded.
std::string quoted(std::string_view text) {
  return "'" + std::string(text.substr(0, 128)) + (text.size() > 128 ? "…'" : "'");
}

Status check_input(const InputTensor& in, const TensorSpec& spec, const Request& request) {
  const auto where = [&] { return model_of(request) + ", input '" + spec.name + "'"; };
  if (in.dtype != spec.dtype) {
    return invalid_argument(where() + ": its type is " + std::string(dtype_name(spec.dtype)) + ", not " + std::string(dtype_name(in.dtype)));
  }
  if (!spec.shape.accepts(in.shape)) {
    return invalid_argument(where() + ": its shape is " + spec.shape.to_string() + " (-1: any size), which " + in.shape.to_string() + " does not fit");
  }
  if (in.shape.elements() == 0) return invalid_argument(where() + ": the shape " + in.shape.to_string() + " holds no element");
  Status s = check_tensor({in.dtype, in.shape, in.data}, spec.name);
  return s.ok() ? s : s.prefixed(model_of(request));
}

}  // namespace

Status validate(const ServedVersion& version, const Request& request, Run& run, Reason& reason) {
  const Manifest& m = version.manifest();
  reason = Reason::kInvalidInput;
  run.inputs.assign(m.inputs.size(), UINT32_MAX);
  for (size_t i = 0; i < request.inputs.size(); ++i) {
    const std::string_view name = request.inputs[i].name;
    size_t s = 0;
    while (s < m.inputs.size() && m.inputs[s].spec.name != name) ++s;
    if (s == m.inputs.size()) {
      return invalid_argument(model_of(request) + " has no input " + quoted(name) + "; it takes " + names_of(m.inputs));
    }
    if (run.inputs[s] != UINT32_MAX) return invalid_argument(model_of(request) + ": input " + quoted(name) + " is given twice");
    run.inputs[s] = static_cast<uint32_t>(i);
  }
  run.batch = 1;
  run.shape_key = 0;
  const TensorSpec* batch_from = nullptr;
  for (size_t s = 0; s < m.inputs.size(); ++s) {
    const TensorSpec& spec = m.inputs[s].spec;
    if (run.inputs[s] == UINT32_MAX) {
      return invalid_argument(model_of(request) + ": input '" + spec.name + "' is missing; it takes " + names_of(m.inputs));
    }
    const InputTensor& in = request.inputs[run.inputs[s]];
    VERGE_RETURN_IF_ERROR(check_input(in, spec, request));
    for (int d = 0; d < in.shape.rank(); ++d) {
      if (d != spec.batch_axis) run.shape_key = (run.shape_key ^ static_cast<uint64_t>(in.shape[d])) * 0x100000001b3;
    }
    if (spec.batch_axis < 0) continue;
    const int64_t batch = in.shape[spec.batch_axis];
    if (batch_from == nullptr) {
      batch_from = &spec;
      run.batch = batch;
    } else if (batch != run.batch) {
      return invalid_argument(model_of(request) + ": input '" + spec.name + "' has a batch of " + std::to_string(batch) + ", input '" + batch_from->name +
                              "' one of " + std::to_string(run.batch));
    }
  }
  if (version.most_batch > 0 && run.batch > version.most_batch) {  // Triton's words, which its clients know
    return invalid_argument("inference request batch-size must be <= " + std::to_string(version.most_batch) + " for '" + std::string(request.model) + "'");
  }
  reason = Reason::kUnknownOutput;
  run.wanted.clear();
  if (request.wanted_outputs.empty()) {
    for (uint32_t o = 0; o < m.outputs.size(); ++o) run.wanted.push_back(o);
    return {};
  }
  for (const std::string_view name : request.wanted_outputs) {
    uint32_t o = 0;
    while (o < m.outputs.size() && m.outputs[o].spec.name != name) ++o;
    if (o == m.outputs.size()) {
      return invalid_argument(model_of(request) + " has no output " + quoted(name) + "; it gives " + names_of(m.outputs));
    }
    if (std::find(run.wanted.begin(), run.wanted.end(), o) != run.wanted.end()) {
      return invalid_argument(model_of(request) + ": output " + quoted(name) + " is asked for twice");
    }
    run.wanted.push_back(o);
  }
  return {};
}

}  // namespace verge::runtime
