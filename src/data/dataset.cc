#include "data/dataset.h"

#include <algorithm>
#include <cstring>
#include <new>

#include "data/bytes.h"
#include "data/source.h"

namespace verge::data {
namespace {

constexpr int64_t kMaxSamples = int64_t{1} << 24;

std::string format_of(const std::string& path) {
  if (os::is_dir(path)) return "images";
  if (path.ends_with(".npy")) return "npy";
  if (path.ends_with(".npz")) return "npz";
  if (path.ends_with(".csv")) return "csv";
  if (path.ends_with(".gz") || path.ends_with(".idx") || path.ends_with("-ubyte")) return "idx";
  return "";
}

OpenedSource open_source(const SourceContext& context, const std::string& format) {
  if (format == "csv") return open_csv(context);
  if (format == "images") return open_images(context);
  if (format == "npy" || format == "npz" || format == "idx" || format == "raw") return open_arrays(context, format);
  if (format.empty())
    return invalid_argument(context.spec.path + ": its name tells no format; name one with 'format': npy, npz, idx, csv, raw or images");
  return invalid_argument("there is no data format '" + format + "'; there are npy, npz, idx, csv, raw and images");
}

// Bytes of each sample of a tensor, one after another.
class Samples {
 public:
  Samples(const Tensor& t) : t_(t) {
    const int64_t n = t.shape[0];
    rows_ = n ? t.shape.elements() / n : 0;
    row_bytes_ = static_cast<size_t>(rows_) * dtype_size(t.dtype);
  }
  std::string_view next() {
    const auto* p = reinterpret_cast<const char*>(t_.data.data()) + at_;
    size_t size = row_bytes_;
    if (t_.dtype == DType::kBytes)
      for (int64_t i = 0; i < rows_; ++i) {
        uint32_t n;
        std::memcpy(&n, p + size, sizeof n);
        size += sizeof n + n;
      }
    at_ += size;
    return {p, size};
  }

 private:
  const Tensor& t_;
  int64_t rows_ = 0;
  size_t row_bytes_ = 0, at_ = 0;
};

void identify(Dataset* d) {
  std::vector<Samples> inputs;
  for (const auto& [name, t] : d->inputs) inputs.emplace_back(t);
  std::string all, joined;
  d->ids.reserve(static_cast<size_t>(d->samples));
  for (int64_t i = 0; i < d->samples; ++i) {
    if (inputs.size() == 1) {
      d->ids.push_back(os::sha256_hex(inputs[0].next()));
    } else {
      joined.clear();
      for (Samples& s : inputs) joined += os::sha256_hex(s.next());
      d->ids.push_back(os::sha256_hex(joined));
    }
  }
  for (const auto& [name, t] : d->inputs) all += name + " " + std::string(dtype_name(t.dtype)) + t.shape.to_string() + "\n";
  for (const auto& id : d->ids) all += id;
  all += std::string("\n") + std::string(dtype_name(d->labels.dtype)) + d->labels.shape.to_string();
  all += os::sha256_hex({reinterpret_cast<const char*>(d->labels.data.data()), d->labels.data.size()});
  d->digest = os::sha256_hex(all);
}

Result<Dataset> load(const DatasetSpec& spec, const std::vector<TensorSpec>& inputs, const std::vector<std::string>& label_names,
                     int64_t max_samples) {
  std::string path = spec.path;
  if (path.empty() && !spec.inputs.empty()) path = spec.inputs.begin()->second;
  const std::string format = spec.format.empty() ? format_of(path) : spec.format;
  const SourceContext context{spec, inputs, label_names};
  VERGE_ASSIGN(std::unique_ptr<Source> source, open_source(context, format));
  const int64_t n = source->samples();
  auto fail = [&](const std::string& what) { return invalid_argument(path + ": " + what); };
  if (n == 0) return fail("has no samples");
  const int64_t last = spec.last < 0 ? n - 1 : spec.last;
  if (spec.first < 0 || spec.first > last)
    return fail("samples " + std::to_string(spec.first) + "-" + std::to_string(last) + " are no range");
  if (last >= n)
    return fail("has " + std::to_string(n) + " samples (0-" + std::to_string(n - 1) + "), but samples up to " + std::to_string(last) +
                " are asked for");
  int64_t count = last - spec.first + 1;
  if (max_samples >= 0) count = std::min(count, max_samples);
  if (count > kMaxSamples)
    return resource_exhausted(path + ": " + std::to_string(count) + " samples are more than " + std::to_string(kMaxSamples) +
                              "; name a smaller range");
  Dataset d;
  VERGE_RETURN_IF_ERROR(source->read(spec.first, count, &d));
  d.samples = count;
  d.description = os::base_name(path) + " " + std::to_string(spec.first) + "-" + std::to_string(spec.first + count - 1);
  identify(&d);
  return d;
}

}  // namespace

Result<const TensorSpec*> only_input(const SourceContext& context) {
  if (context.inputs.size() == 1) return &context.inputs[0];
  std::string all;
  for (const auto& in : context.inputs) all += (all.empty() ? "" : ", ") + in.name;
  return invalid_argument("the model has " + std::to_string(context.inputs.size()) + " inputs (" + all +
                          "); name the data of each under 'inputs' (npz: by key)");
}

Result<std::vector<std::string>> read_lines(const std::string& path) {
  VERGE_ASSIGN(const std::string text, os::read_file(path, uint64_t{256} << 20));
  std::vector<std::string> lines;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    lines.push_back(text.substr(at, end - at));
    if (!lines.back().empty() && lines.back().back() == '\r') lines.back().pop_back();
    at = end + 1;
  }
  return lines;
}

Result<Dataset> load_dataset(const DatasetSpec& spec, const std::vector<TensorSpec>& inputs, const std::vector<std::string>& label_names,
                             int64_t max_samples) {
  try {
    return load(spec, inputs, label_names, max_samples);
  } catch (const std::bad_alloc&) {
    return resource_exhausted(spec.path + ": not enough memory to load it; name a smaller range of samples");
  }
}

}  // namespace verge::data
