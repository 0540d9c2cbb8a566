#include <png.h>

#include <csetjmp>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

// libjpeg's header needs size_t and FILE before it.
#include <jpeglib.h>
//
#include <jerror.h>

#include "transform/image.h"

namespace verge::transform {
namespace {

// A progressive JPEG of a few bytes can ask for work without end; real ones have about ten scans.
constexpr int kMaxScans = 64;
constexpr int64_t kMaxSide = int64_t{1} << 20;

Status refused() { return invalid_argument("refused"); }

// --- JPEG ---

// The frame that calls setjmp owns this object: a longjmp skips no destructor, and whatever changes after setjmp lives in here, in memory,
// not in a register that the jump would restore.
struct Jpeg {
  jpeg_decompress_struct c{};
  jpeg_error_mgr errors{};
  jpeg_progress_mgr progress{};
  std::jmp_buf jump;
  char message[JMSG_LENGTH_MAX] = "";
  Status bad_size;
  uint8_t* pixels = nullptr;
  bool created = false;
  ~Jpeg() {
    if (created) jpeg_destroy_decompress(&c);
  }

  static Jpeg& of(j_common_ptr c) { return *static_cast<Jpeg*>(c->client_data); }
  static void error_exit(j_common_ptr c) {
    (*c->err->format_message)(c, of(c).message);
    std::longjmp(of(c).jump, 1);
  }
  // Warnings say that pixels are made up: damage. Those about harmless oddities pass.
  static void emit_message(j_common_ptr c, int level) {
    if (level >= 0) return;
    const int code = c->err->msg_code;
    if (code != JWRN_EXTRANEOUS_DATA && code != JWRN_ADOBE_XFORM && code != JWRN_JFIF_MAJOR && code != JWRN_TOO_MUCH_DATA) error_exit(c);
  }
  static void count_scans(j_common_ptr c) {
    if (reinterpret_cast<j_decompress_ptr>(c)->input_scan_number <= kMaxScans) return;
    std::snprintf(of(c).message, sizeof of(c).message, "it has more than %d scans", kMaxScans);
    std::longjmp(of(c).jump, 1);
  }
};

// --- PNG ---

// As Jpeg.
struct Png {
  png_structp png = nullptr;
  png_infop info = nullptr;
  std::span<const std::byte> file;
  size_t at = 0;
  char message[160] = "";
  Status bad_size;
  std::vector<uint8_t> colour;  // RGB of an image that is asked for in grey
  uint8_t* pixels = nullptr;
  ~Png() {
    if (png) png_destroy_read_struct(&png, &info, nullptr);
  }

