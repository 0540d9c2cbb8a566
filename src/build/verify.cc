#include "build/verify.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>

#include "data/metric.h"

namespace verge::build {
namespace {

// How two sets of answers differ, over all outputs.
struct Difference {
  double max_abs = 0;
  double largest_reference = 0;
  double worst_ratio = 0;  // rms of the difference / standard deviation of the reference, of the output where it is worst
  int64_t not_numbers = 0;
  int64_t unequal_strings = 0;
  int64_t elements = 0;
};

Status add_difference(const std::string& name, const TensorView& got, const TensorView& want, Difference& d) {
  if ((got.dtype == DType::kBytes) != (want.dtype == DType::kBytes)) {
    return invalid_argument("output '" + name + "' is " + std::string(dtype_name(got.dtype)) + ", the reference's is " + std::string(dtype_name(want.dtype)));
  }
  if (got.shape.elements() != want.shape.elements()) {
    return invalid_argument("output '" + name + "' has the shape " + got.shape.to_string() + ", the reference's " + want.shape.to_string());
  }
  if (got.dtype == DType::kBytes) {
    d.elements += want.shape.elements();
    if (got.data.size() != want.data.size() || std::memcmp(got.data.data(), want.data.data(), want.data.size()) != 0) ++d.unequal_strings;
    return {};
  }
  auto n = static_cast<size_t>(want.shape.elements());
  double sum = 0, squares = 0, error = 0;
  size_t used = 0;
  for (size_t i = 0; i < n; ++i) {
    double a = element_as_double(got, i), b = element_as_double(want, i);
    if (!std::isfinite(a) || !std::isfinite(b)) {
      if (!(a == b || (std::isnan(a) && std::isnan(b)))) ++d.not_numbers;
      continue;
    }
    d.max_abs = std::max(d.max_abs, std::abs(a - b));
    d.largest_reference = std::max(d.largest_reference, std::abs(b));
    sum += b;
    squares += b * b;
    error += (a - b) * (a - b);
    ++used;
  }
  d.elements += static_cast<int64_t>(n);
  if (used > 1) {
    double mean = sum / static_cast<double>(used);
    double variance = std::max(0.0, squares / static_cast<double>(used) - mean * mean);
    // Answers that are all the same say nothing about whether another follows them.
    if (variance > 1e-12 * std::max(1.0, mean * mean)) d.worst_ratio = std::max(d.worst_ratio, std::sqrt(error / static_cast<double>(used) / variance));
  }
  return {};
}

void reject(VariantProfile& p, std::string reason) {
  p.verdict = Verdict::kRejected;
  p.reason = std::move(reason);
}

// Scores of several classes, one vector a sample.
bool is_score_vector(const Tensor& t) {
  return t.dtype != DType::kBytes && t.shape.rank() == 2 && t.shape[0] > 0 && t.shape[1] >= 2;
}

const TensorSpec* metric_output(const Reference& r) {
  if (r.network.outputs.empty()) return nullptr;
  return r.metric.output.empty() ? &r.network.outputs[0] : r.network.output(r.metric.output);
}

// Stored integers as the real numbers they mean.
Tensor real_values(const Tensor& t, const TensorSpec& spec) {
  if (spec.quantization.empty() || spec.quantization[0].axis >= 0 || t.dtype == DType::kBytes) return t;
  Tensor out(DType::kFp32, t.shape);
  const Quantization& q = spec.quantization[0];
  for (size_t i = 0; i < out.data.size() / sizeof(float); ++i) {
    out.as<float>()[i] = static_cast<float>(q.scale * (element_as_double(t.view(), i) - static_cast<double>(q.zero_point)));
  }
  return out;
}

double accuracy_loss(MetricKind kind, double reference, double variant) {
  return metric_larger_is_better(kind) ? reference - variant : variant - reference;
}

}  // namespace

std::string short_number(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.4g", value);
  return text;
}

double default_accuracy_loss(const Reference& r) {
  const TensorSpec* spec = metric_output(r);
  if (metric_larger_is_better(r.metric.kind) || !spec) return kDefaultAccuracyLoss;
  auto it = r.outputs.find(spec->name);
  if (it == r.outputs.end()) return kDefaultAccuracyLoss;
  Tensor real = real_values(it->second, *spec);
  double low = INFINITY, high = -INFINITY;
  for (size_t i = 0; i < static_cast<size_t>(std::max<int64_t>(0, real.shape.elements())); ++i) {
    double v = element_as_double(real.view(), i);
    if (!std::isfinite(v)) continue;
    low = std::min(low, v);
    high = std::max(high, v);
  }
  return high > low ? kDefaultAccuracyLoss * (high - low) : kDefaultAccuracyLoss;
}

Result<double> accuracy_of(const Reference& r, const std::map<std::string, Tensor>& outputs) {
  const TensorSpec* spec = metric_output(r);
  if (!spec) return invalid_argument("metric.output: the network has no output '" + r.metric.output + "'");
  auto got = outputs.find(spec->name);
  auto want = r.outputs.find(spec->name);
  if (got == outputs.end() || want == r.outputs.end()) return not_found("output '" + spec->name + "' was not answered");
  Tensor real = real_values(got->second, *spec);
  Tensor reference = real_values(want->second, *spec);
  return data::compute_metric(r.metric, real.view(), r.labels.view(), reference.view());
}

void judge(const Reference& r, const std::string& precision, const std::map<std::string, Tensor>& outputs, VariantProfile& p) {
  if (p.verdict == Verdict::kFailed) return;
  p.verdict = Verdict::kOk;
  p.reason.clear();
  Difference d;
  int64_t samples = 0;
  for (const auto& [name, want] : r.outputs) {
    auto it = outputs.find(name);
    if (it == outputs.end()) return reject(p, "it has no output '" + name + "'");
    if (Status s = add_difference(name, it->second.view(), want.view(), d); !s.ok()) return reject(p, s.message());
    samples = std::max(samples, want.shape.rank() ? want.shape[0] : 1);
  }
  p.compared_samples = std::max(p.compared_samples, samples);
  p.max_abs_diff = std::max(p.max_abs_diff, d.max_abs);
  if (r.metric.kind != MetricKind::kNone && r.evaluation) {
    auto accuracy = accuracy_of(r, outputs);
    if (!accuracy.ok()) return reject(p, "its accuracy cannot be computed: " + accuracy.status().message());
    p.accuracy = *accuracy;
    p.accuracy_samples = samples;
  }
  if (d.not_numbers) {
    return reject(p, std::to_string(d.not_numbers) + " of " + std::to_string(d.elements) + " answers are NaN or infinite where the reference has numbers, or the other way round");
  }
  if (d.unequal_strings) return reject(p, "its output strings differ from the reference's");
  bool exact = precision == "f32";
  double limit = r.limits.max_abs_diff >= 0 ? r.limits.max_abs_diff : exact ? kExactTolerance * std::max(1.0, d.largest_reference) : -1;
  if (limit >= 0 && p.max_abs_diff > limit) {
    return reject(p, "differs from the reference by up to " + short_number(p.max_abs_diff) + ", the limit is " + short_number(limit));
  }
  if (d.worst_ratio > kFollowsRatio) {
    return reject(p, "its answers do not follow the reference's: they differ by " + short_number(d.worst_ratio) +
                         " standard deviations of these (limit " + short_number(kFollowsRatio) + ")");
  }
  if (p.accuracy_samples > 0) {
    double allowed = r.limits.max_accuracy_loss >= 0 ? r.limits.max_accuracy_loss : default_accuracy_loss(r);
    double loss = accuracy_loss(r.metric.kind, r.accuracy, p.accuracy);
    // Accuracies of a few hundred samples move in steps: a variant exactly at the limit must not fall to rounding.
    if (loss > allowed + 1e-9) {
      return reject(p, std::string(metric_name(r.metric.kind)) + " " + short_number(p.accuracy) + " against the reference's " + short_number(r.accuracy) +
                           ": the loss " + short_number(loss) + " exceeds the limit " + short_number(allowed));
    }
  } else if (r.real_samples && !exact && !r.network.outputs.empty()) {
    const std::string& first = r.network.outputs[0].name;
    const Tensor& want = r.outputs.at(first);
    if (is_score_vector(want)) {
      auto agreement = data::compute_metric({MetricKind::kAgreement, 5, {}}, outputs.at(first).view(), TensorView{}, want.view());
      if (agreement.ok() && *agreement < kLeastAgreement) {
        return reject(p, "agrees with the reference's class on " + short_number(*agreement) + " of the golden samples, at least " + short_number(kLeastAgreement) + " is wanted");
      }
    }
  }
}

void judge_exits(const std::vector<Reference>& references, const std::vector<std::string>& exits, const std::string& precision,
                 const std::map<std::string, Tensor>& outputs, VariantProfile& p) {
  p.exits.clear();
  if (p.verdict == Verdict::kFailed) return;
  p.verdict = Verdict::kOk;
  p.reason.clear();
  for (size_t k = 0; k < references.size(); ++k) {
    VariantProfile one;
    judge(references[k], precision, outputs, one);
    p.exits.push_back({one.accuracy, one.max_abs_diff});
    p.accuracy = one.accuracy;
    p.accuracy_samples = one.accuracy_samples;
    p.compared_samples = std::max(p.compared_samples, one.compared_samples);
    p.max_abs_diff = std::max(p.max_abs_diff, one.max_abs_diff);
    if (one.verdict == Verdict::kOk || p.verdict != Verdict::kOk) continue;
    p.verdict = one.verdict;
    p.reason = "exit '" + exits[k] + "': " + one.reason;
  }
}

}  // namespace verge::build
