#include "net/auth.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <strings.h>

namespace verge::net {

bool glob_match(std::string_view pattern, std::string_view text) {
  size_t p = 0, t = 0, star = std::string_view::npos, resume = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      resume = t;
    } else if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == text[t])) {
      ++p;
      ++t;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      t = ++resume;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

bool Token::may_use(std::string_view model) const {
  if (models.empty()) return true;
  for (const std::string& pattern : models)
    if (glob_match(pattern, model)) return true;
  return false;
}

const Token* find_token(const AuthOptions& auth, std::string_view text) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  if (EVP_Digest(text.data(), text.size(), digest, nullptr, EVP_sha256(), nullptr) != 1) return nullptr;
  const Token* found = nullptr;
  for (const Token& t : auth.tokens)
    if (CRYPTO_memcmp(digest, t.sha256.data(), t.sha256.size()) == 0) found = &t;
  return found;
}

const Token* TokenCache::look_up(const AuthOptions& auth, std::string_view value) {
  constexpr std::string_view kBearer = "Bearer ";
  if (value.size() > kLongest || value.size() <= kBearer.size() || strncasecmp(value.data(), kBearer.data(), kBearer.size()) != 0) return nullptr;
  if (value.size() == value_.size() && CRYPTO_memcmp(value.data(), value_.data(), value.size()) == 0) return token_;
  std::string_view text = value.substr(kBearer.size());
  while (text.starts_with(' ')) text.remove_prefix(1);
  token_ = find_token(auth, text);
  value_.assign(value);
  return token_;
}

}  // namespace verge::net
