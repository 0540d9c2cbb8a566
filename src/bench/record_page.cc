// A result as one HTML file that loads nothing; two results side by side.
#include <algorithm>

#include "bench/record.h"
#include "bench/record_plots.h"
#include "report/style.h"
#include "report/svg.h"
#include "report/text.h"

namespace verge::bench {
namespace {

using report::html;
using report::significant;
using report::time_us;

constexpr char kMore[] = R"css(
svg .dashed{stroke-dasharray:5 4;stroke-opacity:.75}
svg .thin{stroke-width:1;stroke-opacity:.8}
svg .fine{fill:var(--c2);fill-opacity:.75}svg .late{fill:var(--c1);fill-opacity:.8}svg .refused{fill:var(--c5);fill-opacity:.8}svg .lost{fill:var(--c4);fill-opacity:.8}
)css";

std::string percent(double share) { return share < 0 ? "–" : significant(share * 100, share < 0.1 ? 2 : 3) + " %"; }
std::string figure(const std::string& value, const std::string& what) { return "<div><b>" + html(value) + "</b><span>" + html(what) + "</span></div>"; }

std::string headline(const Record& r) {
  const Part& p = r.total;
  std::string out = "<div class=\"figures\">";
  out += figure(report::rate(p.rate(r.seconds)) + "/s", "answered, of " + report::rate(r.seconds > 0 ? static_cast<double>(p.offered) / r.seconds : 0) + " offered a second");
  out += figure(time_us(p.from_intended.p50), "median, from the intended sending");
  out += figure(time_us(p.from_intended.p99), "99th percentile");
  if (p.miss_rate() >= 0) out += figure(percent(p.miss_rate()), "missed their deadline, of all offered");
  if (p.accuracy() >= 0) out += figure(report::fraction(p.accuracy()), p.samples ? "answered right, of " + std::to_string(p.samples) + " with labels" : "expected accuracy of what was chosen");
  return out + "</div>";
}

std::string rows(const Record& r, const std::string& run) {
  std::string out;
  std::vector<const Part*> parts;
  for (const Part& p : r.tenants) parts.push_back(&p);
  if (parts.size() > 1) parts.push_back(&r.total);
  for (const Part* p : parts) {
    const Latency& l = p->from_intended;
    auto n = [&](const std::string& v) { out += "<td class=\"n\">" + html(v) + "</td>"; };
    out += "<tr><td class=\"id\">" + html(p->name) + (run.empty() ? "" : " <span class=\"soft\">" + html(run) + "</span>") + "</td>";
    n(p->deadline_ms > 0 ? time_us(p->deadline_ms * 1000) : "–");
    n(report::rate(r.seconds > 0 ? static_cast<double>(p->offered) / r.seconds : 0));
    n(report::rate(p->rate(r.seconds)));
    for (const double v : {l.p50, l.p90, l.p99, l.p999, l.max}) n(l.n ? time_us(v) : "–");
    n(l.n ? time_us(p->from_sending.p99) : "–");
    n(p->sent ? time_us(p->client_wait.p99) : "–");
    n(percent(p->offered ? static_cast<double>(p->refused) / static_cast<double>(p->offered) : -1));
    n(percent(p->miss_rate()));
    n(p->accuracy() < 0 ? "–" : report::fraction(p->accuracy()) + (p->samples ? "" : " (expected)"));
    out += "</tr>";
  }
  return out;
}

std::string facts(const Record& r, const std::string& title) {
  std::string out = "<h2>" + html(title) + "</h2><dl>";
  auto fact = [&](const std::string& what, const std::string& value) {
    if (!value.empty()) out += "<dt>" + html(what) + "</dt><dd>" + html(value) + "</dd>";
  };
  fact("Run", r.kind + ", " + r.at + ", " + significant(r.seconds, 4) + " s measured" + (r.interrupted ? ", interrupted" : ""));
  fact(r.kind == "live" ? "Client" : "Machine", r.machine);
  fact("Server", r.server);
  fact("Protocol", r.protocol);
  fact("Inputs", r.data);
  for (const auto& [key, value] : r.settings.items()) fact(key, value.is_string() ? value.get<std::string>() : value.dump());
  for (const Part& p : r.tenants) {
    std::string text;
    for (const auto& [key, value] : p.settings.items())
      if (key != "name") text += (text.empty() ? "" : ", ") + key + " " + (value.is_string() ? value.get<std::string>() : value.dump());
    fact("Tenant " + p.name, text);
    std::string codes;
    for (const auto& [name, n] : p.codes) codes += (codes.empty() ? "" : ", ") + name + ": " + std::to_string(n);
    fact("Not answered, " + p.name, codes);
    if (p.energy_mj >= 0) fact("Energy, " + p.name, significant(p.energy_mj, 3) + " mJ a request, " + (p.energy_measured ? "measured" : "modelled"));
  }
  for (const std::string& n : r.notes) fact("Note", n);
  fact("Verge", r.verge_version);
  return out + "</dl>";
}

void add_series(std::vector<Series>& out, const Record& r, const std::string& run, bool other) {
  int colour = 0;
  for (const Part& p : r.tenants) out.push_back({&p, &r, p.name + (run.empty() ? "" : " (" + run + ")"), colour++, other});
}

}  // namespace

