#include "bench/inputs.h"

#include <algorithm>
#include <cstring>

#include "bench/arrivals.h"
#include "data/dataset.h"
#include "os/files.h"

namespace verge::bench {
namespace {

constexpr int64_t kMostBytes = int64_t{256} << 20;
constexpr size_t kMadeUp = 16;  // different requests where inputs are made up

// The shape of a request: the batch in front where there is a batch axis, free dimensions from the options.
Result<Shape> request_shape(const TensorSpec& t, const InputOptions& o, int64_t batch) {
  Shape s = t.shape;
  int first = 0;
  if (s.rank() > 0 && (s[0] == -1 || (batch > 1 && s[0] == 1))) {
    s[0] = batch;
    first = 1;
  } else if (batch > 1) {
    return invalid_argument("input " + t.name + " " + s.to_string() + " has no free batch axis: batch must be 1");
  }
  const auto given = o.shapes.find(t.name);
  for (int i = first; i < s.rank(); ++i) {
    if (s[i] != -1) continue;
    if (given == o.shapes.end() || static_cast<int>(given->second.size()) != s.rank())
      return invalid_argument("input " + t.name + " " + t.shape.to_string() + " has free dimensions: say --shape " + t.name + "=…, one number a dimension, or give data with --input");
    s[i] = given->second[static_cast<size_t>(i)];
  }
  const int64_t n = s.elements();
  if (n < 0 || n > kMostBytes / 16) return invalid_argument("input " + t.name + " " + s.to_string() + " is too large");
  return s;
}

void fill_random(Tensor& t, Random& random) {
  const auto n = static_cast<size_t>(t.shape.elements());
  switch (t.dtype) {
    case DType::kFp32:
      for (size_t i = 0; i < n; ++i) t.as<float>()[i] = static_cast<float>(random.uniform());
      break;
    case DType::kFp64:
      for (size_t i = 0; i < n; ++i) t.as<double>()[i] = random.uniform();
      break;
    case DType::kFp16:
    case DType::kBf16:
      for (size_t i = 0; i < n; ++i)
        t.as<uint16_t>()[i] = t.dtype == DType::kFp16 ? fp32_to_fp16(static_cast<float>(random.uniform())) : fp32_to_bf16(static_cast<float>(random.uniform()));
      break;
    case DType::kBool:
      for (size_t i = 0; i < n; ++i) t.as<uint8_t>()[i] = random.next() & 1;
      break;
    case DType::kUint8:
      for (size_t i = 0; i < n; ++i) t.as<uint8_t>()[i] = static_cast<uint8_t>(random.next());
      break;
    default: {
      // Other integers are often indices: small ones are valid in most.
      const size_t size = dtype_size(t.dtype);
      for (size_t i = 0; i < n; ++i) t.data[i * size] = static_cast<std::byte>(random.next() & 1);
    }
  }
}

Tensor made_up(DType dtype, const Shape& shape, bool zeros, Random& random) {
  if (dtype == DType::kBytes) {
    // Short texts, in wire form.
    Tensor t;
    t.dtype = dtype;
    t.shape = shape;
    for (int64_t i = 0; i < shape.elements(); ++i) {
      const uint32_t length = 8;
      const auto* p = reinterpret_cast<const std::byte*>(&length);
      t.data.insert(t.data.end(), p, p + 4);
      for (int k = 0; k < 8; ++k) t.data.push_back(static_cast<std::byte>(zeros ? '0' : 'a' + random.next() % 26));
    }
    return t;
  }
  Tensor t(dtype, shape);
  if (!zeros) fill_random(t, random);
  return t;
}

// Samples first … first + n - 1 of a data set's tensor, as a tensor of its own.
Tensor rows_of(const Tensor& all, int64_t samples, int64_t first, int64_t n, const Shape& shape) {
  Tensor out;
  out.dtype = all.dtype;
  out.shape = shape;
  size_t begin = 0, end = all.data.size();
  if (all.dtype == DType::kBytes) {
    const int64_t each = all.shape.elements() / samples;
    size_t at = 0;
    for (int64_t i = 0; i < (first + n) * each && at + 4 <= all.data.size(); ++i) {
      if (i == first * each) begin = at;
      uint32_t length;
      std::memcpy(&length, all.data.data() + at, 4);
      at += 4 + length;
    }
    end = at;
  } else {
    const size_t each = all.data.size() / static_cast<size_t>(samples);
    begin = each * static_cast<size_t>(first);
    end = begin + each * static_cast<size_t>(n);
  }
  out.data.assign(all.data.begin() + static_cast<ptrdiff_t>(begin), all.data.begin() + static_cast<ptrdiff_t>(end));
  return out;
}

Result<Inputs> from_files(const ModelInfo& m, const InputOptions& o, int64_t batch) {
  data::DatasetSpec spec;
  for (const auto& [name, path] : o.files) {
    if (name.empty()) {
      if (m.inputs.size() != 1) return invalid_argument("the model has " + std::to_string(m.inputs.size()) + " inputs: say --input NAME=FILE for each");
      spec.path = path;
    } else {
      if (std::none_of(m.inputs.begin(), m.inputs.end(), [&wanted = name](const TensorSpec& t) { return t.name == wanted; })) {
        std::string names;
        for (const TensorSpec& t : m.inputs) names += (names.empty() ? "" : ", ") + t.name;
        return invalid_argument("the model has no input '" + name + "'; it has " + names);
      }
      spec.inputs[name] = path;
    }
  }
  spec.labels = o.labels;
  std::vector<TensorSpec> inputs = m.inputs;
  int64_t bytes = 0;
  for (TensorSpec& t : inputs) {
    if (t.shape.rank() == 0) return invalid_argument("input " + t.name + " has no batch axis: data sets cannot feed it");
    t.shape[0] = -1;
    t.batch_axis = 0;
    bytes += std::max<int64_t>(1, t.shape.rank() > 1 ? [&] {
      Shape s = t.shape;
      s.erase(0);
      return std::max<int64_t>(1, s.elements());
    }() : 1) * static_cast<int64_t>(std::max<size_t>(1, dtype_size(t.dtype)));
  }
  const int64_t most = std::max<int64_t>(batch, std::min(o.most_samples, kMostBytes / std::max<int64_t>(bytes, 1)));
  if (inputs.size() == 1 && !spec.path.empty()) {
    // Raw files say nothing of themselves, often not even by their names.
    const auto ends = [&](const char* e) { return spec.path.ends_with(e); };
    if (!os::is_dir(spec.path) && !ends(".npy") && !ends(".npz") && !ends(".csv") && !ends(".gz") && spec.path.find("ubyte") == std::string::npos && spec.path.find("idx") == std::string::npos)
      spec.format = "raw";
    spec.dtype = inputs[0].dtype;
    spec.shape = inputs[0].shape;
    spec.shape.erase(0);
  }
  VERGE_ASSIGN(const data::Dataset set, data::load_dataset(spec, inputs, {}, most));
  if (set.samples < batch) return invalid_argument("the data has " + std::to_string(set.samples) + " samples, a request takes " + std::to_string(batch));
  Inputs out;
  out.description = set.description;
  const bool labels = set.labels.dtype == DType::kInt64;
  if (!o.labels.empty() && !labels) return invalid_argument(o.labels + ": labels must be class numbers, one a sample");
  for (int64_t first = 0; first + batch <= set.samples; first += batch) {
    Sample s;
    for (const TensorSpec& t : inputs) {
      const Tensor& all = set.inputs.at(t.name);
      Shape shape = all.shape;
      shape[0] = batch;
      s.push_back(rows_of(all, set.samples, first, batch, shape));
    }
    out.requests.push_back(std::move(s));
    if (labels) out.labels.emplace_back(set.labels.as<int64_t>() + first, set.labels.as<int64_t>() + first + batch);
  }
  return out;
}

// A file as it is, such as a photo, for each of the samples of a request.
Result<Inputs> from_one_file(const TensorSpec& t, const InputOptions& o, const std::string& path, int64_t batch) {
  VERGE_ASSIGN(const std::string bytes, os::read_file(path, kMostBytes));
  VERGE_ASSIGN(const Shape shape, request_shape(t, o, batch));
  Tensor out;
  out.dtype = DType::kBytes;
  out.shape = shape;
  const auto length = static_cast<uint32_t>(bytes.size());
  const auto *size = reinterpret_cast<const std::byte*>(&length), *content = reinterpret_cast<const std::byte*>(bytes.data());
  if (static_cast<int64_t>(bytes.size()) * shape.elements() > kMostBytes) return invalid_argument(path + ": too large for " + std::to_string(shape.elements()) + " a request");
  for (int64_t i = 0; i < shape.elements(); ++i) {
    out.data.insert(out.data.end(), size, size + 4);
    out.data.insert(out.data.end(), content, content + bytes.size());
  }
  Inputs in;
  in.description = os::base_name(path);
  in.requests.push_back({std::move(out)});
  return in;
}

}  // namespace

Result<Inputs> make_inputs(const ModelInfo& m, const InputOptions& o, int64_t batch) {
  if (o.files.size() == 1 && m.inputs.size() == 1 && m.inputs[0].dtype == DType::kBytes && o.labels.empty()) {
    const std::string& path = o.files.begin()->second;
    const bool array = path.ends_with(".npy") || path.ends_with(".npz") || path.ends_with(".csv");
    if (!array && !os::is_dir(path)) return from_one_file(m.inputs[0], o, path, batch);
  }
  if (!o.files.empty()) return from_files(m, o, batch);
  if (!o.labels.empty()) return invalid_argument("--labels goes with --input");
  Random random(o.seed);
  Inputs out;
  const bool zeros = o.fill == "zeros";
  out.description = zeros ? "zeros" : "seeded random values";
  for (size_t i = 0; i < (zeros ? 1 : kMadeUp); ++i) {
    Sample s;
    size_t bytes = 0;
    for (const TensorSpec& t : m.inputs) {
      VERGE_ASSIGN(const Shape shape, request_shape(t, o, batch));
      s.push_back(made_up(t.dtype, shape, zeros, random));
      bytes += s.back().data.size();
    }
    out.requests.push_back(std::move(s));
    if (bytes * (i + 2) > static_cast<size_t>(kMostBytes)) break;
  }
  return out;
}

}  // namespace verge::bench
