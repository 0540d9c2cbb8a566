#include "net/recoding.h"

#include <algorithm>
#include <string>

#include "net/front.h"
#include "net/grpc.h"

namespace verge::net {
namespace {

constexpr size_t kDeflateFrom = 1024;

// Goes on with `step` after the front's other work.
void later(Service& service, Call* call, Deferred::Answer step) { service.deferred().defer(call, step)({}); }

Recoding& recoding_of(Service& service, Call* call) {
  Front& front = service.front();
  if (!call->recoding) call->recoding = front.recodings().acquire(front.blocks(), front.budget());
  return *call->recoding;
}

void inflate_step(Service& service, Call* call, Status) {
  Recoding& r = *call->recoding;
  const size_t aligned_at = call->json_bytes > 0 ? static_cast<size_t>(call->json_bytes) : 0;
  Status s = r.inflater.step(&r.inflated, aligned_at);
  if (!s.ok()) {
    if (s.code() == Code::kResourceExhausted)
      service.front().metrics().count_shed(r.inflater.too_large() ? Shed::kMessageSize : Shed::kReceiveBudget);
    r.inflated.reset();
    return service.fail(call, std::move(s), r.inflater.too_large() ? 413 : 0);
  }
  if (!r.inflater.done()) return later(service, call, inflate_step);
  call->body.swap(r.inflated);
  r.inflated.reset();
  call->compressed = false;
  r.then(service, call);
}

void give_up(Reply& reply, Recoding& r) {
  r.deflated.clear();
  reply.encoding = Encoding::kIdentity;
}

void deflate_step(Service& service, Call* call, Status) {
  Recoding& r = *call->recoding;
  Reply& reply = call->reply;
  Deflater& deflater = reply.encoding == Encoding::kGzip ? *r.gzip : *r.deflate;
  size_t left = kCodingStep;
  while (left && r.segment < reply.segments.size()) {
    const Segment& s = reply.segments[r.segment];
    const size_t n = std::min(left, s.size - r.offset);
    deflater.add(reply.bytes(s) + r.offset, n, &r.deflated);
    left -= n;
    r.offset += n;
    if (r.offset == s.size) {
      ++r.segment;
      r.offset = 0;
    }
  }
  if (r.deflated.size() < reply.body_bytes && r.segment < reply.segments.size()) return later(service, call, deflate_step);
  if (r.segment == reply.segments.size()) deflater.finish(&r.deflated);
  if (r.deflated.size() >= reply.body_bytes) {
    give_up(reply, r);
  } else {
    if (call->is_grpc) {
      put_grpc_prefix(r.deflated.data(), r.deflated.size() - kGrpcPrefixBytes);
      r.deflated.data()[0] = 1;
    }
    reply.text.swap(r.deflated);
    reply.segments.clear();
    reply.segments.push_back({nullptr, 0, reply.text.size()});
    reply.seal();
  }
  r.then(service, call);
}

}  // namespace

Recoding* RecodingPool::acquire(BlockPool& pool, LocalBudget& budget) {
  if (free_.empty()) return new Recoding(pool, budget);
  Recoding* r = free_.back().release();
  free_.pop_back();
  return r;
}

void RecodingPool::release(Recoding* r) {
  std::unique_ptr<Recoding> owned(r);
  r->inflated.reset();
  r->deflated.clear();
  r->deflated.shrink(kKeptBytes);
  if (free_.size() < kKept) free_.push_back(std::move(owned));
}

Status check_encoding(Call* call) {
  if (call->encoding != Encoding::kUnknown) return {};
  call->reply.name_encodings = true;
  return unimplemented("unknown compression; this server takes " + std::string(kGrpcEncodings));
}

void inflate_body(Service& service, Call* call, void (*then)(Service&, Call*)) {
  if (Status s = check_encoding(call); !s.ok()) return service.fail(call, std::move(s), 415);
  const ServerOptions& options = service.front().options();
  const uint64_t size = call->body.size();
  const uint64_t limit = std::min({options.max_message_bytes, options.receive_budget_bytes, std::max(kInflateAnyway, kInflateRatio * size)});
  Recoding& r = recoding_of(service, call);
  r.then = then;
  r.inflater.begin(call->encoding, call->body.text(), limit);
  inflate_step(service, call, {});
}

bool deflates(const Call& call) {
  if (call.reply.encoding != Encoding::kIdentity || call.reply.code != Code::kOk) return false;
  // gRPC: as the request was; REST: inferences, whoever asks for it.
  return call.accepts != Encoding::kIdentity && call.compress_reply && call.reply.body_bytes >= kDeflateFrom;
}

void deflate_reply(Service& service, Call* call, void (*then)(Service&, Call*)) {
  Recoding& r = recoding_of(service, call);
  r.then = then;
  r.segment = r.offset = 0;
  r.deflated.clear();
  call->reply.encoding = call->accepts;
  auto& deflater = call->accepts == Encoding::kGzip ? r.gzip : r.deflate;
  if (!deflater) deflater = std::make_unique<Deflater>(call->accepts);
  deflater->begin();
  if (call->is_grpc) {
    // The prefix stays as it is, before what is compressed.
    r.deflated.room(kGrpcPrefixBytes);
    r.deflated.added(kGrpcPrefixBytes);
    r.offset = kGrpcPrefixBytes;
  }
  deflate_step(service, call, {});
}

}  // namespace verge::net
