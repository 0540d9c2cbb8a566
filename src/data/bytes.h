// Bytes of a file, plain or compressed, read by range: what is skipped is never kept.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "core/status.h"
#include "os/files.h"

namespace verge::data {

// Nothing that a data set names may be larger, and no more than this is held in memory.
inline constexpr uint64_t kMaxFileBytes = uint64_t{1} << 36;
inline constexpr uint64_t kMaxLoadedBytes = uint64_t{1} << 32;

class ByteSource {
 public:
  virtual ~ByteSource() = default;
  // Fills `out` with the bytes from `offset` on; kDataLoss where there are fewer. `to_end`: the bytes must end there too (and a checksum
  // is compared if there is one).
  virtual Status read(uint64_t offset, std::span<std::byte> out, bool to_end) const = 0;
  // Whether there can be `size` bytes, without reading them: asked before memory is taken for what a header claims.
  virtual Status can_hold(uint64_t size) const = 0;
};

using SharedFile = std::shared_ptr<const os::MappedFile>;
Result<SharedFile> map_file(const std::string& path);

// The bytes `at` … `at + size` of a file.
std::unique_ptr<ByteSource> plain_bytes(SharedFile file, uint64_t at, uint64_t size, std::string what);
// A whole gzip file, inflated.
std::unique_ptr<ByteSource> gzip_bytes(SharedFile file, std::string what);
// A zip member, stored or deflated, with its checksum.
std::unique_ptr<ByteSource> stored_bytes(SharedFile file, uint64_t at, uint64_t size, uint32_t crc, std::string what);
std::unique_ptr<ByteSource> deflated_bytes(SharedFile file, uint64_t at, uint64_t size, uint32_t crc, std::string what);

bool looks_gzipped(const os::MappedFile& file);

}  // namespace verge::data
