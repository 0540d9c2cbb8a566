#include "simulate/measured.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>
#include <optional>
#include <string_view>
#include <tuple>

#include "core/profile.h"
#include "os/files.h"

namespace verge::simulate {
namespace {

constexpr size_t kMostBytes = size_t{64} << 20;
constexpr uint64_t kLeastRuns = 20;  // of a batch size, to say more than the profile
constexpr std::string_view kName = "verge_run_seconds_";
constexpr int kBuckets = 400;

// Runs of one stage with one number of samples.
struct Counted {
  std::map<int, uint64_t> until;  // bucket of a sketch -> runs up to its end
  double sum_s = 0;
};
using Key = std::tuple<std::string, std::string, size_t, int64_t>;  // model, variant, stage from 0, rows
using Figures = std::map<Key, Counted>;

std::optional<double> number_of(std::string_view text) {
  double v = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), v);
  if (error != std::errc() || end != text.data() + text.size() || !(v >= 0 && v < 1e18)) return {};
  return v;
}

// NAME{label="value",…} VALUE
std::optional<std::pair<std::map<std::string, std::string>, double>> read_line(std::string_view line) {
  std::map<std::string, std::string> labels;
  size_t at = line.find('{');
  if (at == std::string_view::npos) return {};
  for (++at; at < line.size() && line[at] != '}';) {
    const size_t equals = line.find("=\"", at);
    if (equals == std::string_view::npos) return {};
    const std::string name(line.substr(at, equals - at));
    std::string value;
    for (at = equals + 2; at < line.size() && line[at] != '"'; ++at) value.push_back(line[at] == '\\' && at + 1 < line.size() ? line[++at] : line[at]);
    labels[name] = value;
    at += 1;
    if (at < line.size() && line[at] == ',') ++at;
  }
  if (at + 2 > line.size()) return {};
  const auto value = number_of(line.substr(at + 2));
  if (!value) return {};
  return std::pair{std::move(labels), *value};
}

Result<Figures> read_figures(const std::string& file) {
  VERGE_ASSIGN(const std::string text, os::read_file(file, kMostBytes));
  Figures out;
  for (std::string_view rest = text; !rest.empty();) {
    std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(rest.size(), line.size() + 1));
    if (!line.starts_with(kName)) continue;
    const auto wrong = [&] { return invalid_argument(file + ": '" + std::string(line.substr(0, 80)) + "' is no figure of a Verge server"); };
    auto parsed = read_line(line);
    if (!parsed) return wrong();
    auto& [labels, value] = *parsed;
    const auto stage = number_of(labels["stage"]), rows = number_of(labels["rows"]);
    if (!stage || !rows || *stage < 1 || *stage > 64 || *rows < 1 || *rows > 1e6) return wrong();
    Counted& c = out[{labels["model"], labels["variant"], static_cast<size_t>(*stage) - 1, static_cast<int64_t>(*rows)}];
    const std::string_view kind = line.substr(kName.size());
    if (kind.starts_with("sum{")) c.sum_s = value;
    if (!kind.starts_with("bucket{") || labels["le"] == "+Inf") continue;
    const auto le = number_of(labels["le"]);
    if (!le || *le <= 0) return wrong();
    const double bucket = std::round(8 * std::log2(*le * 1e6)) - 1;
    if (!(bucket >= -1 && bucket < kBuckets)) return wrong();
    c.until[static_cast<int>(bucket)] = static_cast<uint64_t>(value);
  }
  if (out.empty()) return invalid_argument(file + ": holds no " + std::string(kName) + "…: is it the saved GET /metrics of a Verge server that has run something?");
  return out;
}

uint64_t runs_until(const Counted& c, int bucket) {
  const auto after = c.until.upper_bound(bucket);
  return after == c.until.begin() ? 0 : std::prev(after)->second;
}

// The runs that `now` has and `before` had not; nothing where they are few.
std::optional<LatencyCell> cell_of(int64_t rows, const Counted& now, const Counted& before) {
  LatencyCell c;
  c.batch = rows;
  uint64_t seen = 0, was = 0, all = 0;
  for (const auto& [bucket, until] : now.until) {
    const uint64_t old = runs_until(before, bucket), n = until >= seen ? until - seen : 0, o = old >= was ? old - was : 0;
    seen = until;
    was = old;
    if (n <= o) continue;
    c.sketch.emplace_back(bucket, static_cast<int64_t>(n - o));
    all += n - o;
  }
  if (all < kLeastRuns) return {};
  c.n = static_cast<int64_t>(all);
  c.mean_us = std::max(0.0, now.sum_s - before.sum_s) * 1e6 / static_cast<double>(all);
  const auto quantile = [&](double q) {
    uint64_t n = 0;
    for (const auto& [bucket, count] : c.sketch)
      if (static_cast<double>(n += static_cast<uint64_t>(count)) >= q * static_cast<double>(all)) return std::exp2((bucket + 0.5) / 8);
    return std::exp2((c.sketch.back().first + 1) / 8.0);
  };
  c.p50_us = quantile(0.5);
  c.p90_us = quantile(0.9);
  c.p99_us = quantile(0.99);
  c.min_us = std::exp2(c.sketch.front().first / 8.0);
  c.max_us = std::exp2((c.sketch.back().first + 1) / 8.0);
  return c;
}

}  // namespace

Status apply_measured(const std::string& file, const std::string& since, std::vector<SimModel>& models) {
  VERGE_ASSIGN(const Figures now, read_figures(file));
  Figures before;
  if (!since.empty()) {
    VERGE_ASSIGN(before, read_figures(since));
  }
  bool any = false;
  for (SimModel& m : models)
    for (SimVariant& v : m.variants)
      for (size_t k = 0; k < v.stages.size(); ++k) {
        std::vector<LatencyCell> cells;
        for (auto at = now.lower_bound({v.model, v.id, k, 0}); at != now.end() && std::get<0>(at->first) == v.model && std::get<1>(at->first) == v.id && std::get<2>(at->first) == k; ++at) {
          const auto old = before.find(at->first);
          if (auto cell = cell_of(std::get<3>(at->first), at->second, old == before.end() ? Counted() : old->second)) cells.push_back(std::move(*cell));
        }
        if (cells.empty()) continue;
        v.stages[k].measured(cells);
        any = true;
      }
  if (!any) return failed_precondition(file + ": has too few runs (" + std::to_string(kLeastRuns) + " of a batch size) of the variants that are simulated");
  return {};
}

}  // namespace verge::simulate
