// The bare engine: runs one variant of a package in a loop, in this thread, through the same plugin that a server uses. Prints one JSON line;
// "cpu_us" is the process's CPU time a run. With a pause, the core does something else that long between the runs, which is not counted: some engines'
// runs take longer then.
//
//   engine_loop PACKAGE VARIANT CORE SECONDS [BATCH [PAUSE_US]]
#include <time.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "engine/catalog.h"
#include "os/files.h"
#include "os/process.h"
#include "package/package.h"

using namespace verge;

namespace {

uint64_t cpu_ns() {
  timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return static_cast<uint64_t>(t.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(t.tv_nsec);
}

Status run(const std::string& path, const std::string& variant_id, int core, double seconds, int64_t batch, double pause_us) {
  VERGE_RETURN_IF_ERROR(os::pin_thread({core}));
  VERGE_ASSIGN(std::string dir, package::resolve_package(path));
  VERGE_ASSIGN(package::Package p, package::open_package(dir));
  const VariantSpec* v = p.manifest.variant(variant_id);
  if (!v) return not_found(variant_id + " is no variant of " + dir);
  VERGE_ASSIGN(auto catalog, engine::Catalog::scan(os::install().plugin_dir));
  VERGE_ASSIGN(auto engine, catalog->get(v->engine));
  engine::LoadSpec spec = package::load_spec(p, *v);
  spec.threads = 1;
  VERGE_ASSIGN(auto model, engine->load(spec));
  VERGE_ASSIGN(auto instance, model->create_instance({}, 1));

  std::vector<Tensor> buffers;
  std::vector<verge_tensor> inputs;
  for (const auto& in : model->signature().inputs) {
    Shape shape = in.shape;
    for (int i = 0; i < shape.rank(); ++i)
      if (shape[i] < 0) shape[i] = i == in.batch_axis ? batch : 1;
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
  std::vector<verge_tensor> outputs(model->signature().outputs.size());
  std::vector<double> times;
  auto once = [&]() -> Status {
    for (auto& o : outputs) {
      o = verge_tensor{};
      o.size = sizeof o;
    }
    VERGE_RETURN_IF_ERROR(instance->run(inputs, outputs));
    for (auto& o : outputs)
      if (o.release) o.release(o.owner);
    return {};
  };
  for (int i = 0; i < 50; ++i) VERGE_RETURN_IF_ERROR(once());
  const uint64_t begin = os::monotonic_ns(), end = begin + static_cast<uint64_t>(seconds * 1e9);
  uint64_t now = begin;
  const uint64_t cpu_begin = cpu_ns();
  uint64_t paused = 0;
  while (now < end) {
    uint64_t before = now;
    if (pause_us > 0) {
      while (static_cast<double>(before - now) < pause_us * 1e3) before = os::monotonic_ns();
      paused += before - now;
    }
    VERGE_RETURN_IF_ERROR(once());
    now = os::monotonic_ns();
    times.push_back(static_cast<double>(now - before) / 1e3);
  }
  std::sort(times.begin(), times.end());
  const double total = static_cast<double>(now - begin) / 1e9;
  const double cpu_us = (static_cast<double>(cpu_ns() - cpu_begin) - static_cast<double>(paused)) / 1e3 / static_cast<double>(times.size());
  std::printf("{\"n\":%zu,\"p50_us\":%.2f,\"rate\":%.1f,\"cpu_us\":%.2f}\n", times.size(), times[times.size() / 2],
              static_cast<double>(times.size()) / total, cpu_us);
  return {};
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 5) {
    std::fprintf(stderr, "usage: engine_loop PACKAGE VARIANT CORE SECONDS [BATCH [PAUSE_US]]\n");
    return 2;
  }
  Status s = run(argv[1], argv[2], std::atoi(argv[3]), std::atof(argv[4]), argc > 5 ? std::atoll(argv[5]) : 1, argc > 6 ? std::atof(argv[6]) : 0);
  if (!s.ok()) std::fprintf(stderr, "engine_loop: %s\n", s.message().c_str());
  return s.ok() ? 0 : 1;
}
