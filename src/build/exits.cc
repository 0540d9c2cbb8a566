#include "build/exits.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/scores.h"
#include "data/metric.h"

namespace verge::build {
namespace {

// Losses, in the metric's unit, at which a point is wanted.
constexpr double kLosses[] = {0,    0.0005, 0.001, 0.002, 0.003, 0.004, 0.005, 0.006, 0.0075, 0.01, 0.0125, 0.015, 0.02, 0.025,
                              0.03, 0.04,   0.05,  0.06,  0.075, 0.1,   0.125, 0.15,  0.2,    0.25, 0.3,    0.4,   0.5};
constexpr int kShares = 192, kPrices = 64;  // steps of the two sweeps
constexpr double kCertainty = 2;  // standard errors added to a loss: about one point in forty then loses more on other samples
constexpr size_t kFolds = 5;
constexpr size_t kLeastSamples = 50;  // below, folds say nothing
constexpr int kMostRounds = 20;  // of coordinate descent; it settles in a few

// Larger is surer, whatever the measure.
std::vector<std::vector<double>> sureness(std::span<const ExitAnswers> answers, Sureness by) {
  std::vector<std::vector<double>> out;
  for (const ExitAnswers& a : answers) {
    std::vector<double> s;
    for (float v : by == Sureness::kConfidence ? a.confidence : a.entropy) s.push_back(by == Sureness::kConfidence ? v : -static_cast<double>(v));
    out.push_back(std::move(s));
  }
  return out;
}

double outward(double cut, Sureness by) { return by == Sureness::kConfidence ? cut : -cut; }
double never(Sureness by) { return by == Sureness::kConfidence ? kNeverByConfidence : -kNeverByEntropy; }
double always(Sureness by) { return by == Sureness::kConfidence ? kAlwaysByConfidence : -kAlwaysByEntropy; }

struct Samples {
  std::span<const ExitAnswers> answers;
  std::vector<std::vector<double>> sure;     // [exit][sample]
  std::vector<std::vector<uint32_t>> order;  // of each exit but the last: samples, the surest first
  size_t exits() const { return answers.size(); }
  size_t count() const { return sure[0].size(); }
};

Samples prepare(std::span<const ExitAnswers> answers, Sureness by) {
  Samples s{answers, sureness(answers, by), {}};
  for (size_t k = 0; k + 1 < s.exits(); ++k) {
    std::vector<uint32_t> order(s.count());
    std::iota(order.begin(), order.end(), 0u);
    std::stable_sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) { return s.sure[k][a] > s.sure[k][b]; });
    s.order.push_back(std::move(order));
  }
  return s;
}

// Every kFolds-th sample, or all others.
std::vector<ExitAnswers> fold_of(std::span<const ExitAnswers> answers, size_t fold, bool inside) {
  std::vector<ExitAnswers> out(answers.size());
  for (size_t k = 0; k < answers.size(); ++k)
    for (size_t i = 0; i < answers[k].right.size(); ++i) {
      if ((i % kFolds == fold) != inside) continue;
      out[k].confidence.push_back(answers[k].confidence[i]);
      out[k].entropy.push_back(answers[k].entropy[i]);
      out[k].right.push_back(answers[k].right[i]);
    }
  return out;
}

// The first exit from `from` on that lets the sample out; cuts as sureness.
size_t leaves_at(const Samples& s, const std::vector<double>& cuts, size_t sample, size_t from) {
  for (size_t k = from; k < cuts.size(); ++k)
    if (s.sure[k][sample] >= cuts[k]) return k;
  return cuts.size();
}

// What a candidate does to samples, summed up.
struct Outcome {
  double cost = 0, lost = 0, squares = 0;  // `lost`: right answers of the last exit that are wrong here, less the other way round
  double count = 0;
  void add(const Samples& s, const std::vector<double>& costs, const std::vector<double>& cuts);
  double mean_cost() const { return cost / count; }
  double mean_loss() const { return lost / count; }
  // What it will hardly lose more than.
  double cautious_loss() const { return mean_loss() + kCertainty * std::sqrt(std::max(0.0, squares / count - mean_loss() * mean_loss()) / count); }
};

