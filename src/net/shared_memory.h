// The system shared memory extension: POSIX shared memory objects that clients have made and registered, for inputs and outputs.
//
// Objects are never mapped. A client may cut its object short at any time, and a process that touches a mapping beyond the end is killed;
// so bytes are read from and written to the object's descriptor, which says "too short" instead. That costs one copy for each tensor, into
// memory that the client cannot change while it is being checked and used.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"

namespace verge::net {

// A part of an object under a name of the client's choice. Stays usable while somebody holds it, whatever is unregistered meanwhile.
class SharedRegion {
 public:
  SharedRegion(std::string name, std::string key, uint64_t offset, uint64_t size, int fd)
      : name_(std::move(name)), key_(std::move(key)), offset_(offset), size_(size), fd_(fd) {}
  ~SharedRegion();
  SharedRegion(const SharedRegion&) = delete;
  SharedRegion& operator=(const SharedRegion&) = delete;

  const std::string& name() const { return name_; }
  const std::string& key() const { return key_; }
  uint64_t offset() const { return offset_; }
  uint64_t size() const { return size_; }

  // kInvalidArgument unless these bytes lie in the region.
  Status check(uint64_t offset, uint64_t bytes) const;
  // Both check, and see the object's size as it is now.
  Status read(uint64_t offset, std::span<std::byte> into) const;
  Status write(uint64_t offset, std::span<const std::byte> from) const;

 private:
  Status too_short() const;
  const std::string name_, key_;
  const uint64_t offset_, size_;
  const int fd_;
};

// The registered regions of a server. Any thread.
class SharedMemory {
 public:
  static constexpr size_t kMaxRegions = 1024;   // each holds a descriptor
  static constexpr size_t kMaxName = 256;       // bytes of a region's name
  static constexpr size_t kMaxKey = 255;        // of an object's

  // `key`: "/NAME" or "NAME". kAlreadyExists where the region is registered, kInvalidArgument where the key, the size or the object will not
  // do, kNotFound where there is no such object, kResourceExhausted beyond kMaxRegions.
  Status add(std::string_view name, std::string_view key, uint64_t offset, uint64_t size);
  // Nothing happens where there is none of this name. Empty: all.
  void remove(std::string_view name);
  // kNotFound where there is none.
  Result<std::shared_ptr<const SharedRegion>> find(std::string_view name) const;
  std::vector<std::shared_ptr<const SharedRegion>> list() const;

 private:
  mutable std::mutex mutex_;
  std::map<std::string, std::shared_ptr<const SharedRegion>, std::less<>> regions_;
};

}  // namespace verge::net
