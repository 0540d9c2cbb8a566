// CSV tables.
#include "data/csv.h"
#include "fuzz.h"

using namespace verge;
using namespace verge::data;
using verge::fuzz::require;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::Choices choices(fuzz::text_of(data, size));
  const uint8_t how = choices.byte();
  CsvRequest request;
  if (how & 1) request.label = how & 2 ? "label" : "-1";
  if (how & 4) request.columns = {"0", "a"};
  if (how & 8) request.first = how >> 4;
  if (how & 16) request.count = 3;
  auto table = parse_csv(choices.rest(), request, "f");
  if (!table.ok()) return 0;
  require(table->values.size() == static_cast<size_t>(table->rows * table->columns), "a table is full");
  require(request.label.empty() || table->labels.size() == static_cast<size_t>(table->rows), "each row has its label");
  return 0;
}
