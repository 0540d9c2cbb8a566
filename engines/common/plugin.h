/* What Verge's own plugins share, header only: errors that become verge_status, options, placement, and checks of what the host passes. A
 * plugin of another author needs none of it. */
#ifndef VERGE_ENGINES_COMMON_PLUGIN_H_
#define VERGE_ENGINES_COMMON_PLUGIN_H_

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <exception>
#include <map>
#include <new>
#include <string>
#include <string_view>
#include <vector>

#include "verge/engine.h"

namespace verge_plugin {

// Thrown inside a plugin, turned into a verge_status by guard().
struct Error {
  verge_code code;
  std::string message;
};

[[noreturn]] inline void fail(verge_code code, std::string message) { throw Error{code, std::move(message)}; }
[[noreturn]] inline void invalid(std::string message) { fail(VERGE_INVALID_ARGUMENT, std::move(message)); }

inline verge_code report(verge_status* status, verge_code code, std::string_view message) {
  if (!status || status->size < offsetof(verge_status, capacity) + sizeof status->capacity) return code;
  status->code = code;
  if (status->message && status->capacity > 0) {
    size_t n = std::min<size_t>(message.size(), status->capacity - 1);
    // Cut between characters, not inside one.
    while (n > 0 && n < message.size() && (static_cast<unsigned char>(message[n]) & 0xC0) == 0x80) --n;
    std::memcpy(status->message, message.data(), n);
    status->message[n] = 0;
  }
  return code;
}

// Runs `f`; whatever it throws becomes a code and a message. `describe` turns the runtime's own exceptions into one sentence.
template <typename F>
verge_code guard(verge_status* status, F&& f) noexcept {
  try {
    f();
    if (status && status->size >= offsetof(verge_status, message)) status->code = VERGE_OK;
    return VERGE_OK;
  } catch (const Error& e) {
    return report(status, e.code, e.message);
  } catch (const std::bad_alloc&) {
    return report(status, VERGE_RESOURCE_EXHAUSTED, "not enough memory");
  } catch (const std::exception& e) {
    return report(status, VERGE_INTERNAL, e.what());
  } catch (...) {
    return report(status, VERGE_INTERNAL, "the runtime threw something that is no exception");
  }
}

inline size_t dtype_size(int32_t dtype) {
  switch (dtype) {
    case VERGE_BOOL: case VERGE_UINT8: case VERGE_INT8: return 1;
    case VERGE_UINT16: case VERGE_INT16: case VERGE_FP16: case VERGE_BF16: return 2;
    case VERGE_UINT32: case VERGE_INT32: case VERGE_FP32: return 4;
    case VERGE_UINT64: case VERGE_INT64: case VERGE_FP64: return 8;
    default: return 0;
  }
}

inline const char* dtype_name(int32_t dtype) {
  static const char* const kNames[] = {"INVALID", "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16",
                                       "INT32", "INT64", "FP16", "FP32", "FP64", "BF16", "BYTES"};
  return dtype >= 0 && dtype <= VERGE_BYTES ? kNames[dtype] : kNames[0];
}

inline std::string dims_string(const int64_t* dims, int rank) {
  std::string s = "[";
  for (int i = 0; i < rank; ++i) s += (i ? "," : "") + std::to_string(dims[i]);
  return s + "]";
}

// Product of concrete dimensions; -1 where one is negative or the product passes 2^48.
inline int64_t element_count(const int64_t* dims, int rank) {
  int64_t n = 1;
  for (int i = 0; i < rank; ++i) {
    if (dims[i] < 0) return -1;
    if (dims[i] > 0 && n > (int64_t{1} << 48) / dims[i]) return -1;
    n *= dims[i];
  }
  return n;
}

// Throws unless `t` is a dense host tensor of the described type whose shape fits and whose bytes are all there. Returns its element
// count. Makes no heap call unless it throws.
inline int64_t check_input(const verge_tensor& t, const verge_tensor_info& info) {
  auto bad = [&](const std::string& what) { invalid(std::string("input '") + info.name + "': " + what); };
  if (t.size < sizeof(verge_tensor)) bad("the tensor struct is too short");
  if (t.dtype != info.dtype) bad(std::string("is ") + dtype_name(t.dtype) + ", the model takes " + dtype_name(info.dtype));
  if (t.rank < 0 || t.rank > VERGE_MAX_RANK || (info.rank >= 0 && t.rank != info.rank)) {
    bad("has " + std::to_string(t.rank) + " dimensions, the model takes " + std::to_string(info.rank));
  }
  for (int i = 0; info.rank >= 0 && i < t.rank; ++i) {
    if (info.dims[i] >= 0 && t.dims[i] != info.dims[i]) {
      bad("has shape " + dims_string(t.dims, t.rank) + ", the model takes " + dims_string(info.dims, info.rank));
    }
  }
  if (t.has_strides) bad("has strides, which this engine does not read");
  if (t.space.kind == VERGE_SPACE_DEVICE) bad("lies in device memory, which this engine cannot read");
  int64_t n = element_count(t.dims, t.rank);
  if (n < 0) bad("shape " + dims_string(t.dims, t.rank) + " is not concrete, or too large");
  if (t.dtype == VERGE_BYTES) {
    if (!t.offsets) bad("is BYTES without offsets");
    for (int64_t i = 0; i < n; ++i) {
      if (t.offsets[i] > t.offsets[i + 1]) bad("its offsets are not ascending");
    }
    if (t.offsets[n] > t.byte_size) bad("its offsets pass the end of its data");
    if (t.offsets[n] > 0 && !t.data) bad("has no data");
  } else {
    uint64_t need = static_cast<uint64_t>(n) * dtype_size(t.dtype);
    if (t.byte_size != need) bad("has " + std::to_string(t.byte_size) + " bytes, its shape needs " + std::to_string(need));
    if (need > 0 && !t.data) bad("has no data");
  }
  return n;
}

// Reads options and refuses what nobody asked for.
class Options {
 public:
  explicit Options(const verge_options* options) {
    if (!options) return;
    if (options->count > 0 && !options->items) invalid("options: items is NULL");
    for (uint32_t i = 0; i < options->count; ++i) {
      const verge_option& o = options->items[i];
      if (!o.key || !o.value) invalid("options: a key or value is NULL");
      values_[o.key] = o.value;
    }
  }
  // The value and forgets the key; `fallback` if absent.
  std::string take(const std::string& key, std::string fallback = "") {
    auto it = values_.find(key);
    if (it == values_.end()) return fallback;
    std::string value = std::move(it->second);
    values_.erase(it);
    return value;
  }
  int64_t take_integer(const std::string& key, int64_t fallback, int64_t least, int64_t most) {
    auto it = values_.find(key);
    if (it == values_.end()) return fallback;
    const std::string& s = it->second;
    int64_t value = 0;
    auto [end, error] = std::from_chars(s.data(), s.data() + s.size(), value);
    if (error != std::errc() || end != s.data() + s.size() || value < least || value > most) {
      invalid("option '" + key + "': '" + s + "' is no whole number from " + std::to_string(least) + " to " + std::to_string(most));
    }
    values_.erase(it);
    return value;
  }
  // The path of the first library whose name starts with `prefix` ("library.NAME" entries); forgets all of them.
  std::string take_library(const std::string& prefix) {
    std::string found;
    for (auto it = values_.begin(); it != values_.end();) {
      if (it->first.rfind("library.", 0) != 0) {
        ++it;
        continue;
      }
      if (found.empty() && it->first.compare(8, prefix.size(), prefix) == 0) found = it->second;
      it = values_.erase(it);
    }
    return found;
  }
  // Call after the last take.
  void refuse_rest(const std::string& known) const {
    if (values_.empty()) return;
    invalid("unknown option '" + values_.begin()->first + "'; known: " + (known.empty() ? "none" : known));
  }

