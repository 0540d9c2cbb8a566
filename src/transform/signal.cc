// Steps on series: window, vector_length, append_column.
#include <cmath>

#include "transform/operators.h"

namespace verge::transform {
namespace {

// --- window ---

class WindowStep : public Step {
 public:
  enum class Take { kLast, kFirst, kAll };
  WindowStep(int axis, int64_t size, int64_t stride, Take take) : axis_(axis), size_(size), stride_(stride), take_(take) {}

  Status run(const TensorView& in, Tensor& out) const override {
    const AxisLayout l = axis_layout(in.shape, axis_);
    if (l.n < size_)
      return invalid_argument("the series has " + std::to_string(l.n) + " rows; a window needs " + std::to_string(size_));
    const int64_t windows = take_ == Take::kAll ? (l.n - size_) / stride_ + 1 : 1;
    Shape shape = in.shape;
    shape[axis_] = size_;
    if (take_ == Take::kAll) {
      if (shape.rank() >= kMaxRank) return invalid_argument("shape " + in.shape.to_string() + " already has the most axes supported");
      shape.insert(axis_, windows);
    }
    VERGE_RETURN_IF_ERROR(prepare(out, in.dtype, shape));
    const size_t row = static_cast<size_t>(l.inner) * dtype_size(in.dtype), bytes = row * static_cast<size_t>(size_);
    if (bytes == 0) return {};
    const int64_t start = take_ == Take::kLast ? l.n - size_ : 0;
    std::byte* to = out.data.data();
    for (int64_t o = 0; o < l.outer; ++o)
      for (int64_t w = 0; w < windows; ++w, to += bytes)
        std::memcpy(to, in.data.data() + row * static_cast<size_t>(o * l.n + start + w * stride_), bytes);
    return {};
  }

 private:
  int axis_;
  int64_t size_, stride_;
  Take take_;
};

Made make_window(Params& params, const Context&, TensorSpec& spec) {
  constexpr int64_t kMaxRows = int64_t{1} << 30;
  const int64_t size = params.integer("size", 1, kMaxRows), stride = params.integer("stride", 1, kMaxRows, size);
  const int64_t at = params.integer("axis", -kMaxRank, kMaxRank, 0);
  const auto take = params.choice("take", {"last", "first", "all"});
  if (params.has("stride") && take != "all") params.fail("'stride' is for 'take: all'");
  VERGE_RETURN_IF_ERROR(params.status());
  VERGE_RETURN_IF_ERROR(need_numeric(spec));
  VERGE_ASSIGN(const int axis, tensor_axis(spec, at));
  const int64_t rows = spec.shape[axis];
  if (rows >= 0 && rows < size)
    return invalid_argument("a sample " + sample_shape(spec).to_string() + " has " + std::to_string(rows) + " rows; a window needs " +
                            std::to_string(size));
  spec.shape[axis] = size;
  if (take == "all") {
    if (spec.shape.rank() >= kMaxRank) return invalid_argument("shape " + spec.shape.to_string() + " already has the most axes supported");
    spec.shape.insert(axis, rows < 0 ? -1 : (rows - size) / stride + 1);
    for (Quantization& q : spec.quantization)
      if (q.axis >= axis) ++q.axis;
  } else if (rows == size) {
    return Made(nullptr);
  }
  const auto which = take == "all" ? WindowStep::Take::kAll : take == "first" ? WindowStep::Take::kFirst : WindowStep::Take::kLast;
  return made<WindowStep>(axis, size, stride, which);
}

// --- one number from all along an axis ---

enum class Reduce { kVectorLength, kSum, kMean };

// f over out[0], out[inner], … (n of them).
template <typename R>
R reduce(const R* p, int64_t n, int64_t inner, Reduce f) {
  R sum = 0;
  for (int64_t c = 0; c < n; ++c) {
    const R v = p[c * inner];
    sum += f == Reduce::kVectorLength ? v * v : v;
  }
  return f == Reduce::kVectorLength ? std::sqrt(sum) : f == Reduce::kMean && n > 0 ? sum / static_cast<R>(n) : sum;
}

// [outer, n, inner] becomes [outer, n + 1, inner] with f behind the others, or, alone, [outer, 1, inner].
class ReduceStep : public Step {
 public:
  ReduceStep(int axis, Reduce f, bool append) : axis_(axis), f_(f), append_(append) {}
  Status run(const TensorView& in, Tensor& out) const override {
    const AxisLayout l = axis_layout(in.shape, axis_);
    // Real values of one outer row lie where they go to (append), or behind the result as scratch.
    Shape shape = in.shape;
    shape[axis_] = append_ ? l.n + 1 : 1;
    VERGE_RETURN_IF_ERROR(prepare(out, real_type(in.dtype), shape));
    const size_t result = out.data.size();
    if (!append_) out.data.resize(result + static_cast<size_t>(l.n * l.inner) * dtype_size(out.dtype));
    if (out.dtype == DType::kFp64)
      apply(in, l, out.as<double>());
    else
      apply(in, l, out.as<float>());
    out.data.resize(result);
    return {};
  }

