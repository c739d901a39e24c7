// Pillow's 8-bit resampling, bit for bit: filters as fixed-point coefficients, a pass along the rows and one
// along the columns, each rounded to 8 bits. The order of the passes is that of Pillow 13.
#pragma once
#include <cstdint>
#include <vector>

#include "kvcapsule/model_config.h"

namespace kvcapsule {

struct RgbImage {
  int32_t width = 0, height = 0;
  std::vector<uint8_t> pixels;  // [height][width][3]
};

// Equal to PIL.Image.resize((width, height), resample). Sizes >= 1.
RgbImage PillowResize(const RgbImage& image, int32_t width, int32_t height, Resample resample);

}  // namespace kvcapsule
