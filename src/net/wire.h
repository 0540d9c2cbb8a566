// The protobuf wire format over views: a bounded reader and a writer. Nothing is copied and nothing allocates but the output buffer.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "net/bytes.h"

namespace verge::net::wire {

enum Type : uint32_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kGroup = 3, kEndGroup = 4, kFixed32 = 5 };

// One field: its number, and its value as far as its type has one.
struct Field {
  uint32_t number = 0;
  Type type = kVarint;
  uint64_t value = 0;      // varint, fixed64, fixed32
  std::string_view bytes;  // kBytes
};

// Reads fields until next() is false; then ok() says whether that was the end or an error. Groups are skipped, as by any reader that
// does not know them, to a bounded depth.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : p_(bytes.data()), end_(bytes.data() + bytes.size()) {}

  bool ok() const { return ok_; }
  bool at_end() const { return p_ == end_; }

  // Nearly every field has a tag of one byte, and a value or a length of one. Those are read in place, and `f` stays in registers: written to memory in parts and
  // read back as a whole at once, it would cost more than all the rest.
  [[gnu::always_inline]] bool next(Field* f) {
    if (end_ - p_ >= 2) {
      const auto tag = static_cast<uint8_t>(p_[0]), n = static_cast<uint8_t>(p_[1]);
      if (tag >= 8 && tag < 0x80 && n < 0x80) {
        if ((tag & 7) == kVarint) {
          f->number = tag >> 3;
          f->type = kVarint;
          f->value = n;
          p_ += 2;
          return true;
        }
        if ((tag & 7) == kBytes && n <= end_ - p_ - 2) {
          f->number = tag >> 3;
          f->type = kBytes;
          f->bytes = {p_ + 2, n};
          p_ += 2 + n;
          return true;
        }
      }
    }
    Field any = *f;
    if (!next_of_any(&any)) return false;
    *f = any;
    return true;
  }

  // One varint of a packed field.
  bool varint(uint64_t* v) {
    uint64_t out = 0;
    for (int shift = 0; shift < 70; shift += 7) {
      if (p_ == end_) return fail();
      const auto b = static_cast<uint8_t>(*p_++);
      out |= shift < 64 ? static_cast<uint64_t>(b & 0x7f) << shift : 0;
      if (b < 0x80) {
        *v = out;
        return true;
      }
    }
    return fail();
  }

 private:
  static constexpr int kMaxGroupDepth = 32;

  bool next_of_any(Field* f) {
    while (p_ != end_) {
      uint64_t tag;
      if (!read_tag(&tag)) return fail();
      f->number = static_cast<uint32_t>(tag >> 3);
      f->type = static_cast<Type>(tag & 7);
      if (f->type == kGroup) {
        if (!skip_group(f->number)) return fail();
        continue;
      }
      return value(f) || fail();
    }
    return false;
  }

  // At most five bytes, of which 32 bits count: as libprotobuf reads it.
  bool read_tag(uint64_t* tag) {
    const char* begin = p_;
    if (!varint(tag) || p_ - begin > 5) return false;
    *tag = static_cast<uint32_t>(*tag);
    return (*tag >> 3) != 0;
  }

  bool fail() {
    ok_ = false;
    p_ = end_;
    return false;
  }
  bool value(Field* f) {
    switch (f->type) {
      case kVarint:
        return varint(&f->value);
      case kFixed64:
        if (end_ - p_ < 8) return false;
        std::memcpy(&f->value, p_, 8);
        p_ += 8;
        return true;
      case kFixed32: {
        if (end_ - p_ < 4) return false;
        uint32_t v;
        std::memcpy(&v, p_, 4);
        f->value = v;
        p_ += 4;
        return true;
      }
      case kBytes: {
        uint64_t n;
        if (!varint(&n) || n > static_cast<uint64_t>(end_ - p_)) return false;
        f->bytes = {p_, static_cast<size_t>(n)};
        p_ += n;
        return true;
      }
      default:
        return false;
    }
  }
  bool skip_group(uint32_t number) {
    uint32_t open[kMaxGroupDepth];
    int depth = 0;
    open[depth++] = number;
    while (depth) {
      uint64_t tag;
      if (p_ == end_ || !read_tag(&tag)) return false;
      Field f;
      f.number = static_cast<uint32_t>(tag >> 3);
      f.type = static_cast<Type>(tag & 7);
      if (f.type == kGroup) {
        if (depth == kMaxGroupDepth) return false;
        open[depth++] = f.number;
      } else if (f.type == kEndGroup) {
        if (open[--depth] != f.number) return false;
      } else if (!value(&f)) {
        return false;
      }
    }
    return true;
  }

  const char* p_;
  const char* end_;
  bool ok_ = true;
};

constexpr size_t varint_size(uint64_t v) { return (static_cast<size_t>(std::bit_width(v | 1)) + 6) / 7; }
constexpr size_t tag_size(uint32_t number) { return varint_size(uint64_t{number} << 3); }
constexpr size_t bytes_size(uint32_t number, size_t n) { return tag_size(number) + varint_size(n) + n; }

inline char* put_varint(char* p, uint64_t v) {
  while (v >= 0x80) {
    *p++ = static_cast<char>(v | 0x80);
    v >>= 7;
  }
  *p++ = static_cast<char>(v);
  return p;
}

inline void add_varint(ByteBuffer& out, uint64_t v) {
  char* p = out.room(10);
  out.added(static_cast<size_t>(put_varint(p, v) - p));
}
inline void add_tag(ByteBuffer& out, uint32_t number, Type type) { add_varint(out, uint64_t{number} << 3 | type); }
// The tag and length of a bytes field; its content follows.
inline void add_length(ByteBuffer& out, uint32_t number, size_t n) {
  add_tag(out, number, kBytes);
  add_varint(out, n);
}
inline void add_bytes(ByteBuffer& out, uint32_t number, std::string_view v) {
  add_length(out, number, v.size());
  out.append(v);
}
// As proto3 does: a field of its default value is not written.
inline void add_string(ByteBuffer& out, uint32_t number, std::string_view v) {
  if (!v.empty()) add_bytes(out, number, v);
}
inline void add_uint(ByteBuffer& out, uint32_t number, uint64_t v) {
  if (!v) return;
  add_tag(out, number, kVarint);
  add_varint(out, v);
}
inline void add_bool(ByteBuffer& out, uint32_t number, bool v) {
  if (!v) return;
  add_tag(out, number, kVarint);
  out.push_back(1);
}

// A message in a field: begun where it is made, ended where it is destroyed. Its length stands in a varint of four bytes whatever it is, which
// every reader takes; so it is below 256 MiB.
class Nested {
 public:
  Nested(ByteBuffer& out, uint32_t number) : out_(out) {
    add_tag(out, number, kBytes);
    out.room(kLengthBytes);
    out.added(kLengthBytes);
    start_ = out.size();
  }
  ~Nested() {
    size_t n = out_.size() - start_;
    char* at = out_.data() + start_ - kLengthBytes;
    for (int i = 0; i < kLengthBytes; ++i, n >>= 7) at[i] = static_cast<char>((n & 0x7f) | (i + 1 < kLengthBytes ? 0x80 : 0));
  }
  Nested(const Nested&) = delete;
  Nested& operator=(const Nested&) = delete;

 private:
  static constexpr int kLengthBytes = 4;
  ByteBuffer& out_;
  size_t start_;
};

}  // namespace verge::net::wire
