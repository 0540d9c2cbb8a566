#include "serve/certificate_watch.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "os/files.h"

namespace verge::serve {
namespace {

constexpr int kQuietMs = 100;
constexpr uint32_t kEvents = IN_CLOSE_WRITE | IN_MOVED_TO | IN_CREATE | IN_DELETE | IN_ONLYDIR;

}  // namespace

Result<std::unique_ptr<CertificateWatch>> CertificateWatch::start(const std::vector<std::string>& files, std::function<void()> changed) {
  std::unique_ptr<CertificateWatch> out(new CertificateWatch);
  out->inotify_ = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
  out->stop_ = eventfd(0, EFD_CLOEXEC);
  if (out->inotify_ < 0 || out->stop_ < 0) return unavailable(std::string("cannot watch files: ") + std::strerror(errno));
  for (const std::string& file : files) {
    const std::string dir = os::dir_name(file);
    if (inotify_add_watch(out->inotify_, dir.c_str(), kEvents) < 0)
      return unavailable("cannot watch the folder " + dir + ": " + std::strerror(errno));
  }
  out->changed_ = std::move(changed);
  out->thread_ = std::thread([w = out.get()] { w->run(); });
  return out;
}

CertificateWatch::~CertificateWatch() {
  if (thread_.joinable()) {
    const uint64_t one = 1;
    [[maybe_unused]] ssize_t n = write(stop_, &one, sizeof one);
    thread_.join();
  }
  if (inotify_ >= 0) close(inotify_);
  if (stop_ >= 0) close(stop_);
}

void CertificateWatch::run() {
  bool due = false;
  while (true) {
    pollfd fds[2] = {{inotify_, POLLIN, 0}, {stop_, POLLIN, 0}};
    const int n = poll(fds, 2, due ? kQuietMs : -1);
    if (n < 0 && errno != EINTR) return;
    if (fds[1].revents) return;
    if (n > 0) {
      // Which file it was matters little: reading the certificates again costs less than following links.
      alignas(inotify_event) char events[4096];
      while (read(inotify_, events, sizeof events) > 0) due = true;
    } else if (n == 0 && due) {
      due = false;
      changed_();
    }
  }
}

}  // namespace verge::serve
