#include "report/plots.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "report/svg.h"
#include "report/tables.h"
#include "report/text.h"

namespace verge::report {
namespace {

constexpr double kFont = 12;

std::string variant_tooltip(const Summary& s, const Row& r) {
  std::string t = r.spec->id + " (" + r.spec->engine + ", " + precision_text(r) + "): " + time_us(r.p50());
  if (s.quality == Quality::kMetric) t += ", " + metric_label(s.manifest->metric) + " " + fraction(r.accuracy());
  if (r.profile && r.profile->max_abs_diff >= 0) t += ", largest difference " + difference(r.profile->max_abs_diff);
  return t;
}

// "openvino-ir-int8" among OpenVINO's own is "ir-int8".
std::string short_id(const Row& r) {
  const std::string& id = r.spec->id;
  const std::string prefix = r.spec->engine + "-";
  return clean(id.starts_with(prefix) && id.size() > prefix.size() ? id.substr(prefix.size()) : id);
}

std::vector<const LatencyCell*> batch_line(const Row& r) {
  std::vector<const LatencyCell*> cells;
  if (r.verdict != Verdict::kOk || !r.base) return cells;
  for (const auto& c : r.profile->latency)
    if (c.cores == r.base->cores && c.p50_us > 0) cells.push_back(&c);
  std::sort(cells.begin(), cells.end(), [](auto* a, auto* b) { return a->batch < b->batch; });
  return cells;
}

}  // namespace

int engine_index(std::string_view engine) {
  constexpr std::string_view kEngines[] = {"openvino", "onnxruntime", "litert", "tensorflow", "identity"};
  auto it = std::find(std::begin(kEngines), std::end(kEngines), engine);
  return static_cast<int>(it - std::begin(kEngines));
}

std::string engine_class(std::string_view engine) { return "e" + std::to_string(engine_index(engine)); }

std::string quality_plot(const Summary& s, double width, double height) {
  std::vector<const Row*> points;
  for (const Row& r : s.rows)
    if (r.verdict == Verdict::kOk && r.p50() > 0 && s.quality_of(r) >= 0) points.push_back(&r);
  if (points.empty()) return {};
  const bool metric = s.quality == Quality::kMetric, narrow = width < 500;
  auto value = [&](const Row& r) { return s.quality_of(r); };
  auto [fast, slow] = std::minmax_element(points.begin(), points.end(), [](auto* a, auto* b) { return a->p50() < b->p50(); });
  double low = value(*points[0]), high = low;
  for (const Row* r : points) low = std::min(low, value(*r)), high = std::max(high, value(*r));
  const Manifest& m = *s.manifest;
  const bool show_reference = metric && m.reference_accuracy >= 0;
  if (show_reference) low = std::min(low, m.reference_accuracy), high = std::max(high, m.reference_accuracy);

  const double left = narrow ? 46 : 58, right = width - 14, top = 26, bottom = height - 42;
  const Scale x((*fast)->p50(), (*slow)->p50(), left + 8, right - (narrow ? 8 : 40), true);
  // Better is always up.
  const bool up = metric && s.larger_is_better();
  const Scale y(low, high, up ? bottom - 8 : top + 14, up ? top + 14 : bottom - 8, !metric);
  const std::string y_name = metric ? metric_label(m.metric) : "largest difference to the reference";
  Svg svg(width, height, y_name + " against latency of " + std::to_string(points.size()) + " variants; the table below has the numbers");

  std::vector<double> y_ticks = y.ticks(5);
  if (!metric) {
    // Nothing lies between exact and the next power of ten that needs a finer scale.
    std::erase_if(y_ticks, [](double t) { return t < kExact * 0.99; });
    if (low <= kExact && (y_ticks.empty() || y_ticks.front() > kExact * 1.01)) y_ticks.insert(y_ticks.begin(), kExact);
  }
  for (double t : y_ticks) {
    svg.line(left, y(t), right, y(t), "grid");
    svg.text(left - 6, y(t) + 4, metric ? significant(t, 3) : t <= kExact * 1.01 ? "≤" + difference(kExact) : difference(t), "tick", "end");
  }
  for (double t : x.ticks(narrow ? 5 : 10)) {
    svg.line(x(t), bottom, x(t), bottom + 4, "axis");
    svg.text(x(t), bottom + 17, tick_us(t), "tick", "middle");
  }
  svg.line(left, bottom, right, bottom, "axis");
  svg.text(0, 14, y_name + (up ? " ↑" : metric ? " (less is better)" : " (up is closer)"), "name");
  svg.text(right, height - 6, "← p50 of one sample, batch 1", "name", "end");

  Labels labels(left, top - 6, width, bottom);
  auto mark_line = [&](double v, const std::string& text) {
    if (v < y.low() || v > y.high()) return;
    svg.line(left, y(v), right, y(v), "mark");
    svg.text(left + 2, y(v) - 4, text, "tick");
    for (double at = left; at < left + text_width(text, kFont); at += 8) labels.block(at, y(v) - 8, 5);
  };
  if (show_reference) {
    mark_line(m.reference_accuracy, "reference " + fraction(m.reference_accuracy));
    if (m.limits.max_accuracy_loss >= 0)
      mark_line(m.reference_accuracy + (s.larger_is_better() ? -1 : 1) * m.limits.max_accuracy_loss, "limit");
  } else if (!metric && m.limits.max_abs_diff > 0) {
    mark_line(m.limits.max_abs_diff, "limit");
  }

  std::vector<const Row*> front;
  for (const Row* r : points)
    if (r->on_front) front.push_back(r);
  std::sort(front.begin(), front.end(), [](auto* a, auto* b) { return a->p50() < b->p50(); });
  if (!front.empty()) {
    std::vector<std::pair<double, double>> steps = {{x(front[0]->p50()), bottom}};
    for (size_t i = 0; i < front.size(); ++i) {
      if (i) steps.push_back({x(front[i]->p50()), y(value(*front[i - 1]))});
      steps.push_back({x(front[i]->p50()), y(value(*front[i]))});
    }
    steps.push_back({right, steps.back().second});
    svg.path(steps, "front");
    for (size_t i = 1; i < steps.size(); ++i) labels.block_line(steps[i - 1].first, steps[i - 1].second, steps[i].first, steps[i].second);
    steps.push_back({right, bottom});
    svg.path(steps, "below", true);
  }

  for (const Row* r : points) labels.block(x(r->p50()), y(value(*r)), 6);
  auto draw = [&](const Row* r) {
    svg.marker(engine_index(r->spec->engine), x(r->p50()), y(value(*r)), r->on_front ? 6 : 4.5, engine_class(r->spec->engine) + (r->on_front ? " on" : " off"),
               variant_tooltip(s, *r));
  };
  for (const Row* r : points)
    if (!r->on_front) draw(r);
  for (const Row* r : front) draw(r);
  auto label = [&](const Row* r) {
    const std::string text = shortened(clean(r->spec->id), 40);
    double lx = 0, ly = 0, distance = 0;
    const double font = r->on_front ? kFont + 0.5 : kFont - 1;
    if (!labels.place(x(r->p50()), y(value(*r)), text_width(text, font), font + 3, lx, ly, distance)) return;
    if (distance > 20) {
      const double w = text_width(text, font), px = x(r->p50());
      svg.line(px, y(value(*r)), std::clamp(px, lx, lx + w), ly - 4, "leader");
    }
    svg.text(lx, ly, text, r->on_front ? "label on" : "label");
  };
  for (const Row* r : front) label(r);
  for (const Row* r : points)
    if (!r->on_front && (!narrow || points.size() <= 6)) label(r);
  return svg.take();
}

std::string batch_plot(const Summary& s, std::string_view engine) {
  constexpr double kWidth = 360, kHeight = 280;
  struct Line {
    const Row* row;
    std::vector<const LatencyCell*> cells;
  };
  std::vector<Line> own, others;
  double low = 1e300, high = 0;
  std::set<int64_t> batches;
  for (const Row& r : s.rows) {
    auto cells = batch_line(r);
    if (cells.size() < 2 && !(r.spec->engine == engine && !cells.empty())) continue;
    for (const auto* c : cells) {
      low = std::min(low, c->p50_us);
      high = std::max(high, c->p50_us);
      batches.insert(c->batch);
    }
    (r.spec->engine == engine ? own : others).push_back({&r, std::move(cells)});
  }
  if (own.empty() || batches.size() < 2) return {};
  double label_width = 0;
  for (const Line& l : own) label_width = std::max(label_width, text_width(shortened(short_id(*l.row), 22), kFont - 1));
  const double left = 52, right = kWidth - label_width - 14, top = 26, bottom = kHeight - 36;
  const Scale x(static_cast<double>(*batches.begin()), static_cast<double>(*batches.rbegin()), left, right, true);
  const Scale y(low, high, bottom, top, true);
  Svg svg(kWidth, kHeight, "Latency against batch size of the variants in " + std::string(engine) + "; both axes are logarithmic");
  for (double t : y.ticks(5)) {
    svg.line(left, y(t), right, y(t), "grid");
    svg.text(left - 5, y(t) + 4, tick_us(t), "tick", "end");
  }
  double last = -100;
  for (int64_t b : batches) {
    const double at = x(static_cast<double>(b));
    svg.line(at, bottom, at, bottom + 4, "axis");
    if (at - last >= 22) svg.text(last = at, bottom + 16, std::to_string(b), "tick", "middle");
  }
  svg.line(left, bottom, right, bottom, "axis");
  svg.text(0, 13, engine, "name strong");
  svg.text((left + right) / 2, kHeight - 5, "batch", "name", "middle");
  auto points = [&](const Line& l) {
    std::vector<std::pair<double, double>> p;
    for (const auto* c : l.cells) p.push_back({x(static_cast<double>(c->batch)), y(c->p50_us)});
    return p;
  };
  for (const Line& l : others) svg.path(points(l), "ghost");
  // Labels stand at the lines' ends, pushed apart where they would overlap.
  std::sort(own.begin(), own.end(), [&](const Line& a, const Line& b) { return y(a.cells.back()->p50_us) < y(b.cells.back()->p50_us); });
  std::vector<double> at;
  for (const Line& l : own) at.push_back(std::max(y(l.cells.back()->p50_us), at.empty() ? top - 8 : at.back() + 13));
  for (size_t i = at.size(); i-- > 0;) at[i] = std::min(at[i], i + 1 == at.size() ? bottom : at[i + 1] - 13);
  for (size_t i = 0; i < own.size(); ++i) {
    auto line = points(own[i]);
    svg.path(line, "line " + engine_class(engine));
    for (size_t k = 0; k < line.size(); ++k) {
      const LatencyCell& c = *own[i].cells[k];
      svg.marker(0, line[k].first, line[k].second, 2.6, engine_class(engine) + " on",
                 own[i].row->spec->id + ", batch " + std::to_string(c.batch) + ": p50 " + time_us(c.p50_us) + " of " + std::to_string(c.n) + " runs");
    }
    if (std::abs(at[i] - line.back().second) > 3 || line.back().first < right - 12) svg.line(line.back().first + 3, line.back().second, right + 5, at[i], "leader");
    svg.text(right + 7, at[i] + 4, shortened(short_id(*own[i].row), 22), "label");
  }
  return svg.take();
}

std::string bar_plot(const Summary& s, Bar bar) {
  constexpr double kWidth = 360, kRow = 19, kTop = 6;
  struct Item {
    const Row* row;
    double value, second;
    std::string text;
  };
  std::vector<Item> items;
  double high = 0;
  std::set<std::vector<std::string>> generated;
  for (const Row& r : s.rows) {
    double v = -1, second = -1;
    std::string text;
    switch (bar) {
      case Bar::kSize:
        if (r.size_bytes && (r.verdict == Verdict::kOk || r.verdict == Verdict::kNotMeasured)) v = static_cast<double>(r.size_bytes), text = bytes(v);
        break;
      case Bar::kLoad:
        if (r.profile && r.verdict == Verdict::kOk) v = r.profile->load_ms_cold, second = r.profile->load_ms_cached, text = load_text(r);
        break;
      case Bar::kResident:
        if (r.profile && r.verdict == Verdict::kOk) v = static_cast<double>(r.profile->resident_bytes), text = bytes(v);
        break;
      case Bar::kGenerate:
        // Variants that share an artifact were converted once.
        if (r.generate_seconds > 0 && generated.insert(r.spec->artifacts).second) v = r.generate_seconds, text = time_us(v * 1e6);
        break;
    }
    if (v < 0 || !std::isfinite(v)) continue;
    high = std::max(high, v);
    items.push_back({&r, v, second, text});
  }
  if (items.empty()) return {};
  double names = 0, values = 0;
  for (const Item& i : items) {
    names = std::max(names, text_width(shortened(clean(i.row->spec->id), 24), kFont - 1));
    values = std::max(values, text_width(i.text, kFont - 1));
  }
  const double left = names + 8, room = std::max(kWidth - left - values - 8, 30.0);
  const double height = kTop + kRow * static_cast<double>(items.size()) + 4;
  const char* what = bar == Bar::kSize ? "Size" : bar == Bar::kLoad ? "Load time" : bar == Bar::kResident ? "Resident memory" : "Time to generate";
  Svg svg(kWidth, height, std::string(what) + " of " + std::to_string(items.size()) + " variants");
  double y = kTop;
  for (const Item& i : items) {
    const double w = high > 0 ? std::max(room * i.value / high, 1.5) : 1.5;
    svg.text(left - 6, y + 13, shortened(clean(i.row->spec->id), 24), i.row->is_default ? "label on" : "label", "end");
    svg.rect(left, y + 3, w, kRow - 6, "bar " + engine_class(i.row->spec->engine), i.row->spec->id + ": " + i.text);
    if (i.second >= 0 && high > 0) svg.rect(left, y + 3, std::max(room * i.second / high, 1.5), kRow - 6, "inner", "from the engine's cache: " + time_us(i.second * 1e3));
    svg.text(left + w + 5, y + 13, i.text, "value");
    y += kRow;
  }
  return svg.take();
}

}  // namespace verge::report
