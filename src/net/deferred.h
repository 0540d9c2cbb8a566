// An answer that another thread brings, whenever it does: the call waits for it on its front and costs nothing meanwhile. The client may go
// before it comes, and so may the front and the server.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <unordered_map>

#include "core/status.h"

namespace verge::net {

class Front;
class Service;
struct Call;

class Deferred {
 public:
  using Answer = void (*)(Service&, Call*, Status);

  // For the front's thread and whoever brings the answer.
  Deferred(Front& front, Service& service, Call* call, Answer answer) : front_(&front), service_(service), call_(call), answer_(answer) {}
  // Any thread, also after the server's end. Later calls than the first do nothing.
  static void bring(const std::shared_ptr<Deferred>& self, Status status);

 private:
  friend class DeferredCalls;
  std::mutex mutex_;      // of front_
  Front* front_;          // nullptr: brought, or the front has gone
  Service& service_;      // of the front
  Call* call_;            // the front's thread only; nullptr: the client has gone
  const Answer answer_;
};

// Those of one front. Its thread only.
class DeferredCalls {
 public:
  DeferredCalls(Front& front, Service& service) : front_(front), service_(service) {}
  ~DeferredCalls();

  // The call waits. The function that is returned brings the answer; then `answer` runs on the front's thread, unless the call has gone.
  std::function<void(Status)> defer(Call* call, Deferred::Answer answer);
  // The call goes.
  void forget(Call* call);
  size_t size() const { return waiting_.size(); }

 private:
  friend class Deferred;
  void finish(const std::shared_ptr<Deferred>& deferred, Status status);
  Front& front_;
  Service& service_;
  std::unordered_map<Deferred*, std::shared_ptr<Deferred>> waiting_;
};

}  // namespace verge::net
