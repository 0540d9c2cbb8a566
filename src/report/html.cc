// report.html: one file without scripts or anything from outside.
#include <algorithm>
#include <vector>

#include "report/exits.h"
#include "report/plots.h"
#include "report/style.h"
#include "report/svg.h"
#include "report/tables.h"
#include "report/text.h"

namespace verge::report {
namespace {

std::string figure(const std::string& value, const std::string& what) { return "<div><b>" + html(value) + "</b><span>" + html(what) + "</span></div>"; }

std::string verdict_chip(Verdict v) {
  return "<span class=\"v v" + std::to_string(static_cast<int>(v)) + "\">" + std::string(verdict_name(v)) + "</span>";
}

// The slowest call path is what most people begin with; the C API is what a server could do without converting anything.
std::string headline(const Summary& s) {
  std::string out = "<div class=\"figures\">";
  const Row* chosen = s.default_row();
  if (chosen) {
    out += figure(time_us(chosen->p50()), chosen->spec->id + ", p50 of one sample: answers where a request names no variant");
    if (s.quality == Quality::kMetric)
      out += figure(fraction(chosen->accuracy()), metric_label(s.manifest->metric) +
                                                      (chosen->has_delta ? ", " + signed_fraction(chosen->accuracy_delta) + " to the reference" : std::string()));
    else if (chosen->profile->max_abs_diff >= 0)
      out += figure(difference(chosen->profile->max_abs_diff), "largest difference to the reference");
    if (const Row* native = s.native_row(); native && native != chosen && chosen->p50() > 0)
      out += figure(times(native->p50() / chosen->p50()), "as fast as TensorFlow called from C (" + time_us(native->p50()) + ")");
    else if (chosen->best)
      out += figure(rate(chosen->throughput()), "inferences a second, batch " + std::to_string(chosen->best->batch) + " on " +
                                                    std::to_string(chosen->best->cores) + (chosen->best->cores == 1 ? " core" : " cores"));
  }
  const int ok = s.count(Verdict::kOk), all = static_cast<int>(s.rows.size());
  out += figure(std::to_string(ok) + " of " + std::to_string(all), "variants are ok");
  return out + "</div>";
}

std::string legend(const Summary& s) {
  std::vector<std::string> engines;
  for (const Row& r : s.rows)
    if (r.verdict == Verdict::kOk && std::find(engines.begin(), engines.end(), r.spec->engine) == engines.end()) engines.push_back(r.spec->engine);
  std::string out = "<ul class=\"legend\">";
  for (const auto& e : engines) {
    Svg mark(14, 14, e);
    mark.marker(engine_index(e), 7, 7, 5, engine_class(e) + " on", e);
    out += "<li>" + mark.take() + html(e) + "</li>";
  }
  return out + "</ul>";
}

std::string quality_section(const Summary& s) {
  const std::string wide = quality_plot(s, 1040, 470);
  if (wide.empty()) return {};
  const bool metric = s.quality == Quality::kMetric;
  std::string out = metric ? "<h2>Accuracy against latency</h2>" : "<h2>Difference against latency</h2>";
  out += std::string("<p class=\"soft\">The line joins the variants that nothing beats: for every other one there is a faster one that is at least as ") +
         (metric ? "accurate" : "close to the reference") + ".";
  if (metric && s.manifest->evaluation_samples > 0)
    out += " Evaluated on " + std::to_string(s.manifest->evaluation_samples) + " samples" +
           (s.manifest->evaluation_description.empty() ? std::string() : " (" + html(s.manifest->evaluation_description) + ")") + ".";
  out += "</p>" + legend(s) + "<figure class=\"wide\">" + wide + "</figure><figure class=\"narrow\">" + quality_plot(s, 360, 400) + "</figure>";
  return out;
}

std::string batch_section(const Summary& s) {
  std::vector<std::string> engines;
  for (const Row& r : s.rows)
    if (std::find(engines.begin(), engines.end(), r.spec->engine) == engines.end()) engines.push_back(r.spec->engine);
  std::string plots;
  for (const auto& e : engines)
    if (std::string p = batch_plot(s, e); !p.empty()) plots += "<figure>" + p + "</figure>";
  if (plots.empty()) return {};
  return "<h2>Latency against batch</h2><p class=\"soft\">p50 of a whole batch on the fewest cores measured; both axes are logarithmic and the same in every panel. "
         "Grey: the other engines.</p><div class=\"grid\">" + plots + "</div>";
}

std::string cost_section(const Summary& s) {
  std::string plots;
  auto add = [&](Bar bar, const char* title) {
    if (std::string p = bar_plot(s, bar); !p.empty()) plots += std::string("<figure><h3>") + title + "</h3>" + p + "</figure>";
  };
  add(Bar::kSize, "Size of the files");
  add(Bar::kLoad, "Load time, cold (dark: from the engine’s cache)");
  add(Bar::kResident, "Resident memory");
  add(Bar::kGenerate, "Time to generate");
  if (plots.empty()) return {};
  return "<h2>What a variant costs</h2><p class=\"soft\">Resident memory is what one more copy of the model adds to a fresh process; the engine’s own fixed cost is apart.</p>"
         "<div class=\"grid\">" + plots + "</div>";
}

std::string native_section(const Summary& s) {
  struct Path {
    std::string name;
    int64_t batch, n;
    double p50;
  };
  std::vector<Path> paths;
  for (const auto& p : s.manifest->native_paths)
    if (p.p50_us > 0) paths.push_back({p.path, p.batch, p.n, p.p50_us});
  if (const Row* native = s.native_row(); native && !paths.empty())
    paths.push_back({"C API (variant " + native->spec->id + ")", native->base->batch, native->base->n, native->p50()});
  if (paths.empty()) return {};
  std::sort(paths.begin(), paths.end(), [](const Path& a, const Path& b) { return a.p50 > b.p50; });
  const Row* fastest = nullptr;
  for (const Row& r : s.rows)
    if (r.verdict == Verdict::kOk && r.p50() > 0 && (!fastest || r.p50() < fastest->p50())) fastest = &r;
  const Row* chosen = s.default_row() ? s.default_row() : fastest;
  std::string out =
      "<h2>Faster than what?</h2><p class=\"soft\">The same network in " + html(s.manifest->reference) +
      ", called in different ways. A speed-up means something only with the call it is over." + "</p><div class=\"scroll\"><table><thead><tr><th>Call</th><th class=\"n\">Batch</th>"
      "<th class=\"n\">Runs</th><th class=\"n\">p50</th>";
  if (chosen) out += "<th class=\"n\">" + html(chosen->spec->id) + " is</th>";
  out += "</tr></thead><tbody>";
  for (const Path& p : paths) {
    out += "<tr><td>" + html(p.name) + "</td><td class=\"n\">" + std::to_string(p.batch) + "</td><td class=\"n\">" + std::to_string(p.n) +
           "</td><td class=\"n\">" + html(time_us(p.p50)) + "</td>";
    if (chosen) {
      const bool comparable = p.batch == 1 && chosen->p50() > 0;
      const double ratio = comparable ? p.p50 / chosen->p50() : 0;
      out += "<td class=\"n\">" + (comparable ? html(ratio >= 1 ? times(ratio) + " faster" : times(1 / ratio) + " slower") : std::string("–")) + "</td>";
    }
    out += "</tr>";
  }
  return out + "</tbody></table></div>";
}

std::string variants_section(const Summary& s) {
  struct Cell {
    std::string title;
    bool number;
  };
  const bool metric = s.quality == Quality::kMetric;
  std::vector<Cell> head = {{"Variant", false}, {"Verdict", false}, {"Engine", false}, {"Precision", false}};
  if (metric) head.push_back({metric_larger_is_better(s.manifest->metric.kind) ? "Accuracy" : "Error", true});
  for (const char* t : {"Max diff", "Size", "Resident", "Load", "p50", "p99", "Best inf/s"}) head.push_back({t, true});
  std::string out = "<h2>Variants</h2><p class=\"soft\">Precision: asked for → executed. p50 and p99 of one sample, batch 1; p99 only where there were 1,000 runs.</p>"
                    "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Variants\"><table class=\"cards\"><thead><tr>";
  for (const auto& h : head) out += std::string(h.number ? "<th class=\"n\">" : "<th>") + h.title + "</th>";
  out += "</tr></thead><tbody>";
  for (const Row& r : s.rows) {
    out += std::string("<tr") + (r.is_default ? " class=\"chosen\"" : "") + "><td class=\"id\">" + html(r.spec->id) + "</td><td class=\"verdict\">" +
           verdict_chip(r.verdict) + "</td>";
    auto cell = [&](const std::string& title, const std::string& text, bool number, const std::string& hint = "") {
      if (text == "–") {
        out += number ? "<td class=\"n\">–</td>" : "<td>–</td>";
        return;
      }
      out += std::string("<td") + (number ? " class=\"n\"" : "") + " data-k=\"" + html(title) + "\"" +
             (hint.empty() ? std::string() : " title=\"" + html(hint) + "\"") + ">" + html(text) + "</td>";
    };
    cell("Engine", r.spec->engine, false);
    cell("Precision", precision_text(r), false, r.profile ? r.profile->executed_precision_source : std::string());
    if (metric) cell(head[4].title, r.accuracy() < 0 ? "–" : fraction(r.accuracy()) + (r.has_delta ? " (" + signed_fraction(r.accuracy_delta) + ")" : std::string()), true);
    cell("Max diff", difference(r.profile ? r.profile->max_abs_diff : -1), true);
    cell("Size", r.size_bytes ? bytes(static_cast<double>(r.size_bytes)) : "–", true);
    cell("Resident", bytes(r.profile ? static_cast<double>(r.profile->resident_bytes) : -1), true);
    cell("Load", load_text(r), true, "cold / from the engine's cache");
    cell("p50", time_us(r.p50()), true, r.base ? std::to_string(r.base->n) + " runs" : std::string());
    cell("p99", time_us(r.base ? r.base->p99_us : -1), true);
    cell("Best inf/s", rate(r.throughput()), true, r.best ? "batch " + std::to_string(r.best->batch) + ", " + std::to_string(r.best->cores) + " cores" : std::string());
    out += "</tr>";
  }
  return out + "</tbody></table></div>";
}

std::string reasons_section(const Summary& s) {
  std::string items;
  for (const Row& r : s.rows)
    if (r.verdict != Verdict::kOk && !r.reason.empty()) {
      items += "<li><b>" + html(r.spec->id) + "</b>" + verdict_chip(r.verdict) + "<p>" + html(r.reason) + "</p>";
      if (!r.spec->log.empty()) items += "<p class=\"soft\">Log: " + html(r.spec->log) + "</p>";
      items += "</li>";
    }
  return items.empty() ? std::string() : "<h2>Why not the others</h2><ul class=\"reasons\">" + items + "</ul>";
}

std::string facts_section(const Summary& s) {
  const Manifest& m = *s.manifest;
  std::string out = "<h2>How it was measured</h2><dl>";
  auto fact = [&](const std::string& what, const std::string& value) {
    if (!value.empty()) out += "<dt>" + what + "</dt><dd>" + html(value) + "</dd>";
  };
  if (s.profile) {
    const Device& d = s.profile->device;
    std::string flags;
    for (const auto& f : d.cpu_flags) flags += (flags.empty() ? "" : ", ") + f;
    fact("Device", d.cpu_model + ", " + std::to_string(d.cores) + " usable cores, " + bytes(static_cast<double>(d.memory_bytes)) + " of memory, " + d.architecture);
    fact("Processor features", flags);
    fact("Fingerprint", d.fingerprint);
    fact("Measured", s.profile->measured_at + (s.profile->build_seconds >= 0 ? ", by a build of " + time_us(s.profile->build_seconds * 1e6) : std::string()));
    std::string engines;
    for (const auto& [name, version] : s.profile->engine_versions) engines += (engines.empty() ? "" : ", ") + name + " " + version;
    fact("Engines", engines);
    for (const Row& r : s.rows)
      if (r.profile && !r.profile->energy_source.empty()) {
        const Row* c = s.default_row();
        const bool known = c && c->profile->energy_mj >= 0;
        fact("Energy", known ? significant(c->profile->energy_mj, 3) + " mJ a sample with " + c->spec->id + " (" + c->profile->energy_source + ")" : r.profile->energy_source);
        break;
      }
    fact("Verge", s.profile->verge_version);
  }
  if (s.package->profiles.size() > 1) {
    std::string others;
    for (const auto& p : s.package->profiles)
      if (&p != s.profile) others += (others.empty() ? "" : "; ") + p.device.cpu_model + " (" + p.device.fingerprint + ")";
    fact("Also measured on", others);
  }
  fact("Source", m.source_name + " (" + m.source_kind + ")");
  fact("Reference", m.reference + (m.golden.samples > 0 ? ", compared over " + std::to_string(m.golden.samples) + " samples" : std::string()));
  if (m.evaluation_samples > 0)
    fact("Evaluation", metric_label(m.metric) + " on " + std::to_string(m.evaluation_samples) + " samples" +
                           (m.evaluation_description.empty() ? std::string() : ", " + m.evaluation_description));
  std::string limits;
  if (m.limits.max_accuracy_loss >= 0) limits = "at most " + significant(m.limits.max_accuracy_loss, 3) + " of accuracy lost";
  if (m.limits.max_abs_diff >= 0) limits += (limits.empty() ? "" : ", ") + ("largest difference at most " + difference(m.limits.max_abs_diff));
  fact("Limits", limits);
  fact("Latency", "each cell is one batch size on a number of cores, warmed up, timed run by run with the monotonic clock in a worker process of the variant’s own");
  for (const auto& w : s.package->warnings) fact("Note", w);
  return out + "</dl>";
}

}  // namespace

std::string html_report(const Summary& s) {
  const Manifest& m = *s.manifest;
  std::string out =
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">"
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\"><title>" +
      html(m.name) + " version " + std::to_string(m.version) + "</title><style>" + kStyle + "</style></head><body><main>";
  out += "<h1>" + html(m.name) + " <span class=\"soft\">version " + std::to_string(m.version) + "</span></h1>";
  if (!m.description.empty()) out += "<p>" + html(m.description) + "</p>";
  out += "<p class=\"sub\">" + html(verdict_counts(s)) + (s.profile ? ", measured on " + html(s.profile->device.cpu_model) : std::string(", not measured on any device yet")) + "</p>";
  out += headline(s) + quality_section(s) + exits_section(s) + variants_section(s) + native_section(s) + batch_section(s) + cost_section(s) + reasons_section(s) + facts_section(s);
  out += "<footer>Made by Verge. This page is one file and loads nothing.</footer></main></body></html>\n";
  return out;
}

}  // namespace verge::report
