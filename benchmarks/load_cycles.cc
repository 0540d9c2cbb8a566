// Loads, runs once and unloads a model N times in this process; prints the resident memory after each unload as one JSON line (bytes).
//
//   load_cycles ENGINE FORMAT FILE N
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "engine/catalog.h"
#include "os/files.h"
#include "os/process.h"

using namespace verge;

namespace {

// Runs once; returns the resident bytes while the instance still exists.
Result<uint64_t> run_once(const engine::Model& model) {
  VERGE_ASSIGN(auto instance, model.create_instance({}, 1));
  std::vector<Tensor> buffers;
  std::vector<verge_tensor> inputs;
  for (const auto& in : model.signature().inputs) {
    Shape shape = in.shape;
    for (int i = 0; i < shape.rank(); ++i)
      if (shape[i] < 0) shape[i] = 1;
    buffers.emplace_back(in.dtype, shape);
    verge_tensor t{};
    t.size = sizeof t;
    t.dtype = static_cast<int32_t>(in.dtype);
    t.rank = shape.rank();
    for (int i = 0; i < shape.rank(); ++i) t.dims[i] = shape[i];
    t.data = buffers.back().data.data();
    t.byte_size = buffers.back().data.size();
    inputs.push_back(t);
  }
  std::vector<verge_tensor> outputs(model.signature().outputs.size());
  for (auto& o : outputs) o.size = sizeof o;
  VERGE_RETURN_IF_ERROR(instance->run(inputs, outputs));
  for (auto& o : outputs)
    if (o.release) o.release(o.owner);
  return os::resident_bytes();
}

Status run(const std::string& name, const std::string& format, const std::string& file, int cycles) {
  VERGE_ASSIGN(auto catalog, engine::Catalog::scan(os::install().plugin_dir));
  const uint64_t before = os::resident_bytes();
  VERGE_ASSIGN(auto engine, catalog->get(name));
  const uint64_t created = os::resident_bytes();
  const uint64_t fixed = std::max(engine->fixed_cost_bytes(), created > before ? created - before : 0);
  engine::LoadSpec spec;
  spec.files = {{file, 0}};
  spec.format = format;
  uint64_t loaded = 0;
  std::string after;
  for (int i = 0; i < cycles; ++i) {
    {
      VERGE_ASSIGN(auto model, engine->load(spec));
      VERGE_ASSIGN(uint64_t resident, run_once(*model));
      loaded = std::max(loaded, resident);
    }
    engine::trim_memory();
    after += (i ? "," : "") + std::to_string(os::resident_bytes());
  }
  std::printf("{\"resident_before\":%llu,\"engine_fixed_cost\":%llu,\"resident_loaded\":%llu,\"resident_after_unload\":[%s]}\n",
              static_cast<unsigned long long>(before), static_cast<unsigned long long>(fixed), static_cast<unsigned long long>(loaded),
              after.c_str());
  return {};
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) {
    std::fprintf(stderr, "usage: load_cycles ENGINE FORMAT FILE N\n");
    return 2;
  }
  Status s = run(argv[1], argv[2], argv[3], std::atoi(argv[4]));
  if (!s.ok()) std::fprintf(stderr, "load_cycles: %s\n", s.message().c_str());
  return s.ok() ? 0 : 1;
}
