#include "report/svg.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "report/text.h"

namespace verge::report {
namespace {

// Coordinates to a tenth of a pixel.
std::string px(double v) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f", std::isfinite(v) ? v : 0.0);
  std::string s = text;
  if (s.ends_with(".0")) s.resize(s.size() - 2);
  return s == "-0" ? "0" : s;
}

std::string attribute(std::string_view name, double v) { return " " + std::string(name) + "=\"" + px(v) + "\""; }
std::string css_class(std::string_view css) { return css.empty() ? "" : " class=\"" + html(css) + "\""; }

}  // namespace

Scale::Scale(double low, double high, double pixel_low, double pixel_high, bool logarithmic)
    : low_(low), high_(high), pixel_low_(pixel_low), pixel_high_(pixel_high), log_(logarithmic) {
  // Files can claim anything; what is beyond these draws outside.
  high_ = std::clamp(high_, -1e15, 1e15);
  low_ = std::clamp(low_, -1e15, 1e15);
  if (log_) {
    low_ = std::max(low_, 1e-12);
    high_ = std::max(high_, low_);
    const double pad = std::max(0.06 * std::log(high_ / low_), 0.05);
    low_ *= std::exp(-pad);
    high_ *= std::exp(pad);
  } else {
    const double span = high_ - low_;
    const double pad = span > 0 ? 0.08 * span : std::max(std::abs(high_) * 0.05, 1e-6);
    low_ -= pad;
    high_ += pad;
  }
}

double Scale::operator()(double v) const {
  const double share = log_ ? std::log(std::max(v, 1e-12) / low_) / std::log(high_ / low_) : (v - low_) / (high_ - low_);
  return pixel_low_ + share * (pixel_high_ - pixel_low_);
}

std::vector<double> Scale::ticks(int most) const {
  std::vector<double> out;
  if (log_) {
    for (const auto& steps : {std::vector<double>{1, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9}, std::vector<double>{1, 2, 3, 5}, std::vector<double>{1, 2, 5}, std::vector<double>{1, 3}, std::vector<double>{1}}) {
      out.clear();
      for (double decade = std::pow(10, std::floor(std::log10(low_))); decade <= high_; decade *= 10)
        for (double s : steps)
          if (s * decade >= low_ * 0.9999 && s * decade <= high_ * 1.0001) out.push_back(s * decade);
      if (static_cast<int>(out.size()) <= most) break;
    }
    while (static_cast<int>(out.size()) > most) {
      std::vector<double> half;
      for (size_t i = 0; i < out.size(); i += 2) half.push_back(out[i]);
      out = half;
    }
    return out;
  }
  const double raw = (high_ - low_) / std::max(most, 1);
  const double magnitude = std::pow(10, std::floor(std::log10(raw)));
  double step = 10 * magnitude;
  for (double s : {1.0, 2.0, 2.5, 5.0})
    if (s * magnitude >= raw) {
      step = s * magnitude;
      break;
    }
  for (double t = std::ceil(low_ / step) * step; t <= high_ + step * 1e-9 && out.size() < 64; t += step) out.push_back(std::abs(t) < step * 1e-9 ? 0 : t);
  return out;
}

Svg::Svg(double width, double height, std::string_view title) {
  out_ = "<svg viewBox=\"0 0 " + px(width) + " " + px(height) + "\" role=\"img\" aria-label=\"" + html(title) + "\">";
}

void Svg::line(double x1, double y1, double x2, double y2, std::string_view css) {
  out_ += "<line" + attribute("x1", x1) + attribute("y1", y1) + attribute("x2", x2) + attribute("y2", y2) + css_class(css) + "/>";
}

void Svg::path(const std::vector<std::pair<double, double>>& points, std::string_view css, bool closed) {
  if (points.empty()) return;
  out_ += "<path d=\"";
  for (size_t i = 0; i < points.size(); ++i) out_ += (i ? "L" : "M") + px(points[i].first) + " " + px(points[i].second);
  out_ += std::string(closed ? "Z" : "") + "\"" + css_class(css) + "/>";
}

