// The step to whole numbers; dequantise, which is affine, stands in elementwise.cc.
#include <algorithm>
#include <limits>

#include "transform/operators.h"

namespace verge::transform {
namespace {

// To the nearest whole number, halves to even, for |v| < 2^22: the sum leaves no bits for a fraction.
float round_even(float v) {
  constexpr float kMagic = 12582912.0f;  // 1.5 * 2^23
  return (v + kMagic) - kMagic;
}

class QuantiseStep : public Step {
 public:
  QuantiseStep(DType to, std::vector<float> scale, std::vector<float> zero, int axis)
      : to_(to), scale_(std::move(scale)), zero_(std::move(zero)), axis_(axis) {}

  Status run(const TensorView& in, Tensor& out) const override {
    VERGE_RETURN_IF_ERROR(prepare(out, to_, in.shape));
    switch (to_) {
      case DType::kInt8: apply<int8_t>(in, out); break;
      case DType::kUint8: apply<uint8_t>(in, out); break;
      case DType::kInt16: apply<int16_t>(in, out); break;
      default: apply<uint16_t>(in, out); break;
    }
    return {};
  }

 private:
  template <typename Q>
  void apply(const TensorView& in, Tensor& out) const {
    AxisLayout l{1, 1, in.shape.elements()};
    if (scale_.size() > 1) l = axis_layout(in.shape, axis_);
    int64_t at = 0;
    for (int64_t o = 0; o < l.outer; ++o)
      for (int64_t c = 0; c < l.n; ++c, at += l.inner)
        run_of<Q>(in, at, l.inner, scale_[static_cast<size_t>(c)], zero_[static_cast<size_t>(c)], out.as<Q>());
  }

  template <typename Q>
  static void run_of(const TensorView& in, int64_t at, int64_t count, float scale, float zero, Q* out) {
    constexpr int64_t kBlock = 1024;
    float block[kBlock];
    const float lo = static_cast<float>(std::numeric_limits<Q>::min()) - zero,
                hi = static_cast<float>(std::numeric_limits<Q>::max()) - zero;
    for (int64_t done = 0; done < count; done += kBlock) {
      const int64_t n = std::min(kBlock, count - done);
      to_real(in, at + done, n, block);
      Q* o = out + at + done;
      for (int64_t i = 0; i < n; ++i) {
        float r = block[i] / scale;
        r = r == r ? r : 0;
        r = r < lo ? lo : r > hi ? hi : r;
        o[i] = static_cast<Q>(static_cast<int32_t>(round_even(r) + zero));
      }
    }
  }

  DType to_;
  std::vector<float> scale_, zero_;  // of equal length: 1, or the axis's size
  int axis_;
};

Made make_quantise(Params& params, const Context&, TensorSpec& spec) {
  const DType to = params.dtype("dtype", DType::kInvalid);
  auto scale = params.numbers("scale"), zero = params.numbers("zero_point", {0});
  const int64_t at = params.integer("axis", -kMaxRank, kMaxRank, -1);
  double lo = 0, hi = 0;
  switch (to) {
    case DType::kInt8: lo = -128, hi = 127; break;
    case DType::kUint8: hi = 255; break;
    case DType::kInt16: lo = -32768, hi = 32767; break;
    case DType::kUint16: hi = 65535; break;
    default: params.fail("parameter 'dtype' is " + std::string(dtype_name(to)) + "; it must be INT8, UINT8, INT16 or UINT16");
  }
  for (double s : scale)
    if (!(static_cast<float>(s) > 0)) params.fail("parameter 'scale' has " + std::to_string(s) + "; it must be above 0");
  for (double z : zero)
    if (z < lo || z > hi || z != static_cast<double>(static_cast<int64_t>(z)))
      params.fail("parameter 'zero_point' has " + std::to_string(z) + "; it must be a whole number that " + std::string(dtype_name(to)) +
                  " holds");
  VERGE_RETURN_IF_ERROR(params.status());
  VERGE_RETURN_IF_ERROR(need_numeric(spec));
  const size_t n = std::max(scale.size(), zero.size());
  if ((scale.size() > 1 && scale.size() < n) || (zero.size() > 1 && zero.size() < n))
    return invalid_argument("'scale' and 'zero_point' have " + std::to_string(scale.size()) + " and " + std::to_string(zero.size()) +
                            " values");
  scale.resize(n, scale[0]);
  zero.resize(n, zero[0]);
  int axis = 0;
  if (n > 1) {
    VERGE_ASSIGN(axis, tensor_axis(spec, at));
    if (spec.shape[axis] != static_cast<int64_t>(n))
      return invalid_argument("'scale' and 'zero_point' have " + std::to_string(n) + " values, but axis " + std::to_string(at) +
                              " of a sample " + sample_shape(spec).to_string() + " has not");
  }
  spec.dtype = to;
  spec.quantization.clear();
  if (n == 1) spec.quantization.push_back({scale[0], static_cast<int64_t>(zero[0]), -1});
  return made<QuantiseStep>(to, std::vector<float>(scale.begin(), scale.end()), std::vector<float>(zero.begin(), zero.end()), axis);
}

}  // namespace

const Operator kOp_quantise = {
    {"quantise",
     "round(x / scale) + zero_point, saturating; halves go to even, NaN to the zero point. From any numeric type, computed in FP32.",
     {{"dtype", "dtype", true, "INT8, UINT8, INT16 or UINT16"},
      {"scale", "numbers", true, "above 0; one number, or one an index of the axis"},
      {"zero_point", "numbers", false, "whole numbers, as scale; default 0"},
      {"axis", "int", false, "axis of a sample along which lists run; negative from the end; default -1"}}},
    make_quantise};

}  // namespace verge::transform
