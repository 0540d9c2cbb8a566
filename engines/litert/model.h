// A loaded .tflite artifact and its instances.
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "common/plugin.h"
#include "litert_api.h"
#include "tflite_file.h"

namespace verge::litert {

// A read-only mapping of one file.
class MappedFile {
 public:
  explicit MappedFile(const std::string& path);  // throws verge_plugin::Error
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  const uint8_t* data() const { return static_cast<const uint8_t*>(data_); }
  size_t size() const { return size_; }
  // Gives the resident pages back; they are read again from the file when touched.
  void drop_pages() const;

 private:
  void* data_ = nullptr;
  size_t size_ = 0;
};

// One interpreter with its own packed weights and thread pool.
class Compiled {
 public:
  Compiled(const LrtApi& api, LrtEnvironment environment, LrtModel model, const verge_plugin::Placement& placement);
  ~Compiled();
  Compiled(const Compiled&) = delete;
  Compiled& operator=(const Compiled&) = delete;

  LrtCompiledModel handle() const { return handle_; }
  // Throws with LiteRT's own words.
  [[noreturn]] void fail(verge_code code, const std::string& what, LrtStatus status) const;

 private:
  const LrtApi& api_;
  LrtCompiledModel handle_ = nullptr;
};

// One file of the artifact.
struct LoadedFile {
  std::string path;
  int64_t batch = 0;  // 0: free
  std::unique_ptr<MappedFile> bytes;
  TfliteFile parsed;
  const LrtApi* api = nullptr;
  LrtModel model = nullptr;
  size_t signature = 0;
  const SubgraphDef& graph() const { return parsed.subgraphs[parsed.signatures[signature].subgraph]; }
  ~LoadedFile();
};

struct Engine {
  LrtApi api{};
  LrtEnvironment environment = nullptr;
  uint64_t fixed_cost = 0;
  std::string version;
  ~Engine();
};

}  // namespace verge::litert

struct verge_engine : verge::litert::Engine {};

struct verge_model {
  verge::litert::Engine* engine = nullptr;
  std::vector<std::unique_ptr<verge::litert::LoadedFile>> files;  // ascending by batch
  std::deque<std::string> names;
  std::vector<verge_tensor_info> inputs, outputs;
  std::vector<int64_t> fixed_batches;
  verge::litert::Precision precision;
  verge_model_info info{};
  // What the load compiled to prove that it can be done; the first instance of the same placement takes it.
  verge_plugin::Placement spare_placement;
  std::vector<std::unique_ptr<verge::litert::Compiled>> spare;

  verge_model(verge::litert::Engine* owner, const verge_artifact& artifact, const verge_plugin::Placement& placement);

 private:
  void read_file(const verge_artifact_file& file, const char* signature);
  void describe();
  void fix_batches(bool stated);
  template <typename Compile>
  void prove(bool accelerated, const Compile& compile);
};
