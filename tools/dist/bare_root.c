/* Loaded by the launcher where there is no /proc: engines ask files about the processor (OpenVINO and XNNPACK refuse or hang without
 * /proc/cpuinfo), and this answers from the CPUID instruction and from system calls instead. Only files that are really absent are
 * answered, only the few below, and with what Linux would say. x86-64. */
#define _GNU_SOURCE
#include <cpuid.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

struct cpu {
  unsigned apicid, package, core;
};

struct flag {
  const char* name;
  unsigned leaf, subleaf;
  int reg; /* 0 … 3: eax, ebx, ecx, edx */
  int bit;
  unsigned xcr0; /* what the system must have switched on */
};
enum { kAvx = 0x6, kAvx512 = 0xe6, kAmx = 0x60000 };
static const struct flag kFlags[] = {
    {"fpu", 1, 0, 3, 0, 0},          {"sse", 1, 0, 3, 25, 0},          {"sse2", 1, 0, 3, 26, 0},          {"pni", 1, 0, 2, 0, 0},
    {"ssse3", 1, 0, 2, 9, 0},        {"fma", 1, 0, 2, 12, kAvx},       {"sse4_1", 1, 0, 2, 19, 0},        {"sse4_2", 1, 0, 2, 20, 0},
    {"popcnt", 1, 0, 2, 23, 0},      {"avx", 1, 0, 2, 28, kAvx},       {"f16c", 1, 0, 2, 29, kAvx},       {"bmi1", 7, 0, 1, 3, 0},
    {"avx2", 7, 0, 1, 5, kAvx},      {"bmi2", 7, 0, 1, 8, 0},          {"avx512f", 7, 0, 1, 16, kAvx512}, {"avx512dq", 7, 0, 1, 17, kAvx512},
    {"avx512cd", 7, 0, 1, 28, kAvx512}, {"avx512bw", 7, 0, 1, 30, kAvx512}, {"avx512vl", 7, 0, 1, 31, kAvx512}, {"avx512_vnni", 7, 0, 2, 11, kAvx512},
    {"avx512_fp16", 7, 0, 3, 23, kAvx512}, {"amx_bf16", 7, 0, 3, 22, kAmx}, {"amx_tile", 7, 0, 3, 24, kAmx}, {"amx_int8", 7, 0, 3, 25, kAmx},
    {"avx_vnni", 7, 1, 0, 4, kAvx},  {"avx512_bf16", 7, 1, 0, 5, kAvx512}};

static int has(const struct flag* f, unsigned xcr0) {
  unsigned r[4] = {0, 0, 0, 0};
  if (!__get_cpuid_count(f->leaf, f->subleaf, &r[0], &r[1], &r[2], &r[3])) return 0;
  return (r[f->reg] >> f->bit & 1) && (xcr0 & f->xcr0) == f->xcr0;
}

static unsigned enabled_state(void) {
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !(c >> 27 & 1)) return 0; /* OSXSAVE */
  unsigned low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return low;
}

/* Of the core the caller runs on. */
static struct cpu this_cpu(void) {
  unsigned a = 0, b = 0, c = 0, d = 0, smt = 0, core = 0;
  struct cpu cpu = {0, 0, 0};
  if (__get_cpuid_count(0xb, 0, &a, &b, &c, &d) && b) {
    smt = a & 31;
    cpu.apicid = d;
    if (__get_cpuid_count(0xb, 1, &a, &b, &c, &d) && b) core = a & 31;
  } else if (__get_cpuid(1, &a, &b, &c, &d)) {
    cpu.apicid = b >> 24;
  }
  if (core < smt) core = smt;
  cpu.package = core ? cpu.apicid >> core : 0;
  cpu.core = (cpu.apicid >> smt) & ((1u << (core - smt)) - 1);
  if (!core) cpu.core = cpu.apicid;
  return cpu;
}

static void brand(char out[49]) {
  unsigned r[12], a = 0, b = 0, c = 0, d = 0;
  memset(out, 0, 49);
  if (!__get_cpuid(0x80000000, &a, &b, &c, &d) || a < 0x80000004) return;
  for (unsigned i = 0; i < 3; ++i) __get_cpuid(0x80000002 + i, &r[4 * i], &r[4 * i + 1], &r[4 * i + 2], &r[4 * i + 3]);
  memcpy(out, r, 48);
}

