// grpc.reflection: what is served, as the descriptors that were made of src/net/proto/ when this was built.
#pragma once

#include "net/message_stream.h"

namespace verge::net {

extern const StreamMethod kReflection, kReflectionAlpha;

}  // namespace verge::net
