#include "serve/infer.h"

#include <algorithm>
#include <condition_variable>
#include <cstdio>
#include <cstring>
#include <mutex>

#include "core/npy.h"
#include "os/files.h"
#include "os/process.h"
#include "serve/config.h"
#include "serve/log.h"
#include "serve/sources.h"

namespace verge::serve {
namespace {

constexpr int kExitFailed = 1;
constexpr int kExitUsage = 2;
constexpr int kExitEnvironment = 3;
constexpr uint64_t kMaxInputBytes = uint64_t{2} << 30;

// One string as a BYTES tensor of one element in wire form, shaped as the input's sample with a batch of one.
Tensor bytes_tensor(const std::string& content, const TensorSpec& spec) {
  Tensor t;
  t.dtype = DType::kBytes;
  t.shape = spec.shape;
  for (int i = 0; i < t.shape.rank(); ++i)
    if (t.shape[i] < 0) t.shape[i] = 1;
  t.data.resize(4 + content.size());
  const auto n = static_cast<uint32_t>(content.size());
  std::memcpy(t.data.data(), &n, 4);
  std::memcpy(t.data.data() + 4, content.data(), content.size());
  return t;
}

Result<Tensor> read_input(const std::string& file, const TensorSpec& spec) {
  VERGE_ASSIGN(std::string content, os::read_file(file, kMaxInputBytes));
  if (spec.dtype == DType::kBytes && !file.ends_with(".npy")) return bytes_tensor(content, spec);
  VERGE_ASSIGN(Tensor t, parse_npy(content, file));
  // One sample without its batch axis is what people have at hand.
  if (spec.batch_axis >= 0 && t.shape.rank() + 1 == spec.shape.rank()) t.shape.insert(spec.batch_axis, 1);
  return t;
}

struct NamedTensor {
  std::string name;
  Tensor tensor;
};

Result<std::vector<NamedTensor>> read_inputs(const std::vector<std::string>& arguments, const Manifest& m) {
  std::string names;
  for (const auto& in : m.inputs) names += (names.empty() ? "" : ", ") + in.spec.name;
  std::vector<NamedTensor> out;
  for (const std::string& argument : arguments) {
    const size_t equals = argument.find('=');
    std::string name = equals == std::string::npos ? "" : argument.substr(0, equals);
    auto named = std::find_if(m.inputs.begin(), m.inputs.end(), [&](const auto& in) { return in.spec.name == name; });
    std::string file = named == m.inputs.end() ? argument : argument.substr(equals + 1);
    if (named == m.inputs.end()) {
      if (m.inputs.size() != 1) return invalid_argument("'" + argument + "': write NAME=FILE; the inputs are " + names);
      named = m.inputs.begin();
    }
    VERGE_ASSIGN(Tensor t, read_input(file, named->spec));
    out.push_back({named->spec.name, std::move(t)});
  }
  return out;
}

Json element(const runtime::OutputTensor& t, size_t i, size_t& at) {
  if (t.dtype != DType::kBytes) return element_as_double({t.dtype, t.shape, t.data}, i);
  uint32_t n = 0;
  std::memcpy(&n, t.data.data() + at, 4);
  std::string text(reinterpret_cast<const char*>(t.data.data() + at + 4), n);
  at += 4 + size_t{n};
  return text;
}

Json output_json(const runtime::OutputTensor& t, int64_t top) {
  Json shape = Json::array(), values = Json::array();
  for (int64_t d : t.shape.dims()) shape.push_back(d);
  const int64_t count = t.shape.elements(), shown = std::min(count, std::max<int64_t>(top, 1));
  size_t at = 0;
  for (int64_t i = 0; i < shown; ++i) values.push_back(element(t, static_cast<size_t>(i), at));
  Json j = {{"name", t.name}, {"datatype", dtype_name(t.dtype)}, {"shape", shape}, {"data", values}};
  if (shown < count) j["elements_not_shown"] = count - shown;
  return j;
}

// Runs one request on this thread as a front would, and waits for it.
class OneRequest {
 public:
  explicit OneRequest(runtime::Runtime& runtime)
      : runtime_(runtime), front_(runtime.make_front([this] {
          std::lock_guard lock(mutex_);
          woken_ = true;
          wake_.notify_one();
        })) {}

  void run(runtime::Request& r) {
    r.done = [](runtime::Request* q) { *static_cast<bool*>(q->owner) = true; };
    bool done = false;
    r.owner = &done;
    front_->drain();
    runtime_.infer(*front_, r);
    while (!done) {
      front_->drain();
      if (done) break;
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [this] { return woken_; });
      woken_ = false;
    }
  }

 private:
  runtime::Runtime& runtime_;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool woken_ = false;
  std::unique_ptr<runtime::Front> front_;
};

Status run(const InferOptions& options, int& exit_code) {
  exit_code = kExitUsage;
  VERGE_ASSIGN(std::vector<Found> found, find_models(options.model));
  if (found.empty()) return not_found(options.model + ": holds no model");
  const std::string name = found.back().name;
  if (found.front().name != name) return invalid_argument(options.model + ": holds several models; name one of them, e.g. " + os::join(options.model, name));

  exit_code = kExitEnvironment;
  Log log("warning", "text");
  Environment env;
  env.config = Config();
  env.log = &log;
  VERGE_ASSIGN(env.catalog, engine::Catalog::scan(os::install().plugin_dir));
  env.device = os::this_device();
  auto source = open_source(env, found.back(), true);
  if (!source->broken.ok()) return source->broken;
  if (options.variant.empty() && source->default_variant.empty()) return failed_precondition(source->no_default);

  exit_code = kExitUsage;
  VERGE_ASSIGN(std::vector<NamedTensor> inputs, read_inputs(options.inputs, source->manifest));

  exit_code = kExitFailed;
  runtime::RuntimeOptions runtime_options;
  runtime_options.catalog = env.catalog;
  VERGE_ASSIGN(auto runtime, runtime::make_runtime(std::move(runtime_options)));
  if (!options.variant.empty()) source->resident.clear();
  runtime->serve(source);
  runtime->settle();
  OneRequest one(*runtime);
  runtime::Request r;
  r.model = source->name;
  r.version = source->version;
  r.bounds.variant = options.variant;
  r.arrival_ns = os::monotonic_ns();
  for (const auto& in : inputs) r.inputs.push_back({in.name, in.tensor.dtype, in.tensor.shape, in.tensor.data});
  one.run(r);
  if (!r.status.ok()) {
    r.release();
    return r.status;
  }
  Json answer = {{"model", r.answered_model}, {"version", r.answered_version}, {"variant", r.answered_variant}, {"compute_us", r.compute_ns / 1000}};
  answer["outputs"] = Json::array();
  for (const auto& t : r.outputs) answer["outputs"].push_back(output_json(t, options.top));
  r.release();
  std::fputs(print_json(answer).c_str(), stdout);
  return {};
}

}  // namespace

int infer_main(const InferOptions& options) {
  int exit_code = 0;
  Status s = run(options, exit_code);
  if (s.ok()) return 0;
  std::fprintf(stderr, "verge infer: %s\n", s.message().c_str());
  return exit_code;
}

}  // namespace verge::serve
