// Products on AMX's tiles of bf16 that lose nothing against single precision. A number of an activation is cut into
// three of bf16, high, middle and low bits of its mantissa (8 + 8 + 8 = 24), and each part is multiplied by the weights;
// products of two bf16 are exact in single precision, and so are the sums' inputs. Per block of 32 inputs the parts are
// added to one sum, the smallest first; blocks follow in order. What a row gives depends on the row alone.
// Tiles read numbers below 2^-126 as zero: an activation below 2^-103 may lose bits of its low part, one below 2^-110 the
// whole of it. An infinite one gives NaN, as the difference to its high part is none.
#pragma once
#include <cstdint>
#include <optional>

namespace kvcapsule {

inline constexpr int32_t kTilePanel = 32;   // outputs: two tiles of weights
inline constexpr int32_t kTileInputs = 32;  // of a block: those of one instruction; the last is filled up with zeros
inline constexpr int32_t kTileParts = 3;
inline constexpr int32_t kTileChunk = 32;  // rows: two tiles

constexpr int64_t TileBlocks(int64_t inputs) { return (inputs + kTileInputs - 1) / kTileInputs; }

// Weights lie as tiles are loaded, 1 KiB in one piece: [panel][block][part][16 outputs each][16 pairs of inputs][16 outputs]
// [2]. bf16 weights are one part; single precision's are cut as rows are, into kTileParts from low to high.
constexpr int64_t TilePlace(int64_t output, int64_t input, int64_t inputs, int64_t parts = 1, int64_t part = 0) {
  constexpr int64_t kHalf = kTilePanel / 2;
  const int64_t block = output / kTilePanel * TileBlocks(inputs) + input / kTileInputs;
  const int64_t half = (block * parts + part) * 2 + output % kTilePanel / kHalf;
  return ((half * (kTileInputs / 2) + input % kTileInputs / 2) * kHalf + output % kHalf) * 2 + input % 2;
}
// Of whole panels.
constexpr int64_t TileBytes(int64_t outputs, int64_t inputs, int64_t parts = 1) {
  return (outputs + kTilePanel - 1) / kTilePanel * kTilePanel * TileBlocks(inputs) * kTileInputs * parts * 2;
}

// Bytes of a row's parts.
constexpr int64_t CutRowBytes(int64_t inputs) { return TileBlocks(inputs) * kTileInputs * kTileParts * 2; }
// x: rows of `inputs` floats, ldx apart, to chunks of kTileChunk rows, the last of fewer: [block][part, low to high]
// [row][32 inputs]. cut: rows * CutRowBytes(inputs) bytes at a multiple of 64.
void CutRows(const float* x, int64_t ldx, int32_t rows, int64_t inputs, uint8_t* cut);

// Cuts single-precision weights to their places: `count` inputs of one output, or outputs of one panel for one input.
// Whoever brings the last input fills its block up with zeros, so the memory may hold anything before.
void PlaceInputs(const float* values, int64_t output, int64_t first, int64_t count, int64_t inputs, uint8_t* weights);
void PlaceOutputs(const float* values, int64_t first, int64_t count, int64_t input, int64_t inputs, uint8_t* weights);

struct TileOperands {
  const uint8_t* rows;  // as CutRows left them
  int32_t count;
  const uint8_t* weights;  // of the first panel, as TilePlace says
  int32_t panels;
  int64_t inputs;
  float* y;  // [count][panels * kTilePanel], ldy apart
  int64_t ldy;
  // Weights of kTileParts parts: of nine products of parts the six greatest are added up. What is left out, low by low and
  // by middle, is below 2^-21 of a product and about 2^-24 on average.
  bool cut_weights = false;
};
using TileProduct = void (*)(const TileOperands&);

// Whether known numbers give the bits that the manual promises; some 20,000 products.
bool MultipliesAsDocumented(TileProduct product);

// What multiplies by bf16 weights in this process, or null where no tiles do. That takes AMX-BF16 beside AVX-512 in
// Highway's choice, the kernel's permission, and that the tiles multiply as documented: a hypervisor that emulates them
// otherwise would be a class of its own without a name.
TileProduct ChosenTileProduct();

// Another one, or none at all (null), for as long as a test wants; nullopt gives the machine's own back. Matrices that
// are there keep theirs.
void SetTileProductForTest(std::optional<TileProduct> product);

}  // namespace kvcapsule
