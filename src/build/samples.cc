#include "build/samples.h"

#include <algorithm>
#include <cstring>
#include <unordered_map>

#include "core/npy.h"
#include "os/files.h"

namespace verge::build {
namespace {

constexpr int64_t kFreeDimension = 32;  // what noise puts where a dimension other than the batch is free

// Byte offsets of the samples of a tensor whose samples lead; n + 1 values.
Result<std::vector<size_t>> sample_offsets(const Tensor& t) {
  int64_t n = t.shape.rank() ? t.shape[0] : 0;
  std::vector<size_t> offsets{0};
  offsets.reserve(static_cast<size_t>(n) + 1);
  if (t.dtype != DType::kBytes) {
    size_t each = n ? t.data.size() / static_cast<size_t>(n) : 0;
    for (int64_t i = 1; i <= n; ++i) offsets.push_back(static_cast<size_t>(i) * each);
    return offsets;
  }
  int64_t per_sample = n ? t.shape.elements() / n : 0;
  size_t at = 0;
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t e = 0; e < per_sample; ++e) {
      uint32_t length;
      if (t.data.size() - at < sizeof length) return data_loss("a string tensor ends early");
      std::memcpy(&length, t.data.data() + at, sizeof length);
      at += sizeof length;
      if (t.data.size() - at < length) return data_loss("a string tensor ends early");
      at += length;
    }
    offsets.push_back(at);
  }
  return offsets;
}

// Samples [first, first + count) as the chain wants them: with a leading batch axis, or one sample without it.
TensorView view_of(const Tensor& t, const std::vector<size_t>& offsets, int64_t first, int64_t count, bool batched) {
  TensorView v{t.dtype, t.shape, {}};
  if (batched) {
    v.shape[0] = count;
  } else {
    v.shape.erase(0);
  }
  size_t begin = offsets[static_cast<size_t>(first)], end = offsets[static_cast<size_t>(first + count)];
  v.data = std::span<const std::byte>(t.data).subspan(begin, end - begin);
  return v;
}

Status append(Tensor& out, const TensorView& part, int64_t count, bool batched, const std::string& what) {
  Shape sample = part.shape;
  if (batched) {
    if (sample.rank() == 0 || sample[0] != count) return internal_error(what + ": the chain changed the number of samples");
    sample.erase(0);
  }
  Shape all = sample;
  if (sample.rank() >= kMaxRank) return invalid_argument(what + ": too many dimensions");
  all.insert(0, 0);
  if (out.dtype == DType::kInvalid) {
    out.dtype = part.dtype;
    out.shape = all;
  }
  Shape expected = out.shape;
  expected.erase(0);
  if (!(expected == sample)) return invalid_argument(what + ": samples of different shapes, " + expected.to_string() + " and " + sample.to_string());
  out.data.insert(out.data.end(), part.data.begin(), part.data.end());
  out.shape[0] += count;
  return {};
}

// xorshift64*: the same noise on every machine.
struct Noise {
  uint64_t state;
  uint64_t next() {
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return state * 0x2545F4914F6CDD1DULL;
  }
  double unit() { return static_cast<double>(next() >> 11) * 0x1.0p-53; }
};

void put(Tensor& t, size_t i, Noise& noise) {
  switch (t.dtype) {
    case DType::kFp32: t.as<float>()[i] = static_cast<float>(noise.unit()); break;
    case DType::kFp64: t.as<double>()[i] = noise.unit(); break;
    case DType::kFp16: t.as<uint16_t>()[i] = fp32_to_fp16(static_cast<float>(noise.unit())); break;
    case DType::kBf16: t.as<uint16_t>()[i] = fp32_to_bf16(static_cast<float>(noise.unit())); break;
    case DType::kBool: t.as<uint8_t>()[i] = noise.next() >> 63; break;
    case DType::kUint8: t.as<uint8_t>()[i] = static_cast<uint8_t>(noise.next() >> 56); break;
    case DType::kInt8: t.as<int8_t>()[i] = static_cast<int8_t>(noise.next() >> 56); break;
    // Wider integers are mostly indices: small ones stay inside any table.
    case DType::kUint16:
    case DType::kInt16: t.as<int16_t>()[i] = static_cast<int16_t>(noise.next() >> 62); break;
    case DType::kUint32:
    case DType::kInt32: t.as<int32_t>()[i] = static_cast<int32_t>(noise.next() >> 62); break;
    case DType::kUint64:
    case DType::kInt64: t.as<int64_t>()[i] = static_cast<int64_t>(noise.next() >> 62); break;
    default: break;
  }
}

}  // namespace

