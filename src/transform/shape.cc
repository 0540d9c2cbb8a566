// Steps that move elements without changing them: reshape, expand, squeeze, transpose, crop.
#include <algorithm>
#include <array>

#include "transform/operators.h"

namespace verge::transform {
namespace {

// --- the same bytes in another shape ---

class ShapeStep : public Step {
 public:
  bool shape_only() const final { return true; }
  Status run(const TensorView& in, Tensor& out) const final {
    out.dtype = in.dtype;
    out.shape = in.shape;
    out.data.assign(in.data.begin(), in.data.end());
    return reshape(out.shape);
  }
};

class ReshapeStep : public ShapeStep {
 public:
  ReshapeStep(Shape target, int first) : target_(target), first_(first) {}
  Status reshape(Shape& shape) const override {
    Shape to;
    if (first_) to.push_back(shape[0]);
    int64_t have = 1, known = 1;
    for (int i = first_; i < shape.rank(); ++i) have *= shape[i];
    int open = -1;
    for (int64_t d : target_.dims()) {
      if (d < 0) open = to.rank();
      if (d > 0 && known > have) known = -1;  // settled: does not fit, and must not overflow
      if (d >= 0 && known >= 0) known *= d;
      to.push_back(d);
    }
    if (open >= 0 && known > 0 && have % known == 0) {
      to[open] = have / known;
      known = have;
    } else if (open >= 0) {
      known = -1;
    }
    if (known != have)
      return invalid_argument("cannot make " + target_.to_string() + " from a sample with " + std::to_string(have) + " elements");
    shape = to;
    return {};
  }

 private:
  Shape target_;
  int first_;
};

Made make_reshape(Params& params, const Context&, TensorSpec& spec) {
  const auto dims = params.ints("shape");
  VERGE_RETURN_IF_ERROR(params.status());
  const int first = first_axis(spec);
  if (dims.size() + static_cast<size_t>(first) > kMaxRank)
    return invalid_argument("parameter 'shape' has " + std::to_string(dims.size()) + " dimensions; with the batch axis at most " +
                            std::to_string(kMaxRank) + " are supported");
  constexpr int64_t kMaxDim = int64_t{1} << 40;
  Shape target;
  int open = -1;
  for (int64_t d : dims) {
    if (d < -1 || d > kMaxDim || (d == -1 && open >= 0))
      return invalid_argument("parameter 'shape' must hold dimensions of 0 or more, and -1 (what is left) at most once");
    if (d == -1) open = target.rank();
    target.push_back(d);
  }
  const Shape sample = sample_shape(spec);
  Shape out = target;
  if (sample.is_static()) {
    if (sample.elements() < 0) return invalid_argument("a sample " + sample.to_string() + " is too large");
    Shape proved = sample;
    VERGE_RETURN_IF_ERROR(ReshapeStep(target, 0).reshape(proved));
    out = proved;
  }
  if (first) out.insert(0, spec.shape[0]);
  if (out == spec.shape) return Made(nullptr);
  spec.shape = out;
  if (spec.quantization.size() == 1 && spec.quantization[0].axis >= 0) spec.quantization.clear();
  return made<ReshapeStep>(target, first);
}

class ExpandStep : public ShapeStep {
 public:
  explicit ExpandStep(int axis) : axis_(axis) {}
  Status reshape(Shape& shape) const override {
    shape.insert(axis_, 1);
    return {};
  }

 private:
  int axis_;
};

// An axis that quantisation speaks of moves with the axes before it.
void move_quantised_axis(TensorSpec& spec, int axis, int by) {
  for (Quantization& q : spec.quantization)
    if (q.axis >= axis) q.axis += by;
}

Made make_expand(Params& params, const Context&, TensorSpec& spec) {
  const int64_t at = params.integer("axis", -kMaxRank, kMaxRank, 0);
  VERGE_RETURN_IF_ERROR(params.status());
  VERGE_ASSIGN(const int axis, tensor_axis(spec, at, 1));
  if (spec.shape.rank() >= kMaxRank) return invalid_argument("shape " + spec.shape.to_string() + " already has the most axes supported");
  spec.shape.insert(axis, 1);
  move_quantised_axis(spec, axis, 1);
  return made<ExpandStep>(axis);
}

class SqueezeStep : public ShapeStep {
 public:
  explicit SqueezeStep(int axis) : axis_(axis) {}
  Status reshape(Shape& shape) const override {
    shape.erase(axis_);
    return {};
  }