 private:
  template <typename R>
  void apply(const TensorView& in, const AxisLayout& l, R* out) const {
    const int64_t row = l.n * l.inner;
    for (int64_t o = 0; o < l.outer; ++o) {
      R* values = append_ ? out + o * (row + l.inner) : out + l.outer * l.inner;
      R* to = append_ ? values + row : out + o * l.inner;
      to_real(in, o * row, row, values);
      for (int64_t i = 0; i < l.inner; ++i) to[i] = reduce(values + i, l.n, l.inner, f_);
    }
  }
  int axis_;
  Reduce f_;
  bool append_;
};

Made make_reduce(TensorSpec& spec, int64_t axis_param, Reduce f, bool append) {
  VERGE_RETURN_IF_ERROR(need_numeric(spec));
  VERGE_ASSIGN(const int axis, tensor_axis(spec, axis_param));
  spec.dtype = real_type(spec.dtype);
  spec.quantization.clear();
  if (!append)
    spec.shape[axis] = 1;
  else if (spec.shape[axis] >= 0)
    ++spec.shape[axis];
  return made<ReduceStep>(axis, f, append);
}

Made make_vector_length(Params& params, const Context&, TensorSpec& spec) {
  const int64_t axis = params.integer("axis", -kMaxRank, kMaxRank, -1);
  VERGE_RETURN_IF_ERROR(params.status());
  return make_reduce(spec, axis, Reduce::kVectorLength, false);
}

Made make_append_column(Params& params, const Context&, TensorSpec& spec) {
  const auto of = params.choice("of", {"vector_length", "sum", "mean"});
  const int64_t axis = params.integer("axis", -kMaxRank, kMaxRank, -1);
  VERGE_RETURN_IF_ERROR(params.status());
  return make_reduce(spec, axis, of == "sum" ? Reduce::kSum : of == "mean" ? Reduce::kMean : Reduce::kVectorLength, true);
}

constexpr std::string_view kAxisDoc = "of a sample; negative from the end; default -1";

}  // namespace

const Operator kOp_window = {
    {"window", "Cuts windows out of a series along an axis: one in place of the series, or all of them along a new axis before it.",
     {{"size", "int", true, "rows of a window, from 1"},
      {"take", "string", false, "last or first (one window), or all; default last"},
      {"stride", "int", false, "rows from one window's start to the next, for all; default: the size"},
      {"axis", "int", false, "along which the rows run, of a sample; negative from the end; default 0"}}},
    make_window};

const Operator kOp_vector_length = {
    {"vector_length", "Euclidean length along an axis, which keeps size 1; in FP32 (FP64 on FP64), from any numeric type.",
     {{"axis", "int", false, kAxisDoc}}},
    make_vector_length};

const Operator kOp_append_column = {
    {"append_column",
     "Appends one value along an axis, computed from those that stand there; in FP32 (FP64 on FP64), from any numeric type.",
     {{"of", "string", false, "vector_length (Euclidean), sum or mean; default vector_length"}, {"axis", "int", false, kAxisDoc}}},
    make_append_column};

}  // namespace verge::transform
