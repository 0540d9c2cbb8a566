// Results for a terminal.
#include <algorithm>
#include <cmath>

#include "bench/record.h"
#include "report/text.h"

namespace verge::bench {
namespace {

using report::significant;
using report::time_us;

std::string percent(double share) { return share < 0 ? "–" : significant(share * 100, share < 0.1 ? 2 : 3) + " %"; }

// Columns of a table; the first to the left, the others to the right.
std::string table(const std::vector<std::vector<std::string>>& rows) {
  std::vector<int> width;
  for (const auto& row : rows)
    for (size_t i = 0; i < row.size(); ++i) {
      if (width.size() <= i) width.push_back(0);
      width[i] = std::max(width[i], report::columns(row[i]));
    }
  std::string out;
  for (const auto& row : rows) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) {
      const std::string gap(static_cast<size_t>(std::max(0, width[i] - report::columns(row[i]))), ' ');
      line += (i ? "  " : "") + (i ? gap + row[i] : row[i] + gap);
    }
    while (line.ends_with(' ')) line.pop_back();
    out += line + "\n";
  }
  return out;
}

std::string counts(const std::vector<std::pair<std::string, uint64_t>>& c, uint64_t of) {
  std::string out;
  for (const auto& [name, n] : c) out += (out.empty() ? "" : ", ") + report::clean(name) + " " + percent(of ? static_cast<double>(n) / static_cast<double>(of) : 0);
  return out;
}

std::string signed_points(double v) {
  const std::string s = significant(std::abs(v) * 100, 3);
  return (v < 0 ? "−" : "+") + s + " points";
}
std::string change(double a, double b) {
  if (a <= 0 || b <= 0) return "–";
  const double d = b / a - 1;
  return (d < 0 ? "−" : "+") + significant(std::abs(d) * 100, 3) + " %";
}

}  // namespace

std::string record_text(const Record& r) {
  std::string out = report::clean(r.title()) + ": " + significant(r.seconds, 3) + " s measured" + (r.interrupted ? " (interrupted)" : "") + "\n\n";
  std::vector<const Part*> parts;
  for (const Part& p : r.tenants) parts.push_back(&p);
  if (parts.size() > 1) parts.push_back(&r.total);
  std::vector<std::vector<std::string>> rows = {{"tenant", "offered/s", "answered/s", "p50", "p90", "p99", "p99.9", "max", "refused", "missed", "accuracy"}};
  for (const Part* p : parts) {
    const Latency& l = p->from_intended;
    auto t = [&](double us) { return l.n ? time_us(us) : std::string("–"); };
    rows.push_back({report::clean(p->name), report::rate(r.seconds > 0 ? static_cast<double>(p->offered) / r.seconds : 0), report::rate(p->rate(r.seconds)), t(l.p50), t(l.p90), t(l.p99), t(l.p999),
                    t(l.max), percent(p->offered ? static_cast<double>(p->refused) / static_cast<double>(p->offered) : -1), percent(p->miss_rate()),
                    p->accuracy() < 0 ? "–" : report::fraction(p->accuracy()) + (p->samples ? "" : "*")});
  }
  out += table(rows) + "\n";
  out += "Latencies count from when each request was meant to be sent. missed: not answered within its deadline, of all offered.\n";
  if (std::any_of(parts.begin(), parts.end(), [](const Part* p) { return !p->samples && p->expected_accuracy >= 0; })) out += "* as the server expects it of what it chose; there were no labels.\n";
  for (const Part& p : r.tenants) {
    const std::string who = r.tenants.size() > 1 ? report::clean(p.name) + ": " : "";
    if (!p.variants.empty()) out += who + "variants: " + counts(p.variants, p.answered) + "\n";
    if (!p.exits.empty()) out += who + "exits: " + counts(p.exits, p.answered) + "\n";
    if (!p.codes.empty()) out += who + "not answered: " + counts(p.codes, p.offered) + " of all offered\n";
    if (p.unsent) out += who + std::to_string(p.unsent) + " could not be sent before their deadline\n";
    if (p.energy_mj >= 0) out += who + "energy: " + significant(p.energy_mj, 3) + " mJ a request (" + (p.energy_measured ? "measured" : "modelled") + ")\n";
  }
  for (const std::string& n : r.notes) out += "Note: " + report::clean(n) + "\n";
  return out;
}

