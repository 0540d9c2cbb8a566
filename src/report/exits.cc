#include "report/exits.h"

#include <algorithm>

#include "report/svg.h"
#include "report/text.h"

namespace verge::report {
namespace {

constexpr size_t kMostPlots = 6;

double p50_of(const StageProfile& s) {
  const LatencyCell* cell = nullptr;
  for (const LatencyCell& c : s.latency)
    if (c.batch == 1 && c.p50_us > 0 && (!cell || c.cores < cell->cores)) cell = &c;
  return cell ? cell->p50_us : -1;
}

std::string percent(double share) { return share < 0 ? "–" : significant(100 * share, share < 0.1 ? 2 : 3) + " %"; }

Json known(double v) { return v < 0 ? Json() : Json(v); }

Json curve_json(const std::vector<ExitPoint>& points) {
  Json list = Json::array();
  for (const ExitPoint& p : points)
    list.push_back({{"thresholds", p.thresholds}, {"shares", p.shares}, {"accuracy", known(p.accuracy)}, {"cost", known(p.cost)}, {"calibration_loss", p.calibration_loss}});
  return list;
}

}  // namespace

std::vector<ExitRow> exits_of(const Summary& s, const Row& row) {
  const auto& stages = s.manifest->stages;
  std::vector<ExitRow> out;
  if (stages.empty() || !row.profile || row.verdict != Verdict::kOk) return out;
  double so_far = 0;
  for (size_t k = 0; k < stages.size(); ++k) {
    ExitRow e;
    e.name = stages[k].exit;
    if (k < row.profile->exits.size()) e.accuracy = row.profile->exits[k].accuracy, e.max_abs_diff = row.profile->exits[k].max_abs_diff;
    if (k < row.profile->stages.size()) e.stage_us = p50_of(row.profile->stages[k]);
    so_far = so_far < 0 || e.stage_us < 0 ? -1 : so_far + e.stage_us;
    e.p50_us = so_far;
    out.push_back(std::move(e));
  }
  for (ExitRow& e : out)
    if (so_far > 0) e.share = e.p50_us / so_far;
  return out;
}

bool Mixed::one() const {
  return std::all_of(stages.begin(), stages.end(), [&](const Stage& s) { return s.row == stages.front().row; });
}

Mixed mixed_engines(const Summary& s) {
  Mixed m;
  size_t measured = 0;
  for (const Row& row : s.rows) {
    const std::vector<ExitRow> exits = exits_of(s, row);
    if (exits.empty() || exits.back().p50_us <= 0) continue;
    ++measured;
    if (!m.single || exits.back().p50_us < m.single_us) m.single = &row, m.single_us = exits.back().p50_us;
    m.stages.resize(exits.size());
    for (size_t k = 0; k < exits.size(); ++k)
      if (!m.stages[k].row || exits[k].stage_us < m.stages[k].us) m.stages[k] = {exits[k].name, &row, exits[k].stage_us};
  }
  if (measured < 2) return {};
  for (const Mixed::Stage& stage : m.stages) m.us += stage.us;
  return m;
}

std::string mixed_text(const Mixed& m) {
  if (m.stages.empty()) return {};
  if (m.one()) return m.single->spec->id + " is the fastest at every stage, so mixing engines stage by stage would gain nothing.";
  std::string each;
  for (const Mixed::Stage& s : m.stages) each += (each.empty() ? "" : ", ") + s.exit + " by " + s.row->spec->id + " (" + time_us(s.us) + ")";
  return "Mixed stage by stage (" + each + ") the chain would take " + time_us(m.us) + " in place of " + time_us(m.single_us) + " with " + m.single->spec->id + ": at most " +
         percent(1 - m.us / m.single_us) + " gained, before what passing features between engines costs.";
}

std::string exit_plot(const Summary& s, const Row& row, double width, double height) {
  const std::vector<ExitRow> exits = exits_of(s, row);
  if (exits.empty() || (row.profile->confidence.empty() && row.profile->entropy.empty())) return {};
  double low = 1, high = 0;
  auto widen = [&](double v) {
    if (v >= 0) low = std::min(low, v), high = std::max(high, v);
  };
  for (const auto* curve : {&row.profile->confidence, &row.profile->entropy})
    for (const ExitPoint& p : *curve) widen(p.accuracy);
  for (const ExitRow& e : exits) widen(e.accuracy);
  if (high <= 0) return {};
  const double left = 46, right = width - 14, top = 30, bottom = height - 40;
  const Scale x(0, 1, left, right, false);
  const Scale y(low, high, bottom - 6, top + 6, false);
  Svg svg(width, height, "Accuracy against mean cost of " + row.spec->id + ": leaving by confidence, by entropy, and always at one exit");
  for (double t : y.ticks(5)) {
    svg.line(left, y(t), right, y(t), "grid");
    svg.text(left - 6, y(t) + 4, significant(t, 3), "tick", "end");
  }
  for (double t : {0.0, 0.25, 0.5, 0.75, 1.0}) {
    svg.line(x(t), bottom, x(t), bottom + 4, "axis");
    svg.text(x(t), bottom + 16, significant(100 * t, 3) + " %", "tick", "middle");
  }
  svg.line(left, bottom, right, bottom, "axis");
  svg.text(0, 13, clean(row.spec->id), "name strong");
  svg.text(right, height - 5, "← mean share of the chain's time", "name", "end");
  struct Curve {
    const std::vector<ExitPoint>* points;
    const char* css;
    const char* name;
    int shape;
  };
  for (const Curve& c : {Curve{&row.profile->entropy, "e1", "entropy", 2}, Curve{&row.profile->confidence, "e0", "confidence", 0}}) {
    std::vector<std::pair<double, double>> line;
    for (const ExitPoint& p : *c.points)
      if (p.accuracy >= 0 && p.cost >= 0) line.push_back({x(p.cost), y(p.accuracy)});
    svg.path(line, std::string("line ") + c.css);
    for (const ExitPoint& p : *c.points) {
      if (p.accuracy < 0 || p.cost < 0) continue;
      svg.marker(c.shape, x(p.cost), y(p.accuracy), 2.8, std::string(c.css) + " on",
                 std::string(c.name) + ": accuracy " + fraction(p.accuracy) + " at " + percent(p.cost) + ", calibrated for a loss of " + significant(std::max(0.0, p.calibration_loss), 2));
    }
  }
  for (const ExitRow& e : exits) {
    if (e.accuracy < 0 || e.share < 0) continue;
    svg.marker(3, x(e.share), y(e.accuracy), 5, "e2 off", "always at " + e.name + ": accuracy " + fraction(e.accuracy) + " at " + percent(e.share));
    svg.text(std::min(x(e.share) + 8, right - text_width(e.name, 11)), y(e.accuracy) + 14, shortened(clean(e.name), 16), "label");
  }
  return svg.take();
}

std::string exits_section(const Summary& s) {
  if (s.manifest->stages.empty()) return {};
  std::string rows, plots;
  size_t plotted = 0;
  for (const Row& row : s.rows) {
    const std::vector<ExitRow> exits = exits_of(s, row);
    if (exits.empty()) continue;
    rows += std::string("<tr") + (row.is_default ? " class=\"chosen\"" : "") + "><td class=\"id\">" + html(row.spec->id) + "</td>";
    for (const ExitRow& e : exits) {
      const std::string quality = e.accuracy >= 0 ? fraction(e.accuracy) : "max diff " + difference(e.max_abs_diff);
      rows += "<td class=\"n\" data-k=\"" + html(e.name) + "\" title=\"" + html("its stage alone: " + time_us(e.stage_us) + "; largest difference to the whole network: " + difference(e.max_abs_diff)) +
              "\">" + html(quality) + "<br><span class=\"soft\">" + html(time_us(e.p50_us) + ", " + percent(e.share)) + "</span></td>";
    }
    rows += "</tr>";
    if (plotted >= kMostPlots) continue;
    if (const std::string plot = exit_plot(s, row, 360, 300); !plot.empty()) plots += "<figure>" + plot + "</figure>", ++plotted;
  }
  if (rows.empty()) return {};
  std::string out = "<h2>Where to leave</h2><p class=\"soft\">What the model answers at each exit, and the median time of one sample until then: the stages follow each other in place.</p>"
                    "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Exits\"><table class=\"cards\"><thead><tr><th>Variant</th>";
  for (const StageSpec& stage : s.manifest->stages) out += "<th class=\"n\">" + html(stage.exit) + "</th>";
  out += "</tr></thead><tbody>" + rows + "</tbody></table></div>";
  if (const std::string text = mixed_text(mixed_engines(s)); !text.empty()) out += "<p>" + html(text) + "</p>";
  if (!plots.empty())
    out += "<p class=\"soft\">Leaving where an exit is sure enough. Thresholds are chosen on calibration samples, accuracy and time counted on the evaluation samples. "
           "Blue circles: by confidence; orange triangles: by entropy; green diamonds: always at that exit.</p><div class=\"grid\">" + plots + "</div>";
  return out;
}

std::string exits_lines(const Summary& s) {
  std::string out;
  for (const Row& row : s.rows) {
    const std::vector<ExitRow> exits = exits_of(s, row);
    if (exits.empty()) continue;
    out += "  " + clean(row.spec->id) + ": ";
    for (size_t k = 0; k < exits.size(); ++k) {
      out += (k ? ", " : "") + clean(exits[k].name);
      if (exits[k].accuracy >= 0) out += " " + fraction(exits[k].accuracy);
      if (exits[k].p50_us >= 0) out += " in " + time_us(exits[k].p50_us);
    }
    out += "\n";
  }
  if (out.empty()) return out;
  if (const std::string text = mixed_text(mixed_engines(s)); !text.empty()) out += "  " + clean(text) + "\n";
  return "\nexits\n" + out;
}

void add_exits(Json& j, const Summary& s, const Row& row) {
  const std::vector<ExitRow> exits = exits_of(s, row);
  if (exits.empty()) return;
  j["exits"] = Json::array();
  for (const ExitRow& e : exits)
    j["exits"].push_back({{"name", e.name}, {"accuracy", known(e.accuracy)}, {"max_abs_diff", known(e.max_abs_diff)}, {"stage_us", known(e.stage_us)}, {"p50_us", known(e.p50_us)}, {"share_of_time", known(e.share)}});
  j["confidence"] = curve_json(row.profile->confidence);
  j["entropy"] = curve_json(row.profile->entropy);
}

void add_exits(Json& j, const Summary& s) {
  if (!s.manifest->family.empty()) j["family"] = s.manifest->family;
  if (s.manifest->stages.empty()) return;
  j["exits"] = Json::array();
  for (const StageSpec& stage : s.manifest->stages) j["exits"].push_back(stage.exit);
  const Mixed m = mixed_engines(s);
  if (m.stages.empty()) return;
  Json stages = Json::array();
  for (const Mixed::Stage& stage : m.stages) stages.push_back({{"exit", stage.exit}, {"variant", stage.row->spec->id}, {"p50_us", stage.us}});
  j["mixed_engines"] = {{"stages", stages}, {"p50_us", m.us}, {"single_variant", m.single->spec->id}, {"single_p50_us", m.single_us}};
}

}  // namespace verge::report
