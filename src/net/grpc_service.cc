// The unary methods of inference.GRPCInferenceService and grpc.health.v1.Health: small messages by the wire writer, ModelInfer by its own file.
#include <charconv>
#include <string>

#include "net/front.h"
#include "net/grpc.h"
#include "net/grpc_health.h"
#include "net/grpc_reply.h"
#include "net/management.h"
#include "net/model_config.h"
#include "net/model_statistics.h"
#include "net/utf8.h"

namespace verge::net {
namespace {

constexpr std::string_view kInference = "/inference.GRPCInferenceService/";
constexpr std::string_view kHealth = "/grpc.health.v1.Health/";

void answer_bool(Service& service, Call* call, bool value) {
  wire::add_bool(start_message(call), 1, value);
  answer_message(service, call);
}

void server_metadata(Service& service, Call* call) {
  ByteBuffer& text = start_message(call);
  wire::add_string(text, 1, service.front().options().name);
  wire::add_string(text, 2, service.front().options().version);
  for (std::string_view name : extensions(service.front().options())) wire::add_string(text, 3, name);
  answer_message(service, call);
}

void model_ready(Service& service, Call* call) {
  auto asked = read_name_and_version(call->body.text());
  if (!asked.ok()) return service.fail(call, asked.status());
  auto ready = service.runtime().model_ready(service.front().runtime_front(), asked->name, asked->version);
  // A model that is not there is not ready: clients that wait for it poll this, and take an error for an outage.
  if (!ready.ok() && ready.status().code() != Code::kNotFound) return service.fail(call, ready.status());
  answer_bool(service, call, ready.ok() && *ready);
}

void add_tensor(ByteBuffer& out, uint32_t number, const TensorSpec& spec, ByteBuffer& scratch) {
  scratch.clear();
  wire::add_string(scratch, 1, spec.name);
  wire::add_string(scratch, 2, dtype_name(spec.dtype));
  if (spec.shape.rank()) {
    size_t bytes = 0;
    for (int64_t d : spec.shape.dims()) bytes += wire::varint_size(static_cast<uint64_t>(d));
    wire::add_length(scratch, 3, bytes);
    for (int64_t d : spec.shape.dims()) wire::add_varint(scratch, static_cast<uint64_t>(d));
  }
  wire::add_bytes(out, number, scratch.view());
}

// What there is to say about the model that the message names; an error of what cannot serve.
Result<runtime::ModelDoc> asked_doc(Service& service, Call* call) {
  VERGE_ASSIGN(const NameAndVersion asked, read_name_and_version(call->body.text()));
  return service.serving_doc(asked.name, asked.version);
}

void model_metadata(Service& service, Call* call) {
  auto doc = asked_doc(service, call);
  if (!doc.ok()) return service.fail(call, doc.status());
  ByteBuffer& text = start_message(call);
  wire::add_string(text, 1, doc->name);
  for (int64_t v : doc->versions) wire::add_string(text, 2, std::to_string(v));
  wire::add_string(text, 3, doc->platform);
  ByteBuffer scratch;
  for (const TensorSpec& t : doc->inputs) add_tensor(text, 4, t, scratch);
  for (const TensorSpec& t : doc->outputs) add_tensor(text, 5, t, scratch);
  answer_message(service, call);
}

void model_config(Service& service, Call* call) {
  auto doc = asked_doc(service, call);
  if (!doc.ok()) return service.fail(call, doc.status());
  ByteBuffer& text = start_message(call);
  {
    const wire::Nested config(text, 1);
    write_model_config(*doc, &text);
  }
  answer_message(service, call);
}

void model_statistics(Service& service, Call* call) {
  auto asked = read_name_and_version(call->body.text());
  if (!asked.ok()) return service.fail(call, asked.status());
  auto models = service.runtime().statistics(service.front().runtime_front(), asked->name, asked->version);
  if (!models.ok()) return service.fail(call, models.status());
  write_statistics(*models, &start_message(call));
  answer_message(service, call);
}

void model_infer(Service& service, Call* call) {
  CopyCount copies;
  Status s = read_model_infer_request(call->body.text(), call->scratch, &call->request, &call->options, &copies);
  if (!s.ok()) return service.fail(call, std::move(s));
  service.count_copies(copies);
  service.infer(call);
}

}  // namespace

ByteBuffer& start_message(Call* call) {
  ByteBuffer& text = call->reply.text;
  text.clear();
  text.room(kGrpcPrefixBytes);
  text.added(kGrpcPrefixBytes);
  return text;
}

void seal_message(Call* call) {
  Reply& reply = call->reply;
  size_t bytes = 0;
  for (const Segment& s : reply.segments) bytes += s.size;
  put_grpc_prefix(reply.text.data(), bytes - kGrpcPrefixBytes);
}

void answer_message(Service& service, Call* call) {
  Reply& reply = call->reply;
  reply.segments.push_back({nullptr, 0, reply.text.size()});
  seal_message(call);
  service.answer(call);
}

Result<NameAndVersion> read_name_and_version(std::string_view message) {
  NameAndVersion out;
  std::string_view version;
  wire::Reader reader(message);
  wire::Field f;
  while (reader.next(&f)) {
    if (f.type != wire::kBytes) continue;
    if (f.number == 1) out.name = f.bytes;
    if (f.number == 2) version = f.bytes;
  }
  if (!reader.ok() || !valid_utf8(out.name) || !valid_utf8(version)) return malformed_message();
  VERGE_ASSIGN(out.version, parse_model_version(version));
  return out;
}

void handle_grpc(Service& service, Call* call) {
  if (!call->grpc_type_known)
    return service.fail(call, unimplemented("content-type must be application/grpc or application/grpc+proto"));
  const std::string_view path = call->path;
  if (call->method == Method::kPost && path.starts_with(kInference)) {
    const std::string_view method = path.substr(kInference.size());
    if (method == "ModelInfer") return model_infer(service, call);
    if (method == "ServerLive") return answer_bool(service, call, service.runtime().live());
    if (method == "ServerReady") return answer_bool(service, call, service.runtime().ready());
    if (method == "ModelReady") return model_ready(service, call);
    if (method == "ServerMetadata") return server_metadata(service, call);
    if (method == "ModelMetadata") return model_metadata(service, call);
    if (method == "ModelConfig") return model_config(service, call);
    if (method == "ModelStatistics") return model_statistics(service, call);
    if (handle_grpc_management(service, call, method)) return;
  } else if (call->method == Method::kPost && path.starts_with(kHealth) && path.substr(kHealth.size()) == "Check") {
    return health_check(service, call);
  }
  service.fail(call, unimplemented("unknown method '" + std::string(path.substr(0, 256)) + "'"));
}

void write_grpc_infer(Call* call) {
  Reply& reply = call->reply;
  start_message(call);
  {
    SegmentWriter out(reply.text, reply.segments, 0);
    write_model_infer_response(call->request, call->options, out);
  }
  seal_message(call);
}

}  // namespace verge::net
