// Element types, shapes and tensors as values. No memory of devices, no engines.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"

namespace verge {

// The numbers are those of verge_dtype in include/verge/engine.h; the names are those of the Open Inference Protocol v2.
enum class DType : uint8_t {
  kInvalid = 0,
  kBool = 1,
  kUint8 = 2,
  kUint16 = 3,
  kUint32 = 4,
  kUint64 = 5,
  kInt8 = 6,
  kInt16 = 7,
  kInt32 = 8,
  kInt64 = 9,
  kFp16 = 10,
  kFp32 = 11,
  kFp64 = 12,
  kBf16 = 13,
  kBytes = 14,
};

std::string_view dtype_name(DType t);         // "FP32", "BYTES", …; "INVALID"
DType dtype_from_name(std::string_view name);  // kInvalid if unknown
size_t dtype_size(DType t);                    // bytes an element; 0 for BYTES and INVALID

inline constexpr int kMaxRank = 8;

// Dimensions by value, never on the heap. -1 is a free dimension.
class Shape {
 public:
  Shape() = default;
  Shape(std::initializer_list<int64_t> dims);
  // Fails where there are more than kMaxRank dimensions or one is below -1.
  static Result<Shape> from(std::span<const int64_t> dims);

  int rank() const { return rank_; }
  int64_t operator[](int i) const { return dims_[static_cast<size_t>(i)]; }
  int64_t& operator[](int i) { return dims_[static_cast<size_t>(i)]; }
  std::span<const int64_t> dims() const { return {dims_.data(), static_cast<size_t>(rank_)}; }
  bool push_back(int64_t d);              // false if full
  void insert(int axis, int64_t d);       // rank must be below kMaxRank, 0 <= axis <= rank
  void erase(int axis);
  bool is_static() const;                 // no free dimension
  // Product of the dimensions; -1 where one is free or the product passes 2^62.
  int64_t elements() const;
  // Whether a concrete shape fits this one, a free dimension matching anything.
  bool accepts(const Shape& concrete) const;
  std::string to_string() const;  // "[-1,32,32,3]"
  bool operator==(const Shape& o) const;

 private:
  std::array<int64_t, kMaxRank> dims_{};
  uint8_t rank_ = 0;
};

// Affine quantisation: real = scale * (stored - zero_point). axis -1: one scale for the tensor.
struct Quantization {
  double scale = 0;
  int64_t zero_point = 0;
  int axis = -1;
  bool operator==(const Quantization&) const = default;
};

// A named input or output of a signature.
struct TensorSpec {
  std::string name;
  DType dtype = DType::kInvalid;
  Shape shape;          // the batch axis, where there is one, is free (-1)
  int batch_axis = -1;  // -1: the tensor has none
  std::vector<Quantization> quantization;  // empty or one element
  bool operator==(const TensorSpec&) const = default;
};

struct Signature {
  std::vector<TensorSpec> inputs;
  std::vector<TensorSpec> outputs;
  const TensorSpec* input(std::string_view name) const;   // nullptr if there is none
  const TensorSpec* output(std::string_view name) const;
  bool operator==(const Signature&) const = default;
};

// Bytes somebody else owns, dense row-major, little-endian. BYTES elements are kept in *wire form* everywhere in the host: each a 4-byte
// little-endian length and its bytes (the form of raw_input_contents and of the binary HTTP extension); only the engine host turns
// them into offsets and a blob.
struct TensorView {
  DType dtype = DType::kInvalid;
  Shape shape;
  std::span<const std::byte> data;
};

// A tensor that owns its bytes.
struct Tensor {
  DType dtype = DType::kInvalid;
  Shape shape;
  std::vector<std::byte> data;

  Tensor() = default;
  Tensor(DType t, const Shape& s);  // zero-filled; the shape must be static, the type not BYTES
  TensorView view() const { return {dtype, shape, data}; }
  template <typename T>
  T* as() { return reinterpret_cast<T*>(data.data()); }
  template <typename T>
  const T* as() const { return reinterpret_cast<const T*>(data.data()); }
};

// Checks that `data` is exactly what dtype and shape call for (for BYTES: that the lengths add up and the count is right).
Status check_tensor(const TensorView& t, std::string_view name);

// IEEE 754 binary16 and bfloat16 <-> binary32, round to nearest even.
float fp16_to_fp32(uint16_t h);
uint16_t fp32_to_fp16(float f);
float bf16_to_fp32(uint16_t h);
uint16_t fp32_to_bf16(float f);

// Element i of any numeric type as a double.
double element_as_double(const TensorView& t, size_t i);

}  // namespace verge
