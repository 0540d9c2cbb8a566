#include "engine/worker_run.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <set>

#include "core/npy.h"

namespace verge::engine {
namespace {

constexpr uint64_t kMaxSampleFile = uint64_t{64} << 30;
constexpr uint64_t kMaxRunBytes = uint64_t{8} << 30;

std::string quoted_names(const std::vector<TensorSpec>& specs) {
  std::string s;
  for (const auto& t : specs) s += (s.empty() ? "'" : ", '") + t.name + "'";
  return s.empty() ? "none" : s;
}

Shape with_batch(const Shape& one, int axis, int64_t batch) {
  Shape s = one;
  if (axis >= 0) s[axis] = batch;
  return s;
}

void fill(verge_tensor& t, DType dtype, const Shape& shape) {
  t = {};
  t.size = sizeof t;
  t.dtype = static_cast<int32_t>(dtype);
  t.rank = shape.rank();
  for (int i = 0; i < shape.rank(); ++i) t.dims[i] = shape[i];
}

}  // namespace

bool AlignedBuffer::reserve(size_t bytes) {
  if (bytes <= capacity_) return true;
  size_t rounded = (bytes + 63) / 64 * 64;
  data_.reset(static_cast<std::byte*>(std::aligned_alloc(64, rounded)));
  capacity_ = data_ ? rounded : 0;
  return data_ != nullptr;
}

Result<SampleSet::Column> SampleSet::open_column(const TensorSpec& spec, const std::string& path) {
  Column c;
  c.name = spec.name;
  VERGE_ASSIGN(auto map, os::MappedFile::open(path, kMaxSampleFile));
  auto bytes = map.bytes();
  std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  VERGE_ASSIGN(NpyHeader header, parse_npy_header(text, path));
  c.dtype = header.dtype;
  if (c.dtype != spec.dtype)
    return invalid_argument("input '" + spec.name + "' takes " + std::string(dtype_name(spec.dtype)) + ", the samples are " +
                            std::string(dtype_name(c.dtype)));
  const Shape& all = header.shape;
  if (spec.batch_axis < 0 && all.rank() == spec.shape.rank() && spec.shape.accepts(all)) {
    c.shape = all;
    c.samples = 1;
  } else if (all.rank() > 0) {
    c.samples = all[0];
    c.shape = all;
    c.shape.erase(0);
    if (spec.batch_axis >= 0 || all.rank() == spec.shape.rank()) {
      c.axis = std::max(spec.batch_axis, 0);
      if (c.axis <= c.shape.rank()) c.shape.insert(c.axis, 1);
    }
  }
  if (!spec.shape.accepts(c.shape))
    return invalid_argument("input '" + spec.name + "' takes " + spec.shape.to_string() + ", a sample is " + c.shape.to_string());
  if (c.samples <= 0) return invalid_argument(path + ": holds no samples");
  c.sample_elements = all.elements() / c.samples;
  if (c.dtype == DType::kBytes) {
    VERGE_ASSIGN(c.owned, parse_npy(text, path));
  } else {
    c.sample_bytes = static_cast<size_t>(c.sample_elements) * dtype_size(c.dtype);
    if (text.size() - header.data_offset != c.sample_bytes * static_cast<size_t>(c.samples))
      return invalid_argument(path + ": its header calls for " + all.to_string() + ", its data is " +
                              std::to_string(text.size() - header.data_offset) + " bytes");
    c.data = bytes.data() + header.data_offset;
    c.map = std::move(map);
  }
  return c;
}

Result<SampleSet> SampleSet::open(const Signature& signature, const std::map<std::string, std::string>& files,
                                  const std::map<std::string, std::string>& names) {
  SampleSet set;
  std::map<std::string, std::string> by_artifact_name;
  for (const auto& [network, path] : files) {
    auto renamed = names.find(network);
    by_artifact_name[renamed == names.end() ? network : renamed->second] = path;
  }
  for (const auto& spec : signature.inputs) {
    auto file = by_artifact_name.find(spec.name);
    // Engines name a lone tensor as they like.
    if (file == by_artifact_name.end() && files.size() == 1 && signature.inputs.size() == 1) file = by_artifact_name.begin();
    if (file == by_artifact_name.end()) {
      std::string have;
      for (const auto& [name, path] : by_artifact_name) have += (have.empty() ? "'" : ", '") + name + "'";
      return failed_precondition("the artifact's input '" + spec.name + "' has no samples (there are some for " + have + ")");
    }
    VERGE_ASSIGN(Column c, open_column(spec, file->second));
    set.columns_.push_back(std::move(c));
  }
  VERGE_RETURN_IF_ERROR(set.finish(signature));
  return set;
}

Result<SampleSet> SampleSet::synthetic(const Signature& signature) {
  SampleSet set;
  for (const auto& spec : signature.inputs) {
    Column c;
    c.name = spec.name;
    c.dtype = spec.dtype;
    c.axis = spec.batch_axis;
    c.samples = 1;
    for (int64_t d : spec.shape.dims()) c.shape.push_back(d < 0 ? 1 : d);
    c.sample_elements = c.shape.elements();
    if (c.sample_elements < 0 || static_cast<uint64_t>(c.sample_elements) > kMaxRunBytes / 8)
      return resource_exhausted("input '" + c.name + "' of shape " + spec.shape.to_string() + " is too large to measure");
    c.owned.dtype = c.dtype;
    c.owned.shape = c.shape;
    if (c.dtype == DType::kBytes) {
      c.owned.data.resize(static_cast<size_t>(c.sample_elements) * 5);
      for (size_t i = 0; i < c.owned.data.size(); i += 5) c.owned.data[i] = std::byte{1}, c.owned.data[i + 4] = std::byte{'a'};
    } else {
      c.owned = Tensor(c.dtype, c.shape);
      // Zeros would be denormal-free but let some kernels skip work; a ramp of small values does neither.
      if (c.dtype == DType::kFp32)
        for (int64_t i = 0; i < c.sample_elements; ++i) c.owned.as<float>()[i] = 0.25f + 0.5f * static_cast<float>(i % 97) / 97.0f;
      c.sample_bytes = c.owned.data.size();
      c.data = c.owned.data.data();
    }
    set.columns_.push_back(std::move(c));
  }
  VERGE_RETURN_IF_ERROR(set.finish(signature));
  return set;
}

Status SampleSet::finish(const Signature& signature) {
  if (columns_.empty()) return failed_precondition("the artifact has no inputs");
  samples_ = columns_[0].samples;
  inputs_batched_ = true;
  for (auto& c : columns_) {
    if (c.samples != samples_)
      return invalid_argument("input '" + c.name + "' has " + std::to_string(c.samples) + " samples, '" + columns_[0].name + "' has " +
                              std::to_string(samples_));
    inputs_batched_ &= c.axis == 0;
    if (c.dtype == DType::kBytes) VERGE_RETURN_IF_ERROR(bytes_to_engine(c.owned.view(), c.offsets, c.blob).prefixed("input '" + c.name + "'"));
  }
  batched_ = inputs_batched_ && std::all_of(signature.outputs.begin(), signature.outputs.end(), [](const auto& o) { return o.batch_axis == 0; });
  tensors_.resize(columns_.size());
  return {};
}

Result<std::span<const verge_tensor>> SampleSet::gather(int64_t first, int64_t count, int64_t padded) {
  for (size_t i = 0; i < columns_.size(); ++i) {
    Column& c = columns_[i];
    verge_tensor& t = tensors_[i];
    fill(t, c.dtype, with_batch(c.shape, c.axis, padded));
    auto sample_at = [&](int64_t row) { return first + std::min(row, count - 1); };
    if (c.dtype == DType::kBytes) {
      c.run_offsets.assign(1, 0);
      size_t bytes = 0;
      auto each = [&](auto&& f) {
        for (int64_t row = 0; row < padded; ++row)
          for (int64_t e = 0; e < c.sample_elements; ++e) {
            auto at = static_cast<size_t>(sample_at(row) * c.sample_elements + e);
            f(c.offsets[at], c.offsets[at + 1]);
          }
      };
      each([&](uint64_t begin, uint64_t end) { c.run_offsets.push_back(bytes += end - begin); });
      if (bytes > kMaxRunBytes || !c.run_data.reserve(std::max<size_t>(bytes, 1))) return resource_exhausted("no memory for input '" + c.name + "'");
      size_t at = 0;
      each([&](uint64_t begin, uint64_t end) {
        if (end > begin) std::memcpy(c.run_data.data() + at, c.blob.data() + begin, end - begin);
        at += end - begin;
      });
      t.byte_size = bytes;
      t.offsets = c.run_offsets.data();
    } else {
      auto bytes = static_cast<unsigned __int128>(c.sample_bytes) * static_cast<uint64_t>(padded);
      if (bytes > kMaxRunBytes || !c.run_data.reserve(std::max<size_t>(static_cast<size_t>(bytes), 1)))
        return resource_exhausted("no memory for input '" + c.name + "' at batch " + std::to_string(padded));
      for (int64_t row = 0; row < padded; ++row)
        std::memcpy(c.run_data.data() + static_cast<size_t>(row) * c.sample_bytes, c.data + static_cast<size_t>(sample_at(row)) * c.sample_bytes,
                    c.sample_bytes);
      t.byte_size = static_cast<uint64_t>(bytes);
    }
    t.data = c.run_data.data();
  }
  return std::span<const verge_tensor>(tensors_);
}

Result<Runner> Runner::create(const std::shared_ptr<Model>& model, const std::vector<int>& cores, int threads) {
  Runner r;
  VERGE_ASSIGN(r.instance_, model->create_instance(cores, threads));
  r.signature_ = &model->signature();
  r.lends_ = (model->engine().capabilities() & VERGE_CAP_EXTERNAL_OUTPUTS) != 0;
  r.outputs_.resize(model->signature().outputs.size());
  r.buffers_.resize(r.outputs_.size());
  for (auto& t : r.outputs_) t = {}, t.size = sizeof t;
  return r;
}

Runner::~Runner() { release_outputs(); }

void Runner::release_outputs() {
  for (auto& t : outputs_) {
    if (t.release) t.release(t.owner);
    t = {};
    t.size = sizeof t;
  }
}

Status Runner::run(std::span<const verge_tensor> inputs) {
  release_outputs();
  for (size_t i = 0; i < outputs_.size(); ++i)
    if (lends_ && signature_->outputs[i].dtype != DType::kBytes && buffers_[i].capacity()) {
      outputs_[i].data = buffers_[i].data();
      outputs_[i].byte_size = buffers_[i].capacity();
    }
  Status s = instance_->run(inputs, outputs_);
  if (!s.ok()) {
    for (size_t i = 0; i < outputs_.size(); ++i)
      if (!outputs_[i].release) outputs_[i] = {}, outputs_[i].size = sizeof(verge_tensor);
    return s;
  }
  return check_outputs();
}

Status Runner::check_outputs() {
  for (size_t i = 0; i < outputs_.size(); ++i) {
    const verge_tensor& t = outputs_[i];
    auto bad = [&](const char* why) { return internal_error("the engine's output '" + signature_->outputs[i].name + "' " + why); };
    if (t.rank < 0 || t.rank > VERGE_MAX_RANK || t.has_strides) return bad("has an impossible rank or strides");
    auto shape = Shape::from({t.dims, static_cast<size_t>(t.rank)});
    if (!shape.ok() || shape->elements() < 0) return bad("has an impossible shape");
    const auto elements = static_cast<uint64_t>(shape->elements());
    const auto bytes = static_cast<unsigned __int128>(elements) * dtype_size(static_cast<DType>(t.dtype));
    if (t.byte_size && !t.data) return bad("has no data");
    if (static_cast<DType>(t.dtype) == DType::kBytes) {
      if (!t.offsets) return bad("has no string offsets");
      for (uint64_t e = 0; e < elements; ++e)
        if (t.offsets[e] > t.offsets[e + 1] || t.offsets[e + 1] > t.byte_size) return bad("has broken string offsets");
    } else if (!dtype_size(static_cast<DType>(t.dtype)) || bytes != t.byte_size) {
      return bad("has a size that is not that of its shape");
    }
    // What the engine kept in a buffer of its own this time it can have lent the next.
    if (lends_ && t.byte_size > buffers_[i].capacity() && t.data != buffers_[i].data() && !buffers_[i].reserve(t.byte_size))
      return resource_exhausted("no memory for output '" + signature_->outputs[i].name + "'");
  }
  return {};
}

Status run_batches(Runnable& runner, SampleSet& samples, const std::vector<int64_t>& fixed_batches, int64_t batch, const BatchSink& sink) {
  const int64_t want = samples.batched() ? std::max<int64_t>(batch, 1) : 1;
  for (int64_t first = 0; first < samples.samples();) {
    const int64_t left = std::min(want, samples.samples() - first);
    int64_t size = left;
    if (!fixed_batches.empty()) {
      auto above = std::upper_bound(fixed_batches.begin(), fixed_batches.end(), left);
      size = above == fixed_batches.begin() ? *above : *std::prev(above);
    }
    const int64_t count = std::min(size, left);
    VERGE_ASSIGN(auto inputs, samples.gather(first, count, size));
    VERGE_RETURN_IF_ERROR(runner.run(inputs));
    if (samples.batched())
      for (const auto& t : runner.outputs())
        if (t.rank < 1 || t.dims[0] != size)
          return failed_precondition("a run over " + std::to_string(size) + " samples gave " +
                                     (t.rank < 1 ? std::string("a scalar") : std::to_string(t.dims[0]) + " rows"));
    VERGE_RETURN_IF_ERROR(sink(first, count, runner.outputs()));
    first += count;
  }
  return {};
}

namespace {

// Elements of `t` that belong to the first `count` samples of its run.
int64_t elements_of(const verge_tensor& t, int64_t count, bool batched) {
  int64_t n = 1;
  for (int i = batched ? 1 : 0; i < t.rank; ++i) n *= t.dims[i];
  return batched ? n * count : n;
}

std::string_view engine_string(const verge_tensor& t, int64_t i) {
  return {static_cast<const char*>(t.data) + t.offsets[i], static_cast<size_t>(t.offsets[i + 1] - t.offsets[i])};
}

// npy strings carry no trailing NULs, so neither side's count.
std::string_view trimmed(std::string_view s) { return s.substr(0, s.find_last_not_of('\0') + 1); }

struct Reference {
  size_t output;  // index in the artifact's signature
  std::string name;
  Tensor tensor;
  std::vector<uint64_t> offsets;
  std::vector<std::byte> blob;
  int64_t at = 0;  // elements compared so far
};

Status compare_one(const verge_tensor& got, int64_t n, Reference& ref, Comparison& result) {
  const int64_t total = ref.tensor.dtype == DType::kBytes ? static_cast<int64_t>(ref.offsets.size()) - 1 : ref.tensor.shape.elements();
  if (n > total - ref.at)
    return failed_precondition("output '" + ref.name + "' has more elements than the reference's " + ref.tensor.shape.to_string());
  const auto got_type = static_cast<DType>(got.dtype);
  if ((got_type == DType::kBytes) != (ref.tensor.dtype == DType::kBytes))
    return failed_precondition("output '" + ref.name + "' is " + std::string(dtype_name(got_type)) + ", the reference's is " +
                               std::string(dtype_name(ref.tensor.dtype)));
  result.elements += n;
  if (got_type == DType::kBytes) {
    for (int64_t i = 0; i < n; ++i) {
      auto begin = ref.offsets[static_cast<size_t>(ref.at + i)], end = ref.offsets[static_cast<size_t>(ref.at + i + 1)];
      std::string_view want(reinterpret_cast<const char*>(ref.blob.data()) + begin, end - begin);
      result.unequal_strings += trimmed(engine_string(got, i)) != trimmed(want);
    }
    ref.at += n;
    return {};
  }
  TensorView have{got_type, {}, {static_cast<const std::byte*>(got.data), static_cast<size_t>(got.byte_size)}};
  TensorView want = ref.tensor.view();
  for (int64_t i = 0; i < n; ++i) {
    double a = element_as_double(have, static_cast<size_t>(i)), b = element_as_double(want, static_cast<size_t>(ref.at + i));
    if (a == b || (std::isnan(a) && std::isnan(b))) continue;
    if (!std::isfinite(a) || !std::isfinite(b))
      ++result.not_numbers;
    else
      result.max_abs_diff = std::max(result.max_abs_diff, std::abs(a - b));
  }
  ref.at += n;
  return {};
}

}  // namespace

Result<Comparison> compare_outputs(Runnable& runner, SampleSet& samples, const Signature& signature, const std::vector<int64_t>& fixed_batches, int64_t batch,
                                   const std::map<std::string, std::string>& files, const std::map<std::string, std::string>& names) {
  const auto& outputs = signature.outputs;
  std::vector<Reference> references;
  for (const auto& [network, path] : files) {
    auto renamed = names.find(network);
    const std::string& name = renamed == names.end() ? network : renamed->second;
    auto spec = std::find_if(outputs.begin(), outputs.end(), [&](const auto& o) { return o.name == name; });
    if (spec == outputs.end() && files.size() == 1 && outputs.size() == 1) spec = outputs.begin();
    if (spec == outputs.end())
      return failed_precondition("the artifact has no output '" + name + "' (it has " + quoted_names(outputs) + ")");
    Reference ref;
    ref.output = static_cast<size_t>(spec - outputs.begin());
    ref.name = name;
    VERGE_ASSIGN(auto map, os::MappedFile::open(path, uint64_t{1} << 30));
    VERGE_ASSIGN(ref.tensor, parse_npy({reinterpret_cast<const char*>(map.bytes().data()), map.bytes().size()}, path));
    if (ref.tensor.dtype == DType::kBytes) VERGE_RETURN_IF_ERROR(bytes_to_engine(ref.tensor.view(), ref.offsets, ref.blob));
    references.push_back(std::move(ref));
  }
  Comparison result;
  auto compare = [&](int64_t, int64_t count, std::span<const verge_tensor> run_outputs) -> Status {
    for (auto& ref : references) {
      const verge_tensor& t = run_outputs[ref.output];
      VERGE_RETURN_IF_ERROR(compare_one(t, elements_of(t, count, samples.batched()), ref, result));
    }
    result.samples += count;
    return {};
  };
  Status ran = run_batches(runner, samples, fixed_batches, batch, compare);
  if (!ran.ok()) return ran;
  for (const auto& ref : references)
    if (ref.tensor.dtype != DType::kBytes && ref.at != ref.tensor.shape.elements())
      return failed_precondition("output '" + ref.name + "' has " + std::to_string(ref.at) + " elements over " +
                                 std::to_string(result.samples) + " samples, the reference's " + std::to_string(ref.tensor.shape.elements()));
  return result;
}

Status write_outputs(Runnable& runner, SampleSet& samples, const Signature& signature, const std::vector<int64_t>& fixed_batches, int64_t batch,
                     const std::function<std::string(size_t)>& path) {
  struct Out {
    std::unique_ptr<std::FILE, int (*)(std::FILE*)> file{nullptr, std::fclose};
    DType dtype = DType::kInvalid;
    Shape sample;   // without the sample axis
    int64_t rows = 0;
    Tensor strings;  // BYTES are written at the end, when the longest is known
  };
  const size_t n = signature.outputs.size();
  std::vector<Out> outs(n);
  const bool batched = samples.batched();
  auto failed = [&](size_t i) { return resource_exhausted(path(i) + ": cannot be written: " + std::strerror(errno)); };
  for (size_t i = 0; i < n; ++i) {
    outs[i].file.reset(std::fopen(path(i).c_str(), "wbe"));
    if (!outs[i].file) return failed(i);
  }
  VERGE_RETURN_IF_ERROR(run_batches(runner, samples, fixed_batches, batch, [&](int64_t first, int64_t count, auto outputs) -> Status {
    for (size_t i = 0; i < n; ++i) {
      const verge_tensor& t = outputs[i];
      Out& o = outs[i];
      Shape sample;
      // A batch axis elsewhere than in front holds one sample here, so leaving it out gives the sample's shape.
      const int drop = batched ? 0 : signature.outputs[i].batch_axis;
      for (int d = 0; d < t.rank; ++d)
        if (d != drop) sample.push_back(t.dims[d]);
      if (first == 0) {
        o.dtype = static_cast<DType>(t.dtype);
        o.sample = sample;
        if (sample.rank() >= kMaxRank) return failed_precondition("output '" + signature.outputs[i].name + "' has too many dimensions");
        if (o.dtype != DType::kBytes && std::fwrite(print_npy_header(o.dtype, sample).data(), 1, kNpyHeaderBytes, o.file.get()) != kNpyHeaderBytes)
          return failed(i);
      } else if (!(sample == o.sample) || o.dtype != static_cast<DType>(t.dtype)) {
        return failed_precondition("output '" + signature.outputs[i].name + "' changes its shape from sample to sample: " +
                                   o.sample.to_string() + ", then " + sample.to_string());
      }
      const auto elements = static_cast<size_t>(elements_of(t, count, batched));
      if (o.dtype == DType::kBytes) {
        for (size_t e = 0; e < elements; ++e) {
          std::string_view s = engine_string(t, static_cast<int64_t>(e));
          auto length = static_cast<uint32_t>(s.size());
          auto* p = reinterpret_cast<const std::byte*>(&length);
          o.strings.data.insert(o.strings.data.end(), p, p + 4);
          p = reinterpret_cast<const std::byte*>(s.data());
          o.strings.data.insert(o.strings.data.end(), p, p + s.size());
        }
      } else if (size_t bytes = elements * dtype_size(o.dtype); bytes && std::fwrite(t.data, 1, bytes, o.file.get()) != bytes) {
        return failed(i);
      }
      o.rows += count;
    }
    return {};
  }));
  for (size_t i = 0; i < n; ++i) {
    Out& o = outs[i];
    Shape all = o.sample;
    all.insert(0, o.rows);
    std::string text;
    if (o.dtype == DType::kBytes) {
      o.strings.dtype = DType::kBytes;
      o.strings.shape = all;
      text = print_npy(o.strings);
    } else {
      text = print_npy_header(o.dtype, all);
    }
    std::rewind(o.file.get());
    if (std::fwrite(text.data(), 1, text.size(), o.file.get()) != text.size()) return failed(i);
    if (std::fclose(o.file.release()) != 0) return failed(i);
  }
  return {};
}

}  // namespace verge::engine
