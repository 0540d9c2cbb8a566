#include "os/files.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "os/process.h"

namespace fs = std::filesystem;

namespace verge::os {
namespace {

Status from_errno(const std::string& path, const char* what, int e) {
  Code code = Code::kInternal;
  if (e == ENOENT || e == ENOTDIR) code = Code::kNotFound;
  if (e == EACCES || e == EPERM || e == EROFS) code = Code::kPermissionDenied;
  if (e == ENOSPC || e == EDQUOT || e == EFBIG) code = Code::kResourceExhausted;
  std::string hint = e == ENOSPC ? "; free some disk space and try again" : "";
  return {code, path + ": " + what + ": " + std::strerror(e) + hint};
}

class Fd {
 public:
  explicit Fd(int fd) : fd_(fd) {}
  Fd(const Fd&) = delete;
  ~Fd() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }

 private:
  int fd_;
};

Status sync_path(const std::string& path, int flags) {
  Fd fd(::open(path.c_str(), flags | O_CLOEXEC | O_NOFOLLOW));
  if (!fd) return from_errno(path, "cannot be opened", errno);
  if (::fsync(fd.get()) != 0) return from_errno(path, "cannot be written to disk", errno);
  return {};
}

}  // namespace

Result<std::string> read_file(const std::string& path, uint64_t max_bytes) {
  Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return from_errno(path, "cannot be opened", errno);
  struct stat st {};
  if (::fstat(fd.get(), &st) != 0) return from_errno(path, "cannot be read", errno);
  if (!S_ISREG(st.st_mode)) return invalid_argument(path + ": not a regular file");
  if (static_cast<uint64_t>(st.st_size) > max_bytes)
    return resource_exhausted(path + ": " + std::to_string(st.st_size) + " bytes, at most " + std::to_string(max_bytes) + " are read");
  std::string out(static_cast<size_t>(st.st_size), '\0');
  size_t at = 0;
  while (at < out.size()) {
    ssize_t n = ::read(fd.get(), out.data() + at, out.size() - at);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return from_errno(path, "cannot be read", errno);
    if (n == 0) break;
    at += static_cast<size_t>(n);
  }
  out.resize(at);
  return out;
}

Status write_file_atomic(const std::string& path, std::string_view content) {
  std::string temp = path + ".tmp." + std::to_string(::getpid());
  auto fail = [&](const char* what) {
    Status s = from_errno(path, what, errno);
    ::unlink(temp.c_str());
    return s;
  };
  {
    Fd fd(::open(temp.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644));
    if (!fd) return from_errno(path, "cannot be written", errno);
    size_t at = 0;
    while (at < content.size()) {
      ssize_t n = ::write(fd.get(), content.data() + at, content.size() - at);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return fail("cannot be written");
      at += static_cast<size_t>(n);
    }
    if (::fsync(fd.get()) != 0) return fail("cannot be written to disk");
  }
  if (::rename(temp.c_str(), path.c_str()) != 0) return fail("cannot be replaced");
  std::string dir = dir_name(path);
  return sync_path(dir.empty() ? "." : dir, O_RDONLY | O_DIRECTORY);
}

Status make_dirs(const std::string& path) {
  std::error_code ec;
  fs::create_directories(path, ec);
  if (ec) return from_errno(path, "cannot be created", ec.value());
  return {};
}

Status remove_tree(const std::string& path) {
  std::error_code ec;
  fs::remove_all(path, ec);
  if (ec) return from_errno(path, "cannot be removed", ec.value());
  return {};
}

Status rename_path(const std::string& from, const std::string& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) return from_errno(to, ("cannot be made from " + from).c_str(), errno);
  return sync_path(dir_name(to).empty() ? "." : dir_name(to), O_RDONLY | O_DIRECTORY);
}

Status copy_tree(const std::string& from, const std::string& to) {
  std::error_code ec;
  auto type = fs::symlink_status(from, ec).type();
  if (type == fs::file_type::regular) {
    fs::copy_file(from, to, fs::copy_options::overwrite_existing, ec);
    if (ec) return from_errno(to, ("cannot be copied from " + from).c_str(), ec.value());
    return {};
  }
  if (type != fs::file_type::directory) return invalid_argument(from + ": neither a regular file nor a folder");
  VERGE_RETURN_IF_ERROR(make_dirs(to));
  VERGE_ASSIGN(std::vector<std::string> names, list_dir(from));
  for (const auto& name : names) VERGE_RETURN_IF_ERROR(copy_tree(join(from, name), join(to, name)));
  return {};
}

Status sync_tree(const std::string& path) {
  if (!is_dir(path)) return sync_path(path, O_RDONLY);
  VERGE_ASSIGN(std::vector<std::string> names, list_dir(path));
  for (const auto& name : names) VERGE_RETURN_IF_ERROR(sync_tree(join(path, name)));
  return sync_path(path, O_RDONLY | O_DIRECTORY);
}

