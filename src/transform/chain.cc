#include "transform/chain.h"

#include <new>

#include "transform/operators.h"

namespace verge::transform {
namespace {

const Operator* const kOperators[] = {
#define VERGE_LIST_OPERATOR(name) &kOp_##name,
    VERGE_TRANSFORM_OPERATORS(VERGE_LIST_OPERATOR)
#undef VERGE_LIST_OPERATOR
};

const Operator* find_operator(std::string_view op) {
  for (const Operator* o : kOperators)
    if (o->doc.op == op) return o;
  return nullptr;
}

// A tensor without elements may still claim huge dimensions over which a step would loop or make output.
Status check_empty(const Shape& shape) {
  constexpr int64_t kLimit = int64_t{1} << 24;
  if (shape.elements() != 0) return {};
  int64_t n = 1;
  for (int64_t d : shape.dims()) {
    if (d > kLimit || (d > 0 && n > kLimit / d))
      return invalid_argument("shape " + shape.to_string() + " holds no element, yet its other dimensions are too large");
    if (d > 0) n *= d;
  }
  return {};
}

}  // namespace

std::span<const OpDoc> operators() {
  static const std::vector<OpDoc> docs = [] {
    std::vector<OpDoc> v;
    for (const Operator* o : kOperators) v.push_back(o->doc);
    return v;
  }();
  return docs;
}

Result<Chain> Chain::build(std::span<const StepSpec> steps, const TensorSpec& input, const Context& context, std::string_view where) {
  Chain chain;
  chain.input_ = chain.output_ = input;
  if (steps.empty()) return chain;
  auto fail = [&](const std::string& what) { return invalid_argument(std::string(where) + ": " + what); };
  if (steps.size() > kMaxSteps)
    return fail("has " + std::to_string(steps.size()) + " steps; at most " + std::to_string(kMaxSteps) + " are supported");
  if (input.dtype == DType::kInvalid) return fail("has no data type");
  if (input.batch_axis > 0 || input.batch_axis >= input.shape.rank())
    return fail("has its batch axis at " + std::to_string(input.batch_axis) + " of shape " + input.shape.to_string() +
                "; steps need it to lead, or none");
  for (size_t i = 0; i < steps.size(); ++i) {
    const std::string& op = steps[i].op;
    std::string name = std::string(where) + ", step " + std::to_string(i + 1) + " (" + op + ")";
    const Operator* o = find_operator(op);
    if (!o) {
      std::string all;
      for (const Operator* k : kOperators) all += (all.empty() ? "" : ", ") + std::string(k->doc.op);
      return fail("step " + std::to_string(i + 1) + ": there is no transform '" + op.substr(0, 60) + "'; there are " + all);
    }
    Params params(o->doc, steps[i].params);
    if (!params.status().ok()) return params.status().prefixed(name);
    TensorSpec spec = chain.output_;
    Made step = o->make(params, context, spec);
    if (!params.status().ok()) return params.status().prefixed(name);
    if (!step.ok()) return step.status().prefixed(name);
    if (spec.shape.is_static() && spec.shape.elements() < 0)
      return fail(name + ": makes shape " + spec.shape.to_string() + ", which is too large");
    chain.output_ = spec;
    if (!*step) continue;
    if (!(*step)->shape_only()) chain.last_ = chain.steps_.size();
    chain.steps_.push_back(std::move(*step));
    chain.names_.push_back(std::move(name));
  }
  return chain;
}

namespace {

// Where step and place can, the step's result of `view` lies at the place, and `view` is that.
bool write_to(Place& place, const Step& step, TensorView& view) {
  const DType dtype = step.elementwise(view.dtype);
  if (dtype == DType::kInvalid) return false;
  const int64_t n = view.shape.elements(), size = static_cast<int64_t>(dtype_size(dtype));
  if (n < 0 || n > kMaxStepBytes / size) return false;
  const auto bytes = static_cast<size_t>(n * size);
  std::byte* out = place.take(bytes);
  if (out == nullptr) return false;
  step.run_at(view, out);
  view = {dtype, view.shape, {out, bytes}};
  return true;
}

}  // namespace

Result<TensorView> Chain::run(const TensorView& in, Scratch& scratch, Place* place) const {
  if (steps_.empty()) return in;
  if (in.dtype != input_.dtype || !input_.shape.accepts(in.shape))
    return invalid_argument("tensor '" + input_.name + "' is " + std::string(dtype_name(in.dtype)) + in.shape.to_string() +
                            "; expected " + std::string(dtype_name(input_.dtype)) + input_.shape.to_string());
  VERGE_RETURN_IF_ERROR(check_tensor(in, input_.name));
  TensorView view = in;
  Tensor* next = &scratch.a;
  Tensor* other = &scratch.b;
  for (size_t i = 0; i < steps_.size(); ++i) {
    Status s = check_empty(view.shape);
    if (!s.ok()) return s.prefixed(names_[i]);
    try {
      if (steps_[i]->shape_only()) {
        s = steps_[i]->reshape(view.shape);
      } else if (place != nullptr && i == last_ && write_to(*place, *steps_[i], view)) {
        s = {};
      } else {
        s = steps_[i]->run(view, *next);
        if (s.ok()) {
          view = next->view();
          std::swap(next, other);
        }
      }
    } catch (const std::bad_alloc&) {
      s = resource_exhausted("out of memory");
    }
    if (!s.ok()) return s.prefixed(names_[i]);
  }
  return view;
}

}  // namespace verge::transform
