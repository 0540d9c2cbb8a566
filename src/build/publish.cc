#include "build/publish.h"

#include <algorithm>
#include <charconv>

#include "os/process.h"

namespace verge::build {
namespace {

constexpr std::string_view kLockName = ".verge-build.lock";
constexpr std::string_view kTempPrefix = ".verge-build-";

}  // namespace

Result<std::unique_ptr<os::FileLock>> lock_zoo(const std::string& zoo, const std::function<void(const std::string&)>& waiting) {
  std::string path = os::join(zoo, kLockName);
  auto lock = os::FileLock::acquire(path, false);
  if (lock.ok() || lock.status().code() != Code::kUnavailable) return lock;
  std::string holder = "?";
  if (auto text = os::read_file(path, 64); text.ok() && !text->empty()) holder = *text;
  waiting("another build (process " + holder + ") holds " + zoo + "; waiting");
  lock = os::FileLock::acquire(path, true);
  if (!lock.ok() && os::interrupted()) return Status{Code::kCancelled, "interrupted while waiting for " + zoo};
  return lock;
}

Result<Staging> Staging::create(const std::string& zoo) {
  VERGE_ASSIGN(std::string full, os::absolute(zoo));
  VERGE_ASSIGN(std::vector<std::string> names, os::list_dir(full));
  for (const std::string& name : names) {
    if (name.starts_with(kTempPrefix) && os::is_dir(os::join(full, name))) VERGE_RETURN_IF_ERROR(os::remove_tree(os::join(full, name)));
  }
  VERGE_ASSIGN(std::string dir, os::make_temp_dir(full, kTempPrefix));
  Staging staging(full, dir);
  VERGE_RETURN_IF_ERROR(os::make_dirs(staging.package_dir()));
  VERGE_RETURN_IF_ERROR(os::make_dirs(staging.work_dir()));
  return staging;
}

Staging::~Staging() {
  if (!dir_.empty()) (void)os::remove_tree(dir_);
}

Result<std::string> Staging::publish(const std::string& name, int64_t version) {
  std::string model = os::join(zoo_, name);
  VERGE_RETURN_IF_ERROR(os::make_dirs(model));
  std::string target = os::join(model, std::to_string(version));
  if (os::exists(target)) return already_exists(target + ": exists already");
  VERGE_RETURN_IF_ERROR(os::sync_tree(package_dir()));
  VERGE_RETURN_IF_ERROR(os::rename_path(package_dir(), target));
  return target;
}

int64_t highest_version(const std::string& zoo, const std::string& name) {
  int64_t highest = 0;
  auto names = os::list_dir(os::join(zoo, name));
  if (!names.ok()) return 0;
  for (const std::string& entry : *names) {
    int64_t v = 0;
    auto [end, error] = std::from_chars(entry.data(), entry.data() + entry.size(), v);
    if (error == std::errc() && end == entry.data() + entry.size()) highest = std::max(highest, v);
  }
  return highest;
}

}  // namespace verge::build
