// nghttp2's memory: free lists by size, so that a warm front's streams and frames come from memory that was used before. One thread's own.
#pragma once

#include <nghttp2/nghttp2.h>

#include <cstddef>
#include <cstdint>

namespace verge::net {

class PoolMem {
 public:
  PoolMem();
  ~PoolMem();
  PoolMem(const PoolMem&) = delete;
  PoolMem& operator=(const PoolMem&) = delete;

  nghttp2_mem* mem() { return &mem_; }
  void* allocate(size_t size);
  void* resize(void* p, size_t size);
  void release(void* p);

 private:
  // Classes of 64, 128, … bytes up to 32 KiB, the header included; larger blocks are malloc's.
  static constexpr int kClasses = 10;
  static constexpr size_t kSmallest = 64;
  static constexpr size_t kKeepBytes = size_t{16} << 20;
  struct alignas(16) Header {
    uint64_t size_class;  // kClasses: malloc's
    uint64_t size;        // usable
  };
  struct FreeBlock {
    FreeBlock* next;
  };
  FreeBlock* free_[kClasses] = {};
  size_t kept_ = 0;
  nghttp2_mem mem_;
};

}  // namespace verge::net
