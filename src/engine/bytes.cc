// Strings at the border to engines: the host keeps them in wire form (each a 4-byte little-endian length and its bytes), engines want
// offsets and one blob.
#include <cstring>

#include "engine/catalog.h"

namespace verge::engine {
namespace {

uint32_t read_length(const std::byte* p) {
  return std::to_integer<uint32_t>(p[0]) | std::to_integer<uint32_t>(p[1]) << 8 | std::to_integer<uint32_t>(p[2]) << 16 |
         std::to_integer<uint32_t>(p[3]) << 24;
}

}  // namespace

Status bytes_to_engine(const TensorView& wire, std::vector<uint64_t>& offsets, std::vector<std::byte>& blob) {
  int64_t elements = wire.shape.elements();
  if (elements < 0) return invalid_argument("BYTES tensor: the shape " + wire.shape.to_string() + " is not concrete");
  size_t count = static_cast<size_t>(elements);
  // Each element takes at least its length, so the count is bounded by the data before anything is allocated for it.
  if (wire.data.size() / 4 < count) {
    return invalid_argument("BYTES tensor: " + std::to_string(wire.data.size()) + " bytes cannot hold " + std::to_string(count) + " elements");
  }
  offsets.resize(count + 1);
  blob.resize(wire.data.size() - 4 * count);
  size_t at = 0;
  size_t used = 0;
  for (size_t i = 0; i < count; ++i) {
    offsets[i] = used;
    if (wire.data.size() - at < 4) return invalid_argument("BYTES tensor: element " + std::to_string(i) + " has no length");
    size_t length = read_length(wire.data.data() + at);
    at += 4;
    if (wire.data.size() - at < length || blob.size() - used < length) {
      return invalid_argument("BYTES tensor: element " + std::to_string(i) + " claims " + std::to_string(length) + " bytes, past the end");
    }
    if (length) std::memcpy(blob.data() + used, wire.data.data() + at, length);
    at += length;
    used += length;
  }
  if (at != wire.data.size()) {
    return invalid_argument("BYTES tensor: " + std::to_string(wire.data.size() - at) + " bytes follow the last of " + std::to_string(count) +
                            " elements");
  }
  offsets[count] = used;
  return {};
}

void bytes_from_engine(const verge_tensor& t, std::vector<std::byte>& wire) {
  size_t count = 1;
  for (int i = 0; i < t.rank; ++i) count *= static_cast<size_t>(t.dims[i] < 0 ? 0 : t.dims[i]);
  wire.clear();
  if (count == 0 || !t.offsets) return;
  wire.resize(4 * count + (t.offsets[count] - t.offsets[0]));
  std::byte* out = wire.data();
  const auto* blob = static_cast<const std::byte*>(t.data);
  for (size_t i = 0; i < count; ++i) {
    uint64_t length = t.offsets[i + 1] - t.offsets[i];
    for (int b = 0; b < 4; ++b) *out++ = static_cast<std::byte>(length >> (8 * b));
    if (length) std::memcpy(out, blob + t.offsets[i], length);
    out += length;
  }
}

}  // namespace verge::engine
