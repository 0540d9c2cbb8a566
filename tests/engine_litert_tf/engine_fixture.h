// Opens one of the plugins through the host's own objects, or says why a test is skipped.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <iterator>
#include <string>
#include <vector>

#include "engine/catalog.h"
#include "os/files.h"

namespace verge::engine {

inline std::string source_path(const std::string& path) { return std::string(VERGE_SOURCE) + "/" + path; }

// Empty where the data is not on this machine.
inline std::string data_path(const std::string& path) {
  const char* folder = std::getenv("VERGE_DATA");
  const std::string full = (folder ? std::string(folder) : source_path("../shared/data")) + "/" + path;
  return os::exists(full) ? full : "";
}

inline std::string read_all(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

inline void write_all(const std::string& path, const std::string& bytes) { std::ofstream(path, std::ios::binary) << bytes; }

inline uint64_t resident_bytes() {
  std::ifstream in("/proc/self/statm");
  uint64_t all = 0, resident = 0;
  in >> all >> resident;
  return resident * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

struct Array {
  DType dtype = DType::kFp32;
  std::vector<int64_t> dims;
  std::string bytes;
  std::vector<uint64_t> offsets;  // BYTES

  template <typename T>
  static Array of(DType dtype, std::vector<int64_t> dims, const std::vector<T>& values) {
    return {dtype, std::move(dims), std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)), {}};
  }
  static Array strings(std::vector<int64_t> dims, const std::vector<std::string>& values) {
    Array a{DType::kBytes, std::move(dims), "", {0}};
    for (const std::string& v : values) {
      a.bytes += v;
      a.offsets.push_back(a.bytes.size());
    }
    return a;
  }
  template <typename T>
  std::vector<T> as() const {
    std::vector<T> v(bytes.size() / sizeof(T));
    std::memcpy(v.data(), bytes.data(), v.size() * sizeof(T));
    return v;
  }
  std::vector<std::string> texts() const {
    std::vector<std::string> v;
    for (size_t i = 0; i + 1 < offsets.size(); ++i) v.push_back(bytes.substr(offsets[i], offsets[i + 1] - offsets[i]));
    return v;
  }
};

inline Result<std::vector<Array>> run(Instance& instance, const std::vector<Array>& inputs) {
  std::vector<verge_tensor> in(inputs.size()), out(instance.model().signature().outputs.size());
  for (size_t i = 0; i < in.size(); ++i) {
    in[i].size = sizeof(verge_tensor);
    in[i].dtype = static_cast<int32_t>(inputs[i].dtype);
    in[i].rank = static_cast<int32_t>(inputs[i].dims.size());
    std::copy(inputs[i].dims.begin(), inputs[i].dims.end(), in[i].dims);
    in[i].data = const_cast<char*>(inputs[i].bytes.data());
    in[i].byte_size = inputs[i].bytes.size();
    if (!inputs[i].offsets.empty()) in[i].offsets = inputs[i].offsets.data();
  }
  for (verge_tensor& t : out) t.size = sizeof(verge_tensor);
  if (Status s = instance.run(in, out); !s.ok()) return s;
  std::vector<Array> answers;
  for (verge_tensor& t : out) {
    Array a{static_cast<DType>(t.dtype), {t.dims, t.dims + t.rank}, std::string(static_cast<const char*>(t.data), t.byte_size), {}};
    int64_t count = 1;
    for (int64_t d : a.dims) count *= d;
    if (t.offsets) a.offsets.assign(t.offsets, t.offsets + count + 1);
    if (t.release) t.release(t.owner);
    answers.push_back(std::move(a));
  }
  return answers;
}

class PluginTest : public testing::Test {
 protected:
  void open(const std::string& name) {
    auto catalog = Catalog::scan(VERGE_PLUGINS);
    ASSERT_TRUE(catalog.ok()) << catalog.status().to_string();
    const Descriptor* d = (*catalog)->find(name);
    if (!d) GTEST_SKIP() << name << " is not built here";
    if (!d->unavailable.empty()) GTEST_SKIP() << name << ": " << d->unavailable;
    auto made = (*catalog)->get(name);
    ASSERT_TRUE(made.ok()) << made.status().to_string();
    engine_ = *made;
  }
  Result<std::shared_ptr<Model>> load(const std::vector<std::pair<std::string, int64_t>>& files, const std::string& format,
                                      const std::string& signature = "") {
    LoadSpec spec;
    spec.files = files;
    spec.format = format;
    spec.signature = signature;
    return engine_->load(spec);
  }
  void ready(const std::vector<std::pair<std::string, int64_t>>& files, const std::string& format, const std::string& signature = "") {
    instance_.reset();
    model_.reset();
    auto model = load(files, format, signature);
    ASSERT_TRUE(model.ok()) << model.status().to_string();
    model_ = *model;
    auto instance = model_->create_instance({}, 1);
    ASSERT_TRUE(instance.ok()) << instance.status().to_string();
    instance_ = std::move(*instance);
  }
  // The answers, or none and a failed test.
  std::vector<Array> answers(const std::vector<Array>& inputs) {
    auto result = run(*instance_, inputs);
    EXPECT_TRUE(result.ok()) << result.status().to_string();
    return result.ok() ? *result : std::vector<Array>(model_->signature().outputs.size());
  }
  std::string error(const std::vector<Array>& inputs) {
    auto result = run(*instance_, inputs);
    return result.ok() ? "no error" : result.status().to_string();
  }
  // Runs `f` in a forked child without standard error. The signal it died of, or 0.
  static int signal_of(const std::function<void()>& f) {
    const pid_t child = fork();
    if (child == 0) {
      if (!std::freopen("/dev/null", "w", stderr)) _exit(1);
      alarm(60);
      f();
      _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
  }

  std::shared_ptr<Engine> engine_;
  std::shared_ptr<Model> model_;
  std::unique_ptr<Instance> instance_;
};

#define VERGE_OPEN(name) \
  open(name);            \
  if (!engine_) return
#define VERGE_DATA_OR_SKIP(variable, path)      \
  const std::string variable = data_path(path); \
  if (variable.empty()) GTEST_SKIP() << "no data"

// Images [1000,32,32,3] and labels of the CIFAR-10 extract.
struct Cifar {
  std::string images, labels;
  static constexpr size_t kImage = 32 * 32 * 3;
  size_t count() const { return labels.size(); }
  unsigned char pixel(size_t image, size_t i) const { return static_cast<unsigned char>(images[image * kImage + i]); }
};

}  // namespace verge::engine
