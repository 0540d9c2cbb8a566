// Steps that look at one element at a time: cast, scale, normalise, dequantise, sigmoid, threshold.
#include <algorithm>
#include <cmath>
#include <limits>

#include "transform/operators.h"

namespace verge::transform {
namespace {

// --- cast ---

// Saturating: what does not fit becomes the nearest value that does; fractions are cut; NaN becomes 0 in whole numbers, true in BOOL.
template <typename D, typename S>
D cast_value(S raw) {
  const auto v = number(raw);
  using V = decltype(number(raw));
  if constexpr (std::is_same_v<D, Bool>) {
    return Bool{static_cast<uint8_t>(v != 0)};
  } else if constexpr (std::is_same_v<D, Fp16>) {
    return Fp16{fp32_to_fp16(static_cast<float>(v))};
  } else if constexpr (std::is_same_v<D, Bf16>) {
    return Bf16{fp32_to_bf16(static_cast<float>(v))};
  } else if constexpr (std::is_floating_point_v<D>) {
    return static_cast<D>(v);
  } else {
    constexpr D lo = std::numeric_limits<D>::min(), hi = std::numeric_limits<D>::max();
    if constexpr (std::is_floating_point_v<V>) {
      if (v <= static_cast<V>(lo)) return lo;
      if (v >= static_cast<V>(hi)) return hi;
      return v == v ? static_cast<D>(v) : D{0};
    } else {
      if (std::cmp_less(v, lo)) return lo;
      if (std::cmp_greater(v, hi)) return hi;
      return static_cast<D>(v);
    }
  }
}

class CastStep : public Step {
 public:
  explicit CastStep(DType to) : to_(to) {}
  Status run(const TensorView& in, Tensor& out) const override {
    VERGE_RETURN_IF_ERROR(prepare(out, to_, in.shape));
    run_at(in, out.data.data());
    return {};
  }
  DType elementwise(DType) const override { return to_; }
  void run_at(const TensorView& in, std::byte* out) const override {
    const int64_t n = in.shape.elements();
    if (to_ == DType::kFp32) {
      to_real(in, 0, n, reinterpret_cast<float*>(out));
    } else if (to_ == DType::kFp64) {
      to_real(in, 0, n, reinterpret_cast<double*>(out));
    } else {
      with_type(in.dtype, [&]<typename S>() {
        with_type(to_, [&]<typename D>() {
          if constexpr (!std::is_floating_point_v<D>) {
            D* o = reinterpret_cast<D*>(out);
            const std::byte* p = in.data.data();
            for (int64_t i = 0; i < n; ++i) o[i] = cast_value<D>(load_at<S>(p, i));
          }
        });
      });
    }
  }

 private:
  DType to_;
};

Made make_cast(Params& params, const Context&, TensorSpec& spec) {
  const DType to = params.dtype("dtype", DType::kInvalid);
  VERGE_RETURN_IF_ERROR(params.status());
  VERGE_RETURN_IF_ERROR(need_numeric(spec));
  if (!is_numeric(to))
    return invalid_argument("cannot make " + std::string(dtype_name(to)) + " from " + std::string(dtype_name(spec.dtype)));
  if (spec.dtype == to) return Made(nullptr);
  spec.dtype = to;
  spec.quantization.clear();
  return made<CastStep>(to);
}

// --- y = f(x, a, b) with a and b for the whole tensor or per index of one axis ---

struct Scale {
  template <typename R>
  static R at(R x, R a, R b) { return x * a + b; }
};
struct Normalise {
  template <typename R>
  static R at(R x, R a, R b) { return (x - a) / b; }
};
struct Dequantise {
  template <typename R>
  static R at(R x, R a, R b) { return (x - b) * a; }
};

constexpr int64_t kBlock = 4096;  // elements converted and computed while they are in the first-level cache

template <typename F>
class AffineStep : public Step {
 public:
  // a and b have one value, or one an index of `axis`. `inner`: elements behind that axis, 0 if they are many or not known.
  AffineStep(std::vector<double> a, std::vector<double> b, int axis, int64_t inner) : axis_(axis) {
    const size_t n = std::max(a.size(), b.size());
    a.resize(n, a[0]);
    b.resize(n, b[0]);
    if (n == 1 || (inner > 0 && inner <= kBlock / static_cast<int64_t>(n))) {
      // One pattern, repeated to a length that vectorises well.
      const size_t period = n == 1 ? 1 : n * static_cast<size_t>(inner);
      const size_t length = period * (1 + 255 / period);
      for (size_t i = 0; n > 1 && i < length; ++i) {
        a_.push_back(a[i % period / static_cast<size_t>(inner)]);
        b_.push_back(b[i % period / static_cast<size_t>(inner)]);
      }
      tiled_ = true;
    }
    if (a_.empty()) {
      a_ = std::move(a);
      b_ = std::move(b);
    }
    a32_.assign(a_.begin(), a_.end());
    b32_.assign(b_.begin(), b_.end());
  }

