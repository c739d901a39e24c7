#include "model/pillow_resize.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace kvcapsule {
namespace {

constexpr int32_t kPrecisionBits = 32 - 8 - 2;

double Sinc(double x) {
  if (x == 0.0) return 1.0;
  x *= std::numbers::pi;
  return std::sin(x) / x;
}

double FilterWeight(Resample resample, double x) {
  if (resample == Resample::kLanczos) return -3.0 <= x && x < 3.0 ? Sinc(x) * Sinc(x / 3) : 0.0;
  x = std::fabs(x);
  if (resample == Resample::kBilinear) return x < 1.0 ? 1.0 - x : 0.0;
  constexpr double a = -0.5;
  if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
  if (x < 2.0) return (((x - 5) * x + 8) * x - 4) * a;
  return 0.0;
}

double FilterSupport(Resample resample) {
  switch (resample) {
    case Resample::kLanczos: return 3.0;
    case Resample::kBilinear: return 1.0;
    case Resample::kBicubic: return 2.0;
  }
  return 0.0;
}

// For every output pixel: which input pixels, with which fixed-point weights.
struct Coefficients {
  struct Window {
    int32_t first, count;
  };
  std::vector<Window> windows;
  std::vector<int32_t> weights;  // [outputs][stride]
  int32_t stride = 0;
};

Coefficients ComputeCoefficients(int32_t in, int32_t out, Resample resample) {
  const double scale = static_cast<double>(in) / out;
  const double filter_scale = std::max(scale, 1.0);
  const double support = FilterSupport(resample) * filter_scale;
  const double inverse = 1.0 / filter_scale;
  Coefficients result;
  result.stride = static_cast<int32_t>(std::ceil(support)) * 2 + 1;
  result.windows.resize(out);
  result.weights.assign(static_cast<size_t>(out) * result.stride, 0);
  std::vector<double> exact(result.stride);
  for (int32_t i = 0; i < out; ++i) {
    const double center = (i + 0.5) * scale;
    const int32_t first = std::max(0, static_cast<int32_t>(center - support + 0.5));
    const int32_t count = std::min(in, static_cast<int32_t>(center + support + 0.5)) - first;
    double sum = 0.0;
    for (int32_t j = 0; j < count; ++j) {
      exact[j] = FilterWeight(resample, (j + first - center + 0.5) * inverse);
      sum += exact[j];
    }
    for (int32_t j = 0; j < count; ++j) {
      const double fixed = (sum != 0.0 ? exact[j] / sum : exact[j]) * (1 << kPrecisionBits);
      result.weights[static_cast<size_t>(i) * result.stride + j] =
          static_cast<int32_t>(fixed < 0 ? fixed - 0.5 : fixed + 0.5);
    }
    result.windows[i] = {first, count};
  }
  return result;
}

uint8_t Round8(int32_t fixed) { return static_cast<uint8_t>(std::clamp(fixed >> kPrecisionBits, 0, 255)); }

// One output pixel from `count` input pixels that lie `step` bytes apart.
void WeighPixel(const uint8_t* in, size_t step, const int32_t* weights, int32_t count, uint8_t* out) {
  int32_t sum[3] = {1 << (kPrecisionBits - 1), 1 << (kPrecisionBits - 1), 1 << (kPrecisionBits - 1)};
  for (int32_t j = 0; j < count; ++j, in += step) {
    for (int32_t c = 0; c < 3; ++c) sum[c] += in[c] * weights[j];
  }
  for (int32_t c = 0; c < 3; ++c) out[c] = Round8(sum[c]);
}

RgbImage ResizeRows(const RgbImage& in, int32_t width, Resample resample) {
  const Coefficients coefficients = ComputeCoefficients(in.width, width, resample);
  RgbImage out{width, in.height, std::vector<uint8_t>(static_cast<size_t>(width) * in.height * 3)};
  for (int32_t y = 0; y < in.height; ++y) {
    const uint8_t* row = in.pixels.data() + static_cast<size_t>(y) * in.width * 3;
    uint8_t* target = out.pixels.data() + static_cast<size_t>(y) * width * 3;
    for (int32_t x = 0; x < width; ++x) {
      const auto [first, count] = coefficients.windows[x];
      WeighPixel(row + first * 3, 3, &coefficients.weights[static_cast<size_t>(x) * coefficients.stride],
                 count, target + x * 3);
    }
  }
  return out;
}

RgbImage ResizeColumns(const RgbImage& in, int32_t height, Resample resample) {
  const Coefficients coefficients = ComputeCoefficients(in.height, height, resample);
  const size_t row_bytes = static_cast<size_t>(in.width) * 3;
  RgbImage out{in.width, height, std::vector<uint8_t>(row_bytes * height)};
  for (int32_t y = 0; y < height; ++y) {
    const auto [first, count] = coefficients.windows[y];
    const int32_t* weights = &coefficients.weights[static_cast<size_t>(y) * coefficients.stride];
    const uint8_t* rows = in.pixels.data() + first * row_bytes;
    uint8_t* target = out.pixels.data() + y * row_bytes;
    for (size_t x = 0; x < row_bytes; x += 3) WeighPixel(rows + x, row_bytes, weights, count, target + x);
  }
  return out;
}

}  // namespace

RgbImage PillowResize(const RgbImage& image, int32_t width, int32_t height, Resample resample) {
  const int64_t fewer_rows = int64_t{image.height} - height, fewer_columns = int64_t{image.width} - width;
  // Pillow 13 does the pass first that loses many more pixels; each pass rounds, so the order shows.
  const bool columns_first = fewer_rows > 0 && fewer_rows > 2 * fewer_columns;
  RgbImage result = columns_first ? ResizeColumns(image, height, resample) : image;
  if (width != image.width) result = ResizeRows(result, width, resample);
  return columns_first || height == image.height ? result : ResizeColumns(result, height, resample);
}

}  // namespace kvcapsule