bool exists(const std::string& path) {
  struct stat st {};
  return ::stat(path.c_str(), &st) == 0;
}

bool is_dir(const std::string& path) {
  struct stat st {};
  return ::stat(path.c_str(), &st) == 0 && S_ISDIR(st.st_mode);
}

Result<uint64_t> file_size(const std::string& path) {
  struct stat st {};
  if (::lstat(path.c_str(), &st) != 0) return from_errno(path, "cannot be read", errno);
  if (!S_ISREG(st.st_mode)) return invalid_argument(path + ": not a regular file");
  return static_cast<uint64_t>(st.st_size);
}

Result<std::vector<std::string>> list_dir(const std::string& path) {
  std::vector<std::string> names;
  std::error_code ec;
  fs::directory_iterator it(path, ec), end;
  if (ec) return from_errno(path, "cannot be listed", ec.value());
  for (; it != end; it.increment(ec)) {
    if (ec) break;
    names.push_back(it->path().filename().string());
  }
  if (ec) return from_errno(path, "cannot be listed", ec.value());
  std::sort(names.begin(), names.end());
  return names;
}

std::string join(std::string_view a, std::string_view b) {
  if (a.empty()) return std::string(b);
  std::string out(a);
  if (out.back() != '/') out += '/';
  return out.append(b);
}

static std::string_view without_trailing_slashes(std::string_view p) {
  while (p.size() > 1 && p.back() == '/') p.remove_suffix(1);
  return p;
}

std::string base_name(std::string_view path) {
  path = without_trailing_slashes(path);
  size_t slash = path.rfind('/');
  return std::string(slash == std::string_view::npos || path.size() == 1 ? path : path.substr(slash + 1));
}

std::string dir_name(std::string_view path) {
  path = without_trailing_slashes(path);
  size_t slash = path.rfind('/');
  if (slash == std::string_view::npos) return {};
  return std::string(slash == 0 ? "/" : path.substr(0, slash));
}

Result<std::string> absolute(const std::string& path) {
  char* real = ::realpath(path.c_str(), nullptr);
  if (!real) return from_errno(path, "cannot be found", errno);
  std::string out(real);
  ::free(real);
  return out;
}

Result<std::string> make_temp_dir(const std::string& parent, std::string_view prefix) {
  std::string pattern = join(parent, std::string(prefix) + "XXXXXX");
  if (!::mkdtemp(pattern.data())) return from_errno(parent, "no temporary folder can be made there", errno);
  return pattern;
}

Result<MappedFile> MappedFile::open(const std::string& path, uint64_t max_bytes) {
  Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return from_errno(path, "cannot be opened", errno);
  struct stat st {};
  if (::fstat(fd.get(), &st) != 0) return from_errno(path, "cannot be read", errno);
  if (!S_ISREG(st.st_mode)) return invalid_argument(path + ": not a regular file");
  if (static_cast<uint64_t>(st.st_size) > max_bytes)
    return resource_exhausted(path + ": " + std::to_string(st.st_size) + " bytes, at most " + std::to_string(max_bytes) + " are read");
  MappedFile f;
  f.size_ = static_cast<size_t>(st.st_size);
  if (f.size_ == 0) return f;
  void* p = ::mmap(nullptr, f.size_, PROT_READ, MAP_PRIVATE, fd.get(), 0);
  if (p == MAP_FAILED) return from_errno(path, "cannot be mapped", errno);
  f.data_ = static_cast<const std::byte*>(p);
  return f;
}

MappedFile::MappedFile(MappedFile&& o) noexcept : data_(std::exchange(o.data_, nullptr)), size_(std::exchange(o.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& o) noexcept {
  std::swap(data_, o.data_);
  std::swap(size_, o.size_);
  return *this;
}

MappedFile::~MappedFile() {
  if (data_) ::munmap(const_cast<std::byte*>(data_), size_);
}

Result<std::unique_ptr<FileLock>> FileLock::acquire(const std::string& path, bool wait) {
  int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
  if (fd < 0) return from_errno(path, "cannot be opened", errno);
  int r;
  do r = ::flock(fd, LOCK_EX | (wait ? 0 : LOCK_NB));
  while (r != 0 && errno == EINTR && wait && !interrupted());
  if (r != 0) {
    char holder[32] = {};
    ssize_t n = ::pread(fd, holder, sizeof holder - 1, 0);
    ::close(fd);
    return unavailable(path + ": held by process " + (n > 0 ? std::string(holder, static_cast<size_t>(n)) : std::string("?")));
  }
  const std::string pid = std::to_string(::getpid());
  // The content only serves the message above; failing to write it does not weaken the lock.
  if (::ftruncate(fd, 0) != 0 || ::pwrite(fd, pid.data(), pid.size(), 0) < 0) errno = 0;
  return std::unique_ptr<FileLock>(new FileLock(fd));
}

FileLock::~FileLock() { ::close(fd_); }

}  // namespace verge::os
