// Steps on images: decode, resize, crop.
#include <algorithm>

#include "transform/image.h"
#include "transform/operators.h"

namespace verge::transform {
namespace {

constexpr int64_t kMaxSide = 16384;
constexpr int64_t kMaxScratchBytes = int64_t{256} << 20;
constexpr size_t kKeptBytes = size_t{16} << 20;  // capacity beyond the result that a step keeps for the next image

size_t aligned(size_t n) { return (n + 63) / 64 * 64; }

ResizeMethod method_of(Params& params) {
  const auto m = params.choice("method", {"bilinear", "triangle", "nearest"});
  return m == "nearest" ? ResizeMethod::kNearest : m == "triangle" ? ResizeMethod::kTriangle : ResizeMethod::kBilinear;
}

Status check_scratch(int64_t bytes, ImageSize from, ImageSize to) {
  if (bytes <= kMaxScratchBytes) return {};
  return resource_exhausted("resizing " + std::to_string(from.width) + " x " + std::to_string(from.height) + " to " +
                            std::to_string(to.width) + " x " + std::to_string(to.height) + " needs too much memory");
}

// Ends the use of `out`'s tail as scratch memory.
void drop_tail(Tensor& out, size_t size) {
  out.data.resize(size);
  if (out.data.capacity() - size > kKeptBytes + size) out.data.shrink_to_fit();
}

// --- decode ---

class DecodeStep : public Step {
 public:
  struct Settings {
    int channels = 3;
    int64_t height = 0, width = 0;  // 0: as they come, all of one batch alike
    ResizeMethod method = ResizeMethod::kBilinear;
    int64_t max_pixels = 0;
  };
  explicit DecodeStep(const Settings& s) : s_(s) {}

  Status run(const TensorView& in, Tensor& out) const override {
    const int64_t n = in.shape.elements();
    ImageSize each{s_.height, s_.width, s_.channels};
    out.dtype = DType::kUint8;
    out.data.clear();
    size_t at = 0;
    for (int64_t i = 0; i < n; ++i) {
      const auto size = static_cast<size_t>(load_at<uint32_t>(in.data.data() + at, 0));
      const auto file = in.data.subspan(at + 4, size);
      at += 4 + size;
      Status s = s_.height ? decode_resized(file, i, each, out) : decode_alike(file, i, each, out);
      if (!s.ok()) return n == 1 ? s : s.prefixed("image " + std::to_string(i));
    }
    drop_tail(out, static_cast<size_t>(n * each.elements()));
    out.shape = in.shape;
    if (out.shape.rank() > 0 && in.shape.rank() > 1) out.shape.erase(out.shape.rank() - 1);
    out.shape.push_back(each.height);
    out.shape.push_back(each.width);
    out.shape.push_back(each.channels);
    return {};
  }

 private:
  // Makes room in a tensor from a byte on, and knows the image's size afterwards.
  struct Sink : PixelSink {
    Sink(Tensor& t, size_t from, int channels) : out(t), at(from), c(channels) {}
    uint8_t* reserve(int64_t height, int64_t width) override {
      if (want && (want->height != height || want->width != width)) {
        refusal =
            invalid_argument("has " + std::to_string(width) + " x " + std::to_string(height) + " pixels, the one before it " +
                             std::to_string(want->width) + " x " + std::to_string(want->height) + "; give decode a 'height' and 'width'");
        return nullptr;
      }
      size = {height, width, c};
      if (at + static_cast<size_t>(size.elements()) > static_cast<size_t>(kMaxStepBytes)) {
        refusal = resource_exhausted("the images pass the limit of " + std::to_string(kMaxStepBytes >> 20) + " MiB a step");
        return nullptr;
      }
      out.data.resize(at + static_cast<size_t>(size.elements()));
      return reinterpret_cast<uint8_t*>(out.data.data()) + at;
    }
    Tensor& out;
    size_t at;
    int c;
    const ImageSize* want = nullptr;
    ImageSize size;
    Status refusal;
  };

  Status decode_alike(std::span<const std::byte> file, int64_t i, ImageSize& each, Tensor& out) const {
    Sink sink(out, static_cast<size_t>(i * each.elements()), s_.channels);
    if (i > 0) sink.want = &each;
    Status s = decode_image(file, s_.channels, s_.max_pixels, sink);
    if (!sink.refusal.ok()) return sink.refusal;
    each = sink.size;
    return s;
  }

