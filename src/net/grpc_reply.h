// What gRPC methods have in common: starting and sending an answer's message.
#pragma once

#include "net/service.h"
#include "net/wire.h"

namespace verge::net {

// Starts an answer: room for the prefix, which the end fills in.
ByteBuffer& start_message(Call* call);
// Ends a message that lies in reply.text as a whole, and answers.
void answer_message(Service& service, Call* call);
// An answer of segments: fills in the prefix alone.
void seal_message(Call* call);

inline Status malformed_message() { return invalid_argument("request message is not a well-formed protobuf message"); }

struct NameAndVersion {
  std::string_view name;
  int64_t version = 0;
};
// Messages whose name = 1 and version = 2.
Result<NameAndVersion> read_name_and_version(std::string_view message);

}  // namespace verge::net
