#include "net/json_pull.h"

#include <cstddef>
#include <cstring>

namespace verge::net {
namespace {

bool digit(char c) { return c >= '0' && c <= '9'; }

int hex(char c) {
  if (digit(c)) return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

uint32_t hex4(const char* p) {
  return static_cast<uint32_t>(hex(p[0]) << 12 | hex(p[1]) << 8 | hex(p[2]) << 4 | hex(p[3]));
}

}  // namespace

std::string JsonPull::error() const {
  if (!error_) return "";
  return std::string(error_) + " at byte " + std::to_string(error_at_ - begin_);
}

JsonPull::Type JsonPull::peek() {
  if (failed()) return Type::kNone;
  space();
  if (p_ == end_) {
    fail("the text ends early");
    return Type::kNone;
  }
  switch (*p_) {
    case '{': return Type::kObject;
    case '[': return Type::kArray;
    case '"': return Type::kString;
    case 't':
    case 'f': return Type::kBool;
    case 'n': return Type::kNull;
    case '-':
    case 'N':
    case 'I': return Type::kNumber;
    default:
      if (digit(*p_)) return Type::kNumber;
      fail("unexpected character");
      return Type::kNone;
  }
}

bool JsonPull::enter(char open) {
  if (failed()) return false;
  space();
  if (p_ == end_ || *p_ != open) return fail(open == '{' ? "an object was expected" : "an array was expected");
  if (++depth_ > kMaxDepth) return fail("nested too deeply");
  ++p_;
  first_ = true;
  return true;
}

bool JsonPull::enter_object() { return enter('{'); }
bool JsonPull::enter_array() { return enter('['); }

bool JsonPull::next_element() {
  if (failed()) return false;
  space();
  if (p_ == end_) return fail("the text ends early");
  if (*p_ == ']') {
    ++p_;
    --depth_;
    first_ = false;
    return false;
  }
  if (!first_) {
    if (*p_ != ',') return fail("',' or ']' was expected");
    ++p_;
  }
  first_ = false;
  return true;
}

bool JsonPull::next_key(std::string_view* key) {
  if (failed()) return false;
  space();
  if (p_ == end_) return fail("the text ends early");
  if (*p_ == '}') {
    ++p_;
    --depth_;
    first_ = false;
    return false;
  }
  if (!first_) {
    if (*p_ != ',') return fail("',' or '}' was expected");
    ++p_;
    space();
  }
  first_ = false;
  bool escaped;
  if (p_ == end_ || *p_ != '"') return fail("a key was expected");
  if (!string(key, &escaped)) return false;
  space();
  if (p_ == end_ || *p_ != ':') return fail("':' was expected");
  ++p_;
  return true;
}

bool JsonPull::literal(std::string_view word) {
  if (static_cast<size_t>(end_ - p_) < word.size() || std::memcmp(p_, word.data(), word.size()) != 0) return fail("unexpected character");
  p_ += word.size();
  return true;
}

bool JsonPull::boolean(bool* out) {
  if (peek() != Type::kBool) return fail("true or false was expected");
  *out = *p_ == 't';
  return literal(*out ? "true" : "false");
}

bool JsonPull::number(std::string_view* token) {
  if (peek() != Type::kNumber) return fail("a number was expected");
  const char* start = p_;
  if (*p_ == '-') ++p_;
  if (p_ == end_) return fail("the text ends early");
  if (*p_ == 'I' || *p_ == 'N') {
    if (*p_ == 'N' && p_ != start) return fail("unexpected character");
    if (!literal(*p_ == 'N' ? "NaN" : "Infinity")) return false;
    *token = {start, static_cast<size_t>(p_ - start)};
    return true;
  }
  if (*p_ == '0') {
    ++p_;
  } else {
    if (!digit(*p_)) return fail("a digit was expected");
    while (p_ != end_ && digit(*p_)) ++p_;
  }
  if (p_ != end_ && *p_ == '.') {
    ++p_;
    if (p_ == end_ || !digit(*p_)) return fail("a digit was expected");
    while (p_ != end_ && digit(*p_)) ++p_;
  }
  if (p_ != end_ && (*p_ == 'e' || *p_ == 'E')) {
    ++p_;
    if (p_ != end_ && (*p_ == '+' || *p_ == '-')) ++p_;
    if (p_ == end_ || !digit(*p_)) return fail("a digit was expected");
    while (p_ != end_ && digit(*p_)) ++p_;
  }
  *token = {start, static_cast<size_t>(p_ - start)};
  return true;
}

bool JsonPull::string(std::string_view* raw, bool* escaped) {
  if (failed()) return false;
  space();
  if (p_ == end_ || *p_ != '"') return fail("a string was expected");
  const char* start = ++p_;
  *escaped = false;
  while (true) {
    if (p_ == end_) return fail("the text ends inside a string");
    const auto c = static_cast<unsigned char>(*p_);
    if (c == '"') break;
    if (c < 0x20) return fail("control character in a string");
    if (c != '\\') {
      ++p_;
      continue;
    }
    *escaped = true;
    if (end_ - p_ < 2) return fail("the text ends inside a string");
    const char e = p_[1];
    if (e == 'u') {
      if (end_ - p_ < 6 || hex(p_[2]) < 0 || hex(p_[3]) < 0 || hex(p_[4]) < 0 || hex(p_[5]) < 0) return fail("malformed \\u escape");
      p_ += 6;
    } else {
      if (!std::strchr("\"\\/bfnrt", e) || !e) return fail("unknown escape");
      p_ += 2;
    }
  }
  *raw = {start, static_cast<size_t>(p_ - start)};
  ++p_;
  return true;
}

bool JsonPull::skip() {
  const int depth = depth_;
  // One bit a level: whether it is an object.
  uint64_t objects = 0;
  bool value_next = true;
  while (!failed()) {
    if (value_next) {
      std::string_view token;
      bool flag;
      switch (peek()) {
        case Type::kObject:
          if (!enter_object()) return false;
          objects |= uint64_t{1} << depth_;
          break;
        case Type::kArray:
          if (!enter_array()) return false;
          objects &= ~(uint64_t{1} << depth_);
          break;
        case Type::kString: string(&token, &flag); break;
        case Type::kNumber: number(&token); break;
        case Type::kBool: boolean(&flag); break;
        case Type::kNull: literal("null"); break;
        case Type::kNone: return false;
      }
      if (failed()) return false;
    }
    if (depth_ == depth) return true;
    std::string_view key;
    value_next = objects >> depth_ & 1 ? next_key(&key) : next_element();
  }
  return false;
}

bool JsonPull::at_end() {
  if (failed()) return false;
  space();
  return p_ == end_ || fail("more text after the value");
}

size_t json_unescape(std::string_view raw, char* out) {
  char* o = out;
  const char* p = raw.data();
  const char* end = p + raw.size();
  while (p != end) {
    if (*p != '\\') {
      *o++ = *p++;
      continue;
    }
    const char e = p[1];
    if (e != 'u') {
      *o++ = e == 'b' ? '\b' : e == 'f' ? '\f' : e == 'n' ? '\n' : e == 'r' ? '\r' : e == 't' ? '\t' : e;
      p += 2;
      continue;
    }
    uint32_t c = hex4(p + 2);
    p += 6;
    if (c >= 0xdc00 && c <= 0xdfff) return SIZE_MAX;
    if (c >= 0xd800 && c <= 0xdbff) {
      if (end - p < 6 || p[0] != '\\' || p[1] != 'u') return SIZE_MAX;
      const uint32_t low = hex4(p + 2);
      if (low < 0xdc00 || low > 0xdfff) return SIZE_MAX;
      c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
      p += 6;
    }
    if (c < 0x80) {
      *o++ = static_cast<char>(c);
    } else if (c < 0x800) {
      *o++ = static_cast<char>(0xc0 | c >> 6);
      *o++ = static_cast<char>(0x80 | (c & 0x3f));
    } else if (c < 0x10000) {
      *o++ = static_cast<char>(0xe0 | c >> 12);
      *o++ = static_cast<char>(0x80 | (c >> 6 & 0x3f));
      *o++ = static_cast<char>(0x80 | (c & 0x3f));
    } else {
      *o++ = static_cast<char>(0xf0 | c >> 18);
      *o++ = static_cast<char>(0x80 | (c >> 12 & 0x3f));
      *o++ = static_cast<char>(0x80 | (c >> 6 & 0x3f));
      *o++ = static_cast<char>(0x80 | (c & 0x3f));
    }
  }
  return static_cast<size_t>(o - out);
}

}  // namespace verge::net
