#include "net/shared_memory.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>

namespace verge::net {
namespace {

std::string errno_text() { return std::strerror(errno); }

// What shm_open() would make a path of is refused: one name without a slash, as /dev/shm has them.
Status check_key(std::string_view key) {
  std::string_view name = key;
  if (name.starts_with('/')) name.remove_prefix(1);
  const bool good = !name.empty() && name.size() <= SharedMemory::kMaxKey && name.find('/') == std::string_view::npos &&
                    name.find('\0') == std::string_view::npos && name != "." && name.find("..") == std::string_view::npos;
  if (good) return {};
  return invalid_argument("shared memory key '" + std::string(key.substr(0, 64)) + "' is not of the form /NAME with at most " +
                          std::to_string(SharedMemory::kMaxKey) + " bytes, without another slash and without '..'");
}

}  // namespace

SharedRegion::~SharedRegion() { close(fd_); }

Status SharedRegion::check(uint64_t offset, uint64_t bytes) const {
  if (offset <= size_ && bytes <= size_ - offset) return {};
  return invalid_argument(std::to_string(bytes) + " bytes at offset " + std::to_string(offset) + " do not lie in shared memory region '" + name_ +
                          "' of " + std::to_string(size_) + " bytes");
}

Status SharedRegion::too_short() const {
  return invalid_argument("shared memory region '" + name_ + "': its object has become shorter than it was when it was registered");
}

Status SharedRegion::read(uint64_t offset, std::span<std::byte> into) const {
  VERGE_RETURN_IF_ERROR(check(offset, into.size()));
  uint64_t at = offset_ + offset;
  while (!into.empty()) {
    const ssize_t n = pread(fd_, into.data(), into.size(), static_cast<off_t>(at));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return internal_error("shared memory region '" + name_ + "': " + errno_text());
    if (n == 0) return too_short();
    into = into.subspan(static_cast<size_t>(n));
    at += static_cast<uint64_t>(n);
  }
  return {};
}

Status SharedRegion::write(uint64_t offset, std::span<const std::byte> from) const {
  VERGE_RETURN_IF_ERROR(check(offset, from.size()));
  uint64_t at = offset_ + offset;
  // Writing beyond the end would make the object longer: never more than the client had asked for, but not what it wants.
  struct stat s;
  if (fstat(fd_, &s) != 0 || static_cast<uint64_t>(s.st_size) < at + from.size()) return too_short();
  while (!from.empty()) {
    const ssize_t n = pwrite(fd_, from.data(), from.size(), static_cast<off_t>(at));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return resource_exhausted("shared memory region '" + name_ + "' cannot be written: " + errno_text());
    from = from.subspan(static_cast<size_t>(n));
    at += static_cast<uint64_t>(n);
  }
  return {};
}

Status SharedMemory::add(std::string_view name, std::string_view key, uint64_t offset, uint64_t size) {
  if (name.empty() || name.size() > kMaxName)
    return invalid_argument("a shared memory region's name has 1 to " + std::to_string(kMaxName) + " bytes, not " + std::to_string(name.size()));
  VERGE_RETURN_IF_ERROR(check_key(key));
  const std::string region(name), object(key);
  if (size == 0) return invalid_argument("shared memory region '" + region + "': byte_size must be larger than 0");
  std::lock_guard lock(mutex_);
  if (regions_.contains(name)) return already_exists("shared memory region '" + region + "' is registered already");
  if (regions_.size() == kMaxRegions)
    return resource_exhausted(std::to_string(kMaxRegions) + " shared memory regions are registered, which is the limit; unregister some");
  const int fd = shm_open(object.c_str(), O_RDWR, 0);
  if (fd < 0) {
    const std::string what = "shared memory object '" + object + "': " + errno_text();
    return errno == ENOENT ? not_found(what) : errno == EMFILE || errno == ENFILE ? resource_exhausted(what) : invalid_argument(what);
  }
  auto made = std::make_shared<const SharedRegion>(region, object, offset, size, fd);
  struct stat s;
  if (fstat(fd, &s) != 0 || !S_ISREG(s.st_mode)) return invalid_argument("'" + object + "' is not a shared memory object");
  const auto length = static_cast<uint64_t>(s.st_size);
  if (offset > length || size > length - offset)
    return invalid_argument("shared memory region '" + region + "': " + std::to_string(size) + " bytes at offset " + std::to_string(offset) +
                            " do not lie in object '" + object + "' of " + std::to_string(length) + " bytes");
  regions_.emplace(region, std::move(made));
  return {};
}

void SharedMemory::remove(std::string_view name) {
  std::lock_guard lock(mutex_);
  if (name.empty()) {
    regions_.clear();
  } else if (const auto at = regions_.find(name); at != regions_.end()) {
    regions_.erase(at);
  }
}

Result<std::shared_ptr<const SharedRegion>> SharedMemory::find(std::string_view name) const {
  std::lock_guard lock(mutex_);
  const auto at = regions_.find(name);
  if (at == regions_.end()) return not_found("no shared memory region '" + std::string(name.substr(0, kMaxName)) + "' is registered");
  return at->second;
}

std::vector<std::shared_ptr<const SharedRegion>> SharedMemory::list() const {
  std::lock_guard lock(mutex_);
  std::vector<std::shared_ptr<const SharedRegion>> out;
  for (const auto& [name, region] : regions_) out.push_back(region);
  return out;
}

}  // namespace verge::net
