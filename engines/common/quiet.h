// Runtimes that greet on standard error whatever their log level is: what they write while a Quiet lives goes to the host's log instead.
#ifndef VERGE_ENGINES_COMMON_QUIET_H_
#define VERGE_ENGINES_COMMON_QUIET_H_

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "verge/engine.h"

namespace verge_plugin {

// Redirects file descriptor 2 of the whole process, so keep it short. At the end, lines that begin with one of `prefixes` become debug
// messages; all others, other threads' among them, are written where they were meant to go.
class Quiet {
 public:
  Quiet(const verge_host_api* host, std::initializer_list<std::string_view> prefixes) : host_(host), prefixes_(prefixes) {
    file_ = memfd_create("verge-quiet", MFD_CLOEXEC);
    stderr_ = file_ < 0 ? -1 : fcntl(2, F_DUPFD_CLOEXEC, 3);
    if (stderr_ >= 0) dup2(file_, 2);
  }
  ~Quiet() {
    if (stderr_ >= 0) {
      dup2(stderr_, 2);
      deliver();
      close(stderr_);
    }
    if (file_ >= 0) close(file_);
  }
  Quiet(const Quiet&) = delete;
  Quiet& operator=(const Quiet&) = delete;

 private:
  void deliver() const {
    std::string text(64 << 10, '\0');
    const ssize_t got = pread(file_, text.data(), text.size(), 0);
    text.resize(got > 0 ? static_cast<size_t>(got) : 0);
    for (size_t at = 0; at < text.size();) {
      const size_t end = std::min(text.find('\n', at), text.size());
      const std::string line = text.substr(at, end - at);
      at = end + 1;
      bool ours = false;
      for (std::string_view p : prefixes_) ours = ours || line.compare(0, p.size(), p) == 0;
      if (!ours) {
        const std::string whole = line + "\n";
        if (write(2, whole.data(), whole.size()) < 0) return;
      } else if (host_ && host_->size > offsetof(verge_host_api, log) + sizeof(void*) && host_->log) {
        host_->log(host_->context, VERGE_LOG_DEBUG, line.c_str());
      }
    }
  }

  const verge_host_api* host_;
  std::vector<std::string_view> prefixes_;
  int file_ = -1, stderr_ = -1;
};

}  // namespace verge_plugin

#endif  // VERGE_ENGINES_COMMON_QUIET_H_
