// Compressed requests and answers of calls. Inflating and deflating goes in steps, with the front's other work between them, so that a large
// body delays nobody else.
#pragma once

#include <memory>
#include <vector>

#include "net/compression.h"
#include "net/service.h"

namespace verge::net {

// What is in progress on one call. Pooled.
struct Recoding {
  Recoding(BlockPool& pool, LocalBudget& budget) : inflated(pool, budget) {}
  Inflater inflater;
  std::unique_ptr<Deflater> gzip, deflate;
  Body inflated;
  ByteBuffer deflated;
  size_t segment = 0, offset = 0;  // of the reply, where deflating goes on
  void (*then)(Service&, Call*) = nullptr;
};

// Of one front.
class RecodingPool {
 public:
  Recoding* acquire(BlockPool& pool, LocalBudget& budget);
  void release(Recoding* r);

 private:
  static constexpr size_t kKept = 16;
  static constexpr size_t kKeptBytes = size_t{64} << 10;
  std::vector<std::unique_ptr<Recoding>> free_;
};

// Whether the encoding of a compressed request is known; else the answer names those that are.
Status check_encoding(Call* call);
// Makes call.body what it was before the client compressed it, then calls `then`; an error is answered instead. May do so after it returns.
void inflate_body(Service& service, Call* call, void (*then)(Service&, Call*));

// Whether the answer is worth compressing and its client takes it.
bool deflates(const Call& call);
// Compresses the reply, whose body is complete, where that makes it smaller; then calls `then`.
void deflate_reply(Service& service, Call* call, void (*then)(Service&, Call*));

}  // namespace verge::net