std::string compare_text(const Record& a, const Record& b) {
  std::string out = "A  " + report::clean(a.kind + ", " + a.title() + ", " + a.at) + "\nB  " + report::clean(b.kind + ", " + b.title() + ", " + b.at) + "\n\n";
  std::vector<std::vector<std::string>> rows = {{"", "A", "B", "B to A"}};
  auto add = [&](const Part& x, const Part& y) {
    rows.push_back({report::clean(x.name), "", "", ""});
    auto line = [&](const char* what, const std::string& left, const std::string& right, const std::string& difference) { rows.push_back({std::string("  ") + what, left, right, difference}); };
    auto rate = [&](const char* what, double l, double m) { line(what, report::rate(l), report::rate(m), change(l, m)); };
    rate("offered/s", a.seconds > 0 ? static_cast<double>(x.offered) / a.seconds : 0, b.seconds > 0 ? static_cast<double>(y.offered) / b.seconds : 0);
    rate("answered/s", x.rate(a.seconds), y.rate(b.seconds));
    auto time = [&](const char* what, double l, double m) { line(what, time_us(l), time_us(m), change(l, m)); };
    time("mean", x.from_intended.mean, y.from_intended.mean);
    time("p50", x.from_intended.p50, y.from_intended.p50);
    time("p90", x.from_intended.p90, y.from_intended.p90);
    time("p99", x.from_intended.p99, y.from_intended.p99);
    time("p99.9", x.from_intended.p999, y.from_intended.p999);
    if (x.miss_rate() >= 0 && y.miss_rate() >= 0) line("missed", percent(x.miss_rate()), percent(y.miss_rate()), signed_points(y.miss_rate() - x.miss_rate()));
    if (x.offered && y.offered) {
      const double l = static_cast<double>(x.refused) / static_cast<double>(x.offered), m = static_cast<double>(y.refused) / static_cast<double>(y.offered);
      line("refused", percent(l), percent(m), signed_points(m - l));
    }
    if (x.accuracy() >= 0 && y.accuracy() >= 0) line("accuracy", report::fraction(x.accuracy()), report::fraction(y.accuracy()), signed_points(y.accuracy() - x.accuracy()));
    if (x.expected_accuracy >= 0 && y.expected_accuracy >= 0 && (x.samples || y.samples))
      line("expected accuracy", report::fraction(x.expected_accuracy), report::fraction(y.expected_accuracy), signed_points(y.expected_accuracy - x.expected_accuracy));
    if (x.energy_mj >= 0 && y.energy_mj >= 0) line("energy, mJ", significant(x.energy_mj, 3), significant(y.energy_mj, 3), change(x.energy_mj, y.energy_mj));
    for (const auto& [list, other] : {std::pair{&x.exits, &y.exits}, std::pair{&x.variants, &y.variants}}) {
      for (const auto& [name, n] : *list) {
        const auto at = std::find_if(other->begin(), other->end(), [&wanted = name](const auto& o) { return o.first == wanted; });
        const double l = x.answered ? static_cast<double>(n) / static_cast<double>(x.answered) : 0;
        const double m = at != other->end() && y.answered ? static_cast<double>(at->second) / static_cast<double>(y.answered) : 0;
        line(report::clean(name).c_str(), percent(l), percent(m), signed_points(m - l));
      }
    }
  };
  for (const Part& x : a.tenants)
    for (const Part& y : b.tenants)
      if (x.name == y.name) add(x, y);
  if (a.tenants.size() != 1 || b.tenants.size() != 1 || rows.size() == 1) add(a.total, b.total);
  return out + table(rows);
}

}  // namespace verge::bench
