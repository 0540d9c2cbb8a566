// Zip archives, their members' bytes, and gzip files.
#include <sys/mman.h>
#include <unistd.h>

#include <vector>

#include "data/zip.h"
#include "fuzz.h"

using namespace verge;
using namespace verge::data;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const int fd = memfd_create("fuzz", MFD_CLOEXEC);
  static const std::string path = "/proc/self/fd/" + std::to_string(fd);
  if (ftruncate(fd, 0) != 0 || pwrite(fd, data, size, 0) != static_cast<ssize_t>(size)) return 0;
  if (auto archive = ZipArchive::open(path); archive.ok()) {
    for (const auto& member : archive->members()) {
      auto bytes = archive->bytes(member);
      if (!bytes.ok() || member.size > (1 << 20) || !(*bytes)->can_hold(member.size).ok()) continue;
      std::vector<std::byte> out(static_cast<size_t>(member.size));
      static_cast<void>((*bytes)->read(0, out, true));
    }
  }
  if (auto file = map_file(path); file.ok() && looks_gzipped(**file)) {
    auto bytes = gzip_bytes(*file, "f");
    std::vector<std::byte> out(4096);
    if (bytes->can_hold(out.size()).ok()) static_cast<void>(bytes->read(0, out, false));
  }
  return 0;
}
