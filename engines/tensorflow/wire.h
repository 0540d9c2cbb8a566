// Bounded reading of the protobuf wire format over memory. Nothing is copied; a message that does not hold together ends the reading
// and stays marked.
#pragma once

#include <cstdint>
#include <string_view>

namespace verge::tensorflow {

class Wire {
 public:
  explicit Wire(std::string_view bytes) : at_(bytes.data()), end_(bytes.data() + bytes.size()) {}

  // Moves to the next field. False at the end and where the message is broken.
  bool next() {
    if (broken_ || at_ == end_) return false;
    uint64_t tag = 0;
    if (!varint(tag)) return false;
    field_ = static_cast<uint32_t>(tag >> 3);
    number_ = 0;
    bytes_ = {};
    switch (tag & 7) {
      case 0: return varint(number_);
      case 1: return take(8);
      case 5: return take(4);
      case 2: {
        uint64_t length = 0;
        return varint(length) && take(length);
      }
      default: broken_ = true; return false;
    }
  }
  uint32_t field() const { return field_; }
  uint64_t number() const { return number_; }        // of a varint
  std::string_view bytes() const { return bytes_; }  // of a string, a message or a fixed number
  bool broken() const { return broken_; }

 private:
  bool varint(uint64_t& out) {
    out = 0;
    for (int shift = 0; shift < 70 && at_ != end_; shift += 7) {
      const auto byte = static_cast<unsigned char>(*at_++);
      if (shift < 64) out |= static_cast<uint64_t>(byte & 0x7f) << shift;
      if (!(byte & 0x80)) return true;
    }
    broken_ = true;
    return false;
  }
  bool take(uint64_t length) {
    if (length > static_cast<uint64_t>(end_ - at_)) {
      broken_ = true;
      return false;
    }
    bytes_ = {at_, static_cast<size_t>(length)};
    at_ += length;
    return true;
  }

  const char* at_;
  const char* end_;
  uint32_t field_ = 0;
  uint64_t number_ = 0;
  std::string_view bytes_;
  bool broken_ = false;
};

}  // namespace verge::tensorflow
