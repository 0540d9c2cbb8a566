// YAML, the server's configuration, and the small texts of its command line.
#include "core/yaml.h"
#include "fuzz.h"
#include "serve/config.h"

using namespace verge;
using verge::fuzz::require;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input = fuzz::text_of(data, size);
  if (auto node = parse_yaml(input, "f"); node.ok()) static_cast<void>(yaml_to_json(*node));
  if (auto config = serve::parse_config(input, "f"); config.ok()) static_cast<void>(serve::place(*config, {0, 1, 2, 3}));
  if (auto n = serve::parse_bytes(input); n.ok()) require(*n <= uint64_t{1} << 60, "sizes are bounded");
  if (auto cores = serve::parse_cores(input); cores.ok()) require(cores->size() <= 4096, "cores are bounded");
  std::string host;
  int port = -1;
  if (serve::parse_listen(input, host, port).ok()) require(port >= 0 && port <= 65535 && !host.empty(), "addresses");
  return 0;
}
