#include "build/golden.h"

#include <algorithm>

#include "core/npy.h"
#include "os/files.h"

namespace verge::build {
namespace {

int64_t that_fit(int64_t count, uint64_t bytes, uint64_t limit) {
  if (count <= 0 || bytes <= limit) return count;
  return std::max<int64_t>(1, static_cast<int64_t>(limit / std::max<uint64_t>(1, bytes / static_cast<uint64_t>(count))));
}

}  // namespace

NetworkSamples choose_golden(const NetworkSamples& from) {
  NetworkSamples some = head(from, kMaxGoldenSamples);
  int64_t n = that_fit(some.count, bytes_of(some), kMaxGoldenBytes * 3 / 4);
  return n < some.count ? head(some, n) : some;
}

Result<Golden> write_golden(const NetworkSamples& samples, const std::map<std::string, Tensor>& answers, const Signature& network,
                            const std::string& source, const std::string& package_dir) {
  uint64_t bytes = bytes_of(samples);
  bool batched = true;
  for (const auto& [name, t] : answers) {
    bytes += t.data.size();
    batched = batched && t.shape.rank() > 0 && t.shape[0] == samples.count;
  }
  int64_t n = batched ? that_fit(samples.count, bytes, kMaxGoldenBytes) : samples.count;
  Golden golden;
  golden.samples = n;
  golden.source = source;
  std::string dir = os::join(package_dir, "golden");
  VERGE_RETURN_IF_ERROR(os::make_dirs(dir));
  auto write = [&](const std::vector<TensorSpec>& specs, const std::map<std::string, Tensor>& tensors, const char* prefix,
                   std::map<std::string, std::string>& files) -> Status {
    for (size_t i = 0; i < specs.size(); ++i) {
      auto it = tensors.find(specs[i].name);
      if (it == tensors.end()) continue;
      std::string file = prefix + std::to_string(i) + ".npy";
      VERGE_RETURN_IF_ERROR(os::write_file_atomic(os::join(dir, file), print_npy(n < samples.count ? head(it->second, n) : it->second)));
      files[specs[i].name] = file;
    }
    return {};
  };
  VERGE_RETURN_IF_ERROR(write(network.inputs, samples.inputs, "input", golden.inputs));
  VERGE_RETURN_IF_ERROR(write(network.outputs, answers, "output", golden.outputs));
  VERGE_ASSIGN(golden.files, os::digest_tree(dir));
  return golden;
}

}  // namespace verge::build
