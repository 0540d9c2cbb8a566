#include "data/csv.h"

#include <algorithm>
#include <charconv>

#include "data/bytes.h"
#include "data/convert.h"

namespace verge::data {
namespace {

constexpr size_t kMaxColumns = 65536;

// Splits one record after another. A quoted field may hold commas, line ends and doubled quotes.
class Reader {
 public:
  Reader(std::string_view text, const std::string& what) : text_(text), what_(what) {}
  bool done() const { return at_ >= text_.size(); }
  int64_t line() const { return line_; }

  Status next(std::vector<std::string>* fields) {
    start_ = line_;
    size_t n = 0;
    while (true) {
      if (n >= kMaxColumns) return fail("has more than 65536 fields");
      if (n >= fields->size()) fields->emplace_back();
      std::string& field = (*fields)[n++];
      field.clear();
      if (at_ < text_.size() && text_[at_] == '"') {
        VERGE_RETURN_IF_ERROR(quoted(&field));
      } else {
        const size_t end = std::min(text_.find_first_of(",\n", at_), text_.size());
        field.append(text_, at_, end - at_);
        if (end == text_.size() || text_[end] == '\n')
          if (!field.empty() && field.back() == '\r') field.pop_back();
        if (field.find('"') != std::string::npos) return fail("has a quote inside of an unquoted field");
        at_ = end;
      }
      if (at_ >= text_.size()) break;
      if (text_[at_++] == '\n') {
        ++line_;
        break;
      }
    }
    fields->resize(n);
    return {};
  }

  Status fail(const std::string& problem) const { return invalid_argument(what_ + ":" + std::to_string(start_) + ": " + problem); }

 private:
  Status quoted(std::string* field) {
    for (++at_;; ++at_) {
      if (at_ >= text_.size()) return fail("has a quote that is never closed");
      if (text_[at_] == '\n') ++line_;
      if (text_[at_] != '"') {
        field->push_back(text_[at_]);
      } else if (at_ + 1 < text_.size() && text_[at_ + 1] == '"') {
        field->push_back('"');
        ++at_;
      } else {
        break;
      }
    }
    ++at_;
    if (at_ < text_.size() && text_[at_] == '\r') ++at_;
    if (at_ < text_.size() && text_[at_] != ',' && text_[at_] != '\n') return fail("has text behind a closing quote");
    return {};
  }

  std::string_view text_;
  const std::string& what_;
  size_t at_ = 0;
  int64_t line_ = 1, start_ = 1;
};

Result<size_t> column_of(const std::string& asked, const std::vector<std::string>& header, bool has_header, size_t count,
                         const Reader& reader) {
  if (has_header) {
    const auto it = std::find(header.begin(), header.end(), asked);
    if (it != header.end()) return static_cast<size_t>(it - header.begin());
  }
  int64_t i = 0;
  const auto [p, error] = std::from_chars(asked.data(), asked.data() + asked.size(), i);
  if (error != std::errc() || p != asked.data() + asked.size()) {
    std::string all;
    for (const auto& h : header) all += all.size() > 200 ? "" : (all.empty() ? "" : ", ") + h;
    return reader.fail("there is no column '" + asked.substr(0, 60) + "'" +
                       (has_header ? "; there are " + all : "; the file has no header, name columns by number"));
  }
  if (i < 0) i += static_cast<int64_t>(count);
  if (i < 0 || i >= static_cast<int64_t>(count))
    return reader.fail("there is no column " + asked + "; there are " + std::to_string(count));
  return static_cast<size_t>(i);
}

}  // namespace

Result<CsvTable> parse_csv(std::string_view text, const CsvRequest& request, const std::string& what) {
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
  Reader reader(text, what);
  if (reader.done()) return invalid_argument(what + ": is empty");
  std::vector<std::string> fields;
  VERGE_RETURN_IF_ERROR(reader.next(&fields));
  const size_t width = fields.size();

  double number;
  bool has_header = std::none_of(fields.begin(), fields.end(), [&](const auto& f) { return parse_number(f, &number); });
  for (const auto& f : fields)
    if (!f.empty() && !parse_number(f, &number))
      has_header =
          has_header || f == request.label || std::find(request.columns.begin(), request.columns.end(), f) != request.columns.end();

  constexpr size_t kNone = SIZE_MAX;
  size_t label = kNone;
  std::vector<size_t> columns;
  if (!request.label.empty()) {
    VERGE_ASSIGN(label, column_of(request.label, fields, has_header, width, reader));
  }
  for (const auto& c : request.columns) {
    VERGE_ASSIGN(const size_t i, column_of(c, fields, has_header, width, reader));
    columns.push_back(i);
  }
  for (size_t i = 0; request.columns.empty() && i < width; ++i)
    if (i != label) columns.push_back(i);
  if (columns.empty()) return invalid_argument(what + ": has no column beside the label");

  CsvTable table;
  table.columns = static_cast<int64_t>(columns.size());
  bool have = !has_header;
  while (have || !reader.done()) {
    if (!have) VERGE_RETURN_IF_ERROR(reader.next(&fields));
    have = false;
    if (fields.size() == 1 && fields[0].empty() && width > 1) continue;  // an empty line
    if (fields.size() != width)
      return reader.fail("has " + std::to_string(fields.size()) + " fields, the first line has " + std::to_string(width));
    const int64_t row = table.rows_in_file++;
    if (row < request.first || (request.count >= 0 && row - request.first >= request.count)) continue;
    for (size_t c : columns) {
      if (!parse_number(fields[c], &number))
        return reader.fail("column " + std::to_string(c) + " is '" + fields[c].substr(0, 60) + "', which is no number");
      table.values.push_back(number);
    }
    if (label != kNone) table.labels.push_back(fields[label]);
    ++table.rows;
    if (table.values.size() > kMaxLoadedBytes / sizeof(double))
      return resource_exhausted(what + ": is too large; name a smaller range of samples");
  }
  return table;
}

}  // namespace verge::data
