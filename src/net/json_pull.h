// A strict JSON reader that walks a text once and hands out tokens, so that numbers go straight to where a tensor wants them. Unlike a
// general parser it keeps no tree (a tree of a tensor is several times its text) and takes NaN, Infinity and -Infinity, which Triton's
// clients send and expect. The text must be valid UTF-8.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace verge::net {

class JsonPull {
 public:
  enum class Type : uint8_t { kObject, kArray, kString, kNumber, kBool, kNull, kNone };
  static constexpr int kMaxDepth = 32;

  explicit JsonPull(std::string_view text) : begin_(text.data()), p_(text.data()), end_(text.data() + text.size()) {}

  // Every call below is false (or kNone) once there was an error; error() says what and where.
  bool failed() const { return error_ != nullptr; }
  std::string error() const;

  Type peek();

  // An object: enter_object(), then next_key() before each value until it is false. The key has no escapes removed.
  bool enter_object();
  bool next_key(std::string_view* key);
  // An array: enter_array(), then next_element() before each value until it is false.
  bool enter_array();
  bool next_element();

  bool skip();                               // any value
  bool boolean(bool* out);
  bool number(std::string_view* token);      // as written, or NaN, Infinity, -Infinity
  // The characters between the quotes; `escaped` says whether unescape() is needed.
  bool string(std::string_view* raw, bool* escaped);
  // Nothing but white space is left.
  bool at_end();

  const char* position() const { return p_; }
  // Back to a place that was reached before, outside of the values entered since.
  void rewind(const char* position) { p_ = position; }

 private:
  void space() {
    while (p_ != end_ && (*p_ == ' ' || *p_ == '\n' || *p_ == '\r' || *p_ == '\t')) ++p_;
  }
  bool fail(const char* what) {
    if (!error_) {
      error_ = what;
      error_at_ = p_;
    }
    return false;
  }
  bool literal(std::string_view word);
  bool enter(char open);

  const char* begin_;
  const char* p_;
  const char* end_;
  const char* error_ = nullptr;
  const char* error_at_ = nullptr;
  int depth_ = 0;
  bool first_ = false;  // nothing was read of the object or array just entered
};

// Writes what `raw` stands for to `out`, which has room for raw.size() bytes; returns the length, or SIZE_MAX for a lone surrogate. The
// escapes were checked when the string was read.
size_t json_unescape(std::string_view raw, char* out);

}  // namespace verge::net