  static void fail(png_structp png, png_const_charp text) {
    std::snprintf(static_cast<Png*>(png_get_error_ptr(png))->message, sizeof message, "%s", text);
    png_longjmp(png, 1);
  }
  static void warn(png_structp, png_const_charp) {}
  static void read(png_structp png, png_bytep to, size_t n) {
    auto* self = static_cast<Png*>(png_get_io_ptr(png));
    if (n > self->file.size() - self->at) png_error(png, "it is cut off");
    std::memcpy(to, self->file.data() + self->at, n);
    self->at += n;
  }
};

template <typename T>
T little(std::span<const std::byte> b, size_t at) {
  T v;
  std::memcpy(&v, b.data() + at, sizeof v);
  return v;
}

}  // namespace

Status check_image_size(int64_t height, int64_t width, int64_t max_pixels) {
  if (height <= 0 || width <= 0 || height > kMaxSide || width > kMaxSide)
    return invalid_argument("the image claims a size of " + std::to_string(width) + " x " + std::to_string(height));
  if (height > max_pixels / width)
    return invalid_argument("the image has " + std::to_string(width) + " x " + std::to_string(height) + " pixels; at most " +
                            std::to_string(max_pixels) + " are decoded ('max_pixels')");
  return {};
}

Status decode_jpeg(std::span<const std::byte> file, int channels, int64_t max_pixels, PixelSink& sink) {
  Jpeg j;
  j.c.err = jpeg_std_error(&j.errors);
  j.c.client_data = &j;
  j.errors.error_exit = Jpeg::error_exit;
  j.errors.emit_message = Jpeg::emit_message;
  j.errors.output_message = [](j_common_ptr) {};
  j.progress.progress_monitor = Jpeg::count_scans;
  if (setjmp(j.jump)) return invalid_argument(std::string("the JPEG is damaged: ") + j.message);
  jpeg_create_decompress(&j.c);
  j.created = true;
  j.c.progress = &j.progress;
  j.c.mem->max_memory_to_use = (long{32} << 20) + 8 * max_pixels;
  jpeg_mem_src(&j.c, reinterpret_cast<const unsigned char*>(file.data()), file.size());
  jpeg_read_header(&j.c, TRUE);
  j.bad_size = check_image_size(j.c.image_height, j.c.image_width, max_pixels);
  if (!j.bad_size.ok()) return j.bad_size;
  if (j.c.jpeg_color_space == JCS_CMYK || j.c.jpeg_color_space == JCS_YCCK)
    return invalid_argument("the JPEG is in CMYK, which is not supported; convert it to RGB");
  j.c.out_color_space = channels == 1 ? JCS_GRAYSCALE : JCS_RGB;
  jpeg_start_decompress(&j.c);
  j.pixels = sink.reserve(j.c.output_height, j.c.output_width);
  if (!j.pixels) return refused();
  while (j.c.output_scanline < j.c.output_height) {
    JSAMPROW row = j.pixels + static_cast<size_t>(j.c.output_scanline) * j.c.output_width * static_cast<size_t>(channels);
    jpeg_read_scanlines(&j.c, &row, 1);
  }
  jpeg_finish_decompress(&j.c);
  return {};
}

Status decode_png(std::span<const std::byte> file, int channels, int64_t max_pixels, PixelSink& sink) {
  Png p;
  p.file = file;
  p.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &p, Png::fail, Png::warn);
  if (p.png) p.info = png_create_info_struct(p.png);
  if (!p.info) return resource_exhausted("out of memory");
  if (setjmp(png_jmpbuf(p.png))) return invalid_argument(std::string("the PNG is damaged: ") + p.message);
  png_set_read_fn(p.png, &p, Png::read);
  png_set_user_limits(p.png, kMaxSide, kMaxSide);
  png_set_chunk_malloc_max(p.png, 1 << 20);
  png_set_chunk_cache_max(p.png, 64);
  png_read_info(p.png, p.info);
  const auto height = static_cast<int64_t>(png_get_image_height(p.png, p.info));
  const auto width = static_cast<int64_t>(png_get_image_width(p.png, p.info));
  p.bad_size = check_image_size(height, width, max_pixels);
  if (!p.bad_size.ok()) return p.bad_size;
  const int type = png_get_color_type(p.png, p.info);
  const bool grey = !(type & PNG_COLOR_MASK_COLOR);
  png_set_strip_16(p.png);
  if (type == PNG_COLOR_TYPE_PALETTE) png_set_palette_to_rgb(p.png);
  if (grey) png_set_expand_gray_1_2_4_to_8(p.png);
  png_set_strip_alpha(p.png);
  if (grey && channels == 3) png_set_gray_to_rgb(p.png);
  const int passes = png_set_interlace_handling(p.png);
  png_read_update_info(p.png, p.info);
  const bool to_grey = channels == 1 && !grey;
  const size_t stride = static_cast<size_t>(width) * (to_grey ? 3 : static_cast<size_t>(channels));
  if (png_get_rowbytes(p.png, p.info) != stride) return invalid_argument("the PNG has an unknown form of pixels");
  p.pixels = sink.reserve(height, width);
  if (!p.pixels) return refused();
  if (to_grey) p.colour.resize(stride * static_cast<size_t>(height));
  for (int pass = 0; pass < passes; ++pass)
    for (int64_t y = 0; y < height; ++y)
      png_read_row(p.png, (to_grey ? p.colour.data() : p.pixels) + static_cast<size_t>(y) * stride, nullptr);
  png_read_end(p.png, nullptr);
  for (size_t i = 0; i * 3 < p.colour.size(); ++i) p.pixels[i] = luma(p.colour[3 * i], p.colour[3 * i + 1], p.colour[3 * i + 2]);
  return {};
}

