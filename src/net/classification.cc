#include "net/classification.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <string>

namespace verge::net {
namespace {

Status no_memory(std::string_view name) {
  return resource_exhausted("output '" + std::string(name) + "': no receive memory left for its classes; try again");
}

struct Half {
  uint16_t bits;
  float value() const { return fp16_to_fp32(bits); }
};
struct Brain {
  uint16_t bits;
  float value() const { return bf16_to_fp32(bits); }
};

template <typename T>
auto load(const std::byte* p, size_t i) {
  T v;
  std::memcpy(&v, p + i * sizeof(T), sizeof(T));
  if constexpr (requires { v.value(); }) return v.value();
  else return v;
}

template <typename V>
bool is_nan(V v) {
  if constexpr (std::is_floating_point_v<V>) return std::isnan(v);
  else return false;
}

// "value:index[:label]". Floating values with six digits after the point, as Triton prints them.
class Entry {
 public:
  template <typename V>
  Entry(V value, uint32_t index, const std::vector<std::string>* labels) {
    char* end;
    if constexpr (std::is_floating_point_v<V>) {
      end = std::to_chars(text_, text_ + kNumber, value, std::chars_format::fixed, 6).ptr;
    } else {
      end = std::to_chars(text_, text_ + kNumber, +value).ptr;
    }
    *end++ = ':';
    end = std::to_chars(end, end + 10, index).ptr;
    if (labels && index < labels->size()) {
      *end++ = ':';
      label_ = (*labels)[index];
    }
    size_ = static_cast<size_t>(end - text_);
  }
  size_t wire_size() const { return 4 + size_ + label_.size(); }
  std::byte* write(std::byte* at) const {
    const auto n = static_cast<uint32_t>(size_ + label_.size());
    std::memcpy(at, &n, 4);
    std::memcpy(at + 4, text_, size_);
    if (!label_.empty()) std::memcpy(at + 4 + size_, label_.data(), label_.size());
    return at + 4 + n;
  }

 private:
  static constexpr size_t kNumber = 328;  // the longest double: sign, 309 digits, point, six digits
  char text_[kNumber + 16];
  size_t size_;
  std::string_view label_;
};

template <typename T>
Status pick(runtime::OutputTensor* output, size_t rows, size_t columns, size_t classes, Scratch& scratch) {
  auto* order = reinterpret_cast<uint32_t*>(scratch.allocate(columns * sizeof(uint32_t)));
  auto* best = reinterpret_cast<uint32_t*>(scratch.allocate(rows * classes * sizeof(uint32_t)));
  if (!order || !best) return no_memory(output->name);
  size_t bytes = 0;
  for (size_t row = 0; row < rows; ++row) {
    const std::byte* p = output->data.data() + row * columns * sizeof(T);
    for (size_t i = 0; i < columns; ++i) order[i] = static_cast<uint32_t>(i);
    auto before = [p](uint32_t a, uint32_t b) {
      const auto x = load<T>(p, a), y = load<T>(p, b);
      if (is_nan(x) || is_nan(y)) return is_nan(x) == is_nan(y) ? a < b : is_nan(y);
      return x != y ? x > y : a < b;
    };
    std::partial_sort(order, order + classes, order + columns, before);
    std::copy_n(order, classes, best + row * classes);
    for (size_t k = 0; k < classes; ++k) bytes += Entry(load<T>(p, order[k]), order[k], output->labels).wire_size();
  }
  std::byte* text = scratch.allocate(bytes);
  if (!text) return no_memory(output->name);
  std::byte* at = text;
  for (size_t row = 0; row < rows; ++row) {
    const std::byte* p = output->data.data() + row * columns * sizeof(T);
    for (size_t k = 0; k < classes; ++k) {
      const uint32_t index = best[row * classes + k];
      at = Entry(load<T>(p, index), index, output->labels).write(at);
    }
  }
  output->data = {text, bytes};
  return {};
}

}  // namespace

Status classify(runtime::OutputTensor* output, uint32_t classes, bool batched, Scratch& scratch) {
  if (output->dtype == DType::kBytes || output->dtype == DType::kInvalid)
    return invalid_argument("output '" + std::string(output->name) + "': BYTES cannot be classified");
  const bool rows_first = batched && output->shape.rank() > 0;
  const size_t elements = output->data.size() / dtype_size(output->dtype);
  const size_t rows = rows_first ? static_cast<size_t>(output->shape[0]) : 1;
  const size_t columns = rows ? elements / rows : 0;
  if (columns > UINT32_MAX) return invalid_argument("output '" + std::string(output->name) + "' has too many elements to be classified");
  const size_t k = std::min<size_t>(classes, columns);
  Status s;
  switch (output->dtype) {
    case DType::kBool:
    case DType::kUint8: s = pick<uint8_t>(output, rows, columns, k, scratch); break;
    case DType::kUint16: s = pick<uint16_t>(output, rows, columns, k, scratch); break;
    case DType::kUint32: s = pick<uint32_t>(output, rows, columns, k, scratch); break;
    case DType::kUint64: s = pick<uint64_t>(output, rows, columns, k, scratch); break;
    case DType::kInt8: s = pick<int8_t>(output, rows, columns, k, scratch); break;
    case DType::kInt16: s = pick<int16_t>(output, rows, columns, k, scratch); break;
    case DType::kInt32: s = pick<int32_t>(output, rows, columns, k, scratch); break;
    case DType::kInt64: s = pick<int64_t>(output, rows, columns, k, scratch); break;
    case DType::kFp16: s = pick<Half>(output, rows, columns, k, scratch); break;
    case DType::kBf16: s = pick<Brain>(output, rows, columns, k, scratch); break;
    case DType::kFp32: s = pick<float>(output, rows, columns, k, scratch); break;
    default: s = pick<double>(output, rows, columns, k, scratch); break;
  }
  if (!s.ok()) return s;
  output->dtype = DType::kBytes;
  output->labels = nullptr;
  output->shape = rows_first ? Shape{static_cast<int64_t>(rows), static_cast<int64_t>(k)} : Shape{static_cast<int64_t>(k)};
  return {};
}

}  // namespace verge::net
