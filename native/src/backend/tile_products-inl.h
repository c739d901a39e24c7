// Products of cut rows with weights on tiles, written once over the instructions: the machine's (tile_products.cc) or
// those that a test spells out. Instructions are a type with `Scope`, set up with a TileConfig, and, for numbers of
// tiles, Zero, Load and Store (bytes between rows), and Multiply (sum, rows, weights).
#pragma once
#include <algorithm>
#include <cstdint>
#include <iterator>

#include "backend/tile_products.h"
#include "common/tiles.h"

namespace kvcapsule {

// Tiles 0 and 1: sums of the first rows; 2 and 3: of the others; 4 and 5: both rows' numbers; 6 and 7: weights of a
// panel's first and other outputs.
constexpr TileConfig TilesForRows(int32_t rows) {
  TileConfig config;
  const int32_t first = std::min(rows, TileConfig::kMostRows), others = rows - first;
  const int32_t used[8] = {first, first, others, others, first, others, TileConfig::kMostRows, TileConfig::kMostRows};
  for (int tile = 0; tile < 8; ++tile) {
    config.rows[tile] = static_cast<uint8_t>(used[tile]);
    config.row_bytes[tile] = used[tile] > 0 ? TileConfig::kMostRowBytes : 0;
  }
  return config;
}

// Which parts are multiplied, the lowest being 0. What stands in the tiles serves two steps where it can, and the greatest
// product comes last.
struct TileStep {
  int rows, weights;
};
inline constexpr TileStep kWholeWeights[] = {{0, 0}, {1, 0}, {2, 0}};
inline constexpr TileStep kCutWeights[] = {{0, 2}, {1, 2}, {1, 1}, {2, 1}, {2, 0}, {2, 2}};

template <bool kCut>
constexpr auto& TileSteps() {
  if constexpr (kCut) {
    return kCutWeights;
  } else {
    return kWholeWeights;
  }
}

inline constexpr int64_t kTileRow = TileConfig::kMostRowBytes, kTileSize = TileConfig::kMostRows * kTileRow;

// A block's products from one step on, of one tile of rows or two.
template <class Tiles, bool kTwo, bool kCut, size_t kStep = 0>
void MultiplyBlock(const uint8_t* rows, int64_t part_bytes, const uint8_t* weights) {
  constexpr auto& steps = TileSteps<kCut>();
  constexpr TileStep step = steps[kStep], before = steps[kStep > 0 ? kStep - 1 : 0];
  if constexpr (kStep == 0 || step.weights != before.weights) {
    Tiles::template Load<6>(weights + step.weights * 2 * kTileSize, kTileRow);
    Tiles::template Load<7>(weights + (step.weights * 2 + 1) * kTileSize, kTileRow);
  }
  constexpr bool kOtherRows = kStep == 0 || step.rows != before.rows;
  if constexpr (kOtherRows) Tiles::template Load<4>(rows + step.rows * part_bytes, kTileRow);
  Tiles::template Multiply<0, 4, 6>();
  Tiles::template Multiply<1, 4, 7>();
  if constexpr (kTwo) {
    if constexpr (kOtherRows) Tiles::template Load<5>(rows + step.rows * part_bytes + kTileSize, kTileRow);
    Tiles::template Multiply<2, 5, 6>();
    Tiles::template Multiply<3, 5, 7>();
  }
  if constexpr (kStep + 1 < std::size(steps)) MultiplyBlock<Tiles, kTwo, kCut, kStep + 1>(rows, part_bytes, weights);
}

// A panel's products with a chunk of rows, one tile of them or two. Four sums take turns: each waits 52 cycles for its
// last product, and products begin every 16.
template <class Tiles, bool kTwo, bool kCut>
void MultiplyChunk(const uint8_t* rows, int64_t part_bytes, const uint8_t* weights, int64_t blocks, float* y,
                   int64_t y_bytes) {
  constexpr int64_t kBlockBytes = (kCut ? kTileParts : 1) * 2 * kTileSize;
  Tiles::template Zero<0>();
  Tiles::template Zero<1>();
  if constexpr (kTwo) Tiles::template Zero<2>();
  if constexpr (kTwo) Tiles::template Zero<3>();
  for (int64_t block = 0; block < blocks; ++block) {
    // the next 4 KiB: no hardware prefetcher crosses into them
    for (int64_t line = 0; line < kBlockBytes; line += kTileRow) __builtin_prefetch(weights + 4096 + line);
    MultiplyBlock<Tiles, kTwo, kCut>(rows, part_bytes, weights);
    rows += kTileParts * part_bytes;
    weights += kBlockBytes;
  }
  Tiles::template Store<0>(y, y_bytes);
  Tiles::template Store<1>(y + 16, y_bytes);
  float* others = y + TileConfig::kMostRows * (y_bytes / static_cast<int64_t>(sizeof(float)));
  if constexpr (kTwo) Tiles::template Store<2>(others, y_bytes);
  if constexpr (kTwo) Tiles::template Store<3>(others + 16, y_bytes);
}

// Chunks of `rows` rows each, all with one setting of the tiles.
template <class Tiles, bool kCut>
void MultiplyChunks(const TileOperands& o, int32_t first_row, int32_t chunks, int32_t rows) {
  const TileConfig config = TilesForRows(rows);
  const typename Tiles::Scope scope(&config);
  const int64_t blocks = TileBlocks(o.inputs), part_bytes = int64_t{rows} * TileConfig::kMostRowBytes;
  const auto multiply = rows > TileConfig::kMostRows ? MultiplyChunk<Tiles, true, kCut> : MultiplyChunk<Tiles, false, kCut>;
  for (int32_t p = 0; p < o.panels; ++p) {
    const uint8_t* weights = o.weights + p * TileBytes(kTilePanel, o.inputs, kCut ? kTileParts : 1);
    for (int32_t chunk = 0; chunk < chunks; ++chunk) {
      const int64_t row = first_row + int64_t{chunk} * rows;
      multiply(o.rows + row * CutRowBytes(o.inputs), part_bytes, weights, blocks, o.y + row * o.ldy + p * kTilePanel,
               o.ldy * static_cast<int64_t>(sizeof(float)));
    }
  }
}

template <class Tiles>
void MultiplyOnTiles(const TileOperands& o) {
  const int32_t whole = o.count / kTileChunk, rest = o.count % kTileChunk;
  const auto multiply = o.cut_weights ? MultiplyChunks<Tiles, true> : MultiplyChunks<Tiles, false>;
  if (whole > 0) multiply(o, 0, whole, kTileChunk);
  if (rest > 0) multiply(o, whole * kTileChunk, 1, rest);
}

}  // namespace kvcapsule
