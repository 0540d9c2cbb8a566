#include "net/service.h"

#include <cstring>
#include <optional>

#include "net/access.h"
#include "net/access_log.h"
#include "net/classification.h"
#include "net/front.h"
#include "net/grpc.h"
#include "net/message_stream.h"
#include "net/peer.h"
#include "net/recoding.h"
#include "net/shared_tensors.h"

namespace verge::net {

Service::Service(Front& front) : front_(front), deferred_(front, *this) {}

runtime::Runtime& Service::runtime() { return front_.shared().runtime; }

void Service::handle(Call* call) {
  if (call->compressed) return inflate_body(*this, call, &Service::dispatch);
  dispatch(*this, call);
}

void Service::dispatch(Service& service, Call* call) {
  if (call->token && !call->token->models.empty()) {
    if (Status s = admit_named_model(*call); !s.ok()) return service.fail(call, std::move(s));
  }
  if (call->part_of)
    call->part_of->method().handle(service, call);
  else if (call->is_grpc)
    handle_grpc(service, call);
  else
    handle_rest(service, call);
}

void Service::fail(Call* call, Status status, int http_status) {
  if (call->part_of) return fail_message(call, std::move(status));
  Reply& reply = call->reply;
  reply.text.clear();
  reply.segments.clear();
  reply.json_bytes = -1;
  reply.code = status.ok() ? Code::kUnknown : status.code();
  if (call->is_grpc) {
    percent_encode(status.message(), &reply.message);
  } else {
    reply.http_status = http_status ? http_status : http_status_of(reply.code);
    reply.authenticate = reply.http_status == 401;
    reply.retry_after = reply.http_status == 429 || reply.http_status == 503;
    write_rest_error(call, status);
  }
  answer(call);
}

// An error of one message of a stream.
void Service::fail_message(Call* call, Status status) {
  MessageStream& stream = *call->part_of;
  Reply& reply = call->reply;
  reply.text.clear();
  reply.segments.clear();
  reply.code = status.ok() ? Code::kUnknown : status.code();
  if (stream.method().write_error) {
    stream.method().write_error(call, status);
    answer(call);
    return;
  }
  record(*call);
  stream.end_with(call, status);  // the call is gone after this
}

bool Service::turn_away(Call* call, std::string_view prefix) {
  // What a token may do with a model is looked at first, in full.
  if (!front_.runtime_front().crowded() || (call->token && !call->token->models.empty())) return false;
  runtime::Request& request = call->request;
  const uint64_t deadline = request.bounds.deadline_ns;
  front_.tell_arrival(request);
  Status s;
  if (read_model_infer_head(prefix, &request, &call->options)) s = runtime().refuse(front_.runtime_front(), request);
  if (s.ok()) {
    // The whole message tells; nothing may point into its beginning, which lies in the socket's buffer.
    request.model = {};
    request.sequence = {};
    request.bounds = {.deadline_ns = deadline};
    call->options.clear();
    return false;
  }
  front_.metrics().count_shed(Shed::kTurnedAway);
  fail(call, std::move(s));
  return true;
}

void Service::cancel(Call* call) {
  if (!call->in_runtime || call->answered_late) return;
  front_.metrics().cancelled.add();
  runtime().cancel(front_.runtime_front(), call->request);  // the call may be gone after this
}

void Service::infer(Call* call) {
  runtime::Request& request = call->request;
  if (call->token && !call->token->models.empty()) {
    if (Status s = admit_model(*call, request.model); !s.ok()) return fail(call, std::move(s));
  }
  request.owner = call;
  request.done = &Service::done;
  request.late = call->part_of ? nullptr : &Service::late;  // a stream has its own deadline
  call->in_runtime = true;
  if (request.bounds.deadline_ns != 0) front_.arrival.wanted = true;
  runtime().infer(front_.runtime_front(), request);
}

void Service::done(runtime::Request* request) {
  auto* call = static_cast<Call*>(request->owner);
  Service& service = *call->service;
  call->in_runtime = false;
  if (call->answered_late) {
    if (!call->transport) service.front_.recycle(call);
    return;
  }
  if (!call->transport) {
    service.front_.metrics().requests[static_cast<size_t>(call->protocol)][static_cast<size_t>(Code::kCancelled)].add();
    service.front_.recycle(call);
    return;
  }
  service.write_answer(call);
}

void Service::write_answer(Call* call) {
  runtime::Request& request = call->request;
  if (!request.status.ok()) return fail(call, std::move(request.status));
  const uint64_t begun = now_ns();
  if (!call->options.wanted.empty()) {
    if (Status s = shape_outputs(call); !s.ok()) return fail(call, std::move(s));
  }
  if (call->part_of) {
    call->part_of->method().write(call);
  } else if (call->is_grpc) {
    write_grpc_infer(call);
  } else if (Status s = write_rest_infer(call); !s.ok()) {
    return fail(call, std::move(s));
  }
  request.encode_ns = now_ns() - begun;
  answer(call);
}

// A lane still runs it, and reads its inputs: the call stays where it is until done().
void Service::late(runtime::Request* request) {
  auto* call = static_cast<Call*>(request->owner);
  if (!call->transport) return;
  call->answered_late = true;
  call->compress_reply = false;  // that may take another thread
  call->service->write_answer(call);
}

void Service::early(runtime::Request* request, const runtime::EarlyAnswer& answer) {
  auto* asked = static_cast<Call*>(request->owner);
  if (!asked->transport || asked->answered_late) return;
  Service& service = *asked->service;
  MessageStream& stream = *asked->part_of;
  Call* call = stream.add_before(asked);
  if (call && !service.write_early(*asked, answer, call).ok()) {
    stream.drop(call);
    call = nullptr;
  }
  (call ? service.front_.metrics().early_answers : service.front_.metrics().early_dropped).add();
  if (!call) return;
  call->reply.seal();
  call->transport->send_reply(call);
}

// Everything is copied: the request's memory goes with its last answer, which a client that reads slowly may have long before this one is on its way.
Status Service::write_early(const Call& asked, const runtime::EarlyAnswer& answer, Call* call) {
  runtime::Request& r = call->request;
  for (const runtime::OutputTensor& o : answer.outputs) {
    std::byte* copy = call->scratch.allocate(o.data.size());
    if (!copy) return resource_exhausted("no memory left");
    if (!o.data.empty()) std::memcpy(copy, o.data.data(), o.data.size());
    r.outputs.push_back(o);
    r.outputs.back().data = {copy, o.data.size()};
  }
  r.id = asked.request.id;
  r.answered_model = answer.model;
  r.answered_version = answer.version;
  r.answered_variant = answer.variant;
  r.chosen = answer.chosen;
  call->options.wanted = asked.options.wanted;
  // Shared memory holds one answer, which is the last one's.
  for (const WantedOutput& wanted : call->options.wanted)
    if (wanted.region) return failed_precondition("its outputs are in shared memory");
  if (!call->options.wanted.empty()) VERGE_RETURN_IF_ERROR(shape_outputs(call));
  call->more_follow = true;
  asked.part_of->method().write(call);
  r.id = r.answered_model = r.answered_variant = {};
  r.chosen = {};
  call->options.wanted.clear();
  return {};
}

Status Service::shape_outputs(Call* call) {
  runtime::Request& request = call->request;
  std::optional<Result<runtime::ModelDoc>> doc;
  for (runtime::OutputTensor& output : request.outputs) {
    WantedOutput* wanted = call->options.find(output.name);
    if (!wanted) continue;
    if (!wanted->classes) {
      if (wanted->region) VERGE_RETURN_IF_ERROR(write_shared_output(wanted, &output));
      continue;
    }
    if (!doc) doc = runtime().model_doc(front_.runtime_front(), request.answered_model, request.answered_version);
    bool batched = false;
    if (doc->ok())
      for (const TensorSpec& t : doc->value().outputs) batched = batched || (t.name == output.name && t.batch_axis == 0);
    VERGE_RETURN_IF_ERROR(classify(&output, wanted->classes, batched, call->scratch));
    if (wanted->region) VERGE_RETURN_IF_ERROR(write_shared_output(wanted, &output));
  }
  return {};
}

void Service::answer(Call* call) {
  call->reply.seal();
  if (call->compress_reply && deflates(*call)) return deflate_reply(*this, call, &Service::send);
  send(*this, call);
}

void Service::send(Service& service, Call* call) {
  service.record(*call);
  call->transport->send_reply(call);
}

// Counts an answer, and logs it where that is wanted.
void Service::record(const Call& call) {
  const auto code = static_cast<size_t>(call.reply.code);
  front_.metrics().requests[static_cast<size_t>(call.protocol)][code < 17 ? code : 2].add();
  if (front_.log_lines()) log(call);
}

void Service::log(const Call& call) {
  AccessRecord r;
  r.protocol = protocol_name(call.protocol);
  r.path = path_of(call.part_of ? call.part_of->head() : call);
  r.model = call.request.answered_model.empty() ? call.request.model : call.request.answered_model;
  r.variant = call.request.answered_variant;
  r.id = call.request.id;
  r.http_status = call.reply.http_status;
  r.code = call.reply.code;
  r.request_bytes = call.body.size();
  r.response_bytes = call.reply.body_bytes;
  r.queue_ns = call.request.queue_ns;
  r.assembly_ns = call.request.assembly_ns;
  r.compute_ns = call.request.compute_ns;
  r.encode_ns = call.request.encode_ns;
  r.batch = call.request.batch;
  r.tenant = front_.options().tenants[call.request.tenant];
  if (call.peer) {
    r.peer = call.peer->shown();
    r.tls = call.peer->tls;
  }
  // A trace that begins here has its own id.
  const TraceContext& trace = (call.part_of ? call.part_of->head() : call).trace;
  char trace_id[TraceContext::kTraceId], span_id[TraceContext::kSpanId];
  random_hex(front_.random(), span_id, sizeof span_id);
  if (trace.given) {
    r.trace_id = {trace.trace_id, sizeof trace.trace_id};
    r.parent_id = {trace.parent_id, sizeof trace.parent_id};
    r.trace_state = trace.state;
  } else {
    random_hex(front_.random(), trace_id, sizeof trace_id);
    r.trace_id = {trace_id, sizeof trace_id};
  }
  r.span_id = {span_id, sizeof span_id};
  r.total_ns = now_ns() - call.request.arrival_ns;
  log_line_.clear();
  print_access_record(r, &log_line_);
  if (front_.log_lines()->push(log_line_.view()))
    front_.note_log_line();
  else
    front_.metrics().log_drops.add();
}

Result<runtime::ModelDoc> Service::serving_doc(std::string_view name, int64_t version) {
  auto doc = runtime().model_doc(front_.runtime_front(), name, version);
  if (doc.ok() && !doc->unavailable.ok()) return unavailable(doc->unavailable.message());
  return doc;
}

std::vector<std::string_view> extensions(const ServerOptions& options) {
  std::vector<std::string_view> out = {"binary_tensor_data", "classification",  "model_configuration", "parameters",
                                       "schedule_policy",    "sequence",        "statistics",          "trace",
                                       "logging"};
  if (options.repository) out.insert(out.end(), {"model_repository", "model_repository(unload_dependents)"});
  if (options.shared_memory) out.push_back("system_shared_memory");
  return out;
}

void Service::changed() {
  assist_.forget();
  health_watchers_.tell(*this);
}

void Service::count_copies(const CopyCount& copies) {
  if (!copies.tensors) return;
  front_.metrics().copied_tensors.add(copies.tensors);
  front_.metrics().copied_bytes.add(copies.bytes);
}

}  // namespace verge::net