  // Results lie in front; the decoded image and the scratch memory behind them for as long as they are needed.
  Status decode_resized(std::span<const std::byte> file, int64_t i, ImageSize each, Tensor& out) const {
    const auto result = static_cast<size_t>(each.elements());
    const size_t image = aligned(static_cast<size_t>(i + 1) * result);
    Sink sink(out, image, s_.channels);
    Status s = decode_image(file, s_.channels, s_.max_pixels, sink);
    if (!sink.refusal.ok()) return sink.refusal;
    if (!s.ok()) return s;
    const int64_t scratch_bytes = resize_scratch_bytes(sink.size, each, s_.method);
    VERGE_RETURN_IF_ERROR(check_scratch(scratch_bytes, sink.size, each));
    const size_t scratch = aligned(image + static_cast<size_t>(sink.size.elements()));
    out.data.resize(scratch + static_cast<size_t>(scratch_bytes));
    auto* p = reinterpret_cast<uint8_t*>(out.data.data());
    resize_image(p + image, sink.size, p + static_cast<size_t>(i) * result, each, s_.method, out.data.data() + scratch);
    return {};
  }

  Settings s_;
};

Made make_decode(Params& params, const Context&, TensorSpec& spec) {
  DecodeStep::Settings s;
  s.channels = static_cast<int>(params.integer("channels", 1, 3, 3));
  s.height = params.integer("height", 1, kMaxSide, 0);
  s.width = params.integer("width", 1, kMaxSide, 0);
  s.max_pixels = params.integer("max_pixels", 1, int64_t{1} << 28, int64_t{1} << 24);
  s.method = method_of(params);
  if (s.channels == 2) params.fail("parameter 'channels' is 2; it must be 1 (grey) or 3 (RGB)");
  if (params.has("height") != params.has("width")) params.fail("'height' and 'width' come together");
  if (params.has("method") && !params.has("height")) params.fail("'method' is for a given 'height' and 'width'");
  VERGE_RETURN_IF_ERROR(params.status());
  const int rank = sample_rank(spec);
  if (spec.dtype != DType::kBytes || rank > 1 || (rank == 1 && spec.shape[first_axis(spec)] != 1))
    return invalid_argument("needs one encoded image a sample, BYTES of sample shape [] or [1], but gets " +
                            std::string(dtype_name(spec.dtype)) + " of sample shape " + sample_shape(spec).to_string());
  if (rank == 1 && spec.batch_axis == 0) spec.shape.erase(1);
  spec.dtype = DType::kUint8;
  spec.shape.push_back(s.height ? s.height : -1);
  spec.shape.push_back(s.width ? s.width : -1);
  spec.shape.push_back(s.channels);
  return made<DecodeStep>(s);
}

// --- resize, crop ---

Status need_image(const TensorSpec& spec) {
  if (sample_rank(spec) == 3) return {};
  return invalid_argument("needs samples [height, width, channels], but gets " + sample_shape(spec).to_string());
}

// Of a concrete tensor that ends in height, width, channels.
ImageSize image_size(const Shape& shape) {
  const int r = shape.rank();
  return {shape[r - 3], shape[r - 2], shape[r - 1]};
}

class ResizeStep : public Step {
 public:
  ResizeStep(int64_t height, int64_t width, ResizeMethod method) : height_(height), width_(width), method_(method) {}
  Status run(const TensorView& in, Tensor& out) const override {
    const ImageSize from = image_size(in.shape), to{height_, width_, from.channels};
    Shape shape = in.shape;
    shape[shape.rank() - 3] = height_;
    shape[shape.rank() - 2] = width_;
    const int64_t n = shape.rank() == 4 ? shape[0] : 1;
    if (n > 0 && (from.height == 0 || from.width == 0))
      return invalid_argument("cannot resize an image without pixels, " + in.shape.to_string());
    VERGE_RETURN_IF_ERROR(prepare(out, in.dtype, shape));
    if (n == 0 || from.channels == 0) return {};
    const int64_t scratch_bytes = resize_scratch_bytes(from, to, method_);
    VERGE_RETURN_IF_ERROR(check_scratch(scratch_bytes, from, to));
    const size_t size = out.data.size(), scratch = aligned(size);
    out.data.resize(scratch + static_cast<size_t>(scratch_bytes));
    for (int64_t i = 0; i < n; ++i) {
      auto one = [&]<typename T>(T* p) {
        const auto* q = reinterpret_cast<const T*>(in.data.data() + static_cast<size_t>(i * from.elements()) * sizeof(T));
        resize_image(q, from, p + i * to.elements(), to, method_, out.data.data() + scratch);
      };
      if (in.dtype == DType::kUint8)
        one(out.as<uint8_t>());
      else
        one(out.as<float>());
    }
    drop_tail(out, size);
    return {};
  }

