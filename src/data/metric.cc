#include "data/metric.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace verge::data {
namespace {

struct Rows {
  int64_t n = 0, columns = 0;
};

Result<Rows> rows_of(const TensorView& t, std::string_view name) {
  if (t.dtype == DType::kBytes) return invalid_argument(std::string(name) + " are strings; a metric needs numbers");
  VERGE_RETURN_IF_ERROR(check_tensor(t, name));
  if (t.shape.rank() == 0 || t.shape[0] == 0 || t.shape.elements() == 0) return invalid_argument(std::string(name) + " hold no samples");
  return Rows{t.shape[0], t.shape.elements() / t.shape[0]};
}

double at(const TensorView& t, int64_t i) { return element_as_double(t, static_cast<size_t>(i)); }

// Whether a ranks before b: larger first, NaN last.
bool ranks_before(double a, double b) { return a > b || (std::isnan(b) && !std::isnan(a)); }

int64_t argmax(const TensorView& t, int64_t row, int64_t columns) {
  int64_t best = 0;
  for (int64_t c = 1; c < columns; ++c)
    if (ranks_before(at(t, row * columns + c), at(t, row * columns + best))) best = c;
  return best;
}

int64_t class_at(const TensorView& t, int64_t row, int64_t columns) {
  return columns == 1 ? at(t, row) >= 0.5 : argmax(t, row, columns);
}

// Class ids of labels: themselves, or the place of the one in one-hot rows.
Result<std::vector<int64_t>> label_classes(const TensorView& labels, Rows out) {
  if (labels.dtype == DType::kInvalid) return failed_precondition("there are no labels to compare with");
  VERGE_ASSIGN(const Rows rows, rows_of(labels, "labels"));
  if (rows.n != out.n) return invalid_argument("there are " + std::to_string(rows.n) + " labels for " + std::to_string(out.n) + " samples");
  const int64_t classes = std::max<int64_t>(2, out.columns);
  if (rows.columns != 1 && rows.columns != classes)
    return invalid_argument("labels have " + std::to_string(rows.columns) + " columns for " + std::to_string(classes) + " classes");
  std::vector<int64_t> ids;
  for (int64_t i = 0; i < rows.n; ++i) {
    const double v = rows.columns == 1 ? at(labels, i) : static_cast<double>(argmax(labels, i, rows.columns));
    if (!(v >= 0 && v < static_cast<double>(classes)) || v != std::floor(v))
      return invalid_argument("label " + std::to_string(i) + " is " + std::to_string(v) + "; classes are 0 … " +
                              std::to_string(classes - 1));
    ids.push_back(static_cast<int64_t>(v));
  }
  return ids;
}

double topk_share(const TensorView& outputs, Rows rows, const std::vector<int64_t>& labels, int64_t k) {
  int64_t hits = 0;
  for (int64_t i = 0; i < rows.n; ++i) {
    const int64_t label = labels[static_cast<size_t>(i)];
    if (k == 1 || rows.columns == 1) {
      hits += class_at(outputs, i, rows.columns) == label;
      continue;
    }
    const double v = at(outputs, i * rows.columns + label);
    int64_t before = 0;
    for (int64_t c = 0; c < rows.columns; ++c) {
      const double o = at(outputs, i * rows.columns + c);
      before += ranks_before(o, v) || (c < label && !ranks_before(v, o));
    }
    hits += before < k;
  }
  return static_cast<double>(hits) / static_cast<double>(rows.n);
}

Result<double> error_mean(const TensorView& outputs, Rows rows, const TensorView& labels, bool squared) {
  if (labels.dtype == DType::kInvalid) return failed_precondition("there are no labels to compare with");
  VERGE_ASSIGN(const Rows want, rows_of(labels, "labels"));
  if (want.n != rows.n || want.columns != rows.columns)
    return invalid_argument("labels of shape " + labels.shape.to_string() + " do not fit outputs of shape " + outputs.shape.to_string());
  double sum = 0;
  const int64_t n = rows.n * rows.columns;
  for (int64_t i = 0; i < n; ++i) {
    const double d = at(outputs, i) - at(labels, i);
    sum += squared ? d * d : std::abs(d);
  }
  sum /= static_cast<double>(n);
  return squared ? std::sqrt(sum) : sum;
}

// The share of pairs (positive, negative) in which the positive scores higher, ties counting half, from the sum of the positives' ranks.
Result<double> auc(const TensorView& outputs, Rows rows, const TensorView& labels) {
  if (rows.columns > 2) return invalid_argument("auc is for two classes; a sample has " + std::to_string(rows.columns) + " outputs");
  VERGE_ASSIGN(const std::vector<int64_t> classes, label_classes(labels, rows));
  std::vector<double> score;
  for (int64_t i = 0; i < rows.n; ++i) {
    score.push_back(at(outputs, i * rows.columns + rows.columns - 1));
    if (std::isnan(score.back())) score.back() = -std::numeric_limits<double>::infinity();
  }
  std::vector<size_t> order(score.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return score[a] < score[b]; });
  double rank_sum = 0, positives = 0;
  for (size_t i = 0; i < order.size();) {
    size_t end = i;
    while (end < order.size() && score[order[end]] == score[order[i]]) ++end;
    const double rank = (static_cast<double>(i + 1) + static_cast<double>(end)) / 2;
    for (; i < end; ++i)
      if (classes[order[i]] == 1) {
        rank_sum += rank;
        ++positives;
      }
  }
  const double negatives = static_cast<double>(rows.n) - positives;
  if (positives == 0 || negatives == 0) return failed_precondition("auc needs samples of both classes");
  return (rank_sum - positives * (positives + 1) / 2) / (positives * negatives);
}