// `costs` of the chain are 1 at the last exit.
void Outcome::add(const Samples& s, const std::vector<double>& costs, const std::vector<double>& cuts) {
  const size_t last = s.exits() - 1;
  for (size_t i = 0; i < s.count(); ++i) {
    const size_t at = leaves_at(s, cuts, i, 0);
    const double d = static_cast<double>(s.answers[last].right[i]) - static_cast<double>(s.answers[at].right[i]);
    lost += d;
    squares += d * d;
    cost += costs[at];
  }
  count += static_cast<double>(s.count());
}

// Between two neighbours, so that rounding elsewhere decides nothing.
double between(double above, double below) { return below + (above - below) / 2; }

std::vector<double> by_shares(const Samples& s, double p, Sureness by) {
  const size_t last = s.exits() - 1, n = s.count();
  double all = 0;
  for (size_t k = 0; k <= last; ++k) all += std::pow(p, static_cast<double>(k));
  std::vector<double> cuts;
  std::vector<bool> out(n);
  for (size_t k = 0; k < last; ++k) {
    auto quota = static_cast<size_t>(std::llround(std::pow(p, static_cast<double>(k)) / all * static_cast<double>(n)));
    double cut = never(by), before = never(by);
    for (uint32_t i : s.order[k]) {
      if (out[i]) continue;
      if (quota == 0) {
        cut = before == never(by) ? before : between(before, s.sure[k][i]);
        break;
      }
      --quota;
      before = cut = s.sure[k][i];
    }
    if (quota > 0) cut = always(by);
    cuts.push_back(cut);
    for (size_t i = 0; i < n; ++i) out[i] = out[i] || s.sure[k][i] >= cut;
  }
  return cuts;
}

// Best cut of exit k, the others given: samples that reach it, in order of sureness, each gain what leaving here saves less what it loses.
double best_cut(const Samples& s, const std::vector<double>& costs, const std::vector<double>& cuts, size_t k, double price, Sureness by) {
  double sum = 0, best = 0, cut = never(by), before = never(by);
  for (uint32_t i : s.order[k]) {
    const double own = s.sure[k][i];
    size_t reached = 0;
    while (reached < k && s.sure[reached][i] < cuts[reached]) ++reached;
    if (reached < k) continue;
    if (own < before && sum > best) {  // equals are not parted
      best = sum;
      cut = between(before, own);
    }
    const size_t next = leaves_at(s, cuts, i, k + 1);
    sum += costs[next] - costs[k] - price * (static_cast<double>(s.answers[next].right[i]) - static_cast<double>(s.answers[k].right[i]));
    before = own;
  }
  return sum > best ? always(by) : cut;
}

std::vector<double> by_price(const Samples& s, const std::vector<double>& costs, std::vector<double> cuts, double price, Sureness by) {
  for (int round = 0; round < kMostRounds; ++round) {
    bool moved = false;
    for (size_t k = cuts.size(); k-- > 0;) {
      const double cut = best_cut(s, costs, cuts, k, price, by);
      moved |= cut != cuts[k];
      cuts[k] = cut;
    }
    if (!moved) break;
  }
  return cuts;
}

// All candidates for these samples; those of others stand at the same places.
std::vector<std::vector<double>> candidates(const Samples& s, const std::vector<double>& costs, Sureness by) {
  const size_t last = s.exits() - 1;
  std::vector<std::vector<double>> all = {std::vector<double>(last, never(by)), std::vector<double>(last, always(by))};
  for (int i = 0; i <= kShares; ++i) all.push_back(by_shares(s, std::pow(10, -1.5 + 3.0 * i / kShares), by));
  std::vector<Outcome> shares(all.size());
  for (size_t c = 0; c < all.size(); ++c) shares[c].add(s, costs, all[c]);
  // From "time is all" to "one wrong answer is worth a thousand runs"; each begins where the one before ended, and at the best shares.
  std::vector<double> from(last, always(by));
  for (int i = 0; i <= kPrices; ++i) {
    const double price = std::pow(10, -1.0 + 4.0 * i / kPrices);
    const auto value = [&](const Outcome& o) { return o.mean_cost() + price * o.mean_loss(); };
    const auto best = std::min_element(shares.begin(), shares.end(), [&](const Outcome& a, const Outcome& b) { return value(a) < value(b); });
    std::vector<double> one = by_price(s, costs, from, price, by), other = by_price(s, costs, all[static_cast<size_t>(best - shares.begin())], price, by);
    Outcome of_one, of_other;
    of_one.add(s, costs, one);
    of_other.add(s, costs, other);
    from = value(of_one) <= value(of_other) ? std::move(one) : std::move(other);
    all.push_back(from);
  }
  return all;
}

