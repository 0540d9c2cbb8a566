// The report as text: a terminal's table, CSV and Markdown.
#include "report/tables.h"

#include <algorithm>
#include <cstdio>
#include <numeric>
#include <vector>

#include "report/exits.h"
#include "report/text.h"

namespace verge::report {
namespace {

struct Column {
  std::string title;
  bool right = true;
  int drop = 0;  // left out first where the terminal is narrow: the highest; 0 stays
  std::string (*cell)(const Row&);
};

std::string accuracy_cell(const Row& r) { return fraction(r.accuracy()); }
std::string delta_cell(const Row& r) { return r.has_delta ? signed_fraction(r.accuracy_delta) : "–"; }

std::vector<Column> columns_of(const Summary& s) {
  std::vector<Column> c = {{"variant", false, 0, [](const Row& r) { return clean(r.spec->id); }},
                           {"engine", false, 9, [](const Row& r) { return clean(r.spec->engine); }},
                           {"precision", false, 3, precision_text},
                           {"verdict", false, 0, [](const Row& r) { return std::string(verdict_name(r.verdict)); }}};
  if (s.quality == Quality::kMetric) {
    c.push_back({metric_larger_is_better(s.manifest->metric.kind) ? "accuracy" : "error", true, 0, accuracy_cell});
    c.push_back({"Δ ref", true, 4, delta_cell});
  }
  c.push_back({"max diff", true, 5, [](const Row& r) { return difference(r.profile ? r.profile->max_abs_diff : -1); }});
  c.push_back({"size", true, 6, [](const Row& r) { return r.size_bytes ? bytes(static_cast<double>(r.size_bytes)) : "–"; }});
  c.push_back({"resident", true, 7, [](const Row& r) { return bytes(r.profile ? static_cast<double>(r.profile->resident_bytes) : -1); }});
  c.push_back({"load", true, 8, load_text});
  c.push_back({"p50 batch 1", true, 0, [](const Row& r) { return time_us(r.p50()); }});
  c.push_back({"best inf/s", true, 2, [](const Row& r) { return rate(r.throughput()); }});
  return c;
}

std::string padded(const std::string& text, int width, bool right) {
  std::string fill(static_cast<size_t>(std::max(0, width - columns(text))), ' ');
  return right ? fill + text : text + fill;
}

const char* verdict_color(Verdict v) {
  switch (v) {
    case Verdict::kOk: return "\x1b[32m";
    case Verdict::kRejected: return "\x1b[33m";
    case Verdict::kFailed: return "\x1b[31m";
    case Verdict::kNotMeasured: return "\x1b[2m";
  }
  return "";
}

std::string headline(const Summary& s) {
  const Manifest& m = *s.manifest;
  std::string out = clean(m.name) + " version " + std::to_string(m.version) + ": " + verdict_counts(s) + "\n";
  out += "source " + clean(m.source_name) + ", reference " + clean(m.reference);
  if (m.reference_accuracy >= 0)
    out += ", its " + metric_label(m.metric) + " " + fraction(m.reference_accuracy) + " of " + std::to_string(m.evaluation_samples) + " samples";
  out += "\n";
  out += s.profile ? "measured on " + clean(s.profile->device.cpu_model) + " (" + std::to_string(s.profile->device.cores) + " cores, device " +
                         clean(s.profile->device.fingerprint) + "), " + clean(s.profile->measured_at) + "\n"
                   : std::string("not measured on any device yet: run `verge profile`\n");
  return out;
}

}  // namespace

std::string precision_text(const Row& row) {
  std::string asked = clean(row.spec->precision);
  // What never ran has executed nothing.
  if (!row.profile || (row.profile->executed_precision.empty() && row.verdict != Verdict::kOk)) return asked;
  const std::string executed = row.profile->executed_precision.empty() ? "?" : clean(row.profile->executed_precision);
  return executed == asked ? asked : asked + " → " + executed;
}

std::string load_text(const Row& row) {
  if (!row.profile || row.profile->load_ms_cold < 0) return "–";
  std::string cold = time_us(row.profile->load_ms_cold * 1e3);
  if (row.profile->load_ms_cached < 0) return cold;
  const std::string cached = time_us(row.profile->load_ms_cached * 1e3);
  // One unit for both where it is the same.
  const size_t unit = cold.find(' ');
  if (unit != std::string::npos && cached.ends_with(cold.substr(unit))) cold.resize(unit);
  return cold + " / " + cached;
}

std::string verdict_counts(const Summary& s) {
  std::string out;
  for (Verdict v : {Verdict::kOk, Verdict::kRejected, Verdict::kFailed, Verdict::kNotMeasured})
    if (int n = s.count(v)) out += (out.empty() ? "" : ", ") + std::to_string(n) + " " + std::string(verdict_name(v));
  return out.empty() ? "no variants" : out;
}

std::string terminal_table(const Summary& s, const Options& options) {
  std::vector<Column> table = columns_of(s);
  std::vector<std::vector<std::string>> cells(s.rows.size());
  std::vector<int> widths;
  for (const auto& c : table) {
    int width = columns(c.title);
    for (size_t i = 0; i < s.rows.size(); ++i) {
      cells[i].push_back(c.cell(s.rows[i]));
      width = std::max(width, columns(cells[i].back()));
    }
    widths.push_back(width);
  }
  // Two columns apart, two in front for the mark.
  auto total = [&] { return std::accumulate(widths.begin(), widths.end(), 0) + 2 * static_cast<int>(widths.size()); };
  while (options.width > 0 && total() > options.width) {
    auto least = std::max_element(table.begin(), table.end(), [](const Column& a, const Column& b) { return a.drop < b.drop; });
    if (least->drop == 0) break;
    auto at = least - table.begin();
    table.erase(least);
    widths.erase(widths.begin() + at);
    for (auto& row : cells) row.erase(row.begin() + at);
  }
  const auto paint = [&](const char* color, const std::string& text) { return options.color ? color + text + "\x1b[0m" : text; };

  std::string out = headline(s) + "\n  ";
  for (size_t i = 0; i < table.size(); ++i) out += (i ? "  " : "") + paint("\x1b[1m", padded(table[i].title, widths[i], table[i].right));
  out += "\n";
  for (size_t r = 0; r < s.rows.size(); ++r) {
    const Row& row = s.rows[r];
    out += row.is_default ? paint("\x1b[1;36m", "▸ ") : row.on_front ? paint("\x1b[36m", "• ") : "  ";
    for (size_t i = 0; i < table.size(); ++i) {
      std::string text = padded(cells[r][i], widths[i], table[i].right);
      if (table[i].title == "verdict") text = paint(verdict_color(row.verdict), text);
      out += (i ? "  " : "") + text;
    }
    while (out.ends_with(' ')) out.pop_back();
    out += "\n";
  }
  if (s.default_row() || std::any_of(s.rows.begin(), s.rows.end(), [](const Row& r) { return r.on_front; }))
    out += std::string("\n▸ answers where a request names no variant   • no other variant is both faster and ") +
           (s.quality == Quality::kDifference ? "closer to the reference" : "more accurate") + "\n";
  out += exits_lines(s);
  bool any = false;
  for (const Row& row : s.rows) {
    if (row.verdict == Verdict::kOk || row.reason.empty()) continue;
    if (!any) out += "\nWhy not:\n";
    any = true;
    std::string line = "  " + clean(row.spec->id) + ": " + clean(row.reason);
    out += (options.width > 20 ? shortened(line, 3 * options.width) : line) + "\n";
  }
  for (const auto& w : s.package->warnings) out += "note: " + clean(w) + "\n";
  return out;
}

std::string csv_table(const Summary& s) {
  std::string out =
      "id,engine,precision,executed_precision,verdict,reason,accuracy,max_abs_diff,size_bytes,resident_bytes,load_ms,load_ms_cached,"
      "batch,cores,n,mean_us,p50_us,p90_us,p99_us\n";
  auto number = [](double v) {
    char text[32];
    std::snprintf(text, sizeof text, "%.9g", v);
    return v < 0 ? std::string() : v > 1e300 ? std::string("NaN") : std::string(text);
  };
  for (const Row& row : s.rows) {
    const VariantProfile none;
    const VariantProfile& p = row.profile ? *row.profile : none;
    std::string head = csv(row.spec->id) + "," + csv(row.spec->engine) + "," + csv(row.spec->precision) + "," + csv(p.executed_precision) + "," +
                       std::string(verdict_name(row.verdict)) + "," + csv(row.reason) + "," + number(p.accuracy) + "," +
                       number(p.max_abs_diff) + "," + (row.size_bytes ? std::to_string(row.size_bytes) : "") + "," +
                       (p.resident_bytes < 0 ? "" : std::to_string(p.resident_bytes)) + "," + number(p.load_ms_cold) + "," + number(p.load_ms_cached);
    if (p.latency.empty()) out += head + ",,,,,,,\n";
    for (const auto& c : p.latency)
      out += head + "," + std::to_string(c.batch) + "," + std::to_string(c.cores) + "," + std::to_string(c.n) + "," + number(c.mean_us) + "," +
             number(c.p50_us) + "," + number(c.p90_us) + "," + number(c.p99_us) + "\n";
  }
  return out;
}

std::string markdown_table(const Summary& s) {
  const std::vector<Column> table = columns_of(s);
  std::string out = "# " + markdown(s.manifest->name) + " version " + std::to_string(s.manifest->version) + "\n\n" + verdict_counts(s) + ".";
  out += s.profile ? " Measured on " + markdown(s.profile->device.cpu_model) + ", " + std::to_string(s.profile->device.cores) + " cores, " +
                         markdown(s.profile->measured_at) + ".\n\n|"
                   : std::string(" Not measured on any device yet.\n\n|");
  for (const auto& c : table) out += " " + c.title + " |";
  out += " reason |\n|";
  for (const auto& c : table) out += c.right ? " ---: |" : " --- |";
  out += " --- |\n";
  for (const Row& row : s.rows) {
    out += "|";
    for (const auto& c : table) {
      std::string cell = markdown(c.cell(row));
      out += " " + (row.is_default && c.title == "variant" ? "**" + cell + "**" : cell) + " |";
    }
    out += " " + markdown(row.reason) + " |\n";
  }
  return out;
}

}  // namespace verge::report
