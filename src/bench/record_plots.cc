#include "bench/record_plots.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "report/svg.h"
#include "report/text.h"

namespace verge::bench {
namespace {

using report::Scale;
using report::significant;
using report::Svg;
using report::tick_us;
using report::time_us;

constexpr size_t kMostPoints = 600;

std::string css(const Series& s, const char* what = "line") { return "e" + std::to_string(s.colour % 6) + " " + what + (s.other ? " thin" : ""); }

std::string percent(double share) { return significant(share * 100, 3) + " %"; }

}  // namespace

std::string percentile_plot(const std::vector<Series>& series, double width, double height) {
  double low = 1e300, high = 0, nines = 1;
  for (const Series& s : series) {
    const Latency& l = s.part->from_intended;
    if (l.buckets.empty()) continue;
    low = std::min(low, std::max(l.buckets.front().first, 0.1));
    high = std::max(high, l.max);
    nines = std::max(nines, std::log10(std::max<double>(static_cast<double>(l.n), 10)));
  }
  if (high <= 0) return {};
  const double left = 62, right = width - 14, top = 26, bottom = height - 40;
  const Scale y(low, high, bottom, top, true);
  // Each nine takes as much room as the one before.
  auto x = [&](double q) { return left + (right - left) * std::min(1.0, -std::log10(std::max(1 - q, std::pow(10, -nines))) / nines); };
  Svg svg(width, height, "Latency by share of requests; the table above has the numbers");
  for (const double t : y.ticks(6)) {
    svg.line(left, y(t), right, y(t), "grid");
    svg.text(left - 6, y(t) + 4, tick_us(t), "tick", "end");
  }
  double last = -100;
  for (const auto& [q, text] : {std::pair{0.0, "0"}, {0.5, "50 %"}, {0.9, "90 %"}, {0.99, "99 %"}, {0.999, "99.9 %"}, {0.9999, "99.99 %"}, {0.99999, "99.999 %"}}) {
    const double at = x(q);
    if (-std::log10(1 - q) > nines || at - last < 44) continue;
    last = at;
    svg.line(at, top, at, bottom, "grid");
    svg.text(at, bottom + 17, text, "tick", "middle");
  }
  svg.line(left, bottom, right, bottom, "axis");
  svg.text(0, 14, "latency from the intended sending", "name");
  svg.text(right, height - 4, "share of requests answered within →", "name", "end");
  for (const Series& s : series) {
    const Latency& l = s.part->from_intended;
    uint64_t all = 0, seen = 0;
    for (const auto& b : l.buckets) all += b.second;
    std::vector<std::pair<double, double>> points;
    for (const auto& [us, n] : l.buckets) {
      const double from = x(static_cast<double>(seen) / static_cast<double>(all));
      seen += n;
      const double to = x(static_cast<double>(seen) / static_cast<double>(all));
      if (!points.empty() && to - points.back().first < 0.5 && seen < all) continue;
      if (points.empty()) points.emplace_back(from, y(us));
      points.emplace_back(to, y(us));
    }
    svg.path(points, css(s));
    if (s.part->deadline_ms > 0 && !s.other) {
      const double d = s.part->deadline_ms * 1000;
      if (d > y.low() && d < y.high()) {
        svg.line(left, y(d), right, y(d), "mark");
        svg.text(left + 4, y(d) - 4, s.name + ": deadline " + time_us(d), "tick");
      }
    }
  }
  return svg.take();
}

namespace {

template <typename Value>
void time_lines(Svg& svg, const Series& s, const std::function<double(double)>& x, const Scale& y, const std::string& style, Value value) {
  const auto& t = s.part->timeline;
  const size_t step = std::max<size_t>(1, t.size() / kMostPoints);
  std::vector<std::pair<double, double>> points;
  for (size_t i = 0; i < t.size(); i += step) {
    const double v = value(t[i]);
    if (v > 0) points.emplace_back(x((static_cast<double>(i) + 0.5) * s.record->slot_seconds), y(v));
  }
  svg.path(points, style);
}

double longest(const std::vector<Series>& series) {
  double s = 0;
  for (const Series& one : series) s = std::max(s, static_cast<double>(one.part->timeline.size()) * one.record->slot_seconds);
  return s;
}

void time_axis(Svg& svg, const Scale& x, double top, double bottom, double right, double height, double seconds) {
  for (const double t : x.ticks(8)) {
    if (t < 0 || t > seconds * 1.001) continue;
    svg.line(x(t), bottom, x(t), bottom + 4, "axis");
    svg.text(x(t), bottom + 17, significant(t, 3) + " s", "tick", "middle");
  }
  (void)top;
  svg.text(right, height - 4, "time of the run →", "name", "end");
}

}  // namespace

std::string rate_plot(const std::vector<Series>& series, double width, double height) {
  const double seconds = longest(series);
  double high = 0;
  for (const Series& s : series)
    for (const RecordSlot& t : s.part->timeline) high = std::max({high, t.offered, t.answered});
  if (seconds <= 0 || high <= 0) return {};
  const double left = 62, right = width - 14, top = 26, bottom = height - 40;
  const Scale x(0, seconds, left, right, false), y(0, high, bottom, top, false);
  Svg svg(width, height, "Requests offered and answered a second over the run");
  for (const double t : y.ticks(5)) {
    if (t < 0) continue;
    svg.line(left, y(t), right, y(t), "grid");
    svg.text(left - 6, y(t) + 4, report::rate(t), "tick", "end");
  }
  svg.line(left, bottom, right, bottom, "axis");
  time_axis(svg, x, top, bottom, right, height, seconds);
  svg.text(0, 14, "requests a second; dashed: offered", "name");
  for (const Series& s : series) {
    time_lines(svg, s, x, y, css(s, "line dashed"), [](const RecordSlot& t) { return t.offered; });
    time_lines(svg, s, x, y, css(s), [](const RecordSlot& t) { return t.answered; });
  }
  return svg.take();
}

std::string latency_time_plot(const std::vector<Series>& series, double width, double height) {
  const double seconds = longest(series);
  double low = 1e300, high = 0;
  for (const Series& s : series)
    for (const RecordSlot& t : s.part->timeline) {
      if (t.p50 > 0) low = std::min(low, t.p50);
      high = std::max(high, t.p99);
    }
  if (seconds <= 0 || high <= 0) return {};
  const double left = 62, right = width - 14, top = 26, bottom = height - 40;
  const Scale x(0, seconds, left, right, false), y(low, high, bottom, top, true);
  Svg svg(width, height, "Median and 99th percentile of latency over the run");
  for (const double t : y.ticks(6)) {
    svg.line(left, y(t), right, y(t), "grid");
    svg.text(left - 6, y(t) + 4, tick_us(t), "tick", "end");
  }
  svg.line(left, bottom, right, bottom, "axis");
  time_axis(svg, x, top, bottom, right, height, seconds);
  svg.text(0, 14, "p50; dashed: p99", "name");
  for (const Series& s : series) {
    time_lines(svg, s, x, y, css(s), [](const RecordSlot& t) { return t.p50; });
    time_lines(svg, s, x, y, css(s, "line dashed"), [](const RecordSlot& t) { return t.p99; });
  }
  return svg.take();
}

namespace {

struct Piece {
  std::string name;
  double share;
  std::string css;
};

std::string bars(const std::vector<Series>& series, double width, const std::string& title, const std::function<std::vector<Piece>(const Series&)>& pieces) {
  constexpr double kRow = 44;
  const double height = kRow * static_cast<double>(series.size()) + 6;
  Svg svg(width, height, title);
  double top = 0;
  for (const Series& s : series) {
    svg.text(0, top + 13, s.name, "name");
    double x = 0;
    for (const Piece& p : pieces(s)) {
      const double w = p.share * width;
      svg.rect(x, top + 19, std::max(w - 1, 0.0), 18, p.css, p.name + ": " + percent(p.share));
      const std::string text = p.name + " " + percent(p.share);
      if (report::text_width(text, 11) < w - 8) svg.text(x + 5, top + 32, text, "value");
      x += w;
    }
    top += kRow;
  }
  return svg.take();
}

}  // namespace

std::string outcome_plot(const std::vector<Series>& series, double width) {
  return bars(series, width, "What became of the requests", [](const Series& s) {
    const Part& p = *s.part;
    const double all = std::max<double>(static_cast<double>(p.offered), 1);
    std::vector<Piece> out;
    auto add = [&](const std::string& name, uint64_t n, const char* style) {
      if (n) out.push_back({name, static_cast<double>(n) / all, style});
    };
    add(p.has_deadline ? "in time" : "answered", p.in_time, "fine");
    add("late", p.answered - std::min(p.answered, p.in_time), "late");
    add("refused", p.refused, "refused");
    add("not sent in time", p.unsent, "lost");
    add("no answer", p.unanswered, "lost");
    return out;
  });
}

std::string share_plot(const std::vector<Series>& series, bool exits, double width) {
  std::vector<std::string> names;
  for (const Series& s : series)
    for (const auto& [name, n] : exits ? s.part->exits : s.part->variants)
      if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
  if (names.empty()) return {};
  return bars(series, width, exits ? "Exits taken" : "Variants that answered", [&](const Series& s) {
    std::vector<Piece> out;
    const auto& list = exits ? s.part->exits : s.part->variants;
    double all = 0;
    for (const auto& [name, n] : list) all += static_cast<double>(n);
    for (const auto& [name, n] : list) {
      const auto at = std::find(names.begin(), names.end(), name) - names.begin();
      out.push_back({name, static_cast<double>(n) / std::max(all, 1.0), "e" + std::to_string(at % 6) + " bar"});
    }
    return out;
  });
}

}  // namespace verge::bench