std::vector<double> relative(std::span<const double> costs) {
  std::vector<double> out(costs.begin(), costs.end());
  for (double& c : out) c /= costs.back();
  return out;
}

bool usable(std::span<const ExitAnswers> a, std::span<const double> costs) {
  if (a.size() < 2 || a.size() != costs.size() || a[0].right.empty() || !(costs.back() > 0)) return false;
  return std::all_of(a.begin(), a.end(), [&](const ExitAnswers& e) {
    return e.right.size() == a[0].right.size() && e.confidence.size() == a[0].right.size() && e.entropy.size() == a[0].right.size();
  });
}

}  // namespace

ExitPoint measure_thresholds(std::span<const ExitAnswers> samples, std::span<const double> costs, Sureness by, std::vector<double> thresholds) {
  const std::vector<double> share_of = relative(costs);
  const size_t n = samples[0].right.size();
  ExitPoint p;
  p.shares.assign(samples.size(), 0);
  p.accuracy = p.cost = 0;
  for (size_t i = 0; i < n; ++i) {
    size_t at = 0;
    while (at < thresholds.size() && !(by == Sureness::kConfidence ? samples[at].confidence[i] >= thresholds[at] : samples[at].entropy[i] <= thresholds[at])) ++at;
    p.shares[at] += 1;
    p.accuracy += samples[at].right[i];
  }
  for (size_t k = 0; k < p.shares.size(); ++k) {
    p.shares[k] /= static_cast<double>(n);
    p.cost += p.shares[k] * share_of[k];
  }
  p.accuracy /= static_cast<double>(n);
  p.thresholds = std::move(thresholds);
  return p;
}

std::vector<ExitPoint> exit_curve(std::span<const ExitAnswers> calibration, std::span<const ExitAnswers> evaluation, std::span<const double> costs, Sureness by) {
  if (!usable(calibration, costs) || !usable(evaluation, costs)) return {};
  const Samples s = prepare(calibration, by);
  const std::vector<double> share = relative(costs);
  struct Candidate {
    std::vector<double> cuts;
    double cost = 0, loss = 0;
  };
  std::vector<Candidate> all;
  for (std::vector<double>& cuts : candidates(s, share, by)) {
    Outcome of;
    of.add(s, share, cuts);
    all.push_back({std::move(cuts), of.mean_cost(), of.cautious_loss()});
  }
  if (s.count() >= kLeastSamples) {
    std::vector<Outcome> held(all.size());
    for (size_t fold = 0; fold < kFolds; ++fold) {
      const std::vector<ExitAnswers> seen = fold_of(calibration, fold, false), unseen = fold_of(calibration, fold, true);
      const auto found = candidates(prepare(seen, by), share, by);
      const Samples rest = prepare(unseen, by);
      for (size_t c = 0; c < all.size(); ++c) held[c].add(rest, share, found[c]);
    }
    for (size_t c = 0; c < all.size(); ++c) all[c].loss = held[c].cautious_loss();
  }
  // Cheapest first; of equal cost the one that loses least. What costs more must lose less.
  std::stable_sort(all.begin(), all.end(), [](const Candidate& a, const Candidate& b) { return a.cost != b.cost ? a.cost < b.cost : a.loss < b.loss; });
  std::vector<const Candidate*> front;
  for (const Candidate& c : all)
    if (front.empty() || c.loss < front.back()->loss) front.push_back(&c);
  // The cheapest for each wanted loss, and both ends.
  std::vector<const Candidate*> chosen = {front.front(), front.back()};
  for (double loss : kLosses) {
    const auto it = std::find_if(front.begin(), front.end(), [&](const Candidate* c) { return c->loss <= loss; });
    if (it != front.end()) chosen.push_back(*it);
  }
  std::sort(chosen.begin(), chosen.end());
  chosen.erase(std::unique(chosen.begin(), chosen.end()), chosen.end());
  std::vector<ExitPoint> points;
  for (const Candidate* c : chosen) {
    std::vector<double> thresholds;
    for (double cut : c->cuts) thresholds.push_back(outward(cut, by));
    points.push_back(measure_thresholds(evaluation, costs, by, std::move(thresholds)));
    points.back().calibration_loss = c->loss;
  }
  std::stable_sort(points.begin(), points.end(), [](const ExitPoint& a, const ExitPoint& b) { return a.cost < b.cost; });
  if (points.size() > kMostPoints) points.resize(kMostPoints);
  return points;
}

