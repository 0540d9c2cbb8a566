#include "net/deferred.h"

#include "net/front.h"
#include "net/service.h"

namespace verge::net {

void Deferred::bring(const std::shared_ptr<Deferred>& self, Status status) {
  // Under the lock, so that the front cannot end between the look at it and its post().
  std::lock_guard lock(self->mutex_);
  Front* front = std::exchange(self->front_, nullptr);
  if (!front) return;
  front->post([self, status = std::move(status)]() mutable { self->service_.deferred().finish(self, std::move(status)); });
}

DeferredCalls::~DeferredCalls() {
  for (auto& [key, deferred] : waiting_) {
    std::lock_guard lock(deferred->mutex_);
    deferred->front_ = nullptr;
  }
}

std::function<void(Status)> DeferredCalls::defer(Call* call, Deferred::Answer answer) {
  auto deferred = std::make_shared<Deferred>(front_, service_, call, answer);
  waiting_.emplace(deferred.get(), deferred);
  call->deferred = deferred.get();
  return [deferred = std::move(deferred)](Status status) { Deferred::bring(deferred, std::move(status)); };
}

void DeferredCalls::forget(Call* call) { std::exchange(call->deferred, nullptr)->call_ = nullptr; }

void DeferredCalls::finish(const std::shared_ptr<Deferred>& deferred, Status status) {
  waiting_.erase(deferred.get());
  Call* call = std::exchange(deferred->call_, nullptr);
  if (!call) return;
  call->deferred = nullptr;
  deferred->answer_(service_, call, std::move(status));
}

}  // namespace verge::net
