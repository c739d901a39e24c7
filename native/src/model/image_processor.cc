#include "model/image_processor.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kvcapsule/error.h"

namespace kvcapsule {
namespace {

constexpr int32_t kMaxEdge = 4096;  // transformers' MAX_IMAGE_SIZE

struct Size {
  int32_t width, height;
};

// The arithmetic, truncations included, is transformers' own.
Size ScaleToLongestEdge(Size size, int32_t longest_edge) {
  const double aspect = static_cast<double>(size.width) / size.height;
  if (size.width >= size.height) {
    size.width = longest_edge;
    size.height = static_cast<int32_t>(size.width / aspect);
    size.height += size.height % 2;
  } else {
    size.height = longest_edge;
    size.width = static_cast<int32_t>(size.height * aspect);
    size.width += size.width % 2;
  }
  return {std::max(size.width, 1), std::max(size.height, 1)};
}

Size LimitEdge(Size size) {
  const double aspect = static_cast<double>(size.width) / size.height;
  if (size.width >= size.height && size.width > kMaxEdge) {
    size = {kMaxEdge, static_cast<int32_t>(kMaxEdge / aspect)};
  } else if (size.height > size.width && size.height > kMaxEdge) {
    size = {static_cast<int32_t>(kMaxEdge * aspect), kMaxEdge};
  }
  return {std::max(size.width, 1), std::max(size.height, 1)};
}

int32_t RoundUp(int32_t value, int32_t multiple) { return (value + multiple - 1) / multiple * multiple; }

Size ScaleToTiles(Size size, int32_t tile) {
  const double aspect = static_cast<double>(size.width) / size.height;
  if (size.width >= size.height) {
    size.width = RoundUp(size.width, tile);
    size.height = RoundUp(static_cast<int32_t>(size.width / aspect), tile);
  } else {
    size.height = RoundUp(size.height, tile);
    size.width = RoundUp(static_cast<int32_t>(size.height * aspect), tile);
  }
  if (size.width == 0 || size.height == 0) {
    throw Error(ErrorCode::kEngineFailed, "the picture is too narrow to be resized");
  }
  return size;
}

RgbImage Crop(const RgbImage& image, int32_t left, int32_t top, int32_t edge) {
  RgbImage out{edge, edge, std::vector<uint8_t>(static_cast<size_t>(edge) * edge * 3)};
  for (int32_t y = 0; y < edge; ++y) {
    std::memcpy(&out.pixels[static_cast<size_t>(y) * edge * 3],
                &image.pixels[(static_cast<size_t>(top + y) * image.width + left) * 3],
                static_cast<size_t>(edge) * 3);
  }
  return out;
}

}  // namespace

ImageTiles SplitImage(RgbImage image, const ImageConfig& config) {
  const Size scaled = LimitEdge(ScaleToLongestEdge({image.width, image.height}, config.longest_edge));
  image = PillowResize(image, scaled.width, scaled.height, config.resample);
  ImageTiles result;
  if (config.split) {
    const Size size = ScaleToTiles({image.width, image.height}, config.tile);
    image = PillowResize(image, size.width, size.height, config.resample);
    if (size.width > config.tile || size.height > config.tile) {
      result.rows = size.height / config.tile;
      result.cols = size.width / config.tile;
    }
  }
  for (int32_t row = 0; row < result.rows; ++row) {
    for (int32_t col = 0; col < result.cols; ++col) {
      result.tiles.push_back(Crop(image, col * config.tile, row * config.tile, config.tile));
    }
  }
  result.tiles.push_back(PillowResize(image, config.tile, config.tile, config.resample));
  return result;
}

void WritePatches(const RgbImage& tile, const ImageConfig& config, int32_t patch, float* out) {
  std::array<std::array<float, 256>, 3> level;
  for (int32_t c = 0; c < 3; ++c) {
    for (int32_t v = 0; v < 256; ++v) {
      level[c][v] = (static_cast<float>(v * config.rescale) - config.mean[c]) / config.std[c];
    }
  }
  const int32_t side = config.tile / patch;
  for (int32_t index = 0; index < side * side; ++index) {
    const int32_t top = index / side * patch, left = index % side * patch;
    for (int32_t c = 0; c < 3; ++c) {
      for (int32_t y = 0; y < patch; ++y) {
        const uint8_t* row = &tile.pixels[(static_cast<size_t>(top + y) * tile.width + left) * 3 + c];
        for (int32_t x = 0; x < patch; ++x) *out++ = level[c][row[x * 3]];
      }
    }
  }
}

}  // namespace kvcapsule
