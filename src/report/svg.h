// Just enough SVG for the report's plots: shapes, scales with readable ticks, and labels that avoid each other.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace verge::report {

// A linear or logarithmic axis from data to pixels.
class Scale {
 public:
  // The data's range, widened a little. Logarithmic: both ends must be positive.
  Scale(double low, double high, double pixel_low, double pixel_high, bool logarithmic);
  double operator()(double v) const;
  // Readable values inside the range, at most about `most`.
  std::vector<double> ticks(int most) const;
  double low() const { return low_; }
  double high() const { return high_; }

 private:
  double low_, high_, pixel_low_, pixel_high_;
  bool log_;
};

class Svg {
 public:
  Svg(double width, double height, std::string_view title);  // the title is what a screen reader says
  void line(double x1, double y1, double x2, double y2, std::string_view css);
  void path(const std::vector<std::pair<double, double>>& points, std::string_view css, bool closed = false);
  void rect(double x, double y, double w, double h, std::string_view css, std::string_view tooltip = "");
  // `anchor`: "start", "middle" or "end".
  void text(double x, double y, std::string_view s, std::string_view css, std::string_view anchor = "start");
  // Circle, square, triangle, diamond, inverted triangle, plus: engines differ in shape as well as in colour.
  void marker(int shape, double x, double y, double radius, std::string_view css, std::string_view tooltip);
  std::string take();

 private:
  std::string out_;
};

// Space taken by labels and points; places labels where there is room.
class Labels {
 public:
  Labels(double left, double top, double right, double bottom) : bounds_{left, top, right, bottom} {}
  void block(double x, double y, double radius) { taken_.push_back({x - radius, y - radius, x + radius, y + radius}); }
  void block_line(double x1, double y1, double x2, double y2);
  // The label's box next to (x, y): true and the left end of its base line if there is room. `distance` says how far away it came to lie.
  bool place(double x, double y, double text_width, double text_height, double& label_x, double& label_y, double& distance);

 private:
  struct Box {
    double left, top, right, bottom;
  };
  bool free(const Box& b) const;
  Box bounds_;
  std::vector<Box> taken_;
};

double text_width(std::string_view s, double font_size);  // estimated

}  // namespace verge::report
