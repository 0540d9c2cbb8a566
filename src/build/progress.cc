#include "build/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdio>

#include "os/process.h"

namespace verge::build {

Progress::Progress(bool quiet) : quiet_(quiet), terminal_(::isatty(STDERR_FILENO) == 1), start_ns_(os::monotonic_ns()) {}

Progress::~Progress() {
  std::lock_guard lock(mutex_);
  clear_live();
}

double Progress::elapsed_s() const { return static_cast<double>(os::monotonic_ns() - start_ns_) / 1e9; }

void Progress::clear_live() {
  if (!live_shown_) return;
  std::fputs("\r\033[K", stderr);
  live_shown_ = false;
}

void Progress::put(const std::string& text) {
  clear_live();
  std::fprintf(stderr, "%7.1f s  %s\n", elapsed_s(), text.c_str());
  std::fflush(stderr);
}

void Progress::live(const std::string& text) {
  if (quiet_ || !terminal_) return;
  std::lock_guard lock(mutex_);
  clear_live();
  winsize size{};
  size_t width = ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 20 ? size.ws_col : 80;
  char prefix[32];
  std::snprintf(prefix, sizeof prefix, "%7.1f s  ", elapsed_s());
  std::string shown = prefix + text;
  // A line that wraps could not be taken back.
  if (shown.size() >= width) shown.resize(width - 1);
  std::fputs(shown.c_str(), stderr);
  std::fflush(stderr);
  live_shown_ = true;
}

void Progress::line(const std::string& text) {
  if (quiet_) return;
  std::lock_guard lock(mutex_);
  put(text);
}

void Progress::warning(const std::string& text) { line("warning: " + text); }

void Progress::error(const std::string& text) {
  std::lock_guard lock(mutex_);
  clear_live();
  std::fprintf(stderr, "verge: %s\n", text.c_str());
  std::fflush(stderr);
}

}  // namespace verge::build
