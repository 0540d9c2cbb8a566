#include "report/report.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "os/files.h"
#include "report/summary.h"
#include "report/tables.h"

namespace verge::report {

Result<Format> format_from_name(std::string_view name) {
  if (name == "table") return Format::kTable;
  if (name == "json") return Format::kJson;
  if (name == "csv") return Format::kCsv;
  if (name == "md" || name == "markdown") return Format::kMarkdown;
  if (name == "html") return Format::kHtml;
  return invalid_argument("unknown format '" + std::string(name) + "'; there are table, json, csv, md and html");
}

Result<std::string> render(const package::Package& package, Format format, const Options& options) {
  VERGE_ASSIGN(Summary s, summarise(package, options.device));
  switch (format) {
    case Format::kTable: return terminal_table(s, options);
    case Format::kJson: return json_report(s);
    case Format::kCsv: return csv_table(s);
    case Format::kMarkdown: return markdown_table(s);
    case Format::kHtml: return html_report(s);
  }
  return internal_error("unknown report format");
}

Status write_html(const package::Package& package, const Options& options, const std::string& path) {
  VERGE_ASSIGN(std::string text, render(package, Format::kHtml, options));
  return os::write_file_atomic(path.empty() ? os::join(package.dir, "report.html") : path, text);
}

int report_main(const ReportOptions& o) {
  auto fail = [](const Status& s) {
    std::fprintf(stderr, "verge: %s\n", s.message().c_str());
    return s.code() == Code::kInvalidArgument ? 2 : 1;
  };
  auto dir = package::resolve_package(o.path);
  if (!dir.ok()) return fail(dir.status());
  auto package = package::open_package(*dir);
  if (!package.ok()) return fail(package.status());

  Options options;
  options.device = o.device;
  if (o.output.empty() && o.format == Format::kTable && ::isatty(STDOUT_FILENO)) {
    options.color = !std::getenv("NO_COLOR");
    winsize size{};
    if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0) options.width = size.ws_col;
  }
  auto text = render(*package, o.format, options);
  if (!text.ok()) return fail(text.status());
  if (o.output.empty() && o.format != Format::kHtml) {
    const bool written = std::fwrite(text->data(), 1, text->size(), stdout) == text->size() && std::fflush(stdout) == 0;
    return written ? 0 : fail(unavailable("the report cannot be written to standard output"));
  }
  const std::string path = o.output.empty() ? os::join(package->dir, "report.html") : o.output;
  if (Status s = os::write_file_atomic(path, *text); !s.ok()) return fail(s);
  std::fprintf(stderr, "wrote %s\n", path.c_str());
  return 0;
}

}  // namespace verge::report
