// All access to the file system goes through here, so that limits and faults have one place. Paths are plain strings.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/manifest.h"
#include "core/status.h"

namespace verge::os {

Result<std::string> read_file(const std::string& path, uint64_t max_bytes);
// Writes beside `path`, fsyncs, renames over it and fsyncs the folder: a reader sees the old or the new file, whole.
Status write_file_atomic(const std::string& path, std::string_view content);
Status make_dirs(const std::string& path);
Status remove_tree(const std::string& path);  // never follows symbolic links; ok if absent
Status rename_path(const std::string& from, const std::string& to);
Status copy_tree(const std::string& from, const std::string& to);  // regular files and folders; refuses symbolic links
Status sync_tree(const std::string& path);                         // fsync of every file and folder below
bool exists(const std::string& path);
bool is_dir(const std::string& path);
Result<uint64_t> file_size(const std::string& path);
Result<std::vector<std::string>> list_dir(const std::string& path);  // names, sorted, without "." and ".."
std::string join(std::string_view a, std::string_view b);
std::string base_name(std::string_view path);  // "b" of "/a/b/" 
std::string dir_name(std::string_view path);
Result<std::string> absolute(const std::string& path);  // resolved; must exist
Result<std::string> make_temp_dir(const std::string& parent, std::string_view prefix);

std::string sha256_hex(std::string_view bytes);
Result<std::string> sha256_file(const std::string& path);
// Every regular file below `dir` with its size and digest, sorted by path. Refuses symbolic links and special files.
Result<std::vector<ManifestFile>> digest_tree(const std::string& dir);
// Checks that exactly the listed files are there, with the listed sizes and digests.
Status verify_tree(const std::string& dir, const std::vector<ManifestFile>& files);

// A read-only memory map.
class MappedFile {
 public:
  static Result<MappedFile> open(const std::string& path, uint64_t max_bytes = uint64_t{1} << 40);
  MappedFile(MappedFile&& o) noexcept;
  MappedFile& operator=(MappedFile&& o) noexcept;
  ~MappedFile();
  std::span<const std::byte> bytes() const { return {data_, size_}; }

 private:
  MappedFile() = default;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

// An exclusive advisory lock on a file, held until destroyed.
class FileLock {
 public:
  // Waits if `wait`; otherwise kUnavailable, naming the holder's process id, when somebody else holds it.
  static Result<std::unique_ptr<FileLock>> acquire(const std::string& path, bool wait);
  ~FileLock();

 private:
  explicit FileLock(int fd) : fd_(fd) {}
  int fd_;
};

// The installation: where the verge binary, plugins and the tool chain lie. Works from a build tree and from a relocated tarball.
struct Install {
  std::string executable;   // what to start for a worker process
  std::string plugin_dir;   // the engine plugins and their descriptors
  std::string python_dir;   // the tool chain's package; empty in a serving-only install
  std::string toolchain_python;  // interpreter of the tool chain's environment; empty if not installed
};
const Install& install();

}  // namespace verge::os
