#include "data/arrays.h"

#include <algorithm>
#include <cstring>

#include "core/npy.h"

namespace verge::data {
namespace {

constexpr size_t kMaxNpyHeader = (size_t{64} << 10) + 12;

std::string_view as_text(std::span<const std::byte> b) { return {reinterpret_cast<const char*>(b.data()), b.size()}; }

Status check_sizes(DType dtype, const Shape& shape, const std::string& what) {
  const int64_t n = shape.elements();
  const auto size = static_cast<int64_t>(std::max<size_t>(1, dtype_size(dtype)));
  if (n < 0 || n > static_cast<int64_t>(kMaxFileBytes) / size)
    return resource_exhausted(what + ": claims shape " + shape.to_string() + " of " + std::string(dtype_name(dtype)) +
                              ", which is too large");
  return {};
}

template <typename T>
void swap_all(std::vector<std::byte>& data) {
  for (size_t i = 0; i + sizeof(T) <= data.size(); i += sizeof(T))
    std::reverse(data.begin() + static_cast<long>(i), data.begin() + static_cast<long>(i + sizeof(T)));
}

}  // namespace

Tensor slice_strings(const Tensor& t, int64_t first, int64_t count) {
  int64_t row = 1;
  for (int i = 1; i < t.shape.rank(); ++i) row *= t.shape[i];
  auto skip = [&](size_t at, int64_t strings) {
    for (int64_t i = 0; i < strings; ++i) {
      uint32_t n;
      std::memcpy(&n, t.data.data() + at, sizeof n);
      at += sizeof n + n;
    }
    return at;
  };
  const size_t from = skip(0, first * row), to = skip(from, count * row);
  Tensor out;
  out.dtype = DType::kBytes;
  out.shape = t.shape;
  out.shape[0] = count;
  out.data.assign(t.data.begin() + static_cast<long>(from), t.data.begin() + static_cast<long>(to));
  return out;
}

Result<Tensor> Array::read(int64_t first, int64_t count) const {
  if (first < 0 || count < 0 || first > samples() || count > samples() - first)
    return internal_error(what_ + ": samples " + std::to_string(first) + " … are outside of the array");
  if (strings_) return slice_strings(*strings_, first, count);
  Tensor t;
  t.dtype = dtype_;
  t.shape = shape_;
  t.shape[0] = count;
  const auto row = static_cast<uint64_t>(samples() ? shape_.elements() / samples() : 0) * dtype_size(dtype_);
  const uint64_t size = row * static_cast<uint64_t>(count);
  if (size > kMaxLoadedBytes)
    return resource_exhausted(what_ + ": " + std::to_string(count) + " samples are " + std::to_string(size >> 20) + " MiB; at most " +
                              std::to_string(kMaxLoadedBytes >> 20) + " are held. Name a smaller range of samples");
  VERGE_RETURN_IF_ERROR(bytes_->can_hold(offset_ + row * static_cast<uint64_t>(first) + size));
  t.data.resize(size);
  VERGE_RETURN_IF_ERROR(bytes_->read(offset_ + row * static_cast<uint64_t>(first), t.data, first + count == samples()));
  if (big_endian_) {
    switch (dtype_size(dtype_)) {
      case 2: swap_all<uint16_t>(t.data); break;
      case 4: swap_all<uint32_t>(t.data); break;
      case 8: swap_all<uint64_t>(t.data); break;
      default: break;
    }
  }
  return t;
}

Result<Array> npy_array(std::shared_ptr<const ByteSource> bytes, std::string what) {
  // The header says how long it is only after its first bytes, so read those, then all of it.
  std::vector<std::byte> head(12);
  VERGE_RETURN_IF_ERROR(bytes->read(0, std::span(head).first(10), false));
  auto byte = [&](size_t i) { return static_cast<size_t>(head[i]); };
  const bool npy = as_text(head).substr(0, 6) == "\x93NUMPY";
  size_t size = npy ? 10 + byte(8) + (byte(9) << 8) : 10;
  if (npy && byte(6) >= 2) {
    VERGE_RETURN_IF_ERROR(bytes->read(0, head, false));
    size = 12 + byte(8) + (byte(9) << 8) + (byte(10) << 16) + (byte(11) << 24);
  }
  head.resize(std::min(size, kMaxNpyHeader));
  VERGE_RETURN_IF_ERROR(bytes->read(0, head, false));
  VERGE_ASSIGN(const NpyHeader h, parse_npy_header(as_text(head), what));
  if (h.shape.rank() == 0) return invalid_argument(what + ": is a single number; samples along a first axis are expected");
  VERGE_RETURN_IF_ERROR(check_sizes(h.dtype, h.shape, what));
  Array a;
  a.dtype_ = h.dtype;
  a.shape_ = h.shape;
  a.offset_ = h.data_offset;
  if (h.dtype == DType::kBytes) {
    constexpr uint64_t kMaxStrings = uint64_t{1} << 30;
    const auto n = static_cast<uint64_t>(h.shape.elements());
    if (h.item_size > kMaxStrings || n > kMaxStrings / std::max<uint64_t>(4, h.item_size))
      return resource_exhausted(what + ": strings of more than 1 GiB are not read");
    VERGE_RETURN_IF_ERROR(bytes->can_hold(h.data_offset + n * h.item_size));
    std::vector<std::byte> all(h.data_offset + n * h.item_size);
    VERGE_RETURN_IF_ERROR(bytes->read(0, all, true));
    VERGE_ASSIGN(Tensor t, parse_npy(as_text(all), what));
    a.strings_ = std::make_shared<const Tensor>(std::move(t));
  }
  a.what_ = std::move(what);
  a.bytes_ = std::move(bytes);
  return a;
}

Result<Array> open_npy(const std::string& path) {
  VERGE_ASSIGN(SharedFile file, map_file(path));
  const uint64_t size = file->bytes().size();
  return npy_array(plain_bytes(std::move(file), 0, size, path), path);
}

Result<Array> open_npz(const ZipArchive& zip, const std::string& path, const std::string& key) {
  const ZipArchive::Member* m = zip.find(key + ".npy");
  if (!m) m = zip.find(key);
  if (!m) {
    std::string all;
    for (const auto& k : zip.members()) {
      std::string name = k.name.ends_with(".npy") ? k.name.substr(0, k.name.size() - 4) : k.name;
      if (all.size() < 200) all += (all.empty() ? "" : ", ") + name;
    }
    return not_found(path + ": has no array '" + key + "'; it has " + (all.empty() ? "none" : all));
  }
  VERGE_ASSIGN(std::unique_ptr<ByteSource> bytes, zip.bytes(*m));
  return npy_array(std::move(bytes), path + ": '" + key + "'");
}

Result<Array> open_idx(const std::string& path) {
  VERGE_ASSIGN(SharedFile file, map_file(path));
  const uint64_t size = file->bytes().size();
  Array a;
  a.what_ = path;
  a.bytes_ = looks_gzipped(*file) ? gzip_bytes(file, path) : plain_bytes(file, 0, size, path);
  std::byte head[4 + 4 * kMaxRank];
  VERGE_RETURN_IF_ERROR(a.bytes_->read(0, std::span(head).first(4), false));
  const auto type = static_cast<int>(head[2]), rank = static_cast<int>(head[3]);
  switch (type) {
    case 0x08: a.dtype_ = DType::kUint8; break;
    case 0x09: a.dtype_ = DType::kInt8; break;
    case 0x0b: a.dtype_ = DType::kInt16; break;
    case 0x0c: a.dtype_ = DType::kInt32; break;
    case 0x0d: a.dtype_ = DType::kFp32; break;
    case 0x0e: a.dtype_ = DType::kFp64; break;
    default: break;
  }
  if (head[0] != std::byte{0} || head[1] != std::byte{0} || a.dtype_ == DType::kInvalid || rank < 1 || rank > kMaxRank)
    return invalid_argument(path + ": not an IDX file (it must begin with 0, 0, an element type and 1 … 8 dimensions)");
  a.offset_ = 4 + 4 * static_cast<uint64_t>(rank);
  VERGE_RETURN_IF_ERROR(a.bytes_->read(0, std::span(head).first(a.offset_), false));
  for (int i = 0; i < rank; ++i) {
    uint32_t d = 0;
    for (int k = 0; k < 4; ++k) d = d << 8 | static_cast<uint32_t>(head[4 + 4 * i + k]);
    a.shape_.push_back(d);
  }
  VERGE_RETURN_IF_ERROR(check_sizes(a.dtype_, a.shape_, path));
  a.big_endian_ = true;
  return a;
}

Result<Array> open_raw(const std::string& path, DType dtype, const Shape& sample) {
  VERGE_ASSIGN(SharedFile file, map_file(path));
  const uint64_t size = file->bytes().size();
  const int64_t elements = sample.elements();
  if (dtype == DType::kBytes || dtype == DType::kInvalid)
    return invalid_argument(path + ": raw data cannot hold " + std::string(dtype_name(dtype)) + "; name a numeric 'dtype'");
  if (elements <= 0 || sample.rank() >= kMaxRank)
    return invalid_argument(path + ": raw data needs the 'shape' of one sample without free dimensions, not " + sample.to_string());
  const auto item = static_cast<uint64_t>(dtype_size(dtype));
  if (static_cast<uint64_t>(elements) > kMaxFileBytes / item || size % (static_cast<uint64_t>(elements) * item) != 0)
    return invalid_argument(path + ": " + std::to_string(size) + " bytes are no whole number of samples " + std::string(dtype_name(dtype)) +
                            sample.to_string());
  Array a;
  a.what_ = path;
  a.dtype_ = dtype;
  a.shape_ = sample;
  a.shape_.insert(0, static_cast<int64_t>(size / (static_cast<uint64_t>(elements) * item)));
  a.bytes_ = plain_bytes(std::move(file), 0, size, path);
  return a;
}

}  // namespace verge::data