  Status run(const TensorView& in, Tensor& out) const override {
    VERGE_RETURN_IF_ERROR(prepare(out, real_type(in.dtype), in.shape));
    run_at(in, out.data.data());
    return {};
  }
  DType elementwise(DType in) const override { return real_type(in); }
  void run_at(const TensorView& in, std::byte* out) const override {
    if (real_type(in.dtype) == DType::kFp64)
      apply(in, reinterpret_cast<double*>(out), a_.data(), b_.data());
    else
      apply(in, reinterpret_cast<float*>(out), a32_.data(), b32_.data());
  }

 private:
  template <typename R>
  void apply(const TensorView& in, R* out, const R* a, const R* b) const {
    const int64_t n = in.shape.elements(), length = static_cast<int64_t>(a_.size());
    if (tiled_) {
      const int64_t block = length == 1 ? kBlock : length * std::max<int64_t>(1, kBlock / length);
      for (int64_t i = 0; i < n; i += block) {
        const int64_t count = std::min(block, n - i);
        R* p = out + i;
        to_real(in, i, count, p);
        if (length == 1) {
          const R a0 = a[0], b0 = b[0];
          for (int64_t k = 0; k < count; ++k) p[k] = F::template at<R>(p[k], a0, b0);
        } else {
          for (int64_t j = 0; j < count; j += length) {
            const int64_t m = std::min(length, count - j);
            for (int64_t k = 0; k < m; ++k) p[j + k] = F::template at<R>(p[j + k], a[k], b[k]);
          }
        }
      }
      return;
    }
    const AxisLayout l = axis_layout(in.shape, axis_);
    for (int64_t o = 0; o < l.outer; ++o)
      for (int64_t c = 0; c < l.n; ++c) {
        const int64_t at = (o * l.n + c) * l.inner;
        const R ac = a[c], bc = b[c];
        R* p = out + at;
        to_real(in, at, l.inner, p);
        for (int64_t k = 0; k < l.inner; ++k) p[k] = F::template at<R>(p[k], ac, bc);
      }
  }

  int axis_;
  bool tiled_ = false;
  std::vector<double> a_, b_;
  std::vector<float> a32_, b32_;
};

template <typename F>
Made make_affine(TensorSpec& spec, std::vector<double> a, std::vector<double> b, int64_t axis_param, std::string_view names) {
  VERGE_RETURN_IF_ERROR(need_numeric(spec));
  const auto n = static_cast<int64_t>(std::max(a.size(), b.size()));
  int axis = 0;
  int64_t inner = 1;
  if (n > 1) {
    if ((a.size() > 1 && b.size() > 1 && a.size() != b.size()))
      return invalid_argument(std::string(names) + " have " + std::to_string(a.size()) + " and " + std::to_string(b.size()) + " values");
    VERGE_ASSIGN(axis, tensor_axis(spec, axis_param));
    if (spec.shape[axis] != n)
      return invalid_argument(std::string(names) + " have " + std::to_string(n) + " values, but axis " + std::to_string(axis_param) +
                              " of a sample " + sample_shape(spec).to_string() +
                              (spec.shape[axis] < 0 ? " is free" : " has " + std::to_string(spec.shape[axis])));
    for (int i = axis + 1; i < spec.shape.rank(); ++i) {
      const int64_t d = spec.shape[i];
      inner = d <= 0 || inner <= 0 || inner > kBlock ? 0 : inner * d;
    }
  }
  spec.dtype = real_type(spec.dtype);
  spec.quantization.clear();
  return made<AffineStep<F>>(std::move(a), std::move(b), axis, inner);
}

Made make_scale(Params& params, const Context&, TensorSpec& spec) {
  auto factor = params.numbers("factor", {1}), offset = params.numbers("offset", {0});
  const int64_t axis = params.integer("axis", -kMaxRank, kMaxRank, -1);
  VERGE_RETURN_IF_ERROR(params.status());
  return make_affine<Scale>(spec, std::move(factor), std::move(offset), axis, "'factor' and 'offset'");
}

Made make_normalise(Params& params, const Context&, TensorSpec& spec) {
  auto mean = params.numbers("mean"), std_dev = params.numbers("std");
  const int64_t axis = params.integer("axis", -kMaxRank, kMaxRank, -1);
  for (double s : std_dev)
    if (!(static_cast<float>(s) > 0)) params.fail("parameter 'std' has " + std::to_string(s) + "; it must be above 0");
  VERGE_RETURN_IF_ERROR(params.status());
  return make_affine<Normalise>(spec, std::move(mean), std::move(std_dev), axis, "'mean' and 'std'");
}

Made make_dequantise(Params& params, const Context&, TensorSpec& spec) {
  std::vector<double> scale, zero;
  if (params.has("scale")) {
    scale = params.numbers("scale");
    zero = params.numbers("zero_point", {0});
  } else if (spec.quantization.size() == 1 && spec.quantization[0].axis < 0 && !params.has("zero_point")) {
    scale = {spec.quantization[0].scale};
    zero = {static_cast<double>(spec.quantization[0].zero_point)};
  } else {
    params.fail("parameter 'scale' is missing, and the tensor itself states no quantisation");
  }
  const int64_t axis = params.integer("axis", -kMaxRank, kMaxRank, -1);
  for (double s : scale)
    if (!(static_cast<float>(s) > 0)) params.fail("parameter 'scale' has " + std::to_string(s) + "; it must be above 0");
  VERGE_RETURN_IF_ERROR(params.status());
  return make_affine<Dequantise>(spec, std::move(scale), std::move(zero), axis, "'scale' and 'zero_point'");
}

// --- sigmoid, threshold ---

class SigmoidStep : public Step {
 public:
  Status run(const TensorView& in, Tensor& out) const override {
    VERGE_RETURN_IF_ERROR(prepare(out, real_type(in.dtype), in.shape));
    auto apply = [&]<typename R>(R* p) {
      const int64_t n = in.shape.elements();
      to_real(in, 0, n, p);
      for (int64_t i = 0; i < n; ++i) p[i] = 1 / (1 + std::exp(-p[i]));
    };
    if (out.dtype == DType::kFp64)
      apply(out.as<double>());
    else
      apply(out.as<float>());
    return {};
  }
};

Made make_sigmoid(Params&, const Context&, TensorSpec& spec) {
  VERGE_RETURN_IF_ERROR(need_numeric(spec));
  spec.dtype = real_type(spec.dtype);
  spec.quantization.clear();
  return made<SigmoidStep>();
}

class ThresholdStep : public Step {
 public:
  ThresholdStep(double value, DType to) : value_(value), to_(to) {}
  Status run(const TensorView& in, Tensor& out) const override {
    VERGE_RETURN_IF_ERROR(prepare(out, to_, in.shape));
    const int64_t n = in.shape.elements();
    with_type(in.dtype, [&]<typename T>() {
      const std::byte* p = in.data.data();
      auto write = [&]<typename D>(D* o) {
        if constexpr (std::is_same_v<T, float>) {
          const auto v = static_cast<float>(value_);
          for (int64_t i = 0; i < n; ++i) o[i] = load_at<T>(p, i) >= v;
        } else {
          for (int64_t i = 0; i < n; ++i) o[i] = static_cast<double>(number(load_at<T>(p, i))) >= value_;
        }
      };
      switch (dtype_size(to_)) {
        case 1: return write(out.as<uint8_t>());
        case 4: return write(out.as<int32_t>());
        default: return write(out.as<int64_t>());
      }
    });
    return {};
  }

