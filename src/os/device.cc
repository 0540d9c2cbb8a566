// Facts of this machine and of this process, as the kernel tells them.
#include <malloc.h>
#include <sched.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>

#include "os/files.h"
#include "os/process.h"

namespace verge::os {
namespace {

// The flags that decide which kernels and precisions an engine picks.
constexpr const char* kPrecisionFlags[] = {"avx",         "avx2",        "fma",      "avx_vnni", "avx512f", "avx512bw", "avx512_vnni",
                                           "avx512_bf16", "avx512_fp16", "amx_tile", "amx_int8", "amx_bf16", "asimd",    "asimdhp",
                                           "asimddp",     "bf16",        "i8mm",     "sve"};

// The first "key : value" line of /proc/cpuinfo with one of these keys.
std::string cpuinfo(std::initializer_list<std::string_view> keys) {
  std::ifstream in("/proc/cpuinfo");
  std::string line;
  while (std::getline(in, line)) {
    size_t colon = line.find(':');
    if (colon == std::string::npos) continue;
    std::string key = line.substr(0, colon);
    while (!key.empty() && (key.back() == '\t' || key.back() == ' ')) key.pop_back();
    for (auto k : keys)
      if (key == k) return colon + 2 <= line.size() ? line.substr(colon + 2) : std::string();
  }
  return {};
}

uint64_t number_in(const char* path) {
  std::ifstream in(path);
  std::string s;
  in >> s;
  if (s.empty() || s == "max") return UINT64_MAX;
  return std::strtoull(s.c_str(), nullptr, 10);
}

uint64_t meminfo_bytes(std::string_view key) {
  std::ifstream in("/proc/meminfo");
  std::string name, unit;
  uint64_t kib;
  while (in >> name >> kib) {
    std::getline(in, unit);
    if (name == key) return kib * 1024;
  }
  return 0;
}

uint64_t statm_resident(const char* path) {
  std::FILE* f = std::fopen(path, "re");
  if (!f) return 0;
  unsigned long total = 0, resident = 0;
  int n = std::fscanf(f, "%lu %lu", &total, &resident);
  std::fclose(f);
  return n == 2 ? static_cast<uint64_t>(resident) * static_cast<uint64_t>(::sysconf(_SC_PAGESIZE)) : 0;
}

}  // namespace

uint64_t resident_bytes() { return statm_resident("/proc/self/statm"); }

uint64_t resident_bytes_of(pid_t pid) { return statm_resident(("/proc/" + std::to_string(pid) + "/statm").c_str()); }

std::vector<int> usable_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  std::vector<int> cores;
  if (::sched_getaffinity(0, sizeof set, &set) != 0) return {0};
  for (int i = 0; i < CPU_SETSIZE; ++i)
    if (CPU_ISSET(i, &set)) cores.push_back(i);
  return cores;
}

void set_time_slice(uint64_t ns) {
  // struct sched_attr of linux/sched/types.h, which the C library's headers do not go together with.
  struct {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;
  } attr{};
  if (syscall(SYS_sched_getattr, 0, &attr, sizeof attr, 0) != 0 || attr.policy != SCHED_OTHER) return;
  attr.size = sizeof attr;
  attr.runtime = ns;
  (void)syscall(SYS_sched_setattr, 0, &attr, 0);
}

Status pin_thread(const std::vector<int>& cores) {
  if (cores.empty()) return {};
  cpu_set_t set;
  CPU_ZERO(&set);
  for (int c : cores) {
    if (c < 0 || c >= CPU_SETSIZE) return invalid_argument("core " + std::to_string(c) + " does not exist");
    CPU_SET(static_cast<size_t>(c), &set);
  }
  if (::sched_setaffinity(0, sizeof set, &set) != 0)
    return invalid_argument(std::string("the cores asked for cannot be used: ") + std::strerror(errno));
  return {};
}

uint64_t available_memory_bytes() {
  uint64_t available = meminfo_bytes("MemAvailable:");
  uint64_t limit = number_in("/sys/fs/cgroup/memory.max"), used = number_in("/sys/fs/cgroup/memory.current");
  if (limit != UINT64_MAX && used != UINT64_MAX) available = std::min(available, limit > used ? limit - used : 0);
  return available;
}

uint64_t monotonic_ns() {
  timespec t{};
  ::clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<uint64_t>(t.tv_sec) * 1000000000u + static_cast<uint64_t>(t.tv_nsec);
}

std::string utc_now() {
  time_t now = ::time(nullptr);
  tm parts{};
  ::gmtime_r(&now, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

Device this_device() {
  Device d;
  utsname u{};
  ::uname(&u);
  d.architecture = u.machine;
  d.cpu_model = cpuinfo({"model name", "Model", "Hardware"});
  if (d.cpu_model.empty()) d.cpu_model = "unknown";
  d.cores = static_cast<int64_t>(usable_cores().size());
  d.memory_bytes = static_cast<int64_t>(meminfo_bytes("MemTotal:"));
  std::istringstream flags(cpuinfo({"flags", "Features"}));
  std::vector<std::string> all{std::istream_iterator<std::string>(flags), std::istream_iterator<std::string>()};
  for (const char* f : kPrecisionFlags)
    if (std::find(all.begin(), all.end(), f) != all.end()) d.cpu_flags.push_back(f);
  // Memory is a fact of the device but not of its identity: it varies by a few pages from boot to boot.
  std::string facts = d.architecture + "\n" + d.cpu_model + "\n" + std::to_string(d.cores) + "\n";
  for (const auto& f : d.cpu_flags) facts += f + " ";
  d.fingerprint = sha256_hex(facts).substr(0, 16);
  return d;
}

}  // namespace verge::os
