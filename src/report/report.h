// Reports of a package: what each variant is, what was measured of it on one device, and why some are not served.
#pragma once

#include <string>
#include <string_view>

#include "core/status.h"
#include "package/package.h"

namespace verge::report {

enum class Format { kTable, kJson, kCsv, kMarkdown, kHtml };
Result<Format> format_from_name(std::string_view name);  // "table", "json", "csv", "md", "html"

struct Options {
  std::string device;  // fingerprint of the profile to show; empty: this device's, else the latest one
  bool color = false;  // table: colours for a terminal
  int width = 0;       // table: columns of the terminal, less important columns are left out to fit; 0: all of them
};

// Names and reasons come from files that others wrote: whatever the format, they are escaped and cannot act on the reader.
Result<std::string> render(const package::Package& package, Format format, const Options& options);

// Writes `path`, or report.html in the package where it is empty.
Status write_html(const package::Package& package, const Options& options, const std::string& path = "");

struct ReportOptions {
  std::string path;    // a package, or a zoo with one model
  Format format = Format::kTable;
  std::string device;
  std::string output;  // file; empty: standard output, for html report.html in the package
};
// `verge report`: prints, or writes, and says where. The exit code: 0, 1 (failed), 2 (bad arguments).
int report_main(const ReportOptions& options);

}  // namespace verge::report