std::string record_page(const Record& r, const Record* other) {
  const std::string run = other ? "A, " + r.kind : "", other_run = other ? "B, " + other->kind : "";
  std::vector<Series> series;
  add_series(series, r, run, false);
  if (other) add_series(series, *other, other_run, true);
  std::string out =
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">"
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\"><title>" +
      html(r.title()) + "</title><style>" + report::kStyle + kMore + "</style></head><body><main>";
  out += "<h1>" + html(r.title()) + "</h1><p class=\"sub\">" + html(r.kind + ", " + r.at + ", on " + r.machine) + "</p>";
  if (other) out += "<p class=\"sub\">Beside it, thin: " + html(other->kind + ", " + other->title() + ", " + other->at) + "</p>";
  for (const std::string& n : r.notes) out += "<p>" + html(n) + "</p>";
  out += headline(r);
  out += "<h2>Tenants</h2><p class=\"soft\">Latencies count from when each request was meant to be sent; a server that stalls pays for all who waited. “From sending” leaves out what the "
         "client waited for a connection (“client’s wait”).</p><div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Tenants\"><table><thead><tr><th>Tenant</th>";
  for (const char* t : {"Deadline", "Offered/s", "Answered/s", "p50", "p90", "p99", "p99.9", "Max", "p99 from sending", "p99 client’s wait", "Refused", "Missed", "Accuracy"}) out += std::string("<th class=\"n\">") + t + "</th>";
  out += "</tr></thead><tbody>" + rows(r, run) + (other ? rows(*other, other_run) : "") + "</tbody></table></div>";
  out += "<ul class=\"legend\">";
  for (const Series& s : series) {
    report::Svg mark(14, 14, s.name);
    mark.line(0, 7, 14, 7, "line e" + std::to_string(s.colour % 6) + (s.other ? " thin" : ""));
    out += "<li>" + mark.take() + html(s.name) + "</li>";
  }
  out += "</ul>";
  auto section = [&](const char* title, const char* what, const std::string& wide, const std::string& narrow) {
    if (wide.empty()) return;
    out += std::string("<h2>") + title + "</h2><p class=\"soft\">" + what + "</p><figure class=\"wide\">" + wide + "</figure><figure class=\"narrow\">" + narrow + "</figure>";
  };
  section("Latency by percentile", "Each nine takes as much room as the one before; the tail is where servers differ.", percentile_plot(series, 1040, 400), percentile_plot(series, 360, 340));
  section("What became of the requests", "Of all that were offered.", outcome_plot(series, 1040), outcome_plot(series, 360));
  section("Exits taken", "Of all answers.", share_plot(series, true, 1040), share_plot(series, true, 360));
  section("Variants that answered", "Of all answers.", share_plot(series, false, 1040), share_plot(series, false, 360));
  section("Rate over time", "By when requests were meant to be sent.", rate_plot(series, 1040, 300), rate_plot(series, 360, 280));
  section("Latency over time", "By when requests were meant to be sent; logarithmic.", latency_time_plot(series, 1040, 300), latency_time_plot(series, 360, 280));
  out += facts(r, other ? "Run A" : "How it was measured");
  if (other) out += facts(*other, "Run B");
  return out + "<footer>Made by Verge. This page is one file and loads nothing.</footer></main></body></html>\n";
}

}  // namespace verge::bench