Status decode_bmp(std::span<const std::byte> file, int channels, int64_t max_pixels, PixelSink& sink) {
  constexpr size_t kFileHeader = 14, kInfoHeader = 40;
  if (file.size() < kFileHeader + kInfoHeader) return invalid_argument("the BMP is cut off");
  const auto offset = little<uint32_t>(file, 10), header = little<uint32_t>(file, 14), compression = little<uint32_t>(file, 30);
  const int64_t width = little<int32_t>(file, 18), signed_height = little<int32_t>(file, 22);
  const int64_t height = signed_height < 0 ? -signed_height : signed_height;
  const int bits = little<uint16_t>(file, 28);
  uint32_t colours = little<uint32_t>(file, 46);
  VERGE_RETURN_IF_ERROR(check_image_size(height, width, max_pixels));
  if (header < kInfoHeader || header > 124 || little<uint16_t>(file, 26) != 1) return invalid_argument("the BMP has an unknown header");
  const size_t behind = kFileHeader + header;
  bool plain = compression == 0 && (bits == 8 || bits == 24 || bits == 32);
  if (compression == 3 && bits == 32 && file.size() >= kFileHeader + kInfoHeader + 12)  // masks, here only those of plain BGRX
    plain = little<uint32_t>(file, 54) == 0xff0000 && little<uint32_t>(file, 58) == 0xff00 && little<uint32_t>(file, 62) == 0xff;
  if (!plain)
    return invalid_argument("the BMP has " + std::to_string(bits) + " bits a pixel with compression " + std::to_string(compression) +
                            "; uncompressed ones of 8, 24 and 32 bits are supported");
  if (colours == 0 || bits != 8) colours = bits == 8 ? 256 : 0;
  if (colours > 256 || behind + size_t{4} * colours > file.size()) return invalid_argument("the BMP's palette is cut off");
  const size_t stride = (static_cast<size_t>(width) * static_cast<size_t>(bits) + 31) / 32 * 4;
  if (offset < behind || offset > file.size() || stride > (file.size() - offset) / static_cast<size_t>(height))
    return invalid_argument("the BMP is cut off: its pixels need " + std::to_string(stride * static_cast<size_t>(height)) + " bytes");
  uint8_t* out = sink.reserve(height, width);
  if (!out) return refused();
  const auto* bytes = reinterpret_cast<const uint8_t*>(file.data());
  for (int64_t y = 0; y < height; ++y) {
    const uint8_t* row = bytes + offset + stride * static_cast<size_t>(signed_height < 0 ? y : height - 1 - y);
    for (int64_t x = 0; x < width; ++x) {
      const uint8_t* bgr = row + x * (bits / 8);
      if (bits == 8) {
        if (*bgr >= colours) return invalid_argument("the BMP names a colour outside of its palette");
        bgr = bytes + behind + size_t{4} * *bgr;
      }
      if (channels == 1) {
        *out++ = luma(bgr[2], bgr[1], bgr[0]);
      } else {
        *out++ = bgr[2];
        *out++ = bgr[1];
        *out++ = bgr[0];
      }
    }
  }
  return {};
}

Status decode_image(std::span<const std::byte> file, int channels, int64_t max_pixels, PixelSink& sink) {
  const std::string_view head(reinterpret_cast<const char*>(file.data()), std::min<size_t>(file.size(), 8));
  if (head.starts_with("\xff\xd8\xff")) return decode_jpeg(file, channels, max_pixels, sink);
  if (head == "\x89PNG\r\n\x1a\n") return decode_png(file, channels, max_pixels, sink);
  if (head.starts_with("BM")) return decode_bmp(file, channels, max_pixels, sink);
  if (head.empty()) return invalid_argument("the image is empty");
  std::string hex;
  for (char c : head.substr(0, 4)) {
    char two[4];
    std::snprintf(two, sizeof two, " %02x", static_cast<unsigned char>(c));
    hex += two;
  }
  return invalid_argument("the image is no JPEG, PNG or BMP (it begins with" + hex + ")");
}

}  // namespace verge::transform
