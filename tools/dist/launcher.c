/* bin/verge of the relocatable tarball: a static program that starts libexec/verge with the C library and loader that lie beside it, because
 * the loader's path inside a program is absolute and the machine's own C library may be too old or not there at all. It needs no /proc:
 * it finds itself by the path it was started with. VERGE_HOME tells the program its root. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

static int fail(const char* what, const char* path) {
  fprintf(stderr, "verge: %s %s: %s\n", what, path, strerror(errno));
  return 127;
}

/* "ROOT/REST", which must fit. */
static int put(char* out, const char* root, const char* rest) {
  int n = snprintf(out, PATH_MAX, "%s/%s", root, rest);
  return n > 0 && n < PATH_MAX;
}

int main(int argc, char** argv) {
  const char* started = (const char*)getauxval(AT_EXECFN);
  char root[PATH_MAX];
  if (!started || !realpath(started, root)) return fail("cannot find", started ? started : "itself");
  for (int up = 0; up < 2; ++up) { /* from ROOT/bin/verge to ROOT; the root folder itself is "" */
    char* slash = strrchr(root, '/');
    if (!slash) {
      errno = ENOENT;
      return fail("is not in a folder bin:", started);
    }
    *slash = 0;
  }
  char loader[PATH_MAX], program[PATH_MAX], c_library[PATH_MAX], libraries[PATH_MAX], bare_root[PATH_MAX], path[2 * PATH_MAX + 2];
  if (!put(loader, root, "lib/c/ld-linux-x86-64.so.2") || !put(program, root, "libexec/verge") || !put(c_library, root, "lib/c") ||
      !put(libraries, root, "lib")) {
    errno = ENAMETOOLONG;
    return fail("lies too deep:", root);
  }
  snprintf(path, sizeof path, "%s:%s", c_library, libraries);
  if (setenv("VERGE_HOME", *root ? root : "/", 1) != 0) return fail("no memory for", root);

  char** args = calloc((size_t)argc + 10, sizeof *args);
  if (!args) return fail("no memory for", program);
  int n = 0;
  args[n++] = loader;
  args[n++] = "--argv0";
  args[n++] = argc > 0 ? argv[0] : program;
  args[n++] = "--library-path";
  args[n++] = path;
  if (access("/proc/cpuinfo", R_OK) != 0 && put(bare_root, root, "lib/bare_root.so")) {
    args[n++] = "--preload"; /* an empty root folder: see bare_root.c */
    args[n++] = bare_root;
  }
  args[n++] = program;
  for (int i = 1; i < argc; ++i) args[n++] = argv[i];
  execv(loader, args);
  return fail("cannot start", loader);
}
