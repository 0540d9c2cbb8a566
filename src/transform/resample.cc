#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "transform/image.h"

namespace verge::transform {
namespace {

template <typename T>
float load(const T* p, int64_t i) {
  if constexpr (sizeof(T) == 1) return p[i];
  T v;
  std::memcpy(&v, reinterpret_cast<const char*>(p) + static_cast<size_t>(i) * sizeof(T), sizeof v);
  return v;
}

void store(float v, float* out) { *out = v; }
void store(float v, uint8_t* out) { *out = static_cast<uint8_t>(std::min(v + 0.5f, 255.0f)); }

// The place of output pixel i in the input, in pixels from the input's edge.
float place(int64_t i, float scale) { return (static_cast<float>(i) + 0.5f) * scale; }
float scale_of(int64_t in, int64_t out) { return static_cast<float>(in) / static_cast<float>(out); }

// --- nearest ---

int64_t nearest(int64_t i, int64_t in, float scale) {
  return std::min(static_cast<int64_t>(std::floor(place(i, scale))), in - 1);
}

template <typename T>
void resize_nearest(const T* in, ImageSize is, T* out, ImageSize os, int32_t* xs) {
  const float sx = scale_of(is.width, os.width), sy = scale_of(is.height, os.height);
  for (int64_t x = 0; x < os.width; ++x) xs[x] = static_cast<int32_t>(nearest(x, is.width, sx));
  const size_t pixel = static_cast<size_t>(os.channels) * sizeof(T);
  const auto* from = reinterpret_cast<const char*>(in);
  auto* to = reinterpret_cast<char*>(out);
  for (int64_t y = 0; y < os.height; ++y) {
    const char* row = from + static_cast<size_t>(nearest(y, is.height, sy) * is.width) * pixel;
    for (int64_t x = 0; x < os.width; ++x, to += pixel) std::memcpy(to, row + static_cast<size_t>(xs[x]) * pixel, pixel);
  }
}

// --- bilinear ---

struct Pair {
  int32_t lower, upper;
  float part;  // of the way from lower to upper
};

Pair pair_at(int64_t i, int64_t in, float scale) {
  const float at = place(i, scale) - 0.5f, down = std::floor(at);
  return {static_cast<int32_t>(std::max<float>(down, 0)), static_cast<int32_t>(std::min<float>(std::ceil(at), static_cast<float>(in - 1))),
          at - down};
}

template <typename T, int C>
void blend_row(const T* row, const Pair* xs, int64_t width, int64_t channels, float* out) {
  const int64_t c = C ? C : channels;
  for (int64_t x = 0; x < width; ++x) {
    const Pair p = xs[x];
    for (int64_t k = 0; k < c; ++k) {
      const float a = load(row, p.lower * c + k), b = load(row, p.upper * c + k);
      out[x * c + k] = a + (b - a) * p.part;
    }
  }
}

template <typename T>
const T* row_of(const T* in, ImageSize s, int64_t y) {
  return reinterpret_cast<const T*>(reinterpret_cast<const char*>(in) + static_cast<size_t>(y * s.width * s.channels) * sizeof(T));
}

template <typename T>
void resize_bilinear(const T* in, ImageSize is, T* out, ImageSize os, Pair* xs, float* rows) {
  const float sx = scale_of(is.width, os.width), sy = scale_of(is.height, os.height);
  for (int64_t x = 0; x < os.width; ++x) xs[x] = pair_at(x, is.width, sx);
  const int64_t n = os.width * os.channels;
  float* held[2] = {rows, rows + n};
  int64_t holds[2] = {-1, -1};
  auto row = [&](int64_t y, int64_t keep) {
    for (int i = 0; i < 2; ++i)
      if (holds[i] == y) return held[i];
    const int i = holds[0] == keep ? 1 : 0;
    holds[i] = y;
    const T* from = row_of(in, is, y);
    switch (os.channels) {
      case 1: blend_row<T, 1>(from, xs, os.width, 1, held[i]); break;
      case 3: blend_row<T, 3>(from, xs, os.width, 3, held[i]); break;
      default: blend_row<T, 0>(from, xs, os.width, os.channels, held[i]);
    }
    return held[i];
  };
  for (int64_t y = 0; y < os.height; ++y, out += n) {
    const Pair p = pair_at(y, is.height, sy);
    const float* a = row(p.lower, p.upper);
    const float* b = row(p.upper, p.lower);
    for (int64_t i = 0; i < n; ++i) store(a[i] + (b[i] - a[i]) * p.part, out + i);
  }
}

// --- triangle ---

struct Span {
  int32_t first, count;
};

int64_t most_taps(int64_t in, int64_t out) {
  const float reach = std::max(1.0f, scale_of(in, out));
  return std::min(in, static_cast<int64_t>(2 * reach) + 2);
}

Span span_at(int64_t i, int64_t in, int64_t most, float scale, float* weights) {
  const float reach = std::max(1.0f, scale), at = place(i, scale);
  const auto first = std::max<int64_t>(0, static_cast<int64_t>(std::ceil(at - reach - 0.5f)));
  const auto last = std::min({in - 1, static_cast<int64_t>(std::floor(at + reach - 0.5f)), first + most - 1});
  float sum = 0;
  for (int64_t k = first; k <= last; ++k)
    sum += weights[k - first] = std::max(0.0f, 1 - std::abs(static_cast<float>(k) + 0.5f - at) / reach);
  for (int64_t k = first; k <= last; ++k) weights[k - first] /= sum;
  return {static_cast<int32_t>(first), static_cast<int32_t>(last - first + 1)};
}

template <typename T, int C>
void weigh_row(const T* row, const Span* xs, const float* weights, int64_t most, int64_t width, int64_t channels, float* out) {
  const int64_t c = C ? C : channels;
  for (int64_t x = 0; x < width; ++x) {
    const Span s = xs[x];
    float* sum = out + x * c;
    float local[C ? C : 1] = {};
    if (!C) std::fill_n(sum, c, 0.0f);
    for (int64_t i = 0; i < s.count; ++i)
      for (int64_t k = 0; k < c; ++k) (C ? local : sum)[k] += weights[x * most + i] * load(row, (s.first + i) * c + k);
    for (int64_t k = 0; k < C; ++k) sum[k] = local[k];
  }
}

template <typename T>
void resize_triangle(const T* in, ImageSize is, T* out, ImageSize os, std::byte* scratch) {
  const float sx = scale_of(is.width, os.width), sy = scale_of(is.height, os.height);
  const int64_t most_x = most_taps(is.width, os.width), most_y = most_taps(is.height, os.height), n = os.width * os.channels;
  auto* xs = reinterpret_cast<Span*>(scratch);
  auto* wx = reinterpret_cast<float*>(xs + os.width);
  float* wy = wx + os.width * most_x;
  float* sum = wy + most_y;
  float* ring = sum + n;  // row y of the input, resized along x, at y modulo most_y
  for (int64_t x = 0; x < os.width; ++x) xs[x] = span_at(x, is.width, most_x, sx, wx + x * most_x);
  int64_t next = 0;
  for (int64_t y = 0; y < os.height; ++y, out += n) {
    const Span s = span_at(y, is.height, most_y, sy, wy);
    for (next = std::max<int64_t>(next, s.first); next < s.first + s.count; ++next) {
      const T* from = row_of(in, is, next);
      float* to = ring + next % most_y * n;
      switch (os.channels) {
        case 1: weigh_row<T, 1>(from, xs, wx, most_x, os.width, 1, to); break;
        case 3: weigh_row<T, 3>(from, xs, wx, most_x, os.width, 3, to); break;
        default: weigh_row<T, 0>(from, xs, wx, most_x, os.width, os.channels, to);
      }
    }
    std::fill_n(sum, n, 0.0f);
    for (int64_t k = 0; k < s.count; ++k) {
      const float* row = ring + (s.first + k) % most_y * n;
      const float w = wy[k];
      for (int64_t i = 0; i < n; ++i) sum[i] += w * row[i];
    }
    for (int64_t i = 0; i < n; ++i) store(sum[i], out + i);
  }
}

template <typename T>
void resize(const T* in, ImageSize is, T* out, ImageSize os, ResizeMethod method, std::byte* scratch) {
  if (is.height == os.height && is.width == os.width) {
    std::memcpy(out, in, static_cast<size_t>(os.elements()) * sizeof(T));
    return;
  }
  switch (method) {
    case ResizeMethod::kNearest: return resize_nearest(in, is, out, os, reinterpret_cast<int32_t*>(scratch));
    case ResizeMethod::kBilinear: {
      auto* xs = reinterpret_cast<Pair*>(scratch);
      return resize_bilinear(in, is, out, os, xs, reinterpret_cast<float*>(xs + os.width));
    }
    case ResizeMethod::kTriangle: return resize_triangle(in, is, out, os, scratch);
  }
}

}  // namespace

int64_t resize_scratch_bytes(ImageSize in, ImageSize out, ResizeMethod method) {
  const int64_t n = out.width * out.channels;
  switch (method) {
    case ResizeMethod::kNearest: return out.width * 4;
    case ResizeMethod::kBilinear: return out.width * static_cast<int64_t>(sizeof(Pair)) + 2 * n * 4;
    case ResizeMethod::kTriangle: break;
  }
  const int64_t most_x = most_taps(in.width, out.width), most_y = most_taps(in.height, out.height);
  return out.width * static_cast<int64_t>(sizeof(Span)) + 4 * (out.width * most_x + most_y + n + most_y * n);
}

void resize_image(const uint8_t* in, ImageSize is, uint8_t* out, ImageSize os, ResizeMethod method, std::byte* scratch) {
  resize(in, is, out, os, method, scratch);
}
void resize_image(const float* in, ImageSize is, float* out, ImageSize os, ResizeMethod method, std::byte* scratch) {
  resize(in, is, out, os, method, scratch);
}

}  // namespace verge::transform
