#include "engine/check_fixture.h"

#include <cmath>
#include <cstdlib>
#include <cstring>

#include "core/tensor.h"

namespace verge::engine::check {
namespace {

std::string message_of(const char* text, size_t capacity) { return std::string(text, strnlen(text, capacity)); }

void fill(Buffer& b, int seed) {
  verge_tensor& t = b.tensor;
  int64_t n = 1;
  for (int i = 0; i < t.rank; ++i) n *= t.dims[i];
  const size_t count = static_cast<size_t>(n);
  const auto dtype = static_cast<DType>(t.dtype);
  if (dtype == DType::kBytes) {
    std::string blob;
    b.offsets.push_back(0);
    for (size_t i = 0; i < count; ++i) {
      // Empty ones, and some with a NUL inside: strings are bytes.
      blob += i % 3 == 1 ? "" : std::string("w\0rd", 4) + std::to_string(i + static_cast<size_t>(seed));
      b.offsets.push_back(blob.size());
    }
    b.data.resize(blob.size() / 8 + 1);
    std::memcpy(b.data.data(), blob.data(), blob.size());
    t.byte_size = blob.size();
    t.offsets = b.offsets.data();
    t.data = b.data.data();
    return;
  }
  const size_t size = dtype_size(dtype);
  b.data.assign(count * size / 8 + 1, 0);
  t.byte_size = count * size;
  t.data = b.data.data();
  auto* bytes = reinterpret_cast<unsigned char*>(b.data.data());
  for (size_t i = 0; i < count; ++i) {
    const int small = static_cast<int>((i * 7 + static_cast<size_t>(seed) * 3) % 5);
    if (dtype == DType::kFp32) {
      float f = static_cast<float>(small) * 0.25f;
      std::memcpy(bytes + i * size, &f, size);
    } else if (dtype == DType::kFp64) {
      double f = small * 0.25;
      std::memcpy(bytes + i * size, &f, size);
    } else if (dtype == DType::kFp16) {
      uint16_t h = fp32_to_fp16(static_cast<float>(small) * 0.25f);
      std::memcpy(bytes + i * size, &h, size);
    } else if (dtype == DType::kBf16) {
      uint16_t h = fp32_to_bf16(static_cast<float>(small) * 0.25f);
      std::memcpy(bytes + i * size, &h, size);
    } else {
      // Little-endian whole numbers of any width.
      bytes[i * size] = static_cast<unsigned char>(dtype == DType::kBool ? small & 1 : small);
    }
  }
}

}  // namespace

CountingHost::CountingHost() {
  const verge_host_api& real = host_api();
  api_ = real;
  api_.context = this;
  // What the plugin logs is of no interest here; failures are told by codes.
  api_.log = [](void*, int32_t, const char*) {};
  api_.allocate = [](void* context, verge_space space, uint64_t bytes, uint64_t alignment) {
    void* p = host_api().allocate(nullptr, space, bytes, alignment);
    if (p) ++static_cast<CountingHost*>(context)->allocations_;
    return p;
  };
  api_.deallocate = [](void* context, verge_space space, void* pointer) {
    if (pointer) --static_cast<CountingHost*>(context)->allocations_;
    host_api().deallocate(nullptr, space, pointer);
  };
  api_.account = [](void* context, const char* what, int64_t delta) {
    auto* host = static_cast<CountingHost*>(context);
    std::lock_guard lock(host->mutex_);
    host->accounts_[what ? what : ""] += delta;
  };
}

std::map<std::string, int64_t> CountingHost::accounts() const {
  std::lock_guard lock(mutex_);
  return accounts_;
}

Fixture::Fixture(const Descriptor& d, std::string a, std::string f) : descriptor(d), artifact(std::move(a)), format(std::move(f)) {
  auto opened = open_plugin(d, host.api());
  if (!opened.ok()) throw Failed{opened.status().message()};
  v = *opened;
  Pairs config = library_config(d);
  COptions options(config);
  StatusBuffer status;
  verge_code code = v->create(host.api(), options.get(), &engine, status.get());
  if (code != VERGE_OK) throw Failed{"create: " + status.take(code, "create").to_string()};
  expect(engine != nullptr, "create succeeded without an engine");
}

void Fixture::destroy() {
  if (engine) v->destroy(engine);
  engine = nullptr;
}

Call Fixture::load(const std::string& path, const std::string& as_format, const Pairs& options, int threads, verge_model** out) const {
  verge_artifact_file file{path.c_str(), 0};
  verge_artifact a{};
  a.size = sizeof a;
  a.count = 1;
  a.files = &file;
  a.format = as_format.c_str();
  COptions c_options(options);
  verge_placement placement{sizeof placement, 0, nullptr, threads};
  char message[1024] = "";
  verge_status status{sizeof status, VERGE_OK, message, sizeof message};
  *out = nullptr;
  Call call;
  call.code = v->model_load(engine, &a, c_options.get(), &placement, nullptr, out, &status);
  call.message = message_of(message, sizeof message);
  if (call.ok()) expect(*out != nullptr, "model_load succeeded without a model");
  return call;
}

LoadedModel Fixture::load(int threads) const {
  verge_model* model = nullptr;
  Call call = load(artifact, format, {}, threads, &model);
  expect(call.ok(), "loading " + artifact + ": " + call.to_string());
  return LoadedModel(v, model);
}

LoadedInstance LoadedModel::instance(int threads) const {
  verge_placement placement{sizeof placement, 0, nullptr, threads};
  verge_instance* handle = nullptr;
  StatusBuffer status;
  verge_code code = v_->instance_create(handle_, &placement, &handle, status.get());
  if (code != VERGE_OK) throw Failed{"instance_create: " + status.take(code, "").to_string()};
  expect(handle != nullptr, "instance_create succeeded without an instance");
  return LoadedInstance(v_, handle);
}

int64_t LoadedModel::batch(int64_t wanted) const {
  const verge_model_info& i = info();
  if (i.fixed_batch_count == 0) return wanted;
  int64_t best = i.fixed_batches[0];
  for (uint32_t k = 0; k < i.fixed_batch_count; ++k) {
    if (i.fixed_batches[k] <= wanted) best = i.fixed_batches[k];
  }
  return best;
}

std::vector<Buffer> LoadedModel::inputs(int64_t batch_size, int seed) const {
  std::vector<Buffer> buffers(info().input_count);
  for (uint32_t i = 0; i < buffers.size(); ++i) {
    const verge_tensor_info& t = input(i);
    verge_tensor& tensor = buffers[i].tensor;
    tensor.size = sizeof tensor;
    tensor.dtype = t.dtype;
    tensor.rank = t.rank < 0 ? 1 : t.rank;
    // Dimensions that are free but no batch get a size that most networks can take.
    for (int d = 0; d < tensor.rank; ++d) {
      tensor.dims[d] = d == t.batch_axis ? batch_size : t.rank < 0 || t.dims[d] < 0 ? 4 : t.dims[d];
    }
    fill(buffers[i], seed);
  }
  return buffers;
}

Call LoadedInstance::run(const std::vector<Buffer>& inputs, std::vector<verge_tensor>& outputs) const {
  std::vector<verge_tensor> tensors;
  for (const Buffer& b : inputs) tensors.push_back(b.tensor);
  char message[1024] = "";
  verge_status status{sizeof status, VERGE_OK, message, sizeof message};
  Call call;
  call.code = v_->instance_run(handle_, tensors.data(), static_cast<uint32_t>(tensors.size()), outputs.data(),
                               static_cast<uint32_t>(outputs.size()), &status);
  call.message = message_of(message, sizeof message);
  return call;
}

std::vector<Answer> copy_outputs(const std::vector<verge_tensor>& outputs) {
  std::vector<Answer> answers;
  for (size_t i = 0; i < outputs.size(); ++i) {
    const verge_tensor& t = outputs[i];
    const std::string name = "output " + std::to_string(i) + ": ";
    Answer a;
    a.dtype = t.dtype;
    expect(t.dtype > VERGE_DTYPE_INVALID && t.dtype <= VERGE_BYTES, name + "has no element type after a run");
    expect(t.rank >= 0 && t.rank <= VERGE_MAX_RANK, name + "has rank " + std::to_string(t.rank) + " after a run");
    int64_t n = 1;
    for (int d = 0; d < t.rank; ++d) {
      expect(t.dims[d] >= 0, name + "has a negative dimension after a run");
      a.dims.push_back(t.dims[d]);
      n *= t.dims[d];
    }
    expect(t.data != nullptr || t.byte_size == 0, name + "has no data after a run");
    if (t.dtype == VERGE_BYTES) {
      expect(t.offsets != nullptr, name + "is BYTES without offsets");
      for (int64_t k = 0; k <= n; ++k) a.offsets.push_back(t.offsets[k]);
      for (int64_t k = 0; k < n; ++k) expect(t.offsets[k] <= t.offsets[k + 1], name + "has offsets that are not ascending");
      expect(t.offsets[n] <= t.byte_size, name + "has offsets past its data");
    } else {
      uint64_t need = static_cast<uint64_t>(n) * dtype_size(static_cast<DType>(t.dtype));
      expect(t.byte_size == need, name + "says " + std::to_string(t.byte_size) + " bytes, its shape needs " + std::to_string(need));
    }
    if (t.byte_size > 0) a.bytes.assign(static_cast<const char*>(t.data), t.byte_size);
    answers.push_back(std::move(a));
  }
  for (const verge_tensor& t : outputs) {
    if (!t.owner) continue;
    expect(t.release != nullptr, "an output has an owner, but no release function");
    t.release(t.owner);
  }
  return answers;
}

std::vector<Answer> LoadedInstance::answer(const std::vector<Buffer>& inputs, size_t count) const {
  std::vector<verge_tensor> outputs(count);
  for (verge_tensor& t : outputs) t.size = sizeof t;
  Call call = run(inputs, outputs);
  expect(call.ok(), "run: " + call.to_string());
  return copy_outputs(outputs);
}

std::string describe(const std::vector<Answer>& answers) {
  std::string s;
  for (const Answer& a : answers) {
    s += (s.empty() ? "" : "; ") + std::string(dtype_name(static_cast<DType>(a.dtype))) + " [";
    for (size_t d = 0; d < a.dims.size(); ++d) s += (d ? "," : "") + std::to_string(a.dims[d]);
    s += "]";
    size_t size = dtype_size(static_cast<DType>(a.dtype));
    TensorView view{static_cast<DType>(a.dtype), {}, std::as_bytes(std::span(a.bytes))};
    for (size_t i = 0; size && i < std::min<size_t>(4, a.bytes.size() / size); ++i) s += " " + std::to_string(element_as_double(view, i));
  }
  return s;
}

bool equal(const std::vector<Answer>& a, const std::vector<Answer>& b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    if (a[i].dtype != b[i].dtype || a[i].dims != b[i].dims || a[i].bytes.size() != b[i].bytes.size() || a[i].offsets != b[i].offsets) return false;
    if (a[i].bytes == b[i].bytes) continue;
    const auto dtype = static_cast<DType>(a[i].dtype);
    if (dtype != DType::kFp32 && dtype != DType::kFp64 && dtype != DType::kFp16 && dtype != DType::kBf16) return false;
    TensorView x{dtype, {}, std::as_bytes(std::span(a[i].bytes))}, y{dtype, {}, std::as_bytes(std::span(b[i].bytes))};
    for (size_t k = 0; k < a[i].bytes.size() / dtype_size(dtype); ++k) {
      double p = element_as_double(x, k), q = element_as_double(y, k);
      if (std::isnan(p) && std::isnan(q)) continue;
      if (!(std::fabs(p - q) <= 1e-5 * std::max(1.0, std::fabs(p)))) return false;
    }
  }
  return true;
}

}  // namespace verge::engine::check
