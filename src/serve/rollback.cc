#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "os/files.h"
#include "package/package.h"
#include "serve/control.h"
#include "serve/sources.h"
#include "serve/versions.h"

namespace verge::serve {
namespace {

constexpr uint64_t kMaxServingBytes = 4096;

int refuse(const std::string& why, int code = 2) {
  std::fprintf(stderr, "verge rollback: %s\n", why.c_str());
  return code;
}

}  // namespace

int rollback_main(const RollbackOptions& o) {
  auto dir = os::absolute(o.model);
  if (!dir.ok()) return refuse(dir.status().message());
  const auto versions = find_versions(*dir);
  if (!versions.ok()) return refuse(versions.status().message());
  if (versions->empty()) return refuse(o.model + ": it holds no version; name the model's folder, ZOO/NAME");
  const std::string file = os::join(*dir, kServingFile), name = os::base_name(*dir);
  if (o.latest) {
    if (::unlink(file.c_str()) != 0 && errno != ENOENT) return refuse(file + ": " + std::strerror(errno), 3);
    std::printf("%s: served as the server's configuration says; the latest version is %lld\n", name.c_str(), static_cast<long long>(versions->back().version));
    return 0;
  }
  int64_t now = versions->back().version;
  if (const auto text = os::read_file(file, kMaxServingBytes); text.ok()) {
    if (const auto pinned = parse_serving(*text); pinned.ok()) now = *pinned;
  }
  int64_t to = 0;
  std::string have;
  for (const Found& f : *versions) {
    have += (have.empty() ? "" : ", ") + std::to_string(f.version);
    if (o.to == 0 ? f.version < now : f.version == o.to) to = f.version;
  }
  if (to == 0) {
    return o.to != 0 ? refuse(o.model + " has no version " + std::to_string(o.to) + "; it has " + have)
                     : refuse(o.model + " has no version before " + std::to_string(now) + "; it has " + have, 1);
  }
  const auto package = package::open_package(os::join(*dir, std::to_string(to)));
  if (!package.ok()) return refuse("version " + std::to_string(to) + " cannot be served: " + package.status().message());
  if (Status s = os::write_file_atomic(file, print_serving(to)); !s.ok()) return refuse(s.message(), 3);
  std::printf("%s: version %lld from now on; a server that watches the zoo changes over by itself, `verge reload` makes another one look\n"
              "`verge rollback %s --latest` ends that\n", name.c_str(), static_cast<long long>(to), o.model.c_str());
  return 0;
}

}  // namespace verge::serve
