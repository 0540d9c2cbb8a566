// One request of a client from its head to the last byte of its answer, whatever protocol it came by. Pooled by its front.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "net/bytes.h"
#include "net/encoding.h"
#include "net/infer_options.h"
#include "net/metrics.h"
#include "net/model_infer_wire.h"
#include "net/trace_context.h"
#include "runtime/api.h"

namespace verge::net {

class Deferred;
class MessageStream;
struct Recoding;
class Service;
struct Call;
struct Peer;
struct Token;

// Where an answer goes: an HTTP/1.1 connection or an HTTP/2 session.
class Transport {
 public:
  // Sends call.reply. The transport gives the call back to the front when the last byte is written. Front thread.
  virtual void send_reply(Call* call) = 0;

 protected:
  ~Transport() = default;
};

enum class Method : uint8_t { kGet, kHead, kPost, kPut, kOther };

// An answer. The body is the sequence of segments; those without external bytes lie in `text`.
struct Reply {
  explicit Reply(BlockPool& pool) : text(&pool) {}

  int http_status = 200;
  Code code = Code::kOk;         // gRPC's status, and what metrics count
  ByteBuffer message;            // gRPC: percent-encoded grpc-message
  ByteBuffer text;
  std::vector<Segment> segments;
  size_t body_bytes = 0;
  std::string_view content_type;   // static text
  std::string_view allow;          // static text; 405's Allow
  std::string_view page_policy;    // static text; of a page: its Content-Security-Policy
  int64_t json_bytes = -1;         // Inference-Header-Content-Length, where binary data follows the JSON
  bool retry_after = false;
  bool name_encodings = false;     // gRPC: say which encodings are accepted
  Encoding encoding = Encoding::kIdentity;
  bool authenticate = false;       // REST: say that a bearer token is wanted

  void clear() {
    http_status = 200;
    code = Code::kOk;
    message.clear();
    text.clear();
    segments.clear();
    body_bytes = 0;
    content_type = {};
    allow = {};
    page_policy = {};
    json_bytes = -1;
    authenticate = retry_after = name_encodings = false;
    encoding = Encoding::kIdentity;
  }
  // Called when text and segments are complete.
  void seal() {
    body_bytes = 0;
    for (const Segment& s : segments) body_bytes += s.size;
  }
  const char* bytes(const Segment& s) const {
    return s.external ? reinterpret_cast<const char*>(s.external) : text.data() + s.offset;
  }
};

struct Call {
  Call(BlockPool& pool, LocalBudget& budget) : body(pool, budget), scratch(pool, budget), reply(pool) {}

  // --- head ---
  Protocol protocol = Protocol::kHttp1;
  Method method = Method::kOther;
  bool is_grpc = false;
  bool grpc_type_known = true;       // content-type is application/grpc or +proto
  Encoding encoding = Encoding::kIdentity;  // grpc-encoding or content-encoding
  bool compressed = false;           // the body is; it is inflated before anything looks at it
  Encoding accepts = Encoding::kIdentity;   // of the answer
  bool compress_reply = false;       // it is an answer that may be
  int64_t content_length = -1;       // -1: not given
  int64_t json_bytes = -1;           // Inference-Header-Content-Length
  std::string path;                  // with the query, as sent
  std::string name;                  // decoded model name of a REST path, where it was percent-encoded
  Status head_error;                 // a header that cannot be served; answered when the request is complete

  // --- body ---
  Body body;
  Scratch scratch;

  // --- work ---
  runtime::Request request;
  InferOptions options;
  bool in_runtime = false;
  bool answered_late = false;    // at its deadline, while a lane runs it: it comes back from the runtime without being answered again
  Deferred* deferred = nullptr;  // what the call waits for
  Recoding* recoding = nullptr;  // of a compressed request or answer; the front's
  Reply reply;

  // --- connection ---
  Service* service = nullptr;
  Transport* transport = nullptr;  // nullptr: the client has gone
  const Peer* peer = nullptr;      // of the connection, while there is a transport
  const Token* token = nullptr;    // that of the Authorization header, if it is known
  bool has_authorization = false;
  TraceContext trace;              // where an access log is kept
  size_t pool_index = 0;           // the front's; survives clear()
  int32_t stream = 0;
  Call* prev = nullptr;  // calls of one transport
  Call* next = nullptr;

  // --- HTTP/2 sending and receiving ---
  uint32_t prefix_bytes = 0;  // of the gRPC message prefix, so far
  unsigned char prefix[5] = {};
  size_t message_bytes = 0;   // announced by the prefix
  size_t header_bytes = 0;
  bool answered = false;      // the reply has been handed to the transport
  bool request_complete = false;
  size_t sent_segment = 0;
  size_t sent_offset = 0;
  bool has_views = false;     // the write queue points into this call or its outputs

  // --- streaming calls ---
  MessageStream* messages = nullptr;  // of the call that is the stream
  MessageStream* part_of = nullptr;   // of a call that is one of its messages
  uint64_t order = 0;                 // its place there
  bool more_follow = false;           // it is an answer to a request that gets further ones
  std::string model_header;           // metadata verge-model
  int32_t message_id = 0;             // ASSIST: the request's id
  bool batch_axis_added = false;      // ASSIST: the answer is to lack it

  void clear();
};

inline void Call::clear() {
  protocol = Protocol::kHttp1;
  method = Method::kOther;
  is_grpc = compressed = compress_reply = false;
  encoding = accepts = Encoding::kIdentity;
  grpc_type_known = true;
  content_length = json_bytes = -1;
  path.clear();
  name.clear();
  if (!head_error.ok()) head_error = {};
  body.reset();
  scratch.clear();
  request.inputs.clear();
  request.wanted_outputs.clear();
  request.bounds = {};
  // One by one: an assignment in a row reads back as a whole what was just written in parts, which stalls.
  request.model = {};
  request.id = {};
  request.version = 0;
  if (!request.status.ok()) request.status = {};
  request.outputs.clear();
  request.answered_model = {};
  request.answered_variant = {};
  request.answered_version = 0;
  request.chosen = {};
  request.sequence = {};
  request.tenant = request.flow = 0;
  request.queue_ns = request.assembly_ns = request.compute_ns = request.encode_ns = 0;
  request.batch = 0;
  request.next = nullptr;
  options.clear();
  in_runtime = answered_late = false;
  reply.clear();
  reply.text.shrink(ByteBuffer::kOwn);
  service = nullptr;
  transport = nullptr;
  peer = nullptr;
  token = nullptr;
  has_authorization = false;
  trace.clear();
  stream = 0;
  prev = next = nullptr;
  prefix_bytes = 0;
  message_bytes = header_bytes = 0;
  answered = request_complete = has_views = false;
  sent_segment = sent_offset = 0;
  messages = nullptr;
  part_of = nullptr;
  more_follow = false;
  request.early = nullptr;
  model_header.clear();
  message_id = 0;
  batch_axis_added = false;
}

// The calls of one transport.
class CallList {
 public:
  void add(Call* c) {
    c->prev = nullptr;
    c->next = first_;
    if (first_) first_->prev = c;
    first_ = c;
    ++size_;
  }
  void remove(Call* c) {
    (c->prev ? c->prev->next : first_) = c->next;
    if (c->next) c->next->prev = c->prev;
    c->prev = c->next = nullptr;
    --size_;
  }
  Call* first() const { return first_; }
  size_t size() const { return size_; }

 private:
  Call* first_ = nullptr;
  size_t size_ = 0;
};

}  // namespace verge::net
