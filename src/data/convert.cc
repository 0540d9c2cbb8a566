#include "data/convert.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>

namespace verge::data {
namespace {

constexpr double kMaxExact = 9007199254740992.0;  // 2^53

template <typename T>
T load_at(const std::byte* p, size_t i) {
  T v;
  std::memcpy(&v, p + i * sizeof v, sizeof v);
  return v;
}

template <typename T>
void widen(const std::byte* p, size_t first, size_t n, double* out) {
  for (size_t i = 0; i < n; ++i) out[i] = static_cast<double>(load_at<T>(p, first + i));
}

void to_doubles(const TensorView& t, size_t first, size_t n, double* out) {
  const std::byte* p = t.data.data();
  switch (t.dtype) {
    case DType::kUint8: return widen<uint8_t>(p, first, n, out);
    case DType::kFp32: return widen<float>(p, first, n, out);
    case DType::kFp64: return widen<double>(p, first, n, out);
    case DType::kInt64: return widen<int64_t>(p, first, n, out);
    default:
      for (size_t i = 0; i < n; ++i) out[i] = element_as_double(t, first + i);
  }
}

// Stores `v` and returns the value that the type holds then.
double store(DType t, std::byte* p, size_t i, double v) {
  auto whole = [&]<typename T>(T) {
    if (!(v >= static_cast<double>(std::numeric_limits<T>::min()) && v <= static_cast<double>(std::numeric_limits<T>::max())) ||
        std::abs(v) > kMaxExact)
      return std::nan("");
    const T x = static_cast<T>(v);
    std::memcpy(p + i * sizeof x, &x, sizeof x);
    return static_cast<double>(x);
  };
  auto half = [&](uint16_t bits, float back) {
    std::memcpy(p + i * 2, &bits, 2);
    return static_cast<double>(back);
  };
  switch (t) {
    case DType::kBool: return v == 0 || v == 1 ? whole(uint8_t{}) : std::nan("");
    case DType::kUint8: return whole(uint8_t{});
    case DType::kUint16: return whole(uint16_t{});
    case DType::kUint32: return whole(uint32_t{});
    case DType::kUint64: return whole(uint64_t{});
    case DType::kInt8: return whole(int8_t{});
    case DType::kInt16: return whole(int16_t{});
    case DType::kInt32: return whole(int32_t{});
    case DType::kInt64: return whole(int64_t{});
    case DType::kFp16: {
      const uint16_t h = fp32_to_fp16(static_cast<float>(v));
      return half(h, fp16_to_fp32(h));
    }
    case DType::kBf16: {
      const uint16_t h = fp32_to_bf16(static_cast<float>(v));
      return half(h, bf16_to_fp32(h));
    }
    case DType::kFp32: {
      const auto f = static_cast<float>(v);
      std::memcpy(p + i * 4, &f, 4);
      return f;
    }
    default: std::memcpy(p + i * 8, &v, 8); return v;
  }
}

Result<Tensor> convert(const Tensor& t, DType to, const std::string& what) {
  const auto n = static_cast<size_t>(t.shape.elements());
  Tensor out(to, t.shape);
  const bool may_round = t.dtype == DType::kFp64 && to == DType::kFp32;
  const bool to_float = to == DType::kFp16 || to == DType::kBf16 || to == DType::kFp32 || to == DType::kFp64;
  const bool wide = t.dtype == DType::kInt64 || t.dtype == DType::kUint64;
  constexpr size_t kBlock = 4096;
  std::vector<double> block(std::min(n, kBlock));
  for (size_t i = 0; i < n; i += kBlock) {
    const size_t m = std::min(kBlock, n - i);
    to_doubles(t.view(), i, m, block.data());
    if (to == DType::kFp32 && (may_round || dtype_size(t.dtype) < 4)) {  // every value survives, or may be rounded
      for (size_t k = 0; k < m; ++k) {
        const auto f = static_cast<float>(block[k]);
        std::memcpy(out.data.data() + (i + k) * 4, &f, 4);
      }
      continue;
    }
    for (size_t k = 0; k < m; ++k) {
      const double v = block[k], back = store(to, out.data.data(), i + k, v);
      if ((wide && std::abs(v) > kMaxExact) || (back != v && !(to_float && std::isnan(v))))
        return invalid_argument(what + ": holds " + std::string(dtype_name(t.dtype)) + ", and its value " + std::to_string(v) + " is no " +
                                std::string(dtype_name(to)));
    }
  }
  return out;
}

// Whether `shape` is `want` but for axes of size 1 (free dimensions match anything).
bool same_but_ones(const Shape& shape, const Shape& want, Shape* out) {
  int i = 1;
  *out = want;
  (*out)[0] = shape[0];
  for (int w = 1; w < want.rank(); ++w) {
    if (want[w] == 1) {
      if (i < shape.rank() && shape[i] == 1) ++i;
      continue;
    }
    while (i < shape.rank() && shape[i] == 1 && want[w] != -1) ++i;
    if (i >= shape.rank() || (want[w] >= 0 && want[w] != shape[i])) return false;
    (*out)[w] = shape[i++];
  }
  while (i < shape.rank() && shape[i] == 1) ++i;
  return i == shape.rank();
}

}  // namespace

bool parse_number(std::string_view text, double* value) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t' || text.back() == '\r')) text.remove_suffix(1);
  if (!text.empty() && text.front() == '+') text.remove_prefix(1);
  const char* end = text.data() + text.size();
  const auto [p, error] = std::from_chars(text.data(), end, *value);
  return error == std::errc() && p == end && !text.empty();
}

