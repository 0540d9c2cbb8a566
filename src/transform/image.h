// Decoding of JPEG, PNG and BMP, and resizing: plain functions on bytes, without chains and tensors.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "core/status.h"

namespace verge::transform {

// Takes the pixels of one image.
class PixelSink {
 public:
  virtual ~PixelSink() = default;
  // Called once, when the size is known and within bounds. Returns where height * width * channels bytes go, row by row; nullptr refuses
  // the image.
  virtual uint8_t* reserve(int64_t height, int64_t width) = 0;
};

// Decodes a JPEG, PNG or BMP, told apart by their first bytes. `channels` is 1 (grey: 0.299 R + 0.587 G + 0.114 B) or 3 (RGB); transparency
// is dropped, 16-bit samples keep their upper byte, an EXIF orientation is not applied. An image of more than `max_pixels` is refused
// before memory is taken for it; a damaged or cut off one is refused too. Errors are kInvalidArgument.
Status decode_image(std::span<const std::byte> file, int channels, int64_t max_pixels, PixelSink& sink);

// The same for one format each.
Status decode_jpeg(std::span<const std::byte> file, int channels, int64_t max_pixels, PixelSink& sink);
Status decode_png(std::span<const std::byte> file, int channels, int64_t max_pixels, PixelSink& sink);
Status decode_bmp(std::span<const std::byte> file, int channels, int64_t max_pixels, PixelSink& sink);
Status check_image_size(int64_t height, int64_t width, int64_t max_pixels);
inline uint8_t luma(uint32_t r, uint32_t g, uint32_t b) { return static_cast<uint8_t>((r * 19595 + g * 38470 + b * 7471 + 32768) >> 16); }

// The rules of resizing, all with half-pixel centres: output pixel i lies at (i + 0.5) * in / out - 0.5 of the input.
//   nearest   input pixel floor((i + 0.5) * in / out)
//   bilinear  linear between the two nearest pixels, edges repeated; shrinking skips pixels (tf.image.resize, antialias=False)
//   triangle  every pixel within in / out (at least 1) of the place, weighted by closeness (tf.image.resize, antialias=True)
enum class ResizeMethod { kNearest, kBilinear, kTriangle };

struct ImageSize {
  int64_t height = 0, width = 0, channels = 0;
  int64_t elements() const { return height * width * channels; }
};
// Bytes of scratch memory (4-byte aligned) that resize_image() needs.
int64_t resize_scratch_bytes(ImageSize in, ImageSize out, ResizeMethod method);
// `in` may lie at any address. No size is zero, the channels agree. UINT8 results are rounded, halves up.
void resize_image(const uint8_t* in, ImageSize in_size, uint8_t* out, ImageSize out_size, ResizeMethod method, std::byte* scratch);
void resize_image(const float* in, ImageSize in_size, float* out, ImageSize out_size, ResizeMethod method, std::byte* scratch);

}  // namespace verge::transform
