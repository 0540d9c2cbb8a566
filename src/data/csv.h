// CSV (RFC 4180): commas, fields in double quotes where they need it, a header or none.
#pragma once

#include <string>
#include <vector>

#include "core/status.h"

namespace verge::data {

struct CsvRequest {
  std::vector<std::string> columns;  // names, or numbers from 0 (negative: from the end); empty: all but the label
  std::string label;                 // as one of columns; empty: none
  int64_t first = 0;
  int64_t count = -1;  // rows kept; negative: all
};

struct CsvTable {
  std::vector<double> values;       // row by row
  int64_t columns = 0;
  int64_t rows = 0;                 // kept
  int64_t rows_in_file = 0;         // without the header
  std::vector<std::string> labels;  // one a row kept, if a label was asked for
};

// The first row is a header where it holds a name that is asked for, or where none of its fields is a number.
Result<CsvTable> parse_csv(std::string_view text, const CsvRequest& request, const std::string& what);

}  // namespace verge::data