Result<NetworkSamples> run_chains(const Served& served, const data::Dataset& dataset) {
  NetworkSamples out;
  out.count = dataset.samples;
  uint64_t bytes = 0;
  transform::Chain::Scratch scratch;
  for (size_t i = 0; i < served.inputs.size(); ++i) {
    const ServedInput& in = served.inputs[i];
    auto it = dataset.inputs.find(in.spec.name);
    if (it == dataset.inputs.end()) return invalid_argument(dataset.description + ": holds nothing for the input '" + in.spec.name + "'");
    const Tensor& t = it->second;
    VERGE_ASSIGN(std::vector<size_t> offsets, sample_offsets(t));
    bool batched = in.spec.batch_axis == 0;
    int64_t step = batched ? 32 : 1;
    Tensor& result = out.inputs[in.feeds];
    for (int64_t first = 0; first < dataset.samples; first += step) {
      int64_t count = std::min(step, dataset.samples - first);
      std::string what = dataset.description + ", samples " + std::to_string(first) + "-" + std::to_string(first + count - 1) + " of the set";
      auto part = served.input_chains[i].run(view_of(t, offsets, first, count, batched), scratch);
      if (!part.ok()) return part.status().prefixed(what);
      bytes += part->data.size();
      if (bytes > kMaxSampleBytes) {
        return resource_exhausted(dataset.description + ": more than " + std::to_string(kMaxSampleBytes >> 30) +
                                  " GiB after the input steps; take fewer samples (`samples: FIRST-LAST`)");
      }
      VERGE_RETURN_IF_ERROR(append(result, *part, count, batched, what));
    }
  }
  // Each sample as if a sequence began with it: no state. Controls are left at 0, which is what most requests bring.
  for (const TensorSpec& spec : served.by_sequence) {
    Shape shape = spec.shape;
    if (spec.batch_axis == 0) shape.erase(0);
    for (int i = 0; i < shape.rank(); ++i) {
      if (shape[i] < 0) shape[i] = 1;
    }
    shape.insert(0, out.count);
    Tensor& zeros = out.inputs[spec.name];
    if (spec.dtype != DType::kBytes) {
      zeros = Tensor(spec.dtype, shape);
    } else {
      zeros.dtype = spec.dtype;
      zeros.shape = shape;
      zeros.data.resize(4 * static_cast<size_t>(shape.elements()));
    }
  }
  return out;
}

Status prove_apart(const data::Dataset& calibration, const data::Dataset& evaluation) {
  std::unordered_map<std::string_view, size_t> seen;
  for (size_t i = 0; i < calibration.ids.size(); ++i) seen.emplace(calibration.ids[i], i);
  std::string pairs;
  int64_t found = 0;
  for (size_t j = 0; j < evaluation.ids.size(); ++j) {
    auto it = seen.find(evaluation.ids[j]);
    if (it == seen.end()) continue;
    if (++found <= 5) pairs += (pairs.empty() ? "" : ", ") + std::to_string(it->second) + " = " + std::to_string(j);
  }
  if (!found) return {};
  return invalid_argument("calibration (" + calibration.description + ") and evaluation (" + evaluation.description + ") overlap in " +
                          std::to_string(found) + " samples (calibration's = evaluation's, counted within each set from 0: " + pairs +
                          (found > 5 ? ", …" : "") + "); accuracy on samples that calibration has seen proves nothing");
}

Result<NetworkSamples> noise_samples(const Signature& network, int64_t count) {
  NetworkSamples out;
  out.count = count;
  Noise noise{0x9E3779B97F4A7C15ULL};
  for (const TensorSpec& spec : network.inputs) {
    Shape shape = spec.shape;
    if (spec.batch_axis >= 0) shape.erase(spec.batch_axis);
    for (int i = 0; i < shape.rank(); ++i) {
      if (shape[i] < 0) shape[i] = kFreeDimension;
    }
    if (shape.rank() >= kMaxRank) return invalid_argument("input '" + spec.name + "': too many dimensions");
    shape.insert(0, count);
    int64_t elements = shape.elements();
    if (elements < 0 || static_cast<uint64_t>(elements) > kMaxSampleBytes / 8) {
      return resource_exhausted("input '" + spec.name + "' " + spec.shape.to_string() + ": too large to make samples of");
    }
    if (spec.dtype == DType::kBytes) {
      Tensor t;
      t.dtype = DType::kBytes;
      t.shape = shape;
      for (int64_t i = 0; i < elements; ++i) {
        std::string text = "sample " + std::to_string(noise.next() % 1000);
        auto length = static_cast<uint32_t>(text.size());
        const auto* p = reinterpret_cast<const std::byte*>(&length);
        t.data.insert(t.data.end(), p, p + sizeof length);
        p = reinterpret_cast<const std::byte*>(text.data());
        t.data.insert(t.data.end(), p, p + text.size());
      }
      out.inputs[spec.name] = std::move(t);
      continue;
    }
    Tensor t(spec.dtype, shape);
    for (size_t i = 0; i < static_cast<size_t>(elements); ++i) put(t, i, noise);
    out.inputs[spec.name] = std::move(t);
  }
  return out;
}

Tensor head(const Tensor& t, int64_t count) {
  if (t.shape.rank() == 0 || t.shape[0] <= count) return t;
  auto offsets = sample_offsets(t);
  Tensor out;
  out.dtype = t.dtype;
  out.shape = t.shape;
  out.shape[0] = count;
  if (offsets.ok()) out.data.assign(t.data.begin(), t.data.begin() + static_cast<std::ptrdiff_t>((*offsets)[static_cast<size_t>(count)]));
  return out;
}

NetworkSamples head(const NetworkSamples& samples, int64_t count) {
  NetworkSamples out;
  out.count = std::min(count, samples.count);
  for (const auto& [name, t] : samples.inputs) out.inputs[name] = head(t, out.count);
  return out;
}

Result<std::map<std::string, std::string>> write_samples(const NetworkSamples& samples, const std::string& dir, const std::string& prefix) {
  std::map<std::string, std::string> files;
  VERGE_RETURN_IF_ERROR(os::make_dirs(dir));
  size_t index = 0;
  for (const auto& [name, t] : samples.inputs) {
    std::string path = os::join(dir, prefix + std::to_string(index++) + ".npy");
    VERGE_RETURN_IF_ERROR(os::write_file_atomic(path, print_npy(t)));
    files[name] = path;
  }
  return files;
}

uint64_t bytes_of(const NetworkSamples& samples) {
  uint64_t n = 0;
  for (const auto& [name, t] : samples.inputs) n += t.data.size();
  return n;
}

}  // namespace verge::build