void Svg::rect(double x, double y, double w, double h, std::string_view css, std::string_view tooltip) {
  out_ += "<rect" + attribute("x", x) + attribute("y", y) + attribute("width", std::max(w, 0.0)) + attribute("height", h) + " rx=\"2\"" + css_class(css);
  out_ += tooltip.empty() ? "/>" : "><title>" + html(tooltip) + "</title></rect>";
}

void Svg::text(double x, double y, std::string_view s, std::string_view css, std::string_view anchor) {
  out_ += "<text" + attribute("x", x) + attribute("y", y);
  if (anchor != "start") out_ += " text-anchor=\"" + html(anchor) + "\"";
  out_ += css_class(css) + ">" + html(s) + "</text>";
}

void Svg::marker(int shape, double x, double y, double r, std::string_view css, std::string_view tooltip) {
  auto polygon = [&](const std::vector<std::pair<double, double>>& offsets) {
    out_ += "<path d=\"";
    for (size_t i = 0; i < offsets.size(); ++i) out_ += (i ? "L" : "M") + px(x + r * offsets[i].first) + " " + px(y + r * offsets[i].second);
    out_ += "Z\"";
  };
  const char* name = "path";
  switch (shape) {
    case 1: polygon({{-0.9, -0.9}, {0.9, -0.9}, {0.9, 0.9}, {-0.9, 0.9}}); break;
    case 2: polygon({{0, -1.15}, {1.1, 0.85}, {-1.1, 0.85}}); break;
    case 3: polygon({{0, -1.25}, {1.25, 0}, {0, 1.25}, {-1.25, 0}}); break;
    case 4: polygon({{0, 1.15}, {1.1, -0.85}, {-1.1, -0.85}}); break;
    case 5:
      polygon({{-0.4, -1.1}, {0.4, -1.1}, {0.4, -0.4}, {1.1, -0.4}, {1.1, 0.4}, {0.4, 0.4}, {0.4, 1.1}, {-0.4, 1.1}, {-0.4, 0.4}, {-1.1, 0.4}, {-1.1, -0.4}, {-0.4, -0.4}});
      break;
    default:
      name = "circle";
      out_ += "<circle" + attribute("cx", x) + attribute("cy", y) + attribute("r", r);
  }
  out_ += css_class(css) + "><title>" + html(tooltip) + "</title></" + name + ">";
}

std::string Svg::take() { return std::move(out_) + "</svg>"; }

void Labels::block_line(double x1, double y1, double x2, double y2) {
  const int n = std::clamp(static_cast<int>(std::hypot(x2 - x1, y2 - y1) / 4), 1, 1000);
  for (int i = 0; i <= n; ++i) block(x1 + (x2 - x1) * i / n, y1 + (y2 - y1) * i / n, 1.5);
}

bool Labels::free(const Box& b) const {
  if (b.left < bounds_.left || b.right > bounds_.right || b.top < bounds_.top || b.bottom > bounds_.bottom) return false;
  return std::none_of(taken_.begin(), taken_.end(),
                      [&](const Box& t) { return b.left < t.right && b.right > t.left && b.top < t.bottom && b.bottom > t.top; });
}

bool Labels::place(double x, double y, double width, double height, double& label_x, double& label_y, double& distance) {
  for (double d : {9.0, 18.0, 30.0, 44.0, 60.0}) {
    const double a = d * 0.75;
    // Left ends and middles of the boxes tried, in the order of preference.
    const std::pair<double, double> tried[] = {{x + d, y},          {x - d - width, y},     {x - width / 2, y - d - height / 2}, {x - width / 2, y + d + height / 2},
                                               {x + a, y - a},      {x + a, y + a},         {x - a - width, y - a},              {x - a - width, y + a},
                                               {x - width / 4, y - d - height / 2}, {x - width / 4, y + d + height / 2}};
    for (auto [left, middle] : tried) {
      Box b{left - 2, middle - height / 2, left + width + 2, middle + height / 2};
      if (!free(b)) continue;
      taken_.push_back(b);
      label_x = left;
      label_y = middle + height * 0.28;
      distance = d;
      return true;
    }
  }
  return false;
}

double text_width(std::string_view s, double font_size) { return 0.56 * font_size * columns(s); }

}  // namespace verge::report
