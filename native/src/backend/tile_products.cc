#include "backend/tile_products.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "backend/tile_arithmetic.h"
#include "backend/tile_products-inl.h"
#include "common/isa.h"
#include "kv/simd.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/tile_products.cc"
#include <hwy/foreach_target.h>  // compiles this file once for every instruction set
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace kvcapsule::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;
using Tag = hn::CappedTag<float, 16>;
using Bits = hn::RebindToUnsigned<Tag>;
using Half = hn::Rebind<uint16_t, Tag>;

// What bf16 holds of a number when the rest is cut off.
HWY_INLINE hn::Vec<Tag> HighPart(hn::Vec<Tag> v) {
  return hn::BitCast(Tag(), hn::And(hn::BitCast(Bits(), v), hn::Set(Bits(), 0xFFFF0000U)));
}
HWY_INLINE void StorePart(hn::Vec<Tag> part, uint8_t* to) {
  hn::StoreU(hn::TruncateTo(Half(), hn::ShiftRight<16>(hn::BitCast(Bits(), part))), Half(),
             reinterpret_cast<uint16_t*>(to));
}

// 32 numbers to three parts. Both differences are exact.
HWY_INLINE void CutBlock(const float* x, uint8_t* cut, int64_t part_bytes) {
  const auto lanes = static_cast<int64_t>(hn::Lanes(Tag()));
  for (int64_t i = 0; i < kTileInputs; i += lanes, cut += lanes * 2) {
    const auto v = hn::LoadU(Tag(), x + i), high = HighPart(v), rest = hn::Sub(v, high), middle = HighPart(rest);
    StorePart(hn::Sub(rest, middle), cut);
    StorePart(middle, cut + part_bytes);
    StorePart(high, cut + 2 * part_bytes);
  }
}

}  // namespace

// To [block][part][`rows` rows][32], of which `cut` is one row's.
void CutRow(const float* x, int64_t inputs, int32_t rows, uint8_t* cut) {
  const int64_t part_bytes = int64_t{rows} * kTileInputs * 2;
  const int64_t whole = inputs / kTileInputs, rest = inputs % kTileInputs;
  for (int64_t block = 0; block < whole; ++block, x += kTileInputs, cut += kTileParts * part_bytes)
    CutBlock(x, cut, part_bytes);
  if (rest == 0) return;
  float last[kTileInputs] = {};
  std::copy_n(x, rest, last);
  CutBlock(last, cut, part_bytes);
}

// `count` numbers, at most a block's, to [part][32], zeros behind them.
void CutNumbers(const float* x, int64_t count, uint16_t* cut) {
  float block[kTileInputs] = {};
  std::copy_n(x, count, block);
  CutBlock(block, reinterpret_cast<uint8_t*>(cut), kTileInputs * 2);
}

}  // namespace kvcapsule::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kvcapsule {

HWY_EXPORT(CutRow);
HWY_EXPORT(CutNumbers);

namespace {

// In assembly, because a tile's number must stand in the instruction and the compiler's own functions take no template's.
struct MachineTiles {
  using Scope = TileScope;
  template <int kTile>
  static void Zero() {
    asm volatile("tilezero %%tmm%c0" : : "i"(kTile));
  }
  template <int kTile>
  static void Load(const void* from, int64_t row_bytes) {
    asm volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(from), "r"(row_bytes), "i"(kTile) : "memory");
  }
  template <int kTile>
  static void Store(void* to, int64_t row_bytes) {
    asm volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(to), "r"(row_bytes), "i"(kTile) : "memory");
  }
  template <int kSum, int kRows, int kWeights>
  static void Multiply() {
    asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kSum), "i"(kRows), "i"(kWeights));
  }
};

// Three rows by a panel over two blocks: numbers whose sums round at every step, of sizes so far apart that another order
// shows, and now and then one without a normal form.
constexpr int32_t kKnownRows = 3, kKnownInputs = 2 * kTileInputs;

uint16_t KnownNumber(uint32_t& state) {
  state = state * 1664525U + 1013904223U;
  const uint32_t sign = state >> 31 << 15, exponent = (state >> 24) % 16 == 0 ? 0 : 115 + (state >> 20) % 24;
  return static_cast<uint16_t>(sign | exponent << 7 | (state >> 8 & 0x7F));
}

std::vector<uint16_t> KnownNumbers(int64_t bytes, uint32_t seed) {
  std::vector<uint16_t> numbers(bytes / 2);
  for (uint16_t& number : numbers) number = KnownNumber(seed);
  return numbers;
}

