#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <vector>

#include "os/files.h"

namespace fs = std::filesystem;

namespace verge::os {
namespace {

std::string hex(const unsigned char* p, unsigned n) {
  std::string out;
  out.reserve(size_t{n} * 2);
  for (unsigned i = 0; i < n; ++i) {
    out += "0123456789abcdef"[p[i] >> 4];
    out += "0123456789abcdef"[p[i] & 15];
  }
  return out;
}

struct DigestContext {
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  DigestContext() { EVP_DigestInit_ex(context, EVP_sha256(), nullptr); }
  ~DigestContext() { EVP_MD_CTX_free(context); }
  DigestContext(const DigestContext&) = delete;
  void add(const void* p, size_t n) { EVP_DigestUpdate(context, p, n); }
  std::string finish() {
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    EVP_DigestFinal_ex(context, digest, &n);
    return hex(digest, n);
  }
};

}  // namespace

std::string sha256_hex(std::string_view bytes) {
  DigestContext d;
  d.add(bytes.data(), bytes.size());
  return d.finish();
}

Result<std::string> sha256_file(const std::string& path) {
  int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0) return not_found(path + ": " + std::strerror(errno));
  DigestContext d;
  std::vector<char> buffer(1 << 20);
  for (;;) {
    ssize_t n = ::read(fd, buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      int e = errno;
      ::close(fd);
      return data_loss(path + ": cannot be read: " + std::strerror(e));
    }
    if (n == 0) break;
    d.add(buffer.data(), static_cast<size_t>(n));
  }
  ::close(fd);
  return d.finish();
}

Result<std::vector<ManifestFile>> digest_tree(const std::string& dir) {
  std::vector<ManifestFile> files;
  std::error_code ec;
  fs::recursive_directory_iterator it(dir, ec), end;
  if (ec) return not_found(dir + ": " + ec.message());
  for (; it != end; it.increment(ec)) {
    if (ec) return internal_error(dir + ": " + ec.message());
    auto type = it->symlink_status(ec).type();
    if (type == fs::file_type::directory) continue;
    const std::string path = it->path().string();
    if (type != fs::file_type::regular) return invalid_argument(path + ": neither a regular file nor a folder");
    ManifestFile f;
    f.path = fs::path(path).lexically_relative(dir).generic_string();
    VERGE_ASSIGN(f.size, file_size(path));
    VERGE_ASSIGN(f.sha256, sha256_file(path));
    files.push_back(std::move(f));
  }
  if (ec) return internal_error(dir + ": " + ec.message());
  std::sort(files.begin(), files.end(), [](const auto& a, const auto& b) { return a.path < b.path; });
  return files;
}

Status verify_tree(const std::string& dir, const std::vector<ManifestFile>& files) {
  // Sizes and names first: a changed size needs no digest of a file that may be huge.
  std::vector<std::string> present;
  std::error_code ec;
  fs::recursive_directory_iterator it(dir, ec), end;
  if (ec) return data_loss(dir + ": " + ec.message());
  for (; it != end; it.increment(ec)) {
    if (ec) return data_loss(dir + ": " + ec.message());
    auto type = it->symlink_status(ec).type();
    if (type == fs::file_type::directory) continue;
    std::string relative = it->path().lexically_relative(dir).generic_string();
    if (type != fs::file_type::regular) return data_loss(dir + "/" + relative + ": neither a regular file nor a folder");
    if (std::none_of(files.begin(), files.end(), [&](const auto& f) { return f.path == relative; }))
      return data_loss(dir + "/" + relative + ": not listed in the manifest; it was added after the build");
  }
  for (const auto& f : files) {
    const std::string path = join(dir, f.path);
    auto size = file_size(path);
    if (!size.ok()) return data_loss(path + ": missing; build the package again or copy it again");
    if (*size != f.size)
      return data_loss(path + ": has " + std::to_string(*size) + " bytes, the manifest says " + std::to_string(f.size) +
                       "; it was changed after the build");
  }
  for (const auto& f : files) {
    const std::string path = join(dir, f.path);
    VERGE_ASSIGN(std::string digest, sha256_file(path));
    if (digest != f.sha256) return data_loss(path + ": its sha256 is not the manifest's; it was changed after the build");
  }
  return {};
}

}  // namespace verge::os
