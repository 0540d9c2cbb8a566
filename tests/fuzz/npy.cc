// .npy files: an accepted tensor fits its shape, and is written and read back as the same.
#include "core/npy.h"
#include "fuzz.h"

using namespace verge;
using verge::fuzz::require;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input = fuzz::text_of(data, size);
  static_cast<void>(parse_npy_header(input, "f"));
  auto t = parse_npy(input, "f");
  if (!t.ok()) return 0;
  require(check_tensor({t->dtype, t->shape, {t->data.data(), t->data.size()}}, "t").ok(), "an accepted tensor fits its shape");
  auto again = parse_npy(print_npy(*t), "f");
  require(again.ok() && again->dtype == t->dtype && again->shape == t->shape, "a printed tensor is read");
  return 0;
}
