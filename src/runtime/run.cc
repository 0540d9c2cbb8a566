#include "runtime/run.h"

#include <cstdlib>
#include <functional>

#include "runtime/table.h"

namespace verge::runtime {

uint64_t sequence_hash(const Sequence& s) {
  return s.text.empty() ? s.id * 0x9E3779B97F4A7C15ull >> 32 : std::hash<std::string_view>()(s.text);
}

Buffer::~Buffer() { std::free(data_); }

std::byte* Buffer::ensure(size_t bytes, size_t alignment) {
  if (alignment < 64) alignment = 64;
  if (data_ != nullptr && bytes <= capacity_ && alignment <= alignment_) return data_;
  if (bytes > (size_t{1} << 40)) return nullptr;
  const size_t rounded = (bytes + alignment - 1) / alignment * alignment + (bytes == 0 ? alignment : 0);
  std::free(data_);
  data_ = static_cast<std::byte*>(std::aligned_alloc(alignment, rounded));
  capacity_ = data_ == nullptr ? 0 : rounded;
  alignment_ = alignment;
  return data_;
}

void EngineBuffers::release_engine_outputs() {
  for (verge_tensor& t : engine_outputs) {
    if (t.release != nullptr) t.release(t.owner);
    t.release = nullptr;
    t.owner = nullptr;
    t.data = nullptr;
  }
}

size_t EngineBuffers::kept_bytes() const {
  size_t n = 0;
  for (const auto& b : lent) n += b.capacity();
  for (const auto& v : wire) n += v.capacity();
  return n;
}

LaneGroup& Run::group() const { return resident->groups[lane()]; }

int64_t Run::most_rows() const { return resident->max_rows; }

void Run::end_hopeless(uint64_t now) {
  started_ns = assembled_ns = finished_ns = now;
  reason = now >= due_ns ? Reason::kExpired : plan.said ? Reason::kDeadlineBound : Reason::kHopeless;
  status = Status(Code::kDeadlineExceeded, "");  // the front words it
}

size_t Run::kept_bytes() const {
  size_t n = EngineBuffers::kept_bytes();
  for (const auto& s : after) n += s.a.data.capacity() + s.b.data.capacity();
  for (const auto& e : early) {
    for (const auto& b : e->lent) n += b.capacity();
    for (const auto& s : e->after) n += s.a.data.capacity() + s.b.data.capacity();
  }
  return n;
}

}  // namespace verge::runtime
