#include "net/page.h"

#include <openssl/evp.h>

#include "net/page_frame.h"
#include "net/page_script.h"
#include "net/rest_reply.h"

namespace verge::net {
namespace {

std::string_view text_of(std::span<const unsigned char> bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

// As a Content-Security-Policy names what may stand in the document: 'sha256-…'.
std::string source_hash(std::string_view text) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  EVP_Digest(text.data(), text.size(), digest, &size, EVP_sha256(), nullptr);
  unsigned char base64[2 * EVP_MAX_MD_SIZE];
  const int n = EVP_EncodeBlock(base64, digest, static_cast<int>(size));
  return "'sha256-" + std::string(reinterpret_cast<char*>(base64), static_cast<size_t>(n)) + "'";
}

struct Document {
  std::string html, policy;

  Document() {
    constexpr std::string_view kPlace = "\n/*SCRIPT*/\n";
    const std::string_view frame = text_of(kPageFrame), script = text_of(kPageScript);
    const size_t at = frame.find(kPlace);
    html.append(frame.substr(0, at)).append(script).append(frame.substr(at + kPlace.size()));
    const size_t style = frame.find("<style>") + 7;
    policy = "default-src 'none'; script-src " + source_hash(script) + "; style-src " + source_hash(frame.substr(style, frame.find("</style>") - style)) +
             "; connect-src 'self'; img-src data: blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
  }
};

}  // namespace

void page(Service& service, Call* call) {
  static const Document document;
  Reply& reply = call->reply;
  reply.text.append(document.html);
  reply.content_type = "text/html; charset=utf-8";
  reply.page_policy = document.policy;
  call->compress_reply = true;
  reply.segments.push_back({nullptr, 0, reply.text.size()});
  service.answer(call);
}

}  // namespace verge::net
