// What the host offers plugins, and giving memory back.
#include <malloc.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "engine/catalog.h"
#include "os/process.h"

namespace verge::engine {
namespace {

// One write(2) a line, so that lines of several threads do not mix. Debug and info messages of engines are many and of no use here.
void log_line(void*, int32_t level, const char* message) {
  if (level < VERGE_LOG_WARNING || !message) return;
  char line[1024];
  int n = std::snprintf(line, sizeof line, "%s: engine: %s", level == VERGE_LOG_WARNING ? "warning" : "error", message);
  if (n < 0) return;
  size_t length = std::min(static_cast<size_t>(n), sizeof line - 2);
  for (size_t i = 0; i < length; ++i) {
    if (static_cast<unsigned char>(line[i]) < 0x20) line[i] = ' ';
  }
  line[length++] = '\n';
  [[maybe_unused]] ssize_t written = ::write(STDERR_FILENO, line, length);
}

void* allocate(void*, verge_space space, uint64_t bytes, uint64_t alignment) {
  if (space.kind != VERGE_SPACE_HOST) return nullptr;
  alignment = std::max<uint64_t>(alignment, alignof(std::max_align_t));
  if (alignment & (alignment - 1) || bytes > UINT64_MAX - alignment) return nullptr;
  return std::aligned_alloc(alignment, std::max(alignment, (bytes + alignment - 1) / alignment * alignment));
}

void deallocate(void*, verge_space, void* pointer) { std::free(pointer); }

// Worker processes measure what is resident; a plugin's own claims are not needed for that.
void account(void*, const char*, int64_t) {}

// Nothing is ever submitted: every lane runs its instance in its own thread.
void complete(void*, uint64_t, const verge_status*) {}

uint64_t now_ns(void*) { return os::monotonic_ns(); }

}  // namespace

// Blocks from this size on get pages of their own, which go back to the system when they are freed, by whichever thread and however late.
// (By default the C library raises the limit to what was freed last, and 40 MB of an unloaded model stayed behind now and then.)
constexpr int kOwnPagesBytes = 16 << 20;

const verge_host_api& host_api() {
  static const verge_host_api api = [] {
    mallopt(M_MMAP_THRESHOLD, kOwnPagesBytes);
    verge_host_api a{};
    a.size = sizeof a;
    a.abi_minor = VERGE_ENGINE_ABI_MINOR;
    a.log = log_line;
    a.allocate = allocate;
    a.deallocate = deallocate;
    a.account = account;
    a.complete = complete;
    a.now_ns = now_ns;
    return a;
  }();
  return api;
}

void trim_memory() { malloc_trim(0); }

}  // namespace verge::engine
