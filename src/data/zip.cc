#include "data/zip.h"

#include <algorithm>
#include <cstring>

namespace verge::data {
namespace {

constexpr size_t kMaxMembers = 4096;
constexpr uint32_t kLocal = 0x04034b50, kCentral = 0x02014b50, kEnd = 0x06054b50, kEnd64 = 0x06064b50, kLocator64 = 0x07064b50;

// Little-endian numbers at an offset. Reading past the end gives zeros and is remembered.
class Cursor {
 public:
  Cursor(std::span<const std::byte> bytes, uint64_t at) : bytes_(bytes), at_(at) {}
  template <typename T>
  T get() {
    T v{};
    if (at_ > bytes_.size() || bytes_.size() - at_ < sizeof v) {
      ok_ = false;
      return v;
    }
    std::memcpy(&v, bytes_.data() + at_, sizeof v);
    at_ += sizeof v;
    return v;
  }
  uint16_t u16() { return get<uint16_t>(); }
  uint32_t u32() { return get<uint32_t>(); }
  uint64_t u64() { return get<uint64_t>(); }
  void skip(uint64_t n) {
    ok_ = ok_ && at_ <= bytes_.size() && n <= bytes_.size() - at_;
    if (ok_) at_ += n;
  }
  std::string_view text(uint64_t n) {
    const uint64_t from = at_;
    skip(n);
    return ok_ ? std::string_view(reinterpret_cast<const char*>(bytes_.data() + from), n) : std::string_view();
  }
  uint64_t at() const { return at_; }
  bool ok() const { return ok_; }

 private:
  std::span<const std::byte> bytes_;
  uint64_t at_;
  bool ok_ = true;
};

struct Directory {
  uint64_t entries = 0, size = 0, offset = 0;
};

Result<Directory> find_directory(std::span<const std::byte> b, const std::string& path) {
  constexpr size_t kEndBytes = 22, kMaxComment = 65535, kLocatorBytes = 20;
  auto bad = [&](const char* what) { return data_loss(path + ": not a whole zip archive: " + what); };
  if (b.size() < kEndBytes) return bad("it is too short");
  const size_t lowest = b.size() - std::min(b.size(), kEndBytes + kMaxComment);
  size_t end = b.size() - kEndBytes;
  // The comment behind the end record must reach exactly to the end of the file.
  for (;; --end) {
    Cursor c(b, end);
    if (c.u32() == kEnd) {
      c.skip(16);
      if (c.u16() == b.size() - end - kEndBytes) break;
    }
    if (end == lowest) return bad("its directory is missing; the file may be cut off");
  }
  Cursor c(b, end + 4);
  const uint16_t disk = c.u16(), start_disk = c.u16(), here = c.u16(), all = c.u16();
  const uint32_t size = c.u32(), offset = c.u32();
  Directory d{all, size, offset};
  if (disk != start_disk || here != all || (disk != 0 && disk != 0xffff)) return bad("it spans several disks");
  if (all == 0xffff || size == 0xffffffff || offset == 0xffffffff) {
    if (end < kLocatorBytes) return bad("its zip64 locator is missing");
    Cursor l(b, end - kLocatorBytes);
    if (l.u32() != kLocator64) return bad("its zip64 locator is missing");
    l.skip(4);
    Cursor e(b, l.u64());
    if (!l.ok() || e.u32() != kEnd64) return bad("its zip64 record is missing");
    e.skip(8 + 2 + 2 + 4 + 4);
    const uint64_t entries_here = e.u64();
    d.entries = e.u64();
    d.size = e.u64();
    d.offset = e.u64();
    if (!e.ok() || entries_here != d.entries) return bad("its zip64 record is damaged");
  }
  if (d.offset > end || d.size > end - d.offset) return bad("its directory lies outside of it");
  if (d.entries > kMaxMembers) return bad("it has more than 4096 members");
  return d;
}

}  // namespace

Result<ZipArchive> ZipArchive::open(const std::string& path) {
  ZipArchive zip;
  zip.path_ = path;
  VERGE_ASSIGN(zip.file_, map_file(path));
  const auto b = zip.file_->bytes();
  VERGE_ASSIGN(const Directory d, find_directory(b, path));
  Cursor c(b.first(d.offset + d.size), d.offset);
  for (uint64_t i = 0; i < d.entries; ++i) {
    auto bad = [&](const std::string& what) { return data_loss(path + ": zip member " + std::to_string(i) + ": " + what); };
    if (c.u32() != kCentral) return bad("its directory entry is damaged");
    c.skip(4);
    const uint16_t flags = c.u16(), method = c.u16();
    c.skip(4);
    Member m;
    m.crc = c.u32();
    m.packed = c.u32();
    m.size = c.u32();
    const uint16_t name_size = c.u16(), extra_size = c.u16(), comment_size = c.u16();
    const uint16_t disk = c.u16();
    c.skip(6);
    m.header = c.u32();
    m.name = std::string(c.text(name_size));
    const uint64_t extra_end = c.at() + extra_size;
    while (c.ok() && c.at() + 4 <= extra_end) {
      const uint16_t id = c.u16(), size = c.u16();
      const uint64_t next = c.at() + size;
      if (next > extra_end) return bad("its extra field is damaged");
      if (id == 1) {  // zip64: those that overflowed, in this order
        if (m.size == 0xffffffff) m.size = c.u64();
        if (m.packed == 0xffffffff) m.packed = c.u64();
        if (m.header == 0xffffffff) m.header = c.u64();
        if (c.at() > next) return bad("its zip64 field is too short");
      }
      c.skip(next - c.at());
    }
    if (c.at() < extra_end) c.skip(extra_end - c.at());
    c.skip(comment_size);
    if (!c.ok()) return bad("its directory entry is cut off");
    if (m.name.empty() || m.name.find('\0') != std::string::npos) return bad("it has no proper name");
    if (flags & 0x41) return bad("'" + m.name + "' is encrypted");
    if (method != 0 && method != 8)
      return bad("'" + m.name + "' uses compression method " + std::to_string(method) + "; stored and deflated are read");
    if (disk != 0) return bad("'" + m.name + "' lies on another disk");
    if (m.size > kMaxFileBytes) return bad("'" + m.name + "' claims " + std::to_string(m.size) + " bytes");
    if (method == 0 && m.size != m.packed) return bad("'" + m.name + "' is stored, yet its sizes differ");
    if (zip.find(m.name)) return bad("'" + m.name + "' is there twice");
    m.deflated = method == 8;
    zip.members_.push_back(std::move(m));
  }
  return zip;
}

const ZipArchive::Member* ZipArchive::find(std::string_view name) const {
  for (const Member& m : members_)
    if (m.name == name) return &m;
  return nullptr;
}

Result<std::unique_ptr<ByteSource>> ZipArchive::bytes(const Member& m) const {
  const std::string what = path_ + ": '" + m.name + "'";
  const auto b = file_->bytes();
  Cursor c(b, m.header);
  const bool local = c.u32() == kLocal;
  c.skip(22);
  const uint16_t name_size = c.u16(), extra_size = c.u16();
  const bool same_name = c.text(name_size) == m.name;
  c.skip(extra_size);
  if (!c.ok() || !local || !same_name) return data_loss(what + ": its local header is damaged");
  if (m.packed > b.size() - c.at()) return data_loss(what + ": its data lies outside of the archive");
  return m.deflated ? deflated_bytes(file_, c.at(), m.packed, m.crc, what) : stored_bytes(file_, c.at(), m.packed, m.crc, what);
}

}  // namespace verge::data
