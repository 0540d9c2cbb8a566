// inference.ModelInferRequest and ModelInferResponse on the wire: a bounded reader that fills in a runtime::Request with views, and a
// writer whose tensors are views.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"
#include "net/bytes.h"
#include "net/infer_options.h"
#include "runtime/api.h"

namespace verge::net {

// Decoded tensors of one request: varint contents, JSON numbers, BYTES, and bytes that lay unaligned. Reused; keeps its capacity up to a
// limit, and takes what it holds beyond that from the receive budget.
class Scratch {
 public:
  Scratch(BlockPool& pool, LocalBudget& budget) : pool_(pool), budget_(budget) {}
  ~Scratch() { clear(); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  // Aligned room whose address stays until clear(); nullptr where the budget does not allow it. Never nullptr for 0 bytes.
  std::byte* allocate(size_t bytes);
  void clear();

 private:
  BlockPool& pool_;
  LocalBudget& budget_;
  std::vector<BlockPool::Block> blocks_;
  int64_t charged_ = 0;                   // bytes; all but a first block of the smallest class
  size_t at_ = 0;                         // in the last block
};

// What copying a request's tensors cost.
struct CopyCount {
  uint64_t tensors = 0;
  uint64_t bytes = 0;
};

inline constexpr size_t kMaxTensors = 1024;     // inputs or outputs of one request
inline constexpr size_t kMaxParameters = 1024;  // of one request

// "" is 0, the latest.
Result<int64_t> parse_model_version(std::string_view text);

// Reads `message` into model, version, id, inputs, wanted_outputs, sequence, bounds (whose deadline the parameter `timeout` may only
// shorten, and counts from arrival_ns) and `options`. The views point into `message` and `scratch`.
// Every tensor's bytes are checked against its type and shape, and lie aligned for the type.
Status read_model_infer_request(std::string_view message, Scratch& scratch, runtime::Request* request, InferOptions* options,
                                CopyCount* copies);

// The same of what stands before the tensors, in the message of which `prefix` is the beginning: model, version, sequence, bounds. False where that is not all there, or is wrong; then
// the whole message tells.
bool read_model_infer_head(std::string_view prefix, runtime::Request* request, InferOptions* options);

// Where the bytes of the first raw input of at least `at_least` bytes start in the message of which `prefix` is the beginning; 0: unknown.
// Lets the receiver place the message so that no copy is needed.
size_t find_raw_input(std::string_view prefix, size_t at_least);

// One piece of an encoded answer: a view, or (external == nullptr) bytes of the buffer.
struct Segment {
  const std::byte* external = nullptr;
  size_t offset = 0;
  size_t size = 0;
};

// Appends to a buffer and a list of segments that together are the encoded bytes. Views below kCopyBelow bytes are copied.
class SegmentWriter {
 public:
  static constexpr size_t kCopyBelow = 4096;
  // The first segment begins at `from` in the buffer.
  SegmentWriter(ByteBuffer& text, std::vector<Segment>& segments, size_t from) : text_(text), segments_(segments), mark_(from) {}
  ~SegmentWriter() { flush(); }
  ByteBuffer& text() { return text_; }
  void add_view(const std::byte* p, size_t n) {
    if (n < kCopyBelow) {
      text_.append(p, n);
      return;
    }
    flush();
    segments_.push_back({p, 0, n});
  }
  void flush() {
    if (text_.size() > mark_) segments_.push_back({nullptr, mark_, text_.size() - mark_});
    mark_ = text_.size();
  }

 private:
  ByteBuffer& text_;
  std::vector<Segment>& segments_;
  size_t mark_;
};

void write_model_infer_response(const runtime::Request& answered, const InferOptions& options, SegmentWriter& out);

}  // namespace verge::net
