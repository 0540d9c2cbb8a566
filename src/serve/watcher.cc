#include "serve/watcher.h"

#include <sys/inotify.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace verge::serve {
namespace {

constexpr uint32_t kEvents = IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_CLOSE_WRITE | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR;

std::string reason(int error) {
  if (error == ENOSPC) return "the user's limit on watches is reached; raise fs.inotify.max_user_watches";
  if (error == EMFILE) return "the limit on inotify instances or open files is reached; raise fs.inotify.max_user_instances";
  return std::strerror(error);
}

}  // namespace

Result<std::unique_ptr<Watcher>> Watcher::create(size_t most) {
  const int fd = ::inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
  if (fd < 0) return resource_exhausted("folders cannot be watched: " + reason(errno));
  return std::unique_ptr<Watcher>(new Watcher(fd, most));
}

Watcher::~Watcher() { ::close(fd_); }

Status Watcher::watch(const std::string& dir) {
  if (!watches_.contains(dir) && watches_.size() >= most_) {
    return resource_exhausted(dir + " cannot be watched: " + std::to_string(most_) + " folders are already");
  }
  const int wd = ::inotify_add_watch(fd_, dir.c_str(), kEvents);
  if (wd < 0) return resource_exhausted(dir + " cannot be watched: " + reason(errno));
  if (const auto old = watches_.find(dir); old != watches_.end() && old->second != wd) {
    // Another folder has taken its place.
    ::inotify_rm_watch(fd_, old->second);
    dirs_.erase(old->second);
  }
  if (const auto known = dirs_.find(wd); known != dirs_.end() && known->second != dir) watches_.erase(known->second);  // it was renamed
  watches_[dir] = wd;
  dirs_[wd] = dir;
  return {};
}

void Watcher::forget(const std::string& dir) {
  const auto it = watches_.find(dir);
  if (it == watches_.end()) return;
  ::inotify_rm_watch(fd_, it->second);
  dirs_.erase(it->second);
  watches_.erase(it);
}

Watcher::Changes Watcher::read() {
  Changes changes;
  alignas(inotify_event) char buffer[16 << 10];
  while (true) {
    const ssize_t n = ::read(fd_, buffer, sizeof buffer);
    if (n <= 0) {
      if (n < 0 && errno == EINTR) continue;
      return changes;
    }
    for (const char* p = buffer; p < buffer + n;) {
      const auto* event = reinterpret_cast<const inotify_event*>(p);
      p += sizeof(inotify_event) + event->len;
      if (event->mask & IN_Q_OVERFLOW) changes.lost = true;
      const auto dir = dirs_.find(event->wd);
      if (dir == dirs_.end()) continue;
      changes.dirs.insert(dir->second);
      if (event->mask & IN_IGNORED) {
        watches_.erase(dir->second);
        dirs_.erase(dir);
      }
    }
  }
}

}  // namespace verge::serve
