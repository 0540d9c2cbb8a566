// Changes of folders as the kernel tells them (inotify).
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "core/status.h"

namespace verge::serve {

class Watcher {
 public:
  // `most`: folders that may be watched at a time.
  static Result<std::unique_ptr<Watcher>> create(size_t most);
  ~Watcher();
  Watcher(const Watcher&) = delete;
  Watcher& operator=(const Watcher&) = delete;

  int fd() const { return fd_; }  // readable when something has changed

  // Entries that come, go, or are written completely. Again after the folder was replaced; otherwise that changes nothing.
  Status watch(const std::string& dir);
  void forget(const std::string& dir);

  struct Changes {
    std::set<std::string> dirs;
    bool lost = false;  // the kernel's queue was full: anything may have changed
  };
  // Everything that has happened so far. Does not wait.
  Changes read();

 private:
  Watcher(int fd, size_t most) : fd_(fd), most_(most) {}
  const int fd_;
  const size_t most_;
  std::map<int, std::string> dirs_;
  std::map<std::string, int> watches_;
};

}  // namespace verge::serve