Result<double> agreement(const TensorView& outputs, Rows rows, const TensorView& reference) {
  if (reference.dtype == DType::kInvalid) return failed_precondition("there is no reference to agree with");
  VERGE_ASSIGN(const Rows want, rows_of(reference, "reference outputs"));
  if (want.n != rows.n || want.columns != rows.columns)
    return invalid_argument("reference outputs of shape " + reference.shape.to_string() + " do not fit outputs of shape " +
                            outputs.shape.to_string());
  int64_t same = 0;
  for (int64_t i = 0; i < rows.n; ++i) {
    if (rows.columns > 1) {
      same += argmax(outputs, i, rows.columns) == argmax(reference, i, rows.columns);
      continue;
    }
    const double a = at(outputs, i), b = at(reference, i);
    same += (std::isnan(a) && std::isnan(b)) || a == b || std::abs(a - b) <= 0.01 * std::max(1.0, std::abs(b));
  }
  return static_cast<double>(same) / static_cast<double>(rows.n);
}

}  // namespace

Result<double> compute_metric(const Metric& metric, const TensorView& outputs, const TensorView& labels, const TensorView& reference) {
  VERGE_ASSIGN(const Rows rows, rows_of(outputs, "outputs"));
  switch (metric.kind) {
    case MetricKind::kTop1:
    case MetricKind::kTopK: {
      VERGE_ASSIGN(const std::vector<int64_t> classes, label_classes(labels, rows));
      return topk_share(outputs, rows, classes, metric.kind == MetricKind::kTop1 ? 1 : metric.k);
    }
    case MetricKind::kMae: return error_mean(outputs, rows, labels, false);
    case MetricKind::kRmse: return error_mean(outputs, rows, labels, true);
    case MetricKind::kAuc: return auc(outputs, rows, labels);
    case MetricKind::kAgreement: return agreement(outputs, rows, reference);
    case MetricKind::kNone: break;
  }
  return failed_precondition("no metric is named");
}

Result<std::vector<int64_t>> top1_classes(const TensorView& outputs) {
  VERGE_ASSIGN(const Rows rows, rows_of(outputs, "outputs"));
  std::vector<int64_t> classes;
  for (int64_t i = 0; i < rows.n; ++i) classes.push_back(class_at(outputs, i, rows.columns));
  return classes;
}

Result<double> max_abs_diff(const TensorView& a, const TensorView& b) {
  VERGE_RETURN_IF_ERROR(check_tensor(a, "a"));
  VERGE_RETURN_IF_ERROR(check_tensor(b, "b"));
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  if (!(a.shape == b.shape) || (a.dtype == DType::kBytes) != (b.dtype == DType::kBytes))
    return invalid_argument("outputs " + std::string(dtype_name(a.dtype)) + a.shape.to_string() + " and " +
                            std::string(dtype_name(b.dtype)) + b.shape.to_string() + " cannot be compared");
  if (a.dtype == DType::kBytes) return std::equal(a.data.begin(), a.data.end(), b.data.begin(), b.data.end()) ? 0 : kInfinity;
  double most = 0;
  for (int64_t i = 0, n = a.shape.elements(); i < n; ++i) {
    const double x = at(a, i), y = at(b, i);
    if (x == y || (std::isnan(x) && std::isnan(y))) continue;
    const double d = std::abs(x - y);
    most = std::max(most, std::isnan(d) ? kInfinity : d);
  }
  return most;
}

}  // namespace verge::data