 private:
  int axis_;
};

Made make_squeeze(Params& params, const Context&, TensorSpec& spec) {
  const int64_t at = params.integer("axis", -kMaxRank, kMaxRank, -1);
  VERGE_RETURN_IF_ERROR(params.status());
  VERGE_ASSIGN(const int axis, tensor_axis(spec, at));
  if (spec.shape[axis] != 1)
    return invalid_argument("axis " + std::to_string(at) + " of a sample " + sample_shape(spec).to_string() + " is not 1");
  for (const Quantization& q : spec.quantization)
    if (q.axis == axis) return invalid_argument("axis " + std::to_string(at) + " carries the tensor's quantisation");
  spec.shape.erase(axis);
  move_quantised_axis(spec, axis, -1);
  return made<SqueezeStep>(axis);
}

// --- transpose ---

class TransposeStep : public Step {
 public:
  // Output axis i is input axis perm[i].
  explicit TransposeStep(std::vector<int> perm) : perm_(std::move(perm)) {}
  Status run(const TensorView& in, Tensor& out) const override {
    const int rank = in.shape.rank();
    Shape to;
    std::array<int64_t, kMaxRank> stride{};  // of the input, in elements, by output axis
    for (int i = 0; i < rank; ++i) {
      to.push_back(in.shape[perm_[static_cast<size_t>(i)]]);
      int64_t s = 1;
      for (int k = perm_[static_cast<size_t>(i)] + 1; k < rank; ++k) s *= in.shape[k];
      stride[static_cast<size_t>(i)] = s;
    }
    VERGE_RETURN_IF_ERROR(prepare(out, in.dtype, to));
    if (to.elements() == 0) return {};
    switch (dtype_size(in.dtype)) {
      case 1: move<uint8_t>(in, out, stride); break;
      case 2: move<uint16_t>(in, out, stride); break;
      case 4: move<uint32_t>(in, out, stride); break;
      default: move<uint64_t>(in, out, stride); break;
    }
    return {};
  }

 private:
  template <typename T>
  static void move(const TensorView& in, Tensor& out, const std::array<int64_t, kMaxRank>& stride) {
    const Shape& to = out.shape;
    const int last = to.rank() - 1;
    const int64_t n = to[last], step = stride[static_cast<size_t>(last)], total = to.elements();
    std::array<int64_t, kMaxRank> index{};
    T* o = out.as<T>();
    int64_t from = 0;
    for (int64_t done = 0; done < total; done += n, o += n) {
      for (int64_t i = 0; i < n; ++i) o[i] = load_at<T>(in.data.data(), from + i * step);
      for (int a = last - 1; a >= 0; --a) {
        const auto k = static_cast<size_t>(a);
        from += stride[k];
        if (++index[k] < to[a]) break;
        from -= stride[k] * to[a];
        index[k] = 0;
      }
    }
  }

  std::vector<int> perm_;
};

Made make_transpose(Params& params, const Context&, TensorSpec& spec) {
  const auto perm = params.ints("perm");
  VERGE_RETURN_IF_ERROR(params.status());
  VERGE_RETURN_IF_ERROR(need_numeric(spec));
  const int first = first_axis(spec), rank = sample_rank(spec);
  std::vector<int> axes;
  if (first) axes.push_back(0);
  std::array<bool, kMaxRank> seen{};
  for (int64_t p : perm) {
    if (p < 0 || p >= rank || seen[static_cast<size_t>(p)]) break;
    seen[static_cast<size_t>(p)] = true;
    axes.push_back(static_cast<int>(p) + first);
  }
  if (static_cast<int>(perm.size()) != rank || static_cast<int>(axes.size()) != rank + first)
    return invalid_argument("parameter 'perm' must hold each of the " + std::to_string(rank) + " axes of a sample " +
                            sample_shape(spec).to_string() + " once");
  if (std::is_sorted(axes.begin(), axes.end())) return Made(nullptr);
  Shape to;
  for (int a : axes) to.push_back(spec.shape[a]);
  spec.shape = to;
  for (Quantization& q : spec.quantization)
    if (q.axis >= 0) q.axis = static_cast<int>(std::find(axes.begin(), axes.end(), q.axis) - axes.begin());
  return made<TransposeStep>(std::move(axes));
}

}  // namespace

const Operator kOp_reshape = {
    {"reshape", "The same elements, in the same order, in another shape.",
     {{"shape", "ints", true, "of one sample; -1, at most once, stands for what is left"}}},
    make_reshape};

const Operator kOp_expand = {
    {"expand", "Adds an axis of size 1.", {{"axis", "int", false, "where it stands in a sample; negative from the end; default 0"}}},
    make_expand};

const Operator kOp_squeeze = {
    {"squeeze", "Removes an axis of size 1.", {{"axis", "int", false, "of a sample; negative from the end; default -1"}}},
    make_squeeze};

const Operator kOp_transpose = {
    {"transpose", "Reorders the axes of a sample.",
     {{"perm", "ints", true, "for each axis of the output the input's axis, from 0: [2, 0, 1] makes channels first of channels last"}}},
    make_transpose};

}  // namespace verge::transform
