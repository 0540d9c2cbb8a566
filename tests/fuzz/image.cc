// JPEG, PNG and BMP: no more pixels than were announced, within the bound.
#include <memory>

#include "fuzz.h"
#include "transform/image.h"

using namespace verge;
using verge::fuzz::require;

namespace {

struct Pixels final : transform::PixelSink {
  explicit Pixels(int c) : channels(c) {}
  uint8_t* reserve(int64_t height, int64_t width) override {
    require(height > 0 && width > 0 && height * width <= kMost, "sizes are bounded");
    require(!data, "the size is told once");
    data.reset(new uint8_t[static_cast<size_t>(height * width * channels)]);
    return data.get();
  }
  static constexpr int64_t kMost = 1 << 18;
  int channels;
  std::unique_ptr<uint8_t[]> data;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  for (int channels : {1, 3}) {
    Pixels pixels(channels);
    static_cast<void>(transform::decode_image({reinterpret_cast<const std::byte*>(data), size}, channels, Pixels::kMost, pixels));
  }
  return 0;
}