void cost_again(std::vector<ExitPoint>& points, std::span<const double> costs) {
  if (costs.empty() || !(costs.back() > 0)) return;
  const std::vector<double> share = relative(costs);
  for (ExitPoint& p : points) {
    if (p.shares.size() != share.size()) continue;
    p.cost = std::inner_product(p.shares.begin(), p.shares.end(), share.begin(), 0.0);
  }
  std::stable_sort(points.begin(), points.end(), [](const ExitPoint& a, const ExitPoint& b) { return a.cost < b.cost; });
}

std::vector<int64_t> class_labels(const Tensor& labels) {
  std::vector<int64_t> out;
  const int64_t n = labels.shape.rank() ? labels.shape[0] : 0;
  if (n <= 0 || labels.data.empty() || labels.dtype == DType::kBytes) return out;
  const int64_t width = labels.shape.elements() / n;
  if (width == 1) {
    for (int64_t i = 0; i < n; ++i) {
      const double v = element_as_double(labels.view(), static_cast<size_t>(i));
      if (v != std::floor(v) || v < 0) return {};
      out.push_back(static_cast<int64_t>(v));
    }
    return out;
  }
  auto classes = data::top1_classes(labels.view());
  return classes.ok() ? std::move(classes).value() : out;
}

Result<ExitAnswers> exit_answers(const Tensor& scores, const Metric& metric, std::span<const int64_t> labels) {
  if (scores.shape.rank() != 2 || scores.shape[1] < 2) return invalid_argument("its answers are no scores of several classes");
  if (metric.kind != MetricKind::kTop1 && metric.kind != MetricKind::kTopK && metric.kind != MetricKind::kAgreement)
    return invalid_argument("the metric " + std::string(metric_name(metric.kind)) + " tells nothing of single samples");
  const auto n = static_cast<size_t>(scores.shape[0]), classes = static_cast<size_t>(scores.shape[1]);
  if (labels.size() != n) return invalid_argument("there are " + std::to_string(labels.size()) + " labels for " + std::to_string(n) + " samples");
  Tensor row(DType::kFp32, Shape{1, scores.shape[1]});
  const size_t k = metric.kind == MetricKind::kTopK ? static_cast<size_t>(metric.k) : 1;
  ExitAnswers out;
  for (size_t i = 0; i < n; ++i) {
    for (size_t c = 0; c < classes; ++c) row.as<float>()[c] = static_cast<float>(element_as_double(scores.view(), i * classes + c));
    const ScoreSummary s = summarize_scores(row.view());
    if (s.confidence < 0) return invalid_argument("sample " + std::to_string(i) + " has an answer that is not a number");
    out.confidence.push_back(static_cast<float>(s.confidence));
    out.entropy.push_back(static_cast<float>(s.entropy));
    const auto label = static_cast<size_t>(labels[i]);
    size_t above = 0;
    for (size_t c = 0; label < classes && c < classes; ++c) above += row.as<float>()[c] > row.as<float>()[label] || (row.as<float>()[c] == row.as<float>()[label] && c < label);
    out.right.push_back(label < classes && above < k);
  }
  return out;
}

std::vector<double> exit_costs(const VariantProfile& profile) {
  std::vector<double> costs;
  double sum = 0;
  for (const StageProfile& s : profile.stages) {
    const LatencyCell* cell = s.cell(1, 1);
    if (!cell && !s.latency.empty()) cell = &s.latency.front();
    if (!cell || cell->p50_us <= 0) return {};
    sum += cell->p50_us;
    costs.push_back(sum);
  }
  return costs;
}

}  // namespace verge::build