 private:
  int64_t height_, width_;
  ResizeMethod method_;
};

Made make_resize(Params& params, const Context&, TensorSpec& spec) {
  const int64_t height = params.integer("height", 1, kMaxSide), width = params.integer("width", 1, kMaxSide);
  const ResizeMethod method = method_of(params);
  VERGE_RETURN_IF_ERROR(params.status());
  VERGE_RETURN_IF_ERROR(need_image(spec));
  if (spec.dtype != DType::kUint8 && spec.dtype != DType::kFp32)
    return invalid_argument("needs UINT8 or FP32, but gets " + std::string(dtype_name(spec.dtype)) + "; put a cast before it");
  const int first = first_axis(spec);
  for (int a = first; a < first + 2; ++a)
    if (spec.shape[a] == 0) return invalid_argument("cannot resize an image without pixels, " + sample_shape(spec).to_string());
  if (spec.shape[first] == height && spec.shape[first + 1] == width) return Made(nullptr);
  spec.shape[first] = height;
  spec.shape[first + 1] = width;
  return made<ResizeStep>(height, width, method);
}

class CropStep : public Step {
 public:
  CropStep(int64_t height, int64_t width) : height_(height), width_(width) {}
  Status run(const TensorView& in, Tensor& out) const override {
    const ImageSize from = image_size(in.shape);
    if (from.height < height_ || from.width < width_)
      return invalid_argument("cannot crop " + std::to_string(from.width) + " x " + std::to_string(from.height) + " to " +
                              std::to_string(width_) + " x " + std::to_string(height_));
    Shape shape = in.shape;
    shape[shape.rank() - 3] = height_;
    shape[shape.rank() - 2] = width_;
    VERGE_RETURN_IF_ERROR(prepare(out, in.dtype, shape));
    const int64_t n = shape.rank() == 4 ? shape[0] : 1, top = (from.height - height_) / 2, left = (from.width - width_) / 2;
    const size_t pixel = static_cast<size_t>(from.channels) * dtype_size(in.dtype), row = pixel * static_cast<size_t>(width_);
    std::byte* to = out.data.data();
    for (int64_t i = 0; i < n && row > 0; ++i)
      for (int64_t y = 0; y < height_; ++y, to += row)
        std::memcpy(to, in.data.data() + pixel * static_cast<size_t>((i * from.height + top + y) * from.width + left), row);
    return {};
  }

 private:
  int64_t height_, width_;
};

Made make_crop(Params& params, const Context&, TensorSpec& spec) {
  const int64_t height = params.integer("height", 1, kMaxSide), width = params.integer("width", 1, kMaxSide);
  VERGE_RETURN_IF_ERROR(params.status());
  VERGE_RETURN_IF_ERROR(need_numeric(spec));
  VERGE_RETURN_IF_ERROR(need_image(spec));
  const int first = first_axis(spec);
  const int64_t h = spec.shape[first], w = spec.shape[first + 1];
  if ((h >= 0 && h < height) || (w >= 0 && w < width))
    return invalid_argument("cannot crop samples " + sample_shape(spec).to_string() + " to [" + std::to_string(height) + "," +
                            std::to_string(width) + "]");
  if (h == height && w == width) return Made(nullptr);
  spec.shape[first] = height;
  spec.shape[first + 1] = width;
  return made<CropStep>(height, width);
}

constexpr std::string_view kMethodDoc =
    "bilinear (two nearest pixels; shrinking skips pixels), triangle (bilinear that averages when shrinking) or nearest; all with "
    "half-pixel "
    "centres; default bilinear";

}  // namespace

const Operator kOp_decode = {
    {"decode",
     "Makes UINT8 pixels [height, width, channels] of one JPEG, PNG or BMP a sample (BYTES, sample shape [] or [1]). With 'height' and "
     "'width' each "
     "image is resized to them, without keeping its proportions; without them all images of a request must be of one size.",
     {{"channels", "int", false, "1 (grey, 0.299 R + 0.587 G + 0.114 B) or 3 (RGB); default 3"},
      {"height", "int", false, "1 … 16384 pixels"},
      {"width", "int", false, "1 … 16384 pixels"},
      {"method", "string", false, kMethodDoc},
      {"max_pixels", "int", false, "images with more are refused before they are decoded; default 16777216"}}},
    make_decode};

const Operator kOp_resize = {
    {"resize", "Resizes images [height, width, channels], UINT8 (rounded) or FP32, without keeping their proportions.",
     {{"height", "int", true, "1 … 16384 pixels"}, {"width", "int", true, "1 … 16384 pixels"}, {"method", "string", false, kMethodDoc}}},
    make_resize};

const Operator kOp_crop = {
    {"crop", "Cuts the middle out of images [height, width, channels]; of an odd rest the smaller half goes at the top and left.",
     {{"height", "int", true, "1 … 16384 pixels, at most the image's"}, {"width", "int", true, "1 … 16384 pixels, at most the image's"}}},
    make_crop};

}  // namespace verge::transform
