#include "net/grpc_health.h"

#include "net/front.h"
#include "net/grpc_reply.h"
#include "net/utf8.h"

namespace verge::net {
namespace {

constexpr std::string_view kServices[] = {"", "inference.GRPCInferenceService", "extended_inference.ExtendedInferenceService"};

// HealthCheckResponse.ServingStatus.
enum : uint8_t { kServing = 1, kNotServing = 2, kServiceUnknown = 3 };

// HealthCheckRequest {service = 1}.
Result<std::string_view> asked_service(const Call& call) {
  std::string_view name;
  wire::Reader reader(call.body.text());
  wire::Field f;
  while (reader.next(&f))
    if (f.number == 1 && f.type == wire::kBytes) name = f.bytes;
  if (!reader.ok() || !valid_utf8(name)) return malformed_message();
  return name;
}

bool known(std::string_view name) {
  for (std::string_view s : kServices)
    if (s == name) return true;
  return false;
}

uint8_t status_of(Service& service) { return service.runtime().ready() ? kServing : kNotServing; }

void answer_status(Service& service, Call* call, uint8_t status) {
  ByteBuffer& text = start_message(call);
  wire::add_tag(text, 1, wire::kVarint);
  text.push_back(static_cast<char>(status));
  answer_message(service, call);
}

void handle_watch(Service& service, Call* call) {
  auto name = asked_service(*call);
  if (!name.ok()) return service.fail(call, name.status());
  MessageStream& stream = *call->part_of;
  if (stream.told) return service.fail(call, invalid_argument("Watch takes one request"));
  service.health_watchers().add(&stream);
  stream.told = known(*name) ? status_of(service) : static_cast<uint8_t>(kServiceUnknown);
  answer_status(service, call, stream.told);
}

void close_watch(Service& service, MessageStream* stream) { service.health_watchers().remove(stream); }

}  // namespace

const StreamMethod kHealthWatch = {"/grpc.health.v1.Health/Watch", handle_watch, nullptr, nullptr, close_watch};

void health_check(Service& service, Call* call) {
  auto name = asked_service(*call);
  if (!name.ok()) return service.fail(call, name.status());
  if (!known(*name)) return service.fail(call, not_found("unknown service '" + std::string(name->substr(0, 128)) + "'"));
  answer_status(service, call, status_of(service));
}

void HealthWatchers::tell(Service& service) {
  const uint8_t now = status_of(service);
  for (MessageStream* stream : streams_) {
    if (stream->told == now || stream->told == kServiceUnknown) continue;
    // One who does not read is told of the change when it is the next again; the write timeout ends such connections.
    if (stream->unsent() >= service.front().options().max_stream_messages) continue;
    Call* call = stream->add_answer();
    if (!call) continue;
    stream->told = now;
    answer_status(service, call, now);
  }
}

}  // namespace verge::net