 private:
  std::map<std::string, std::string> values_;
};

struct Placement {
  std::vector<int> cores;  // empty: the caller's affinity
  int threads = 1;

  Placement() = default;
  explicit Placement(const verge_placement* p) {
    if (!p) return;
    if (p->count > 0 && !p->cores) invalid("placement: cores is NULL");
    if (p->count > CPU_SETSIZE) invalid("placement: more cores than a machine has");
    for (uint32_t i = 0; i < p->count; ++i) {
      if (p->cores[i] < 0 || p->cores[i] >= CPU_SETSIZE) invalid("placement: core " + std::to_string(p->cores[i]) + " is out of range");
      cores.push_back(p->cores[i]);
    }
    if (p->threads < 0 || p->threads > 1024) invalid("placement: " + std::to_string(p->threads) + " threads is out of range");
    threads = p->threads;
    if (threads == 0 && !cores.empty()) threads = static_cast<int>(cores.size());
    if (threads == 0) {
      cpu_set_t set;
      threads = sched_getaffinity(0, sizeof set, &set) == 0 ? std::max(1, CPU_COUNT(&set)) : 1;
    }
  }
  bool operator==(const Placement& o) const { return cores == o.cores && threads == o.threads; }
};

// While it lives, the calling thread, and every thread that the runtime starts from it, stays on the placement's cores.
class ScopedAffinity {
 public:
  explicit ScopedAffinity(const Placement& placement) {
    if (placement.cores.empty() || sched_getaffinity(0, sizeof before_, &before_) != 0) return;
    cpu_set_t wanted;
    CPU_ZERO(&wanted);
    for (int core : placement.cores) CPU_SET(core, &wanted);
    changed_ = sched_setaffinity(0, sizeof wanted, &wanted) == 0;
    if (!changed_) invalid("placement: none of the cores can be used by this process");
  }
  ~ScopedAffinity() {
    if (changed_) sched_setaffinity(0, sizeof before_, &before_);
  }
  ScopedAffinity(const ScopedAffinity&) = delete;
  ScopedAffinity& operator=(const ScopedAffinity&) = delete;

 private:
  cpu_set_t before_;
  bool changed_ = false;
};

// Checks the struct and that there is at least one file.
inline void check_artifact(const verge_artifact* a) {
  if (!a || a->size < sizeof(verge_artifact) || a->count == 0 || !a->files || !a->format) invalid("the artifact names no file or no format");
  if (a->count > 256) invalid("the artifact has more than 256 files");
  for (uint32_t i = 0; i < a->count; ++i) {
    if (!a->files[i].path || !*a->files[i].path) invalid("the artifact has a file without a path");
    if (a->files[i].batch < 0) invalid("the artifact has a file with a negative batch size");
  }
}

// Resident bytes of this process, of files' pages too; 0 where /proc does not tell.
inline uint64_t resident_bytes() {
  uint64_t pages = 0;
  if (std::FILE* f = std::fopen("/proc/self/statm", "re")) {
    unsigned long long total = 0, resident = 0;
    if (std::fscanf(f, "%llu %llu", &total, &resident) == 2) pages = resident;
    std::fclose(f);
  }
  return pages * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

inline verge_tensor_info empty_info() {
  verge_tensor_info info{};
  info.size = sizeof info;
  info.batch_axis = -1;
  info.quantization.axis = -1;
  return info;
}

}  // namespace verge_plugin

#endif  // VERGE_ENGINES_COMMON_PLUGIN_H_
