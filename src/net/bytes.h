// Memory of the data plane: growing text, bodies in aligned blocks, and the budget that bounds what clients can make us hold.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

namespace verge::net {

inline constexpr size_t kBlockAlignment = 64;

// Blocks of 16 KiB to 4 MiB by powers of two, kept for reuse up to a limit; larger ones come from the kernel and go back to it, so that
// memory that a client only announces is never touched. One front's own.
class BlockPool {
 public:
  BlockPool() = default;
  ~BlockPool();
  BlockPool(const BlockPool&) = delete;
  BlockPool& operator=(const BlockPool&) = delete;

  struct Block {
    std::byte* data = nullptr;
    size_t capacity = 0;
  };
  Block acquire(size_t bytes);  // data is nullptr when the machine has no memory left
  void release(Block block);

  static constexpr size_t kSmallest = size_t{16} << 10;

 private:
  static constexpr int kClasses = 9;
  static constexpr size_t kLargest = kSmallest << (kClasses - 1);
  static constexpr size_t kKeep = size_t{32} << 20;
  std::vector<std::byte*> free_[kClasses];
  size_t kept_ = 0;
};

// Growing bytes that are not zeroed and keep their capacity over clear(). With a pool, what outgrows kOwn lies in a block of it, so that what many
// buffers held at one time or another is not kept by each of them.
class ByteBuffer {
 public:
  static constexpr size_t kOwn = size_t{2} << 10;

  explicit ByteBuffer(BlockPool* pool = nullptr) : pool_(pool) {}
  ~ByteBuffer() { drop(); }
  ByteBuffer(const ByteBuffer&) = delete;
  ByteBuffer& operator=(const ByteBuffer&) = delete;

  char* data() { return data_; }
  const char* data() const { return data_; }
  size_t size() const { return size_; }
  size_t capacity() const { return capacity_; }
  bool empty() const { return size_ == 0; }
  std::string_view view() const { return {data_, size_}; }
  void clear() { size_ = 0; }
  void truncate(size_t size) { size_ = size; }
  // Gives memory back where more than `keep` bytes are held.
  void shrink(size_t keep) {
    if (capacity_ > keep) drop();
  }

  // Room for `n` more bytes; the caller writes there and calls added().
  char* room(size_t n) {
    if (capacity_ - size_ < n) grow(n);
    return data_ + size_;
  }
  void added(size_t n) { size_ += n; }
  void append(const void* p, size_t n) {
    if (n) std::memcpy(room(n), p, n);
    size_ += n;
  }
  void append(std::string_view s) { append(s.data(), s.size()); }
  void push_back(char c) {
    *room(1) = c;
    ++size_;
  }
  void swap(ByteBuffer& o) {
    std::swap(pool_, o.pool_);
    std::swap(data_, o.data_);
    std::swap(size_, o.size_);
    std::swap(capacity_, o.capacity_);
  }
  // Drops the first n bytes.
  void erase_front(size_t n) {
    std::memmove(data_, data_ + n, size_ - n);
    size_ -= n;
  }

 private:
  void grow(size_t n);
  void drop();

  BlockPool* pool_;
  char* data_ = nullptr;
  size_t size_ = 0;
  size_t capacity_ = 0;
};

// Bytes that all connections together may make the server hold for requests. Shared by the fronts.
class ReceiveBudget {
 public:
  explicit ReceiveBudget(int64_t bytes) : limit_(bytes), free_(bytes) {}
  bool take(int64_t bytes);
  void give(int64_t bytes) { free_.fetch_add(bytes, std::memory_order_relaxed); }
  int64_t limit() const { return limit_; }
  int64_t taken() const { return limit_ - free_.load(std::memory_order_relaxed); }

 private:
  const int64_t limit_;
  std::atomic<int64_t> free_;
};

// A front's part of it: takes and gives in steps, so that small requests touch no shared memory.
class LocalBudget {
 public:
  explicit LocalBudget(ReceiveBudget& shared) : shared_(shared) {}
  ~LocalBudget() { shared_.give(spare()); }
  LocalBudget(const LocalBudget&) = delete;
  LocalBudget& operator=(const LocalBudget&) = delete;
  bool take(int64_t bytes);
  void give(int64_t bytes);
  int64_t limit() const { return shared_.limit(); }
  // What it has taken and no request holds. Any thread.
  int64_t spare() const { return free_.load(std::memory_order_relaxed); }

 private:
  static constexpr int64_t kStep = int64_t{1} << 20;
  void set_spare(int64_t bytes) { free_.store(bytes, std::memory_order_relaxed); }
  ReceiveBudget& shared_;
  std::atomic<int64_t> free_{0};  // written by the front's thread only
};

// The body of one request: contiguous, in a block, and placed so that its interesting part is aligned.
class Body {
 public:
  Body(BlockPool& pool, LocalBudget& budget) : pool_(pool), budget_(budget) {}
  ~Body() { reset(); }
  Body(const Body&) = delete;
  Body& operator=(const Body&) = delete;

  // Room for `bytes` in all; byte `aligned_at` will lie on a multiple of kBlockAlignment. False where the budget or the machine does not
  // allow it: nothing is changed then. Content is kept (and moved).
  bool reserve(size_t bytes, size_t aligned_at = 0);
  // `n` bytes more, which reserve() must have made room for.
  void append(const void* p, size_t n) {
    if (n) std::memcpy(block_.data + start_ + size_, p, n);
    size_ += n;
  }
  std::byte* end() { return block_.data + start_ + size_; }
  void added(size_t n) { size_ += n; }
  size_t room() const { return reserved_ - size_; }
  std::span<const std::byte> bytes() const { return {block_.data + start_, size_}; }
  std::string_view text() const { return {reinterpret_cast<const char*>(block_.data) + start_, size_}; }
  size_t size() const { return size_; }
  // With another of the same pool and budget.
  void swap(Body& o) {
    std::swap(block_, o.block_);
    std::swap(start_, o.start_);
    std::swap(size_, o.size_);
    std::swap(reserved_, o.reserved_);
    std::swap(charged_, o.charged_);
  }
  // Empties it; its block goes back to the pool.
  void reset();

 private:
  BlockPool& pool_;
  LocalBudget& budget_;
  BlockPool::Block block_;
  size_t start_ = 0;
  size_t size_ = 0;
  size_t reserved_ = 0;
  int64_t charged_ = 0;
};

}  // namespace verge::net