Result<Tensor> fit_input(Tensor t, const TensorSpec& input, const std::string& what) {
  Shape want = input.shape;
  if (input.batch_axis > 0)
    return unimplemented("input '" + input.name + "' has its batch axis at " + std::to_string(input.batch_axis) +
                         "; data sets need it to lead");
  if (input.batch_axis < 0) {
    if (want.rank() >= kMaxRank) return unimplemented("input '" + input.name + "' has no room for a batch axis");
    want.insert(0, -1);
  } else {
    want[0] = -1;
  }
  if (!want.accepts(t.shape)) {
    Shape fitted;
    if (!same_but_ones(t.shape, want, &fitted))
      return invalid_argument(what + ": has shape " + t.shape.to_string() + "; input '" + input.name + "' needs " + want.to_string());
    t.shape = fitted;
  }
  if (t.dtype == input.dtype) return t;
  if (t.dtype == DType::kBytes || input.dtype == DType::kBytes)
    return invalid_argument(what + ": holds " + std::string(dtype_name(t.dtype)) + "; input '" + input.name + "' needs " +
                            std::string(dtype_name(input.dtype)));
  return convert(t, input.dtype, what);
}

Result<Tensor> fit_labels(Tensor t, const std::string& what) {
  if (t.dtype == DType::kBytes) return invalid_argument(what + ": labels are numbers, or text in a file with one a line");
  while (t.shape.rank() > 1 && t.shape[t.shape.rank() - 1] == 1) t.shape.erase(t.shape.rank() - 1);
  const bool whole = t.dtype != DType::kFp32 && t.dtype != DType::kFp64 && t.dtype != DType::kFp16 && t.dtype != DType::kBf16;
  if (!whole) {
    if (t.dtype == DType::kFp32 || t.dtype == DType::kFp64) return t;
    return convert(t, DType::kFp32, what);
  }
  if (t.shape.rank() == 1) return t.dtype == DType::kInt64 ? Result<Tensor>(std::move(t)) : convert(t, DType::kInt64, what);
  if (t.shape.rank() == 2) {
    const int64_t n = t.shape[0], k = t.shape[1];
    Tensor out(DType::kInt64, {n});
    bool one_hot = true;
    for (int64_t i = 0; one_hot && i < n; ++i) {
      int64_t at = -1;
      for (int64_t c = 0; c < k; ++c) {
        const double v = element_as_double(t.view(), static_cast<size_t>(i * k + c));
        one_hot = one_hot && (v == 0 || (v == 1 && at < 0));
        if (v == 1) at = c;
      }
      one_hot = one_hot && at >= 0;
      out.as<int64_t>()[i] = at;
    }
    if (one_hot) return out;
  }
  return convert(t, DType::kFp64, what);
}

Result<Tensor> labels_from_text(const std::vector<std::string>& texts, const std::vector<std::string>& label_names,
                                const std::string& what) {
  const auto n = static_cast<int64_t>(texts.size());
  std::map<std::string_view, int64_t> ids;
  for (size_t i = 0; i < label_names.size(); ++i) ids.emplace(label_names[i], static_cast<int64_t>(i));
  std::vector<double> values;
  bool whole = true;
  for (size_t i = 0; i < texts.size(); ++i) {
    double v;
    if (auto it = ids.find(texts[i]); it != ids.end()) {
      v = static_cast<double>(it->second);
    } else if (!parse_number(texts[i], &v)) {
      return invalid_argument(
          what + ": label " + std::to_string(i) + " is '" + texts[i].substr(0, 60) + "', which is no number and " +
          (label_names.empty() ? "the model has no labels to look it up in (field 'labels')" : "none of the model's labels"));
    }
    whole = whole && v == std::floor(v) && std::abs(v) <= kMaxExact;
    values.push_back(v);
  }
  Tensor t(whole ? DType::kInt64 : DType::kFp64, {n});
  for (size_t i = 0; i < values.size(); ++i) store(t.dtype, t.data.data(), i, values[i]);
  return t;
}

}  // namespace verge::data
