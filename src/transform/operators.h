// What the files of operators share: the registration table, and helpers on axes, element types and outputs.
#pragma once

#include <cstring>
#include <memory>
#include <type_traits>
#include <utility>

#include "core/status.h"
#include "core/tensor.h"
#include "transform/chain.h"
#include "transform/params.h"

namespace verge::transform {

using Made = Result<std::shared_ptr<const Step>>;

struct Operator {
  OpDoc doc;
  // Proves the step on `spec`, turns `spec` into what the step puts out, and binds the parameters. A null step: nothing to do at run.
  Made (*make)(Params& params, const Context& context, TensorSpec& spec);
};

// The registration table: one line an operator, in the order of the docs. Each is defined as `const Operator kOp_NAME` in its family's
// file.
#define VERGE_TRANSFORM_OPERATORS(X) \
  X(cast)                            \
  X(scale)                           \
  X(normalise)                       \
  X(reshape)                         \
  X(expand)                          \
  X(squeeze)                         \
  X(transpose)                       \
  X(decode)                          \
  X(resize)                          \
  X(crop)                            \
  X(window)                          \
  X(vector_length)                   \
  X(append_column)                   \
  X(softmax)                         \
  X(sigmoid)                         \
  X(argmax)                          \
  X(topk)                            \
  X(threshold)                       \
  X(quantise)                        \
  X(dequantise)

#define VERGE_DECLARE_OPERATOR(name) extern const Operator kOp_##name;
VERGE_TRANSFORM_OPERATORS(VERGE_DECLARE_OPERATOR)
#undef VERGE_DECLARE_OPERATOR

template <typename S, typename... A>
Made made(A&&... args) {
  return Made(std::shared_ptr<const Step>(std::make_shared<const S>(std::forward<A>(args)...)));
}

// --- axes ---

inline int first_axis(const TensorSpec& spec) { return spec.batch_axis == 0 ? 1 : 0; }
inline int sample_rank(const TensorSpec& spec) { return spec.shape.rank() - first_axis(spec); }
Shape sample_shape(const TensorSpec& spec);
// The tensor's axis for `axis` of one sample (negative: from the end). `extra` is 1 where an axis may be put behind the last.
Result<int> tensor_axis(const TensorSpec& spec, int64_t axis, int extra = 0);

// A tensor seen along one axis: element (o, c, i) lies at (o * n + c) * inner + i.
struct AxisLayout {
  int64_t outer = 1, n = 1, inner = 1;
};
AxisLayout axis_layout(const Shape& concrete, int axis);

// --- element types ---

// Stand for FP16, BF16 and BOOL where a C++ type chooses the code.
struct Fp16 {
  uint16_t bits;
};
struct Bf16 {
  uint16_t bits;
};
struct Bool {
  uint8_t bits;
};

bool is_numeric(DType t);  // everything but BYTES
bool is_float(DType t);
bool is_integer(DType t);

template <typename T>
T load_at(const std::byte* p, int64_t i) {
  T v;
  std::memcpy(&v, p + static_cast<size_t>(i) * sizeof(T), sizeof v);
  return v;
}

// Calls f.template operator()<T>() with the C++ type of a numeric dtype.
template <typename F>
decltype(auto) with_type(DType t, F&& f) {
  switch (t) {
    case DType::kBool: return f.template operator()<Bool>();
    case DType::kUint8: return f.template operator()<uint8_t>();
    case DType::kUint16: return f.template operator()<uint16_t>();
    case DType::kUint32: return f.template operator()<uint32_t>();
    case DType::kUint64: return f.template operator()<uint64_t>();
    case DType::kInt8: return f.template operator()<int8_t>();
    case DType::kInt16: return f.template operator()<int16_t>();
    case DType::kInt32: return f.template operator()<int32_t>();
    case DType::kInt64: return f.template operator()<int64_t>();
    case DType::kFp16: return f.template operator()<Fp16>();
    case DType::kBf16: return f.template operator()<Bf16>();
    case DType::kFp64: return f.template operator()<double>();
    case DType::kFp32:
    case DType::kBytes:
    case DType::kInvalid: break;
  }
  return f.template operator()<float>();
}

// The value as one that compares and computes: halves as float, BOOL as 0 or 1.
template <typename T>
auto number(T v) {
  if constexpr (std::is_same_v<T, Fp16>) return fp16_to_fp32(v.bits);
  else if constexpr (std::is_same_v<T, Bf16>) return bf16_to_fp32(v.bits);
  else if constexpr (std::is_same_v<T, Bool>) return static_cast<uint8_t>(v.bits != 0);
  else return v;
}

// What real-valued steps compute in: FP64 on FP64, FP32 on everything else.
inline DType real_type(DType t) { return t == DType::kFp64 ? DType::kFp64 : DType::kFp32; }
// Elements first … first + count of any numeric tensor, as R. `out` may not overlap `in`.
void to_real(const TensorView& in, int64_t first, int64_t count, float* out);
void to_real(const TensorView& in, int64_t first, int64_t count, double* out);

Status need_numeric(const TensorSpec& spec);
Status need_float(const TensorSpec& spec);

// Gives `out` its type, shape and size; its old bytes mean nothing. Refuses what passes kMaxStepBytes. Not for BYTES.
Status prepare(Tensor& out, DType dtype, const Shape& shape);

}  // namespace verge::transform
