// Short texts of headers: gRPC timeouts, percent-encoding, versions, UTF-8.
#include "fuzz.h"
#include "net/grpc.h"
#include "net/model_infer_wire.h"
#include "net/utf8.h"

using namespace verge::net;
using verge::fuzz::require;

namespace {

// The encoding undone, as any client does.
std::string decoded(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%') {
      require(i + 2 < text.size() + 0 || i + 2 == text.size() - 0, "an escape is whole");
      out.push_back(static_cast<char>(std::stoi(std::string(text.substr(i + 1, 2)), nullptr, 16)));
      i += 2;
    } else {
      require(text[i] >= ' ' && text[i] <= '~', "only printable characters");
      out.push_back(text[i]);
    }
  }
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string input(verge::fuzz::text_of(data, size));
  const uint64_t ns = parse_grpc_timeout(input);
  if (ns) require(input.size() >= 2 && input.size() <= 9 && ns < (uint64_t{1} << 63), "a timeout's form");
  ByteBuffer out;
  percent_encode(input, &out);
  const std::string back = decoded(out.view());
  require(input.compare(0, back.size(), back) == 0, "percent-encoding can be undone");
  require(back.size() == input.size() || out.size() >= 4000, "only long messages are cut");
  if (auto version = parse_model_version(input); version.ok()) require(*version >= 0, "versions are not negative");
  static_cast<void>(valid_utf8(input));
  return 0;
}
