// What `verge bench` reads of the answers of a server, which need not be ours: over gRPC, REST and REST with JSON alone.
#include "bench/protocol.h"
#include "fuzz.h"

using namespace verge;
using verge::fuzz::require;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::Choices choices(fuzz::text_of(data, size));
  const uint8_t how = choices.byte(), length = choices.byte();
  const auto protocol = static_cast<bench::Protocol>(how % 3);
  bench::Exchange e;
  e.http_status = how & 4 ? 404 : 200;
  e.grpc_status = how & 8 ? length % 20 : 0;
  e.json_bytes = how & 16 ? length : 0;
  e.message.append(choices.take(how & 32 ? length : 0));
  e.answer.append(choices.rest());
  static_cast<void>(bench::read_answer(protocol, e));
  static_cast<void>(bench::error_text(protocol, e));
  static const int64_t labels[] = {0, 1, 2, 1};
  for (int64_t samples : {1, 4}) {
    const int right = count_right(protocol, e, how & 64 ? "y" : "", labels, samples);
    require(right >= -1 && right <= samples, "no more right ones than samples:", std::to_string(right));
  }
  return 0;
}
