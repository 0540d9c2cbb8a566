// A strict reader of zip archives as NumPy writes them (.npz): stored and deflated members, zip64, one disk, no encryption.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "data/bytes.h"

namespace verge::data {

class ZipArchive {
 public:
  struct Member {
    std::string name;
    uint64_t size = 0;  // inflated
    uint64_t packed = 0;
    uint64_t header = 0;  // offset of its local header
    uint32_t crc = 0;
    bool deflated = false;
  };
  static Result<ZipArchive> open(const std::string& path);
  const std::vector<Member>& members() const { return members_; }
  const Member* find(std::string_view name) const;
  Result<std::unique_ptr<ByteSource>> bytes(const Member& member) const;

 private:
  std::string path_;
  SharedFile file_;
  std::vector<Member> members_;
};

}  // namespace verge::data
