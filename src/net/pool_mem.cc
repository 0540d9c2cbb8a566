#include "net/pool_mem.h"

#include <bit>
#include <cstdlib>
#include <cstring>

namespace verge::net {

PoolMem::PoolMem() {
  mem_.mem_user_data = this;
  mem_.malloc = [](size_t n, void* self) { return static_cast<PoolMem*>(self)->allocate(n); };
  mem_.free = [](void* p, void* self) { static_cast<PoolMem*>(self)->release(p); };
  mem_.calloc = [](size_t n, size_t size, void* self) -> void* {
    if (size && n > SIZE_MAX / size) return nullptr;
    void* p = static_cast<PoolMem*>(self)->allocate(n * size);
    if (p) std::memset(p, 0, n * size);
    return p;
  };
  mem_.realloc = [](void* p, size_t n, void* self) { return static_cast<PoolMem*>(self)->resize(p, n); };
}

PoolMem::~PoolMem() {
  for (FreeBlock* list : free_) {
    while (list) {
      FreeBlock* next = list->next;
      std::free(reinterpret_cast<char*>(list) - sizeof(Header));
      list = next;
    }
  }
}

void* PoolMem::allocate(size_t size) {
  if (size > SIZE_MAX / 2) return nullptr;
  size_t total = size + sizeof(Header);
  total = std::bit_ceil(total < kSmallest ? kSmallest : total);
  const auto size_class = static_cast<size_t>(std::countr_zero(total / kSmallest));
  if (size_class >= kClasses) {
    total = size + sizeof(Header);
  } else if (FreeBlock* block = free_[size_class]) {
    free_[size_class] = block->next;
    kept_ -= total;
    return block;
  }
  auto* header = static_cast<Header*>(std::malloc(total));
  if (!header) return nullptr;
  header->size_class = size_class >= kClasses ? kClasses : size_class;
  header->size = total - sizeof(Header);
  return header + 1;
}

void PoolMem::release(void* p) {
  if (!p) return;
  Header* header = static_cast<Header*>(p) - 1;
  const size_t total = header->size + sizeof(Header);
  if (header->size_class == kClasses || kept_ + total > kKeepBytes) {
    std::free(header);
    return;
  }
  auto* block = static_cast<FreeBlock*>(p);
  block->next = free_[header->size_class];
  free_[header->size_class] = block;
  kept_ += total;
}

void* PoolMem::resize(void* p, size_t size) {
  if (!p) return allocate(size);
  const size_t have = (static_cast<Header*>(p) - 1)->size;
  if (size <= have) return p;
  void* larger = allocate(size);
  if (!larger) return nullptr;
  std::memcpy(larger, p, have);
  release(p);
  return larger;
}

}  // namespace verge::net
