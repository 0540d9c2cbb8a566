// Steps on scores: softmax, argmax, topk.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <string>

#include "transform/operators.h"

namespace verge::transform {
namespace {

// --- softmax ---

class SoftmaxStep : public Step {
 public:
  explicit SoftmaxStep(int axis) : axis_(axis) {}
  Status run(const TensorView& in, Tensor& out) const override {
    VERGE_RETURN_IF_ERROR(prepare(out, real_type(in.dtype), in.shape));
    if (out.dtype == DType::kFp64)
      apply(in, out.as<double>());
    else
      apply(in, out.as<float>());
    return {};
  }

 private:
  template <typename R>
  void apply(const TensorView& in, R* out) const {
    to_real(in, 0, in.shape.elements(), out);
    const AxisLayout l = axis_layout(in.shape, axis_);
    for (int64_t o = 0; o < l.outer; ++o)
      for (int64_t i = 0; i < l.inner; ++i) {
        R* p = out + o * l.n * l.inner + i;
        R top = -std::numeric_limits<R>::infinity(), sum = 0;
        for (int64_t c = 0; c < l.n; ++c) top = std::max(top, p[c * l.inner]);
        for (int64_t c = 0; c < l.n; ++c) sum += p[c * l.inner] = std::exp(p[c * l.inner] - top);
        for (int64_t c = 0; c < l.n; ++c) p[c * l.inner] /= sum;
      }
  }
  int axis_;
};

Made make_softmax(Params& params, const Context&, TensorSpec& spec) {
  const int64_t at = params.integer("axis", -kMaxRank, kMaxRank, -1);
  VERGE_RETURN_IF_ERROR(params.status());
  VERGE_RETURN_IF_ERROR(need_numeric(spec));
  VERGE_ASSIGN(const int axis, tensor_axis(spec, at));
  spec.dtype = real_type(spec.dtype);
  spec.quantization.clear();
  return made<SoftmaxStep>(axis);
}

// --- labels ---

// Labels as BYTES elements in wire form.
std::vector<std::string> wire_labels(std::span<const std::string> labels) {
  std::vector<std::string> wire;
  for (const std::string& l : labels) {
    const auto n = static_cast<uint32_t>(l.size());
    std::string s(4, '\0');
    for (size_t i = 0; i < 4; ++i) s[i] = static_cast<char>(n >> (8 * i) & 0xff);
    wire.push_back(s + l);
  }
  return wire;
}

Status check_labels(const TensorSpec& spec, int axis, std::span<const std::string> labels) {
  if (labels.empty()) return invalid_argument("'output: labels' needs the model's labels, and there are none (field 'labels')");
  if (spec.shape[axis] >= 0 && spec.shape[axis] != static_cast<int64_t>(labels.size()))
    return invalid_argument("the model has " + std::to_string(labels.size()) + " labels, but the axis has " +
                            std::to_string(spec.shape[axis]) + " classes");
  return {};
}

Status check_label_count(int64_t classes, size_t labels) {
  if (classes == static_cast<int64_t>(labels)) return {};
  return failed_precondition("the model has " + std::to_string(labels) + " labels, but the network put out " + std::to_string(classes) +
                             " classes");
}

void append(std::vector<std::byte>& data, const std::string& wire) {
  const auto* p = reinterpret_cast<const std::byte*>(wire.data());
  data.insert(data.end(), p, p + wire.size());
}

enum class What { kIndices, kValues, kLabels };

What what_of(std::string_view choice) {
  return choice == "values" ? What::kValues : choice == "labels" ? What::kLabels : What::kIndices;
}

// --- topk; argmax is its case k = 1 without the axis ---

constexpr int64_t kMaxK = 1024;

class TopStep : public Step {
 public:
  TopStep(int axis, int64_t k, bool keep_axis, What what, std::vector<std::string> labels)
      : axis_(axis), k_(k), keep_axis_(keep_axis), what_(what), labels_(std::move(labels)) {}

  Status run(const TensorView& in, Tensor& out) const override {
    const AxisLayout l = axis_layout(in.shape, axis_);
    if (l.n < k_)
      return invalid_argument("the axis has " + std::to_string(l.n) + " elements, fewer than the " + std::to_string(k_) + " asked for");
    Shape to = in.shape;
    to[axis_] = k_;
    if (!keep_axis_) to.erase(axis_);
    if (what_ == What::kLabels) {
      VERGE_RETURN_IF_ERROR(check_label_count(l.n, labels_.size()));
      out.dtype = DType::kBytes;
      out.shape = to;
      out.data.clear();
    } else {
      VERGE_RETURN_IF_ERROR(prepare(out, what_ == What::kIndices ? DType::kInt64 : in.dtype, to));
    }
    return with_type(in.dtype, [&]<typename T>() { return apply<T>(in, l, out); });
  }

