#include "report/summary.h"

#include <algorithm>
#include <set>
#include <tuple>

#include "os/process.h"

namespace verge::report {
namespace {

Result<const Profile*> choose_profile(const package::Package& package, const std::string& device) {
  if (!device.empty()) {
    const Profile* p = package.profile_for(device);
    if (p) return p;
    std::string have;
    for (const auto& q : package.profiles) have += (have.empty() ? "" : ", ") + q.device.fingerprint;
    return not_found(package.dir + ": no profile of device '" + device + "'" + (have.empty() ? "" : "; there is " + have));
  }
  if (const Profile* here = package.profile_for(os::this_device().fingerprint)) return here;
  const Profile* latest = nullptr;
  for (const auto& p : package.profiles)
    if (!latest || p.measured_at > latest->measured_at) latest = &p;
  return latest;
}

Row make_row(const Manifest& m, const VariantSpec& v, const Profile* profile) {
  Row row;
  row.spec = &v;
  for (const auto& id : v.artifacts)
    if (const Artifact* a = m.artifact(id)) {
      row.size_bytes += a->size_bytes();
      row.generate_seconds = std::max(row.generate_seconds, 0.0) + a->generate_seconds;
    }
  if (v.conversion != Conversion::kOk) {
    row.verdict = v.conversion == Conversion::kFailed ? Verdict::kFailed : Verdict::kNotMeasured;
    row.reason = v.conversion == Conversion::kLeftOut ? "left out: " + v.reason : v.reason;
    return row;
  }
  row.profile = profile ? profile->variant(v.id) : nullptr;
  if (!row.profile) {
    row.reason = v.reason.empty() ? "not measured on this device" : v.reason;
    return row;
  }
  row.verdict = row.profile->verdict;
  row.reason = row.profile->reason;
  if (row.profile->accuracy >= 0 && m.reference_accuracy >= 0) {
    row.accuracy_delta = row.profile->accuracy - m.reference_accuracy;
    row.has_delta = true;
  }
  for (const auto& c : row.profile->latency) {
    if (c.n <= 0 || c.mean_us <= 0) continue;
    if (c.batch == 1 && c.p50_us >= 0 && (!row.base || c.cores < row.base->cores)) row.base = &c;
    auto rate = [](const LatencyCell& x) { return static_cast<double>(x.batch) / x.mean_us; };
    if (!row.best || rate(c) > rate(*row.best)) row.best = &c;
  }
  return row;
}

void mark_front(Summary& s) {
  for (Row& a : s.rows) {
    if (a.verdict != Verdict::kOk || a.p50() < 0 || s.quality_of(a) < 0) continue;
    a.on_front = std::none_of(s.rows.begin(), s.rows.end(), [&](const Row& b) {
      if (&a == &b || b.verdict != Verdict::kOk || b.p50() < 0 || s.quality_of(b) < 0) return false;
      const double qa = s.quality_of(a), qb = s.quality_of(b);
      const bool as_good = s.larger_is_better() ? qb >= qa : qb <= qa, better = s.larger_is_better() ? qb > qa : qb < qa;
      return b.p50() <= a.p50() && as_good && (b.p50() < a.p50() || better);
    });
  }
}

}  // namespace

double Row::throughput() const { return best ? static_cast<double>(best->batch) * 1e6 / best->mean_us : -1; }

const Row* Summary::default_row() const {
  auto it = std::find_if(rows.begin(), rows.end(), [](const Row& r) { return r.is_default; });
  return it == rows.end() ? nullptr : &*it;
}

const Row* Summary::native_row() const {
  const Row* best = nullptr;
  for (const Row& r : rows)
    if (r.spec->engine == "tensorflow" && r.verdict == Verdict::kOk && r.p50() > 0 && (!best || r.p50() < best->p50())) best = &r;
  return best;
}

int Summary::count(Verdict v) const {
  return static_cast<int>(std::count_if(rows.begin(), rows.end(), [&](const Row& r) { return r.verdict == v; }));
}

bool Summary::larger_is_better() const { return quality == Quality::kMetric && metric_larger_is_better(manifest->metric.kind); }

double Summary::quality_of(const Row& row) const {
  if (!row.profile) return -1;
  if (quality == Quality::kMetric) return row.profile->accuracy;
  if (quality != Quality::kDifference || row.profile->max_abs_diff < 0) return -1;
  return std::max(row.profile->max_abs_diff, kExact);
}

std::string metric_label(const Metric& m) {
  switch (m.kind) {
    case MetricKind::kTop1: return "top-1 accuracy";
    case MetricKind::kTopK: return "top-" + std::to_string(m.k) + " accuracy";
    case MetricKind::kMae: return "mean absolute error";
    case MetricKind::kRmse: return "root mean square error";
    case MetricKind::kAuc: return "area under the ROC curve";
    case MetricKind::kAgreement: return "agreement with the reference";
    case MetricKind::kNone: break;
  }
  return "accuracy";
}

Result<Summary> summarise(const package::Package& package, const std::string& device) {
  Summary s;
  s.package = &package;
  s.manifest = &package.manifest;
  VERGE_ASSIGN(s.profile, choose_profile(package, device));
  for (const auto& v : package.manifest.variants) s.rows.push_back(make_row(package.manifest, v, s.profile));
  auto has = [&](auto value) {
    return std::any_of(s.rows.begin(), s.rows.end(), [&](const Row& r) { return r.verdict == Verdict::kOk && r.profile && value(*r.profile) >= 0; });
  };
  if (has([](const VariantProfile& p) { return p.accuracy; }))
    s.quality = Quality::kMetric;
  else if (has([](const VariantProfile& p) { return p.max_abs_diff; }))
    s.quality = Quality::kDifference;
  const VariantSpec* chosen = s.profile ? package::default_variant(package.manifest, *s.profile) : nullptr;
  for (Row& r : s.rows) r.is_default = r.spec == chosen;
  std::stable_sort(s.rows.begin(), s.rows.end(), [](const Row& a, const Row& b) {
    auto key = [](const Row& r) { return std::make_tuple(r.verdict, r.p50() < 0, r.p50()); };
    return key(a) < key(b);
  });
  mark_front(s);
  return s;
}

}  // namespace verge::report
