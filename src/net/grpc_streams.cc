// The methods whose calls are streams of messages, and inference.GRPCInferenceService/ModelStreamInfer.
#include "net/assist.h"
#include "net/front.h"
#include "net/grpc.h"
#include "net/grpc_health.h"
#include "net/grpc_reflection.h"
#include "net/grpc_reply.h"
#include "net/message_stream.h"

namespace verge::net {
namespace {

constexpr uint32_t kErrorMessage = 1, kInferResponse = 2;  // of ModelStreamInferResponse
constexpr size_t kInnerHead = 1 + 5;                       // largest tag and length of the inner message

void handle_infer(Service& service, Call* call) {
  CopyCount copies;
  Status s = read_model_infer_request(call->body.text(), call->scratch, &call->request, &call->options, &copies);
  if (!s.ok()) return service.fail(call, std::move(s));
  service.count_copies(copies);
  call->request.early = &Service::early;
  service.infer(call);
}

// Clients of decoupled models wait for this mark.
void add_final_mark(ByteBuffer& text, bool last) {
  constexpr std::string_view kKey = "triton_final_response";
  constexpr size_t kValue = 2;  // InferParameter {bool_param = true}
  wire::add_length(text, 4, wire::bytes_size(1, kKey.size()) + wire::bytes_size(2, kValue));
  wire::add_bytes(text, 1, kKey);
  wire::add_length(text, 2, kValue);
  wire::add_varint(text, uint64_t{1} << 3);  // also where it is false
  wire::add_varint(text, last ? 1 : 0);
}

void write_answer(Call* call) {
  Reply& reply = call->reply;
  // The inner message's length is known when it is written: its head is then put right before it.
  ByteBuffer& text = start_message(call);
  text.room(kInnerHead);
  text.added(kInnerHead);
  {
    SegmentWriter out(text, reply.segments, kGrpcPrefixBytes + kInnerHead);
    write_model_infer_response(call->request, call->options, out);
    add_final_mark(text, !call->more_follow);
  }
  size_t inner = 0;
  for (const Segment& s : reply.segments) inner += s.size;
  const size_t head = wire::tag_size(kInferResponse) + wire::varint_size(inner);
  Segment& first = reply.segments.front();
  first.offset -= head + kGrpcPrefixBytes;
  first.size += head + kGrpcPrefixBytes;
  char* at = text.data() + first.offset;
  put_grpc_prefix(at, head + inner);
  at = wire::put_varint(at + kGrpcPrefixBytes, uint64_t{kInferResponse} << 3 | wire::kBytes);
  wire::put_varint(at, inner);
}

// Where it is asked for, what has had several answers ends with an empty one, as of a decoupled model in Triton.
void write_infer(Call* call) {
  Call* last = call->request.chosen.several && call->options.empty_final_response ? call->part_of->add_after(call) : nullptr;
  if (last) call->more_follow = true;
  write_answer(call);
  if (!last) return;
  last->request.id = call->request.id;
  last->request.answered_model = call->request.answered_model;
  last->request.answered_version = call->request.answered_version;
  write_answer(last);
  last->request.id = last->request.answered_model = {};
  last->reply.seal();
  call->part_of->send_reply(last);
}

// The request's id says which one failed.
void write_infer_error(Call* call, const Status& status) {
  Reply& reply = call->reply;
  ByteBuffer& text = start_message(call);
  wire::add_string(text, kErrorMessage, status.message());
  if (const std::string_view id = call->request.id; !id.empty()) {
    wire::add_length(text, kInferResponse, wire::bytes_size(3, id.size()));
    wire::add_bytes(text, 3, id);
  }
  reply.segments.push_back({nullptr, 0, text.size()});
  seal_message(call);
}

constexpr StreamMethod kInfer = {"/inference.GRPCInferenceService/ModelStreamInfer", handle_infer, write_infer, write_infer_error};

}  // namespace

const StreamMethod* find_stream_method(std::string_view path) {
  for (const StreamMethod* method : {&kInfer, &kAssistPredict, &kHealthWatch, &kReflection, &kReflectionAlpha})
    if (path == method->path) return method;
  return nullptr;
}

}  // namespace verge::net
