// Pictures to the tower's input, as transformers' Idefics3ImageProcessor makes it with Pillow.
#pragma once
#include <cstdint>
#include <vector>

#include "kvcapsule/model_config.h"
#include "model/pillow_resize.h"

namespace kvcapsule {

// Tiles of one picture, row by row, the whole picture in small last.
struct ImageTiles {
  int32_t rows = 0, cols = 0;   // 0 x 0: the picture is one tile, not split
  std::vector<RgbImage> tiles;  // each [tile][tile]
};

// Throws Error(kEngineFailed) when the picture cannot be resized (an edge would shrink to nothing).
ImageTiles SplitImage(RgbImage image, const ImageConfig& config);

// Rescaled and normalised pixels in the order the patch embedding's GEMM wants them:
// [patches][3][patch][patch], patches row by row. `out` holds 3 * tile * tile floats.
void WritePatches(const RgbImage& tile, const ImageConfig& config, int32_t patch, float* out);

}  // namespace kvcapsule
