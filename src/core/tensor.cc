#include "core/tensor.h"

#include <bit>
#include <cstring>

namespace verge {
namespace {

struct DTypeRow {
  DType type;
  std::string_view name;
  size_t size;
};
constexpr DTypeRow kDTypes[] = {
    {DType::kInvalid, "INVALID", 0}, {DType::kBool, "BOOL", 1},     {DType::kUint8, "UINT8", 1},   {DType::kUint16, "UINT16", 2},
    {DType::kUint32, "UINT32", 4},   {DType::kUint64, "UINT64", 8}, {DType::kInt8, "INT8", 1},     {DType::kInt16, "INT16", 2},
    {DType::kInt32, "INT32", 4},     {DType::kInt64, "INT64", 8},   {DType::kFp16, "FP16", 2},     {DType::kFp32, "FP32", 4},
    {DType::kFp64, "FP64", 8},       {DType::kBf16, "BF16", 2},     {DType::kBytes, "BYTES", 0},
};

template <typename T>
T load(const std::byte* p) {
  T v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

}  // namespace

std::string_view dtype_name(DType t) {
  auto i = static_cast<size_t>(t);
  return i < std::size(kDTypes) ? kDTypes[i].name : "INVALID";
}

DType dtype_from_name(std::string_view name) {
  for (const auto& row : kDTypes)
    if (row.type != DType::kInvalid && row.name == name) return row.type;
  return DType::kInvalid;
}

size_t dtype_size(DType t) {
  auto i = static_cast<size_t>(t);
  return i < std::size(kDTypes) ? kDTypes[i].size : 0;
}

Shape::Shape(std::initializer_list<int64_t> dims) {
  for (int64_t d : dims) push_back(d);
}

Result<Shape> Shape::from(std::span<const int64_t> dims) {
  if (dims.size() > kMaxRank)
    return invalid_argument("a tensor has " + std::to_string(dims.size()) + " dimensions; at most " + std::to_string(kMaxRank) +
                            " are supported");
  Shape s;
  for (int64_t d : dims) {
    if (d < -1) return invalid_argument("dimension " + std::to_string(d) + " is negative");
    s.push_back(d);
  }
  return s;
}

bool Shape::push_back(int64_t d) {
  if (rank_ >= kMaxRank) return false;
  dims_[rank_++] = d;
  return true;
}

void Shape::insert(int axis, int64_t d) {
  for (int i = rank_; i > axis; --i) (*this)[i] = (*this)[i - 1];
  (*this)[axis] = d;
  ++rank_;
}

void Shape::erase(int axis) {
  for (int i = axis; i + 1 < rank_; ++i) (*this)[i] = (*this)[i + 1];
  --rank_;
}

bool Shape::is_static() const {
  for (int64_t d : dims())
    if (d < 0) return false;
  return true;
}

int64_t Shape::elements() const {
  constexpr int64_t kLimit = int64_t{1} << 62;
  // Asked several times a request: no division.
  int64_t n = 1;
  bool zero = false, large = false;
  for (int64_t d : dims()) {
    if (d < 0) return -1;
    zero |= d == 0;
    large |= __builtin_mul_overflow(n, d, &n) || n > kLimit;
    if (zero || large) n = 1;
  }
  return zero ? 0 : large ? -1 : n;
}

bool Shape::accepts(const Shape& c) const {
  if (c.rank_ != rank_) return false;
  for (int i = 0; i < rank_; ++i)
    if ((*this)[i] >= 0 && (*this)[i] != c[i]) return false;
  return true;
}

std::string Shape::to_string() const {
  std::string s = "[";
  for (int i = 0; i < rank_; ++i) {
    if (i) s += ',';
    s += std::to_string((*this)[i]);
  }
  return s + "]";
}

bool Shape::operator==(const Shape& o) const {
  if (rank_ != o.rank_) return false;
  for (int i = 0; i < rank_; ++i)
    if ((*this)[i] != o[i]) return false;
  return true;
}

static const TensorSpec* find(const std::vector<TensorSpec>& specs, std::string_view name) {
  for (const auto& s : specs)
    if (s.name == name) return &s;
  return nullptr;
}
const TensorSpec* Signature::input(std::string_view name) const { return find(inputs, name); }
const TensorSpec* Signature::output(std::string_view name) const { return find(outputs, name); }

Tensor::Tensor(DType t, const Shape& s)
    : dtype(t), shape(s), data(static_cast<size_t>(s.elements() < 0 ? 0 : s.elements()) * dtype_size(t)) {}

Status check_tensor(const TensorView& t, std::string_view name) {
  auto fail = [&](const std::string& what) { return invalid_argument("tensor '" + std::string(name) + "': " + what); };
  int64_t n = t.shape.elements();
  if (n < 0) return fail("shape " + t.shape.to_string() + " is not concrete or too large");
  if (t.dtype == DType::kInvalid) return fail("has no data type");
  if (t.dtype != DType::kBytes) {
    const size_t size = dtype_size(t.dtype);
    if (static_cast<uint64_t>(n) > UINT64_MAX / size || t.data.size() != static_cast<uint64_t>(n) * size)
      return fail("shape " + t.shape.to_string() + " of " + std::string(dtype_name(t.dtype)) + " needs " +
                  std::to_string(static_cast<uint64_t>(n) * size) + " bytes, got " + std::to_string(t.data.size()));
    return {};
  }
  size_t at = 0;
  int64_t count = 0;
  while (at < t.data.size()) {
    if (t.data.size() - at < 4) return fail("a string's length is cut off at byte " + std::to_string(at));
    const auto len = load<uint32_t>(t.data.data() + at);
    if (len > t.data.size() - at - 4)
      return fail("string " + std::to_string(count) + " claims " + std::to_string(len) + " bytes, " +
                  std::to_string(t.data.size() - at - 4) + " are left");
    at += 4 + size_t{len};
    ++count;
  }
  if (count != n)
    return fail("shape " + t.shape.to_string() + " needs " + std::to_string(n) + " strings, got " + std::to_string(count));
  return {};
}

float fp16_to_fp32(uint16_t h) {
  const uint32_t sign = static_cast<uint32_t>(h & 0x8000) << 16;
  uint32_t exp = (h >> 10) & 0x1f, man = h & 0x3ff;
  uint32_t bits;
  if (exp == 0x1f) {
    bits = sign | 0x7f800000u | (man << 13);
  } else if (exp) {
    bits = sign | ((exp + 112) << 23) | (man << 13);
  } else if (man) {
    int shift = std::countl_zero(man) - 21;  // brings the leading one to bit 10
    man = (man << shift) & 0x3ff;
    bits = sign | (static_cast<uint32_t>(113 - shift) << 23) | (man << 13);
  } else {
    bits = sign;
  }
  return std::bit_cast<float>(bits);
}

uint16_t fp32_to_fp16(float f) {
  const uint32_t x = std::bit_cast<uint32_t>(f);
  const auto sign = static_cast<uint16_t>((x >> 16) & 0x8000);
  const uint32_t mag = x & 0x7fffffff;
  if (mag >= 0x7f800000) return static_cast<uint16_t>(sign | 0x7c00 | (mag > 0x7f800000 ? 0x200 : 0));
  if (mag >= 0x477ff000) return static_cast<uint16_t>(sign | 0x7c00);  // rounds past 65504
  if (mag < 0x33000001) return sign;                                   // at most half of the smallest subnormal
  int exp = static_cast<int>(mag >> 23) - 127;
  uint32_t man = (mag & 0x7fffff) | 0x800000;
  int drop = exp < -14 ? 13 + (-14 - exp) : 13;
  uint32_t half = 1u << (drop - 1), rest = man & ((1u << drop) - 1), out = man >> drop;
  if (rest > half || (rest == half && (out & 1))) ++out;
  if (exp >= -14) out += static_cast<uint32_t>(exp + 14) << 10;
  return static_cast<uint16_t>(sign | out);
}

float bf16_to_fp32(uint16_t h) { return std::bit_cast<float>(static_cast<uint32_t>(h) << 16); }

uint16_t fp32_to_bf16(float f) {
  const uint32_t x = std::bit_cast<uint32_t>(f);
  if ((x & 0x7fffffff) > 0x7f800000) return static_cast<uint16_t>((x >> 16) | 0x40);
  return static_cast<uint16_t>((x + 0x7fff + ((x >> 16) & 1)) >> 16);
}

double element_as_double(const TensorView& t, size_t i) {
  const std::byte* p = t.data.data() + i * dtype_size(t.dtype);
  switch (t.dtype) {
    case DType::kBool:
    case DType::kUint8: return load<uint8_t>(p);
    case DType::kUint16: return load<uint16_t>(p);
    case DType::kUint32: return load<uint32_t>(p);
    case DType::kUint64: return static_cast<double>(load<uint64_t>(p));
    case DType::kInt8: return load<int8_t>(p);
    case DType::kInt16: return load<int16_t>(p);
    case DType::kInt32: return load<int32_t>(p);
    case DType::kInt64: return static_cast<double>(load<int64_t>(p));
    case DType::kFp16: return fp16_to_fp32(load<uint16_t>(p));
    case DType::kFp32: return load<float>(p);
    case DType::kFp64: return load<double>(p);
    case DType::kBf16: return bf16_to_fp32(load<uint16_t>(p));
    case DType::kBytes:
    case DType::kInvalid: break;
  }
  return 0;
}

}  // namespace verge
