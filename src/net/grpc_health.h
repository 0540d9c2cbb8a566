// grpc.health.v1.Health: Check, and Watch, which tells of every change without polling.
#pragma once

#include <vector>

#include "net/message_stream.h"

namespace verge::net {

class Service;

void health_check(Service& service, Call* call);
extern const StreamMethod kHealthWatch;

// The streams that want to know; one a front.
class HealthWatchers {
 public:
  void add(MessageStream* stream) { streams_.push_back(stream); }
  void remove(MessageStream* stream) { std::erase(streams_, stream); }
  // Tells each that was last told something else.
  void tell(Service& service);

 private:
  std::vector<MessageStream*> streams_;
};

}  // namespace verge::net
