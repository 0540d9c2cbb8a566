// The check that stands between a .tflite file and LiteRT.
#include <memory>
#include <cstring>

#include "fuzz.h"
#include "tflite_file.h"

using namespace verge;
using namespace verge::litert;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  // As a mapping: aligned.
  const std::unique_ptr<uint64_t[]> aligned(new uint64_t[size / 8 + 1]);
  std::memcpy(aligned.get(), data, size);
  TfliteFile file;
  const std::string wrong = parse_tflite(reinterpret_cast<const uint8_t*>(aligned.get()), size, file);
  if (!wrong.empty()) return 0;
  static_cast<void>(check_tflite(file));
  static_cast<void>(executed_precision(file));
  return 0;
}
