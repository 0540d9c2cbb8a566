#include "core/scores.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace verge {
namespace {

float at(const std::byte* data, int64_t i) {
  float v;
  std::memcpy(&v, data + i * static_cast<int64_t>(sizeof v), sizeof v);
  return v;
}

double part_of_entropy(double p) { return p > 0 ? -p * std::log(p) : 0; }

ScoreSummary of_row(const std::byte* row, int64_t classes) {
  if (classes == 1) {
    const double p = at(row, 0);
    if (!(p >= 0 && p <= 1)) return {};
    return {std::max(p, 1 - p), part_of_entropy(p) + part_of_entropy(1 - p)};
  }
  double sum = 0, largest = -INFINITY;
  bool distribution = true;
  for (int64_t c = 0; c < classes; ++c) {
    const double v = at(row, c);
    if (std::isnan(v)) return {};
    distribution &= v >= 0 && v <= 1;
    sum += v;
    largest = std::max(largest, v);
  }
  ScoreSummary s{0, 0};
  if (distribution && std::abs(sum - 1) <= 0.01) {
    s.confidence = largest;
    for (int64_t c = 0; c < classes; ++c) s.entropy += part_of_entropy(at(row, c));
    return s;
  }
  if (!std::isfinite(largest)) return {};
  // softmax: p = e / z; the entropy is ln z - sum(p (x - largest)).
  double z = 0, weighted = 0;
  for (int64_t c = 0; c < classes; ++c) {
    const double x = at(row, c) - largest, e = std::exp(x);
    z += e;
    if (e > 0) weighted += e * x;
  }
  s.confidence = 1 / z;
  s.entropy = std::max(0.0, std::log(z) - weighted / z);
  return s;
}

}  // namespace

ScoreSummary summarize_scores(const TensorView& t) {
  if (t.dtype != DType::kFp32 || t.shape.rank() == 0 || !t.shape.is_static()) return {};
  const int64_t classes = t.shape[t.shape.rank() - 1], elements = t.shape.elements();
  if (classes < 1 || elements < classes || static_cast<size_t>(elements) * sizeof(float) > t.data.size()) return {};
  ScoreSummary all{2, -1};
  for (int64_t first = 0; first + classes <= elements; first += classes) {
    const ScoreSummary row = of_row(t.data.data() + first * static_cast<int64_t>(sizeof(float)), classes);
    if (row.confidence < 0) return {};
    all.confidence = std::min(all.confidence, row.confidence);
    all.entropy = std::max(all.entropy, row.entropy);
  }
  return all;
}

}  // namespace verge