// What the manual promises for one row and one output.
float DocumentedSum(const uint16_t* rows, const uint16_t* weights, int32_t row, int32_t output) {
  float sum = 0, a[kTileInputs], b[kTileInputs];
  for (int64_t block = 0; block < TileBlocks(kKnownInputs); ++block) {
    for (int32_t k = 0; k < kTileInputs; ++k)
      b[k] = TileFloat(weights[TilePlace(output, block * kTileInputs + k, kKnownInputs)]);
    for (int64_t part = 0; part < kTileParts; ++part) {
      const uint16_t* from = rows + ((block * kTileParts + part) * kKnownRows + row) * kTileInputs;
      std::transform(from, from + kTileInputs, a, TileFloat);
      sum = AddTileProducts(sum, a, b, kTileInputs / 2);
    }
  }
  return sum;
}

bool MachineMultipliesOnTiles() {
  constexpr int64_t kAvx512 = HWY_AVX3 | HWY_AVX3_DL;
  if (!MayUse(IsaFeature::kBf16Tiles) || (hwy::SupportedTargets() & HWY_TARGETS & kAvx512) == 0) return false;
  static const bool as_documented = MultipliesAsDocumented(MultiplyOnTiles<MachineTiles>);
  return as_documented;
}

std::optional<TileProduct> product_for_test;

}  // namespace

bool MultipliesAsDocumented(TileProduct product) {
  const std::vector<uint16_t> rows = KnownNumbers(kKnownRows * CutRowBytes(kKnownInputs), 1);
  const std::vector<uint16_t> weights = KnownNumbers(TileBytes(kTilePanel, kKnownInputs), 2);
  float y[kKnownRows * kTilePanel];
  const auto bytes = [](const std::vector<uint16_t>& numbers) { return reinterpret_cast<const uint8_t*>(numbers.data()); };
  product({bytes(rows), kKnownRows, bytes(weights), 1, kKnownInputs, y, kTilePanel});
  for (int32_t i = 0; i < kKnownRows * kTilePanel; ++i) {
    if (y[i] != DocumentedSum(rows.data(), weights.data(), i / kTilePanel, i % kTilePanel)) return false;
  }
  return true;
}

void CutRows(const float* x, int64_t ldx, int32_t rows, int64_t inputs, uint8_t* cut) {
  for (int32_t first = 0; first < rows; first += kTileChunk) {
    const int32_t count = std::min(kTileChunk, rows - first);
    for (int32_t r = 0; r < count; ++r)
      HWY_DYNAMIC_DISPATCH(CutRow)(x + (first + r) * ldx, inputs, count, cut + int64_t{r} * kTileInputs * 2);
    cut += count * CutRowBytes(inputs);
  }
}

void PlaceInputs(const float* values, int64_t output, int64_t first, int64_t count, int64_t inputs, uint8_t* weights) {
  uint16_t cut[kTileParts][kTileInputs];
  const int64_t end = first + count;
  while (first < end) {
    const int64_t in_block = first % kTileInputs, run = std::min(kTileInputs - in_block, end - first);
    // after the last input, zeros
    const int64_t stores = first + run == inputs ? kTileInputs - in_block : run;
    HWY_DYNAMIC_DISPATCH(CutNumbers)(values, run, cut[0]);
    for (int64_t part = 0; part < kTileParts; ++part) {
      uint16_t* to = reinterpret_cast<uint16_t*>(weights) + TilePlace(output, first - in_block, inputs, kTileParts, part);
      for (int64_t i = 0; i < stores; ++i) to[(in_block + i) / 2 * kTilePanel + (in_block + i) % 2] = cut[part][i];
    }
    values += run;
    first += run;
  }
}

void PlaceOutputs(const float* values, int64_t first, int64_t count, int64_t input, int64_t inputs, uint8_t* weights) {
  uint16_t cut[kTileParts][kTileInputs];
  HWY_DYNAMIC_DISPATCH(CutNumbers)(values, count, cut[0]);
  constexpr int64_t kHalf = kTilePanel / 2, kHalfNumbers = kHalf * kTileInputs;
  const int64_t in_panel = first % kTilePanel;
  const auto store = [&](int64_t at, int64_t part, auto number) {
    uint16_t* to = reinterpret_cast<uint16_t*>(weights) + TilePlace(first - in_panel, at, inputs, kTileParts, part);
    for (int64_t i = 0; i < count; ++i)
      to[(in_panel + i) / kHalf * kHalfNumbers + (in_panel + i) % kHalf * 2] = number(i);
  };
  const int64_t end = input == inputs - 1 ? TileBlocks(inputs) * kTileInputs : input + 1;
  for (int64_t part = 0; part < kTileParts; ++part) {
    store(input, part, [&](int64_t i) { return cut[part][i]; });
    for (int64_t at = input + 1; at < end; ++at) store(at, part, [](int64_t) { return uint16_t{0}; });
  }
}

TileProduct ChosenTileProduct() {
  if (product_for_test) return *product_for_test;
  return MachineMultipliesOnTiles() ? MultiplyOnTiles<MachineTiles> : nullptr;
}

void SetTileProductForTest(std::optional<TileProduct> product) { product_for_test = product; }

}  // namespace kvcapsule
#endif
