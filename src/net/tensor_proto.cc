#include "net/tensor_proto.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <type_traits>

#include "net/wire.h"

namespace verge::net {
namespace {

using wire::Field;
using wire::Reader;

// TensorProto.
constexpr uint32_t kType = 1, kShape = 2, kContent = 4, kStrings = 8;

struct TypeRow {
  DType dtype;
  uint32_t code;    // tensorflow.DataType
  uint32_t values;  // the repeated field that carries it
};
constexpr TypeRow kTypes[] = {
    {DType::kFp32, 1, 5},   {DType::kFp64, 2, 6},    {DType::kInt32, 3, 7},   {DType::kUint8, 4, 7},  {DType::kInt16, 5, 7},
    {DType::kInt8, 6, 7},   {DType::kBytes, 7, 8},   {DType::kInt64, 9, 10},  {DType::kBool, 10, 11}, {DType::kBf16, 14, 13},
    {DType::kUint16, 17, 7}, {DType::kFp16, 19, 13}, {DType::kUint32, 22, 16}, {DType::kUint64, 23, 17},
};

const TypeRow* row_of_code(uint64_t code) {
  for (const TypeRow& r : kTypes)
    if (r.code == code) return &r;
  return nullptr;
}

uint32_t code_of(DType t) {
  for (const TypeRow& r : kTypes)
    if (r.dtype == t) return r.code;
  return 0;
}

std::string where(const runtime::InputTensor& t) { return "tensor '" + std::string(t.name.substr(0, 128)) + "': "; }
Status malformed(const runtime::InputTensor& t) { return invalid_argument(where(t) + "TensorProto is not a well-formed protobuf message"); }
Status no_room(const runtime::InputTensor& t, size_t bytes) {
  return resource_exhausted(where(t) + "no receive memory left for " + std::to_string(bytes) + " decoded bytes; try again");
}

struct Half {
  uint16_t bits;
};
struct Bfloat {
  uint16_t bits;
};
struct Truth {
  uint8_t byte;
};

// Calls fn(T()) with the C++ type of the elements. Not for BYTES.
template <typename Fn>
auto with_type(DType t, Fn fn) {
  switch (t) {
    case DType::kBool: return fn(Truth());
    case DType::kUint8: return fn(uint8_t());
    case DType::kUint16: return fn(uint16_t());
    case DType::kUint32: return fn(uint32_t());
    case DType::kUint64: return fn(uint64_t());
    case DType::kInt8: return fn(int8_t());
    case DType::kInt16: return fn(int16_t());
    case DType::kInt32: return fn(int32_t());
    case DType::kInt64: return fn(int64_t());
    case DType::kFp16: return fn(Half());
    case DType::kBf16: return fn(Bfloat());
    case DType::kFp64: return fn(double());
    default: return fn(float());
  }
}

// One value as an element of type To; false where it does not fit.
template <typename To>
bool put(int64_t v, To* at) {
  if constexpr (std::is_same_v<To, Truth>) {
    at->byte = v != 0;
    return v == 0 || v == 1;
  } else if constexpr (std::is_same_v<To, Half>) {
    at->bits = fp32_to_fp16(static_cast<float>(v));
  } else if constexpr (std::is_same_v<To, Bfloat>) {
    at->bits = fp32_to_bf16(static_cast<float>(v));
  } else if constexpr (std::is_floating_point_v<To>) {
    *at = static_cast<To>(v);
  } else {
    *at = static_cast<To>(v);
    return std::in_range<To>(v);
  }
  return true;
}
template <typename To>
bool put(uint64_t v, To* at) {
  if (v <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return put(static_cast<int64_t>(v), at);
  if constexpr (std::is_same_v<To, uint64_t> || std::is_floating_point_v<To>) {
    *at = static_cast<To>(v);
    return true;
  } else if constexpr (std::is_same_v<To, Bfloat>) {
    at->bits = fp32_to_bf16(static_cast<float>(v));
    return true;
  } else {
    return false;
  }
}
template <typename To>
bool put(double v, To* at) {
  if constexpr (std::is_same_v<To, Half>) {
    at->bits = fp32_to_fp16(static_cast<float>(v));
    return true;
  } else if constexpr (std::is_same_v<To, Bfloat>) {
    at->bits = fp32_to_bf16(static_cast<float>(v));
    return true;
  } else if constexpr (std::is_floating_point_v<To>) {
    *at = static_cast<To>(v);
    return true;
  } else {
    return false;
  }
}
template <typename To, typename From>
bool cast(From v, To* at) {
  if constexpr (std::is_same_v<From, Truth>)
    return put(static_cast<int64_t>(v.byte != 0), at);
  else if constexpr (std::is_same_v<From, Half>)
    return put(static_cast<double>(fp16_to_fp32(v.bits)), at);
  else if constexpr (std::is_same_v<From, Bfloat>)
    return put(static_cast<double>(bf16_to_fp32(v.bits)), at);
  else if constexpr (std::is_floating_point_v<From>)
    return put(static_cast<double>(v), at);
  else if constexpr (std::is_same_v<From, uint64_t>)
    return put(v, at);
  else
    return put(static_cast<int64_t>(v), at);
}

// A value of a repeated field as an element of type From: varints are cut to it, where a protobuf library would have done so.
template <typename From>
bool from_wire(const Field& f, From* out) {
  if constexpr (std::is_same_v<From, float>) {
    if (f.type != wire::kFixed32) return false;
    const auto bits = static_cast<uint32_t>(f.value);
    std::memcpy(out, &bits, 4);
  } else if constexpr (std::is_same_v<From, double>) {
    if (f.type != wire::kFixed64) return false;
    std::memcpy(out, &f.value, 8);
  } else if constexpr (std::is_same_v<From, Truth>) {
    out->byte = f.value != 0;
  } else if constexpr (std::is_same_v<From, Half> || std::is_same_v<From, Bfloat>) {
    out->bits = static_cast<uint16_t>(f.value);
    return f.value <= UINT16_MAX;
  } else if constexpr (sizeof(From) == 8 || std::is_same_v<From, uint32_t>) {
    *out = static_cast<From>(f.value);
  } else {
    const auto v = static_cast<int32_t>(static_cast<uint32_t>(f.value));  // int_val
    *out = static_cast<From>(v);
    return std::in_range<From>(v);
  }
  return true;
}

enum class Values { kRead, kMalformed, kRefused };

// Calls fn(Field) for each value of the repeated field `number`, packed or not, until it is false.
template <typename Fn>
Values for_each_value(std::string_view message, uint32_t number, DType type, Fn fn) {
  const wire::Type single = type == DType::kFp32 ? wire::kFixed32 : type == DType::kFp64 ? wire::kFixed64 : wire::kVarint;
  const size_t size = single == wire::kFixed32 ? 4 : 8;
  Reader reader(message);
  Field f;
  while (reader.next(&f)) {
    if (f.number != number) continue;
    if (f.type == single && !fn(f)) return Values::kRefused;
    if (f.type != wire::kBytes) continue;
    Field one;
    one.type = single;
    if (single == wire::kVarint) {
      Reader packed(f.bytes);
      while (!packed.at_end()) {
        if (!packed.varint(&one.value)) return Values::kMalformed;
        if (!fn(one)) return Values::kRefused;
      }
      continue;
    }
    if (f.bytes.size() % size) return Values::kMalformed;
    for (size_t at = 0; at < f.bytes.size(); at += size) {
      one.value = 0;
      std::memcpy(&one.value, f.bytes.data() + at, size);
      if (!fn(one)) return Values::kRefused;
    }
  }
  return reader.ok() ? Values::kRead : Values::kMalformed;
}

Status does_not_fit(const runtime::InputTensor& t, int64_t i, DType from) {
  return invalid_argument(where(t) + "element " + std::to_string(i) + " of " + std::string(dtype_name(from)) + " does not fit " +
                          std::string(dtype_name(t.dtype)));
}

Status wrong_count(const runtime::InputTensor& t, int64_t got) {
  return invalid_argument(where(t) + "shape " + t.shape.to_string() + " needs " + std::to_string(t.shape.elements()) + " elements, got " +
                          std::to_string(got));
}

template <typename To>
Status read_numbers(std::string_view message, std::string_view content, const TypeRow& row, int64_t elements, runtime::InputTensor* t, To* out) {
  if (!content.empty()) {
    return with_type(row.dtype, [&](auto from) -> Status {
      using From = decltype(from);
      for (int64_t i = 0; i < elements; ++i) {
        From v;
        std::memcpy(&v, content.data() + static_cast<size_t>(i) * sizeof v, sizeof v);
        if (!cast(v, out + i)) return does_not_fit(*t, i, row.dtype);
      }
      return {};
    });
  }
  int64_t count = 0;
  const Values values = with_type(row.dtype, [&](auto from) {
    using From = decltype(from);
    return for_each_value(message, row.values, row.dtype, [&](const Field& f) {
      From v{};
      if (count == elements || !from_wire(f, &v) || !cast(v, out + count)) return false;
      ++count;
      return true;
    });
  });
  if (values == Values::kMalformed) return malformed(*t);
  if (values == Values::kRefused) return count == elements ? wrong_count(*t, count + 1) : does_not_fit(*t, count, row.dtype);
  if (count == elements) return {};
  if (count == 0 || elements > kMaxRepeated) return wrong_count(*t, count);
  std::fill(out + count, out + elements, out[count - 1]);
  return {};
}

Status read_strings(std::string_view message, int64_t elements, Scratch& scratch, runtime::InputTensor* t) {
  size_t total = 0;
  int64_t count = 0;
  Reader reader(message);
  Field f;
  while (reader.next(&f)) {
    if (f.number != kStrings || f.type != wire::kBytes) continue;
    total += 4 + f.bytes.size();
    ++count;
  }
  if (count != elements) return wrong_count(*t, count);
  std::byte* out = scratch.allocate(total);
  if (!out) return no_room(*t, total);
  t->data = {out, total};
  Reader again(message);
  while (again.next(&f)) {
    if (f.number != kStrings || f.type != wire::kBytes) continue;
    const auto n = static_cast<uint32_t>(f.bytes.size());
    std::memcpy(out, &n, 4);
    std::memcpy(out + 4, f.bytes.data(), n);
    out += 4 + n;
  }
  return {};
}

Status read_shape(std::string_view message, runtime::InputTensor* t) {
  Reader reader(message);
  Field f;
  while (reader.next(&f)) {
    if (f.number == 3 && f.type == wire::kVarint && f.value) return invalid_argument(where(*t) + "its shape is of unknown rank");
    if (f.number != 2 || f.type != wire::kBytes) continue;
    Reader dimension(f.bytes);
    Field d;
    int64_t size = 0;
    while (dimension.next(&d))
      if (d.number == 1 && d.type == wire::kVarint) size = static_cast<int64_t>(d.value);
    if (!dimension.ok()) return malformed(*t);
    if (size < 0) return invalid_argument(where(*t) + "dimension " + std::to_string(size) + " is negative");
    if (!t->shape.push_back(size)) return invalid_argument(where(*t) + "more than " + std::to_string(kMaxRank) + " dimensions");
  }
  return reader.ok() ? Status() : malformed(*t);
}

size_t shape_size(const Shape& shape) {
  size_t size = 0;
  for (int64_t d : shape.dims()) size += wire::bytes_size(2, 1 + wire::varint_size(static_cast<uint64_t>(d)));
  return size;
}

// Calls fn(text) for each element of BYTES data in wire form.
template <typename Fn>
void for_each_string(std::span<const std::byte> data, Fn fn) {
  while (data.size() >= 4) {
    uint32_t n;
    std::memcpy(&n, data.data(), 4);
    if (n > data.size() - 4) return;
    fn(std::string_view(reinterpret_cast<const char*>(data.data()) + 4, n));
    data = data.subspan(4 + n);
  }
}

}  // namespace

Status read_tensor_proto(std::string_view message, Scratch& scratch, runtime::InputTensor* t, CopyCount* copies) {
  Reader reader(message);
  Field f;
  uint64_t code = 0;
  std::string_view content;
  t->shape = Shape();
  while (reader.next(&f)) {
    if (f.number == kType && f.type == wire::kVarint) code = f.value;
    if (f.number == kContent && f.type == wire::kBytes) content = f.bytes;
    if (f.number == kShape && f.type == wire::kBytes) VERGE_RETURN_IF_ERROR(read_shape(f.bytes, t));
  }
  if (!reader.ok()) return malformed(*t);
  const TypeRow* row = row_of_code(code);
  if (!row) return invalid_argument(where(*t) + "dtype " + std::to_string(code) + " is not supported");
  if ((row->dtype == DType::kBytes) != (t->dtype == DType::kBytes))
    return invalid_argument(where(*t) + "its type is " + std::string(dtype_name(t->dtype)) + ", not " + std::string(dtype_name(row->dtype)));
  const int64_t elements = t->shape.elements();
  if (elements < 0) return invalid_argument(where(*t) + "shape " + t->shape.to_string() + " is too large");
  if (t->dtype == DType::kBytes) {
    if (!content.empty()) return invalid_argument(where(*t) + "strings are sent in string_val");
    VERGE_RETURN_IF_ERROR(read_strings(message, elements, scratch, t));
  } else {
    // What is decoded is bounded by what was sent: at most eight bytes an element, and repetitions up to a limit.
    if (!content.empty() && (static_cast<uint64_t>(elements) > content.size() || content.size() != static_cast<uint64_t>(elements) * dtype_size(row->dtype)))
      return wrong_count(*t, static_cast<int64_t>(content.size() / dtype_size(row->dtype)));
    if (content.empty() && elements > std::max(kMaxRepeated, static_cast<int64_t>(message.size()))) return wrong_count(*t, 0);
    const size_t size = dtype_size(t->dtype);
    if (!content.empty() && row->dtype == t->dtype && reinterpret_cast<uintptr_t>(content.data()) % size == 0) {
      t->data = {reinterpret_cast<const std::byte*>(content.data()), content.size()};
      return {};
    }
    const size_t bytes = static_cast<size_t>(elements) * size;
    std::byte* out = scratch.allocate(bytes);
    if (!out) return no_room(*t, bytes);
    t->data = {out, bytes};
    if (!content.empty() && row->dtype == t->dtype) {
      std::memcpy(out, content.data(), bytes);
    } else if (elements) {
      VERGE_RETURN_IF_ERROR(with_type(t->dtype, [&](auto to) {
        return read_numbers(message, content, *row, elements, t, reinterpret_cast<decltype(to)*>(out));
      }));
    }
  }
  ++copies->tensors;
  copies->bytes += t->data.size();
  return {};
}

size_t tensor_proto_size(const runtime::OutputTensor& t, const Shape& shape) {
  size_t size = 1 + wire::varint_size(code_of(t.dtype)) + wire::bytes_size(kShape, shape_size(shape));
  if (t.dtype == DType::kBytes)
    for_each_string(t.data, [&](std::string_view s) { size += wire::bytes_size(kStrings, s.size()); });
  else
    size += wire::bytes_size(kContent, t.data.size());
  return size;
}

void write_tensor_proto(uint32_t number, const runtime::OutputTensor& t, const Shape& shape, SegmentWriter& out) {
  ByteBuffer& text = out.text();
  wire::add_length(text, number, tensor_proto_size(t, shape));
  wire::add_tag(text, kType, wire::kVarint);
  wire::add_varint(text, code_of(t.dtype));
  wire::add_length(text, kShape, shape_size(shape));
  for (int64_t d : shape.dims()) {
    wire::add_length(text, 2, 1 + wire::varint_size(static_cast<uint64_t>(d)));
    wire::add_tag(text, 1, wire::kVarint);
    wire::add_varint(text, static_cast<uint64_t>(d));
  }
  if (t.dtype == DType::kBytes) {
    for_each_string(t.data, [&](std::string_view s) { wire::add_bytes(text, kStrings, s); });
    return;
  }
  wire::add_length(text, kContent, t.data.size());
  out.add_view(t.data.data(), t.data.size());
}

}  // namespace verge::net