static void write_cpuinfo(int fd) {
  cpu_set_t before, one;
  if (sched_getaffinity(0, sizeof before, &before) != 0) return;
  unsigned a = 0, b = 0, c = 0, d = 0;
  char vendor[13] = "", name[49], flags[512] = "";
  __get_cpuid(0, &a, &b, &c, &d);
  memcpy(vendor, &b, 4), memcpy(vendor + 4, &d, 4), memcpy(vendor + 8, &c, 4);
  brand(name);
  __get_cpuid(1, &a, &b, &c, &d);
  unsigned family = a >> 8 & 15, model = a >> 4 & 15;
  if (family == 6 || family == 15) model |= a >> 12 & 0xf0;
  if (family == 15) family += a >> 20 & 255;
  const unsigned stepping = a & 15, xcr0 = enabled_state();
  for (size_t i = 0; i < sizeof kFlags / sizeof *kFlags; ++i)
    if (has(&kFlags[i], xcr0)) strcat(strcat(flags, *flags ? " " : ""), kFlags[i].name);
  const int cores = CPU_COUNT(&before);
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &before)) continue;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    if (sched_setaffinity(0, sizeof one, &one) != 0) continue;
    const struct cpu t = this_cpu();
    dprintf(fd,
            "processor\t: %d\nvendor_id\t: %s\ncpu family\t: %u\nmodel\t\t: %u\nmodel name\t: %s\nstepping\t: %u\nphysical id\t: %u\nsiblings\t: %d\n"
            "core id\t\t: %u\ncpu cores\t: %d\napicid\t\t: %u\ninitial apicid\t: %u\nflags\t\t: %s\n\n",
            cpu, vendor, family, model, name, stepping, t.package, cores, t.core, cores, t.apicid, t.apicid, flags);
  }
  sched_setaffinity(0, sizeof before, &before);
}

static void write_meminfo(int fd) {
  struct sysinfo s;
  if (sysinfo(&s) != 0) return;
  const unsigned long long unit = s.mem_unit;
  dprintf(fd, "MemTotal:       %8llu kB\nMemFree:        %8llu kB\nMemAvailable:   %8llu kB\n", s.totalram * unit / 1024, s.freeram * unit / 1024,
          (s.freeram + s.bufferram) * unit / 1024);
}

static void write_cpu_list(int fd) {
  cpu_set_t set;
  int last = 0;
  if (sched_getaffinity(0, sizeof set, &set) != 0) return;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu)
    if (CPU_ISSET(cpu, &set)) last = cpu;
  dprintf(fd, last ? "0-%d\n" : "%d\n", last);
}

/* A file in memory with what Linux would say, or -1. */
static int answer(const char* path) {
  void (*fill)(int) = NULL;
  if (strcmp(path, "/proc/cpuinfo") == 0) fill = write_cpuinfo;
  if (strcmp(path, "/proc/meminfo") == 0) fill = write_meminfo;
  if (strcmp(path, "/sys/devices/system/cpu/possible") == 0 || strcmp(path, "/sys/devices/system/cpu/present") == 0 ||
      strcmp(path, "/sys/devices/system/cpu/online") == 0)
    fill = write_cpu_list;
  if (!fill) return -1;
  int fd = memfd_create("answer", MFD_CLOEXEC);
  if (fd < 0) return -1;
  fill(fd);
  lseek(fd, 0, SEEK_SET);
  return fd;
}

static int answer_absent(const char* path, int fd) {
  if (fd >= 0 || errno != ENOENT || !path) return fd;
  const int mine = answer(path);
  if (mine < 0) errno = ENOENT;
  return mine;
}

#define OPEN(name)                                                                              \
  EXPORT int name(const char* path, int flags, ...) {                                           \
    static int (*next)(const char*, int, ...);                                                  \
    if (!next) next = (int (*)(const char*, int, ...))dlsym(RTLD_NEXT, #name);                  \
    va_list rest;                                                                               \
    va_start(rest, flags);                                                                      \
    const int mode = (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(rest, int) : 0; \
    va_end(rest);                                                                               \
    return answer_absent(path, next(path, flags, mode));                                        \
  }
OPEN(open)
OPEN(open64)

#define FOPEN(name)                                                                            \
  EXPORT FILE* name(const char* path, const char* mode) {                                      \
    static FILE* (*next)(const char*, const char*);                                            \
    if (!next) next = (FILE * (*)(const char*, const char*)) dlsym(RTLD_NEXT, #name);          \
    FILE* file = next(path, mode);                                                             \
    if (file || errno != ENOENT) return file;                                                  \
    const int fd = answer(path);                                                               \
    if (fd < 0) errno = ENOENT;                                                                \
    return fd < 0 ? NULL : fdopen(fd, "r");                                                    \
  }
FOPEN(fopen)
FOPEN(fopen64)

EXPORT int access(const char* path, int mode) {
  static int (*next)(const char*, int);
  if (!next) next = (int (*)(const char*, int))dlsym(RTLD_NEXT, "access");
  const int rc = next(path, mode);
  if (rc == 0 || errno != ENOENT || (mode & (W_OK | X_OK))) return rc;
  const int fd = answer(path);
  if (fd < 0) {
    errno = ENOENT;
    return rc;
  }
  close(fd);
  return 0;
}
