// What requests mean, whatever transport brought them: gRPC methods and REST paths onto the runtime. One a front.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"
#include "net/assist.h"
#include "net/call.h"
#include "net/deferred.h"
#include "net/grpc_health.h"
#include "net/server.h"

namespace verge::net {

class Front;

class Service {
 public:
  explicit Service(Front& front);

  // A complete request. The call is answered before this returns or later; it may be gone when this returns.
  void handle(Call* call);
  // Answers with an error. `http_status` 0: what belongs to the code.
  void fail(Call* call, Status status, int http_status = 0);
  // A gRPC inference call whose message begins with `prefix`: true where it has been answered, because too much waits before it. The rest need not be read.
  bool turn_away(Call* call, std::string_view prefix);
  // The client of a call that is in the runtime has gone; the call comes back by itself.
  void cancel(Call* call);

  // --- for the protocols' own files ---
  Front& front() { return front_; }
  runtime::Runtime& runtime();
  DeferredCalls& deferred() { return deferred_; }
  AssistModels& assist() { return assist_; }
  HealthWatchers& health_watchers() { return health_watchers_; }
  // Of Request::early: the answer of an exit that is not the last.
  static void early(runtime::Request* request, const runtime::EarlyAnswer& answer);
  // Hands call.request to the runtime.
  void infer(Call* call);
  // call.reply is complete but for seal().
  void answer(Call* call);
  void count_copies(const CopyCount& copies);
  // What is served has changed, or whether it is ready.
  void changed();
  // What there is to say about a model; an error, with the reason, where it cannot serve.
  Result<runtime::ModelDoc> serving_doc(std::string_view name, int64_t version);

 private:
  static void done(runtime::Request* request);
  static void late(runtime::Request* request);
  void write_answer(Call* call);  // of its request's status and outputs
  Status write_early(const Call& asked, const runtime::EarlyAnswer& answer, Call* call);
  static void dispatch(Service& service, Call* call);
  static void send(Service& service, Call* call);
  // What the request asked of single outputs beside their values.
  Status shape_outputs(Call* call);
  void fail_message(Call* call, Status status);
  void record(const Call& call);
  void log(const Call& call);
  ByteBuffer log_line_;
  Front& front_;
  DeferredCalls deferred_;
  AssistModels assist_;
  HealthWatchers health_watchers_;
};

// The extensions that server metadata names: those that work here.
std::vector<std::string_view> extensions(const ServerOptions& options);

// The path without its query.
inline std::string_view path_of(const Call& call) {
  const std::string_view path = call.path;
  return path.substr(0, path.find('?'));
}

// gRPC: inference.GRPCInferenceService and grpc.health.v1.Health.
void handle_grpc(Service& service, Call* call);
void write_grpc_infer(Call* call);

// REST: /v2/… and /metrics.
void handle_rest(Service& service, Call* call);
// JSON {"error": …}.
void write_rest_error(Call* call, const Status& status);

// REST inference: reads the JSON and binary body into call.request; writes its answer.
Status read_rest_infer(Call* call, CopyCount* copies);
Status write_rest_infer(Call* call);

}  // namespace verge::net