 private:
  double value_;
  DType to_;
};

Made make_threshold(Params& params, const Context&, TensorSpec& spec) {
  const double value = params.number("value");
  const DType to = params.dtype("dtype", DType::kBool);
  if (to != DType::kBool && to != DType::kUint8 && to != DType::kInt8 && to != DType::kInt32 && to != DType::kInt64)
    params.fail("parameter 'dtype' is " + std::string(dtype_name(to)) + "; it must be BOOL, UINT8, INT8, INT32 or INT64");
  VERGE_RETURN_IF_ERROR(params.status());
  VERGE_RETURN_IF_ERROR(need_numeric(spec));
  spec.dtype = to;
  spec.quantization.clear();
  return made<ThresholdStep>(value, to);
}

constexpr std::string_view kAxisDoc = "axis of a sample along which lists run; negative from the end; default -1";

}  // namespace

const Operator kOp_cast = {
    {"cast",
     "The same values in another data type. Saturates: what does not fit becomes the nearest value that does, fractions are cut towards "
     "zero, NaN becomes 0 (in BOOL: true). Floats round to nearest even.",
     {{"dtype", "dtype", true, "any type but BYTES"}}},
    make_cast};

const Operator kOp_scale = {
    {"scale",
     "x * factor + offset, in FP32 (FP64 on FP64), from any numeric type.",
     {{"factor", "numbers", false, "one number, or one an index of the axis; default 1"},
      {"offset", "numbers", false, "as factor; default 0"},
      {"axis", "int", false, kAxisDoc}}},
    make_scale};

const Operator kOp_normalise = {
    {"normalise",
     "(x - mean) / std, in FP32 (FP64 on FP64), from any numeric type.",
     {{"mean", "numbers", true, "one number, or one an index of the axis"},
      {"std", "numbers", true, "as mean; above 0"},
      {"axis", "int", false, kAxisDoc}}},
    make_normalise};

const Operator kOp_dequantise = {
    {"dequantise",
     "(x - zero_point) * scale, in FP32 (FP64 on FP64), from any numeric type.",
     {{"scale", "numbers", false, "above 0; one number, or one an index of the axis; default: what the tensor's signature states"},
      {"zero_point", "numbers", false, "as scale; default 0, or what the signature states"},
      {"axis", "int", false, kAxisDoc}}},
    make_dequantise};

const Operator kOp_sigmoid = {{"sigmoid", "1 / (1 + exp(-x)), in FP32 (FP64 on FP64), from any numeric type.", {}}, make_sigmoid};

const Operator kOp_threshold = {
    {"threshold",
     "1 (true) where x >= value, else 0 (false); NaN gives 0.",
     {{"value", "number", true, "compared in the input's precision"},
      {"dtype", "dtype", false, "BOOL, UINT8, INT8, INT32 or INT64; default BOOL"}}},
    make_threshold};

}  // namespace verge::transform
