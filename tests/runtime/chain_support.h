// A server with multi-exit models of the identity engine, as tests/package/chain_fixture.h makes them: each exit answers what the request says.
#pragma once

#include "../package/chain_fixture.h"
#include "support.h"

namespace verge::runtime {

class ChainServer : public Server {
 public:
  explicit ChainServer(::verge::runtime::Options o = {}) : Server(o) {}

  std::shared_ptr<ModelSource> chain(const package::ChainOptions& o) {
    auto s = std::make_shared<ModelSource>();
    std::vector<std::string> files;
    s->name = o.name;
    s->version = o.version;
    s->manifest = package::chain_manifest(o, files);
    s->profile = package::chain_profile(o, "");
    s->default_variant = o.variants.front();
    std::map<std::string, std::string> paths;
    for (size_t k = 0; k < files.size(); ++k) {
      const std::string& id = s->manifest.variants.at(0).stages[k].artifacts[0];
      paths[id] = os::join(dir(), o.name + id + ".json");
      EXPECT_TRUE(os::write_file_atomic(paths[id], files[k]).ok());
    }
    s->prepare = [paths](const VariantSpec& v) -> Result<engine::LoadSpec> {
      if (v.artifacts.size() != 1) return internal_error("one stage at a time");
      engine::LoadSpec l;
      l.files = {{paths.at(v.artifacts[0]), 0}};
      l.format = "identity";
      return l;
    };
    return s;
  }
};

// A request for a chain of `stages`; each exit says `scores`[k] (one sample).
struct ChainCall {
  Request request;
  std::vector<std::vector<float>> data;
  std::vector<std::string> names;
  bool done = false;
  void* early = nullptr;  // the test's

  explicit ChainCall(std::string_view model, std::vector<std::vector<float>> scores, int64_t features = 4, int64_t samples = 1) {
    request.model = model;
    request.owner = this;
    request.done = [](Request* r) { static_cast<ChainCall*>(r->owner)->done = true; };
    data.emplace_back(static_cast<size_t>(features * samples), 1.5f);
    names.push_back("x");
    for (size_t k = 0; k < scores.size(); ++k) {
      data.push_back(std::move(scores[k]));
      names.push_back("p" + std::to_string(k + 1));
    }
    for (size_t i = 0; i < data.size(); ++i) {
      const auto width = static_cast<int64_t>(data[i].size()) / samples;
      request.inputs.push_back({names[i], DType::kFp32, Shape{samples, width}, std::as_bytes(std::span(data[i]))});
    }
  }
  ~ChainCall() { request.release(); }
  ChainCall(const ChainCall&) = delete;
  float answer(size_t i = 0) const {
    float v = -1;
    if (!request.outputs.empty()) std::memcpy(&v, request.outputs[0].data.data() + i * sizeof v, sizeof v);
    return v;
  }
};

inline std::vector<std::vector<float>> four_exits() { return {{0.5f, 0.3f, 0.2f}, {0.6f, 0.2f, 0.2f}, {0.8f, 0.1f, 0.1f}, {0.9f, 0.05f, 0.05f}}; }

}  // namespace verge::runtime