 private:
  // Orders by value, largest first; equal ones by index; NaN after everything.
  template <typename T>
  Status apply(const TensorView& in, const AxisLayout& l, Tensor& out) const {
    using V = decltype(number(T{}));
    struct Entry {
      V value;
      int64_t index;
    };
    std::array<Entry, kMaxK> best;
    auto before = [](V a, V b) { return a > b || (b != b && a == a); };
    const std::byte* p = in.data.data();
    for (int64_t o = 0; o < l.outer; ++o)
      for (int64_t i = 0; i < l.inner; ++i) {
        size_t have = 0;
        const auto k = static_cast<size_t>(k_);
        for (int64_t c = 0; c < l.n; ++c) {
          const V v = number(load_at<T>(p, (o * l.n + c) * l.inner + i));
          if (have == k && !before(v, best[k - 1].value)) continue;
          size_t at = have < k ? have++ : k - 1;
          for (; at > 0 && before(v, best[at - 1].value); --at) best[at] = best[at - 1];
          best[at] = {v, c};
        }
        for (size_t r = 0; r < k; ++r) {
          const int64_t c = best[r].index, to = (o * k_ + static_cast<int64_t>(r)) * l.inner + i;
          if (what_ == What::kIndices)
            out.as<int64_t>()[to] = c;
          else if (what_ == What::kValues)
            out.as<T>()[to] = load_at<T>(p, (o * l.n + c) * l.inner + i);
          else
            append(out.data, labels_[static_cast<size_t>(c)]);
        }
        if (what_ == What::kLabels && out.data.size() > static_cast<size_t>(kMaxStepBytes))
          return resource_exhausted("makes more than " + std::to_string(kMaxStepBytes >> 20) + " MiB of labels");
      }
    return {};
  }

  int axis_;
  int64_t k_;
  bool keep_axis_;
  What what_;
  std::vector<std::string> labels_;  // in wire form
};

Made make_top(TensorSpec& spec, const Context& context, int64_t axis_param, int64_t k, bool keep_axis, What what) {
  VERGE_RETURN_IF_ERROR(need_numeric(spec));
  VERGE_ASSIGN(const int axis, tensor_axis(spec, axis_param));
  if (spec.shape[axis] >= 0 && spec.shape[axis] < k)
    return invalid_argument("the axis has " + std::to_string(spec.shape[axis]) + " elements, fewer than the " + std::to_string(k) +
                            " asked for");
  std::vector<std::string> labels;
  if (what == What::kLabels) {
    VERGE_RETURN_IF_ERROR(check_labels(spec, axis, context.labels));
    if (axis != spec.shape.rank() - 1)
      return invalid_argument("'output: labels' works along the last axis only; put a transpose before it");
    labels = wire_labels(context.labels);
  }
  if (what != What::kValues) {
    spec.dtype = what == What::kLabels ? DType::kBytes : DType::kInt64;
    spec.quantization.clear();
  }
  if (keep_axis)
    spec.shape[axis] = k;
  else
    spec.shape.erase(axis);
  if (spec.quantization.size() == 1 && spec.quantization[0].axis >= 0) spec.quantization.clear();
  return made<TopStep>(axis, k, keep_axis, what, std::move(labels));
}

Made make_argmax(Params& params, const Context& context, TensorSpec& spec) {
  const int64_t axis = params.integer("axis", -kMaxRank, kMaxRank, -1);
  const auto output = params.choice("output", {"indices", "labels"});
  VERGE_RETURN_IF_ERROR(params.status());
  return make_top(spec, context, axis, 1, false, what_of(output));
}

Made make_topk(Params& params, const Context& context, TensorSpec& spec) {
  const int64_t k = params.integer("k", 1, kMaxK);
  const int64_t axis = params.integer("axis", -kMaxRank, kMaxRank, -1);
  const auto output = params.choice("output", {"indices", "values", "labels"});
  VERGE_RETURN_IF_ERROR(params.status());
  return make_top(spec, context, axis, k, true, what_of(output));
}

}  // namespace

const Operator kOp_softmax = {
    {"softmax", "exp(x - max) / sum along an axis, in FP32 (FP64 on FP64), from any numeric type.",
     {{"axis", "int", false, "of a sample; negative from the end; default -1"}}},
    make_softmax};

const Operator kOp_argmax = {
    {"argmax", "Where the largest element along an axis stands; the axis goes. Of equal ones the first; NaN only where all are NaN.",
     {{"axis", "int", false, "of a sample; negative from the end; default -1"},
      {"output", "string", false, "indices (INT64) or labels (BYTES, the model's label of the class); default indices"}}},
    make_argmax};

const Operator kOp_topk = {
    {"topk",
     "The k largest elements along an axis, largest first; of equal ones the first comes first; NaN comes last. Serve several outputs from "
     "one "
     "of the network's to answer with indices, values and labels.",
     {{"k", "int", true, "1 … 1024, at most the axis's size"},
      {"axis", "int", false, "of a sample; negative from the end; default -1"},
      {"output", "string", false,
       "indices (INT64), values (the input's type) or labels (BYTES, the model's label of each class; last axis only); default indices"}}},
    make_topk};

}  // namespace verge::transform
