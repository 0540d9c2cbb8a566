#include "transform/operators.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace verge::transform {
namespace {

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define VERGE_CLONES __attribute__((target_clones("avx2", "default")))
#define VERGE_WIDE __attribute__((target("avx512f")))
#else
#define VERGE_CLONES
#endif

VERGE_CLONES void bytes_to_float_narrow(const uint8_t* __restrict p, int64_t count, float* __restrict out) {
  for (int64_t i = 0; i < count; ++i) out[i] = static_cast<float>(p[i]);
}

#ifdef VERGE_WIDE
// Written out, because the compiler takes half registers. Processors put the upper halves of their vector units to sleep when they were not used for some
// 0.7 us, and an engine's run that has to wake them takes 2.4 us longer (LiteRT, Emerald Rapids). This is the last long thing before a run.
VERGE_WIDE void bytes_to_float_wide(const uint8_t* __restrict p, int64_t count, float* __restrict out) {
  int64_t i = 0;
  for (; i + 16 <= count; i += 16) _mm512_storeu_ps(out + i, _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p + i)))));
  for (; i < count; ++i) out[i] = static_cast<float>(p[i]);
}
#endif

// Bytes of images are what comes most: for these the widest registers that the machine has are worth a look. Only processors on which wide registers
// do not slow down what comes after them (those with VBMI2) are given them.
void bytes_to_float(const uint8_t* __restrict p, int64_t count, float* __restrict out) {
#ifdef VERGE_WIDE
  static const bool wide = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vbmi2");
  if (wide) return bytes_to_float_wide(p, count, out);
#endif
  bytes_to_float_narrow(p, count, out);
}

template <typename R>
void convert(const TensorView& in, int64_t first, int64_t count, R* __restrict out) {
  with_type(in.dtype, [&]<typename T>() {
    const std::byte* __restrict p = in.data.data() + static_cast<size_t>(first) * sizeof(T);
    if constexpr (std::is_same_v<T, uint8_t> && std::is_same_v<R, float>) {
      // The cast changes nothing; clang 14 looks at this for other types of R too.
      bytes_to_float(reinterpret_cast<const uint8_t*>(p), count, reinterpret_cast<float*>(out));
    } else if constexpr (std::is_same_v<T, R>) {
      if (count > 0) std::memcpy(out, p, static_cast<size_t>(count) * sizeof(T));
    } else {
      for (int64_t i = 0; i < count; ++i) out[i] = static_cast<R>(number(load_at<T>(p, i)));
    }
  });
}

}  // namespace

Shape sample_shape(const TensorSpec& spec) {
  Shape s = spec.shape;
  if (first_axis(spec)) s.erase(0);
  return s;
}

Result<int> tensor_axis(const TensorSpec& spec, int64_t axis, int extra) {
  const int rank = sample_rank(spec) + extra;
  const int64_t a = axis < 0 ? axis + rank : axis;
  if (a < 0 || a >= rank)
    return invalid_argument("parameter 'axis' is " + std::to_string(axis) + ", but a sample has shape " + sample_shape(spec).to_string());
  return static_cast<int>(a) + first_axis(spec);
}

AxisLayout axis_layout(const Shape& s, int axis) {
  AxisLayout l;
  for (int i = 0; i < axis; ++i) l.outer *= s[i];
  l.n = s[axis];
  for (int i = axis + 1; i < s.rank(); ++i) l.inner *= s[i];
  return l;
}

bool is_numeric(DType t) { return t != DType::kBytes && t != DType::kInvalid; }
bool is_float(DType t) { return t == DType::kFp32 || t == DType::kFp64 || t == DType::kFp16 || t == DType::kBf16; }
bool is_integer(DType t) { return is_numeric(t) && !is_float(t) && t != DType::kBool; }

void to_real(const TensorView& in, int64_t first, int64_t count, float* out) { convert(in, first, count, out); }
void to_real(const TensorView& in, int64_t first, int64_t count, double* out) { convert(in, first, count, out); }

Status need_numeric(const TensorSpec& spec) {
  if (is_numeric(spec.dtype)) return {};
  return invalid_argument("needs numbers, but gets " + std::string(dtype_name(spec.dtype)) + spec.shape.to_string());
}

Status need_float(const TensorSpec& spec) {
  if (spec.dtype == DType::kFp32 || spec.dtype == DType::kFp64) return {};
  return invalid_argument("needs FP32 or FP64, but gets " + std::string(dtype_name(spec.dtype)) + spec.shape.to_string() +
                          "; put a cast before it");
}

Status prepare(Tensor& out, DType dtype, const Shape& shape) {
  const int64_t n = shape.elements(), size = static_cast<int64_t>(dtype_size(dtype));
  if (n < 0 || n > kMaxStepBytes / size)
    return resource_exhausted("makes shape " + shape.to_string() + " of " + std::string(dtype_name(dtype)) +
                              ", which passes the limit of " + std::to_string(kMaxStepBytes >> 20) + " MiB a step");
  out.dtype = dtype;
  out.shape = shape;
  out.data.resize(static_cast<size_t>(n * size));
  return {};
}

}  // namespace verge::transform
