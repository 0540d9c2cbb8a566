#include "data/bytes.h"

#include <zlib.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <vector>

namespace verge::data {
namespace {

Status ends_early(const std::string& what, uint64_t wanted) {
  return data_loss(what + ": ends early; " + std::to_string(wanted) + " bytes were expected");
}
Status too_long(const std::string& what, uint64_t wanted) {
  return data_loss(what + ": is longer than the " + std::to_string(wanted) + " bytes that it describes");
}
Status bad_checksum(const std::string& what) { return data_loss(what + ": its checksum does not match; the file is damaged"); }

uint32_t crc_of(uint32_t crc, std::span<const std::byte> bytes) {
  return static_cast<uint32_t>(::crc32_z(crc, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size()));
}

class PlainBytes : public ByteSource {
 public:
  PlainBytes(SharedFile file, uint64_t at, uint64_t size, std::optional<uint32_t> crc, std::string what)
      : file_(std::move(file)), bytes_(file_->bytes().subspan(at, size)), crc_(crc), what_(std::move(what)) {}
  Status can_hold(uint64_t size) const override { return size <= bytes_.size() ? Status() : ends_early(what_, size); }
  Status read(uint64_t offset, std::span<std::byte> out, bool to_end) const override {
    if (offset > bytes_.size() || out.size() > bytes_.size() - offset) return ends_early(what_, offset + out.size());
    if (to_end && offset + out.size() != bytes_.size()) return too_long(what_, offset + out.size());
    if (!out.empty()) std::memcpy(out.data(), bytes_.data() + offset, out.size());
    if (to_end && crc_ && crc_of(0, bytes_) != *crc_) return bad_checksum(what_);
    return {};
  }

 private:
  SharedFile file_;
  std::span<const std::byte> bytes_;
  std::optional<uint32_t> crc_;
  std::string what_;
};

class InflatedBytes : public ByteSource {
 public:
  InflatedBytes(SharedFile file, uint64_t at, uint64_t size, bool gzip, std::optional<uint32_t> crc, std::string what)
      : file_(std::move(file)), bytes_(file_->bytes().subspan(at, size)), gzip_(gzip), crc_(crc), what_(std::move(what)) {}

  Status can_hold(uint64_t size) const override {
    constexpr uint64_t kMostRatio = 1032;  // deflate's own limit
    return size / kMostRatio <= bytes_.size() ? Status() : ends_early(what_, size);
  }

  // Starts from the beginning each time: a source is read once for its header and once for its samples.
  Status read(uint64_t offset, std::span<std::byte> out, bool to_end) const override {
    z_stream z{};
    if (::inflateInit2(&z, gzip_ ? 15 + 16 : -15) != Z_OK) return resource_exhausted(what_ + ": cannot set up zlib");
    Status s = inflate(z, offset, out, to_end);
    ::inflateEnd(&z);
    return s;
  }

 private:
  Status inflate(z_stream& z, uint64_t offset, std::span<std::byte> out, bool to_end) const {
    constexpr size_t kPiece = size_t{1} << 20;
    std::vector<std::byte> skipped(std::min<uint64_t>(offset, kPiece));
    uint32_t crc = 0;
    size_t fed = 0;
    bool ended = false;
    auto fill = [&](std::span<std::byte> to) -> Status {
      size_t done = 0;
      while (done < to.size()) {
        if (ended) return ends_early(what_, offset + out.size());
        const size_t room = std::min(to.size() - done, kPiece);
        VERGE_RETURN_IF_ERROR(step(z, fed, to.data() + done, room, ended));
        done += room - z.avail_out;
      }
      if (crc_) crc = crc_of(crc, to);
      return {};
    };
    for (uint64_t left = offset; left > 0;) {
      const size_t n = std::min<uint64_t>(left, kPiece);
      VERGE_RETURN_IF_ERROR(fill(std::span(skipped).first(n)));
      left -= n;
    }
    VERGE_RETURN_IF_ERROR(fill(out));
    if (!to_end) return {};
    while (!ended) {
      std::byte extra;
      VERGE_RETURN_IF_ERROR(step(z, fed, &extra, 1, ended));
      if (z.avail_out == 0) return too_long(what_, offset + out.size());
    }
    if (crc_ && crc != *crc_) return bad_checksum(what_);
    return {};
  }

  // One call of zlib that makes at most `room` bytes. It fails where the input ends or makes no sense.
  Status step(z_stream& z, size_t& fed, std::byte* to, size_t room, bool& ended) const {
    constexpr size_t kPiece = size_t{1} << 30;
    if (z.avail_in == 0) {
      const size_t n = std::min(bytes_.size() - fed, kPiece);
      z.next_in = const_cast<Bytef*>(reinterpret_cast<const Bytef*>(bytes_.data() + fed));
      z.avail_in = static_cast<uInt>(n);
      fed += n;
    }
    z.next_out = reinterpret_cast<Bytef*>(to);
    z.avail_out = static_cast<uInt>(room);
    const int rc = ::inflate(&z, Z_NO_FLUSH);
    if (rc == Z_STREAM_END) {
      ended = true;
      return {};
    }
    if (rc == Z_OK && (z.avail_out < room || z.avail_in > 0 || fed < bytes_.size())) return {};
    if (rc == Z_OK || rc == Z_BUF_ERROR) return data_loss(what_ + ": the compressed data ends early");
    return data_loss(what_ + ": the compressed data is damaged" + (z.msg ? std::string(" (") + z.msg + ")" : ""));
  }

  SharedFile file_;
  std::span<const std::byte> bytes_;
  bool gzip_;
  std::optional<uint32_t> crc_;
  std::string what_;
};

}  // namespace

Result<SharedFile> map_file(const std::string& path) {
  auto file = os::MappedFile::open(path, kMaxFileBytes);
  if (!file.ok()) return file.status();
  return SharedFile(std::make_shared<const os::MappedFile>(std::move(*file)));
}

std::unique_ptr<ByteSource> plain_bytes(SharedFile file, uint64_t at, uint64_t size, std::string what) {
  return std::make_unique<PlainBytes>(std::move(file), at, size, std::nullopt, std::move(what));
}
std::unique_ptr<ByteSource> stored_bytes(SharedFile file, uint64_t at, uint64_t size, uint32_t crc, std::string what) {
  return std::make_unique<PlainBytes>(std::move(file), at, size, crc, std::move(what));
}
std::unique_ptr<ByteSource> gzip_bytes(SharedFile file, std::string what) {
  const uint64_t size = file->bytes().size();
  return std::make_unique<InflatedBytes>(std::move(file), 0, size, true, std::nullopt, std::move(what));
}
std::unique_ptr<ByteSource> deflated_bytes(SharedFile file, uint64_t at, uint64_t size, uint32_t crc, std::string what) {
  return std::make_unique<InflatedBytes>(std::move(file), at, size, false, crc, std::move(what));
}

bool looks_gzipped(const os::MappedFile& file) {
  const auto b = file.bytes();
  return b.size() >= 2 && b[0] == std::byte{0x1f} && b[1] == std::byte{0x8b};
}

}  // namespace verge::data
