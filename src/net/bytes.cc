#include "net/bytes.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>

namespace verge::net {

bool ReceiveBudget::take(int64_t bytes) {
  int64_t have = free_.load(std::memory_order_relaxed);
  do {
    if (have < bytes) return false;
  } while (!free_.compare_exchange_weak(have, have - bytes, std::memory_order_relaxed));
  return true;
}

bool LocalBudget::take(int64_t bytes) {
  int64_t spare = this->spare();
  if (spare < bytes) {
    const int64_t lacking = bytes - spare;
    if (lacking < kStep && shared_.take(kStep)) {
      spare += kStep;
    } else if (shared_.take(lacking)) {
      spare += lacking;
    } else {
      return false;
    }
  }
  set_spare(spare - bytes);
  return true;
}

void LocalBudget::give(int64_t bytes) {
  int64_t spare = this->spare() + bytes;
  if (spare > 2 * kStep) {
    shared_.give(spare - kStep);
    spare = kStep;
  }
  set_spare(spare);
}

BlockPool::~BlockPool() {
  for (auto& list : free_)
    for (std::byte* p : list) std::free(p);
}

BlockPool::Block BlockPool::acquire(size_t bytes) {
  if (bytes > kLargest) {
    const size_t size = (bytes + 4095) & ~size_t{4095};
    void* p = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) return {};
    return {static_cast<std::byte*>(p), size};
  }
  const size_t size = std::bit_ceil(bytes < kSmallest ? kSmallest : bytes);
  auto& list = free_[std::countr_zero(size / kSmallest)];
  if (!list.empty()) {
    std::byte* p = list.back();
    list.pop_back();
    kept_ -= size;
    return {p, size};
  }
  return {static_cast<std::byte*>(std::aligned_alloc(kBlockAlignment, size)), size};
}

void BlockPool::release(Block block) {
  if (!block.data) return;
  if (block.capacity > kLargest) {
    munmap(block.data, block.capacity);
  } else if (kept_ + block.capacity > kKeep) {
    std::free(block.data);
  } else {
    kept_ += block.capacity;
    free_[std::countr_zero(block.capacity / kSmallest)].push_back(block.data);
  }
}

void ByteBuffer::grow(size_t n) {
  size_t want = std::max(capacity_ ? capacity_ * 2 : 256, size_ + n);
  if (!pool_ || want <= kOwn) {
    void* p = std::realloc(data_, want);
    if (!p) throw std::bad_alloc();
    data_ = static_cast<char*>(p);
    capacity_ = want;
    return;
  }
  const BlockPool::Block block = pool_->acquire(want);
  if (!block.data) throw std::bad_alloc();
  const size_t size = size_;
  if (size) std::memcpy(block.data, data_, size);
  drop();
  data_ = reinterpret_cast<char*>(block.data);
  size_ = size;
  capacity_ = block.capacity;
}

void ByteBuffer::drop() {
  if (pool_ && capacity_ > kOwn) {
    pool_->release({reinterpret_cast<std::byte*>(data_), capacity_});
  } else {
    std::free(data_);
  }
  data_ = nullptr;
  size_ = capacity_ = 0;
}

bool Body::reserve(size_t bytes, size_t aligned_at) {
  const size_t start = (kBlockAlignment - aligned_at % kBlockAlignment) % kBlockAlignment;
  if (bytes > SIZE_MAX / 2) return false;
  if (bytes <= reserved_ && (size_ || start == start_)) return true;
  const auto charge = static_cast<int64_t>(bytes);
  if (charge > charged_ && !budget_.take(charge - charged_)) return false;
  if (block_.capacity < start + bytes) {
    const BlockPool::Block larger = pool_.acquire(start + bytes);
    if (!larger.data) {
      if (charge > charged_) budget_.give(charge - charged_);
      return false;
    }
    if (size_) std::memcpy(larger.data + start, block_.data + start_, size_);
    pool_.release(block_);
    block_ = larger;
  } else if (size_ && start != start_) {
    std::memmove(block_.data + start, block_.data + start_, size_);
  }
  start_ = start;
  if (charge > charged_) charged_ = charge;
  reserved_ = bytes;
  return true;
}

void Body::reset() {
  pool_.release(std::exchange(block_, {}));
  size_ = start_ = reserved_ = 0;
  if (charged_) budget_.give(std::exchange(charged_, 0));
}

}  // namespace verge::net
