// Bearer tokens: who a request is from and what that one may do.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace verge::net {

enum Right : uint8_t {
  kRightInfer = 1,    // metadata and inference
  kRightManage = 2,   // metadata, repository, shared memory, settings, statistics
  kRightMetrics = 4,  // metrics and statistics
};

struct Token {
  std::array<uint8_t, 32> sha256{};  // of the token's text
  uint32_t tenant = 0;               // index in ServerOptions::tenants
  std::vector<std::string> models;   // names with * and ?; empty: all
  uint8_t rights = kRightInfer;

  bool may_use(std::string_view model) const;
};

struct AuthOptions {
  bool enabled = false;     // false: everything is allowed
  bool open_health = true;  // health needs no token
  std::vector<Token> tokens;
};

// `*`: any characters, `?`: one.
bool glob_match(std::string_view pattern, std::string_view text);

// The token of that text; nullptr if there is none. Its time depends on the length of `text` and the number of tokens alone.
const Token* find_token(const AuthOptions& auth, std::string_view text);

// What the last Authorization header of a connection meant, so that an unchanged one costs a comparison.
class TokenCache {
 public:
  // `value`: "Bearer TOKEN". nullptr: not known, or no bearer token.
  const Token* look_up(const AuthOptions& auth, std::string_view value);

 private:
  static constexpr size_t kLongest = 4096;  // a longer header is not known
  std::string value_;
  const Token* token_ = nullptr;
};

}  // namespace verge::net
