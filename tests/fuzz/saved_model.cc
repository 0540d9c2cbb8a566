// saved_model.pb, which our own reader judges before TensorFlow sees it.
#include "fuzz.h"
#include "tensorflow/saved_model.h"

using namespace verge;
using verge::fuzz::require;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string bytes(fuzz::text_of(data, size));
  tensorflow::SavedModel a, b;
  const std::string why = read_saved_model(bytes, a);
  require(why == read_saved_model(bytes, b), "it is judged alike each time:", why);
  if (!why.empty()) return 0;
  require(a.signatures.size() == b.signatures.size(), "it is read alike each time");
  for (const auto& s : a.signatures) {
    for (const auto* list : {&s.inputs, &s.outputs})
      for (const auto& t : *list) require(t.dims.empty() || !t.unknown_rank, "an unknown rank has no dimensions");
  }
  return 0;
}
