// The client side of HTTP/2 as load needs it: requests whose head is a few bytes of references to the header table, and answers whose heads are
// decoded once and recognised afterwards. A client that costs more than the server it measures measures itself.
#pragma once

#include <nghttp2/nghttp2.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace verge::bench {

enum FrameType : uint8_t { kData = 0, kHeaders = 1, kRstStream = 3, kSettings = 4, kPing = 6, kGoaway = 7, kWindowUpdate = 8, kContinuation = 9 };
enum FrameFlag : uint8_t { kEndStream = 1, kAck = 1, kEndHeaders = 4 };

inline void put_u32(std::string& out, uint32_t v) {
  for (int shift = 24; shift >= 0; shift -= 8) out.push_back(static_cast<char>(v >> shift));
}
inline uint32_t get_u32(const char* p) {
  uint32_t v = 0;
  for (int i = 0; i < 4; ++i) v = v << 8 | static_cast<uint8_t>(p[i]);
  return v;
}
inline void put_frame_head(std::string& out, size_t length, uint8_t type, uint8_t flags, uint32_t stream) {
  out.push_back(static_cast<char>(length >> 16));
  out.push_back(static_cast<char>(length >> 8));
  out.push_back(static_cast<char>(length));
  out.push_back(static_cast<char>(type));
  out.push_back(static_cast<char>(flags));
  put_u32(out, stream);
}

// The request head of one path: the first on a connection fills the header table, the later ones refer to it.
class RequestHead {
 public:
  RequestHead(const std::string& path, const std::string& authority, const std::vector<std::pair<std::string, std::string>>& fields) {
    first_ = "\x83\x86";  // :method POST, :scheme http
    size_t entries = 0;
    auto text = [&](const std::string& v) {
      // Below 127 the length is one byte; longer ones continue.
      if (v.size() < 127) {
        first_.push_back(static_cast<char>(v.size()));
      } else {
        size_t rest = v.size() - 127;
        first_.push_back(127);
        while (rest >= 128) {
          first_.push_back(static_cast<char>(rest % 128 + 128));
          rest /= 128;
        }
        first_.push_back(static_cast<char>(rest));
      }
      first_ += v;
    };
    first_.push_back(0x44);
    text(path);
    first_.push_back(0x41);
    text(authority);
    entries = 2;
    for (const auto& [name, value] : fields) {
      first_.push_back(0x40);
      text(name);
      text(value);
      ++entries;
    }
    later_ = "\x83\x86";
    for (size_t i = 0; i < entries; ++i) later_.push_back(static_cast<char>(0x80 | (62 + entries - 1 - i)));
  }
  const std::string& block(bool first) const { return first ? first_ : later_; }

 private:
  std::string first_, later_;
};

// A field that differs from request to request: never enters the table.
inline void put_plain_field(std::string& block, std::string_view name, std::string_view value) {
  block.push_back(0);
  block.push_back(static_cast<char>(name.size()));
  block += name;
  block.push_back(static_cast<char>(value.size()));
  block += value;
}

// Answers' heads. Blocks that only refer to the table mean the same until a block changes it, and are looked up.
class AnswerHeads {
 public:
  struct Head {
    int http_status = 0;
    int grpc_status = -1;  // -1: not in this block
  };
  AnswerHeads() { nghttp2_hd_inflate_new(&inflater_); }
  ~AnswerHeads() { nghttp2_hd_inflate_del(inflater_); }
  AnswerHeads(const AnswerHeads&) = delete;
  AnswerHeads& operator=(const AnswerHeads&) = delete;

  bool read(std::string_view block, Head* out) {
    const std::string key(block);
    if (auto it = known_.find(key); it != known_.end()) {
      *out = it->second;
      return true;
    }
    *out = {};
    bool only_references = true;
    for (char c : block) only_references &= (c & 0x80) != 0;
    const auto* p = reinterpret_cast<const uint8_t*>(block.data());
    size_t left = block.size();
    while (true) {
      nghttp2_nv field;
      int flags = 0;
      const ssize_t used = nghttp2_hd_inflate_hd2(inflater_, &field, &flags, p, left, 1);
      if (used < 0) return false;
      p += used;
      left -= static_cast<size_t>(used);
      if (flags & NGHTTP2_HD_INFLATE_EMIT) {
        const std::string_view name(reinterpret_cast<char*>(field.name), field.namelen);
        const std::string value(reinterpret_cast<char*>(field.value), field.valuelen);
        if (name == ":status") out->http_status = std::atoi(value.c_str());
        if (name == "grpc-status") out->grpc_status = std::atoi(value.c_str());
      }
      if (flags & NGHTTP2_HD_INFLATE_FINAL) break;
      if (!(flags & NGHTTP2_HD_INFLATE_EMIT) && left == 0) return false;
    }
    nghttp2_hd_inflate_end_headers(inflater_);
    if (only_references) {
      known_[key] = *out;
    } else {
      known_.clear();
    }
    return true;
  }

 private:
  nghttp2_hd_inflater* inflater_ = nullptr;
  std::unordered_map<std::string, Head> known_;
};

}  // namespace verge::bench
