// What the fuzzers share.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace verge::fuzz {

inline std::string_view text_of(const uint8_t* data, size_t size) { return {reinterpret_cast<const char*>(data), size}; }

// What must hold whatever the input is.
inline void require(bool holds, const char* what, const std::string& more = "") {
  if (holds) return;
  std::fprintf(stderr, "broken: %s %s\n", what, more.c_str());
  std::abort();
}

// Takes numbers from the front of the input, to decide what the rest is used for.
class Choices {
 public:
  explicit Choices(std::string_view input) : left_(input) {}
  uint8_t byte() {
    if (left_.empty()) return 0;
    const auto b = static_cast<uint8_t>(left_.front());
    left_.remove_prefix(1);
    return b;
  }
  std::string_view rest() const { return left_; }
  // The next piece of at most `n` bytes.
  std::string_view take(size_t n) {
    const std::string_view piece = left_.substr(0, n);
    left_.remove_prefix(piece.size());
    return piece;
  }

 private:
  std::string_view left_;
};

}  // namespace verge::fuzz
