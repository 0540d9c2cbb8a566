#include <dlfcn.h>
#include <unistd.h>

#include <climits>
#include <cstdlib>

#include "os/files.h"

namespace verge::os {
namespace {

std::string self_path() {
  char buffer[PATH_MAX];
  ssize_t n = ::readlink("/proc/self/exe", buffer, sizeof buffer);
  return n > 0 ? std::string(buffer, static_cast<size_t>(n)) : std::string();
}

// A relocated tarball: VERGE_HOME/{bin/verge, lib/verge/plugins}. The launcher in bin/ sets VERGE_HOME and starts the bundled
// loader, so /proc/self/exe does not name the program there.
Install from_home(const std::string& home) {
  Install i;
  i.executable = join(home, "bin/verge");
  i.plugin_dir = join(home, "lib/verge/plugins");
  i.python_dir = is_dir(join(home, "share/verge/python")) ? join(home, "share/verge/python") : "";
  return i;
}

Install find() {
  if (const char* home = std::getenv("VERGE_HOME"); home && *home && is_dir(join(home, "lib/verge/plugins"))) return from_home(home);
  const std::string self = self_path();
  const std::string dir = dir_name(self);
  if (is_dir(join(dir_name(dir), "lib/verge/plugins"))) {
    Install i = from_home(dir_name(dir));
    i.executable = self;
    return i;
  }
  // A build tree: BUILD/verge (or a test program in BUILD/tests), BUILD/plugins; the sources one level up.
  const std::string build = base_name(dir) == "tests" || base_name(dir) == "benchmarks" ? dir_name(dir) : dir;
  Install i;
  i.executable = join(build, "verge");
  i.plugin_dir = join(build, "plugins");
  const std::string source = dir_name(build);
  if (is_dir(join(source, "python/verge_toolchain"))) i.python_dir = join(source, "python");
  const std::string python = join(source, ".venv/toolchain/bin/python");
  if (::access(python.c_str(), X_OK) == 0) i.toolchain_python = python;
  return i;
}

// The tool chain may live elsewhere: VERGE_TOOLCHAIN_PYTHON names the interpreter of its environment.
Install with_overrides(Install i) {
  if (const char* python = std::getenv("VERGE_TOOLCHAIN_PYTHON"); python && *python) i.toolchain_python = python;
  return i;
}

}  // namespace

const Install& install() {
  static const Install found = with_overrides(find());
  return found;
}

}  // namespace verge::os
