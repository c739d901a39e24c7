#include "backend/quantized_panels.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <type_traits>

#include "common/half.h"
#include "kvcapsule/error.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/quantized_panels.cc"
#include <hwy/cache_control.h>
#include <hwy/foreach_target.h>  // compiles this file once for every instruction set
#include <hwy/highway.h>

#ifndef KVCAPSULE_QUANTIZED_LAYOUT
#define KVCAPSULE_QUANTIZED_LAYOUT
namespace kvcapsule {
namespace {

// Of a block, for all outputs of a panel: half floats for each output, then codes, for each output one byte a row.
constexpr int64_t kHalvesBytes = kQuantizedPanel * 2;

// [scale][input], signed
struct Q8Layout {
  static constexpr int64_t kCodes = kHalvesBytes;
  static constexpr int64_t kBytes = kCodes + kQuantizedBlock * kQuantizedPanel;
};
// [scale][minimum][pair of inputs]; a byte's low half is the first of the pair
struct Q4Layout {
  static constexpr int64_t kCodes = 2 * kHalvesBytes;
  static constexpr int64_t kBytes = kCodes + kQuantizedBlock / 2 * kQuantizedPanel;
};

// Some inputs of a panel, [input][output], and what stands for them. Codes are whole numbers.
struct Block {
  int64_t inputs = 0;
  float weights[kQuantizedBlock][kQuantizedPanel] = {}, codes[kQuantizedBlock][kQuantizedPanel] = {};
  float scale[kQuantizedPanel] = {}, minimum[kQuantizedPanel] = {};  // exactly half floats
};

}  // namespace
}  // namespace kvcapsule
#endif

HWY_BEFORE_NAMESPACE();
namespace kvcapsule::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

constexpr int kPanel = kQuantizedPanel;
using Tag = hn::CappedTag<float, 16>;
using IntTag = hn::RebindToSigned<Tag>;
using Vector = hn::Vec<Tag>;
constexpr int kLanes = static_cast<int>(hn::MaxLanes(Tag()));
constexpr int kVectors = kPanel / kLanes;  // of a panel's row

// As far ahead as packed_matrix.cc fetches: no hardware prefetcher crosses a 4-KiB boundary.
constexpr int64_t kPrefetchBytes = 2048;

HWY_INLINE Vector LoadHalves(const uint8_t* at) {
  const hn::Rebind<hwy::float16_t, Tag> half;
  return hn::PromoteTo(Tag(), hn::LoadU(half, reinterpret_cast<const hwy::float16_t*>(at)));
}

// The weights of two neighbouring inputs for one vector of outputs.
struct Pair {
  Vector first, second;
};

struct Q8 : Q8Layout {
  static constexpr int64_t kPairBytes = 2 * kPanel;

  explicit HWY_INLINE Q8(const uint8_t* block) {
    for (int v = 0; v < kVectors; ++v) scale[v] = LoadHalves(block + v * kLanes * 2);
  }
  // Exact: a half float has 11 bits and a code 7.
  HWY_INLINE Vector Weight(const uint8_t* codes, int v) const {
    const hn::Rebind<int8_t, IntTag> bytes;
    const auto code = hn::LoadU(bytes, reinterpret_cast<const int8_t*>(codes) + v * kLanes);
    return hn::Mul(hn::ConvertTo(Tag(), hn::PromoteTo(IntTag(), code)), scale[v]);
  }
  HWY_INLINE Pair Weights(const uint8_t* codes, int v) const { return {Weight(codes, v), Weight(codes + kPanel, v)}; }

  Vector scale[kVectors];
};

struct Q4 : Q4Layout {
  static constexpr int64_t kPairBytes = kPanel;

  explicit HWY_INLINE Q4(const uint8_t* block) {
    for (int v = 0; v < kVectors; ++v) {
      scale[v] = LoadHalves(block + v * kLanes * 2);
      minimum[v] = LoadHalves(block + kHalvesBytes + v * kLanes * 2);
    }
  }
  // The product is exact (11 and 4 bits), so that it does not matter whether a target fuses the sum.
  HWY_INLINE Vector Weight(hn::Vec<IntTag> code, int v) const {
    return hn::MulAdd(hn::ConvertTo(Tag(), code), scale[v], minimum[v]);
  }
  HWY_INLINE Pair Weights(const uint8_t* codes, int v) const {
    const auto both = hn::PromoteTo(IntTag(), hn::LoadU(hn::Rebind<uint8_t, IntTag>(), codes + v * kLanes));
    return {Weight(hn::And(both, hn::Set(IntTag(), 15)), v), Weight(hn::ShiftRight<4>(both), v)};
  }

  Vector scale[kVectors], minimum[kVectors];
};

// Calls go(std::integral_constant) with the number of rows, which is at most kMost.
template <int kMost, class Go>
HWY_INLINE void WithRows(int32_t rows, Go go) {
  if constexpr (kMost > 1) {
    if (rows < kMost) return WithRows<kMost - 1>(rows, go);
  }
  go(std::integral_constant<int, kMost>());
}

// Rows taken at a time: 32 registers hold 24 sums beside what makes the weights, 16 hold 12. Four rows by half a panel,
// which would make weights once instead of twice, are no faster than two and two.
constexpr int kFewRows = kVectors == 2 ? 12 : kVectors == 4 ? 3 : 1;

struct Operands {
  const float* x;
  int64_t ldx;
  int64_t inputs;
  float* y;
  int64_t ldy;
};

// sum += x of two inputs (or the first alone) * their weights, for kRows rows.
template <int kRows, bool kBoth, class Format>
HWY_INLINE void AddPair(const Format& block, const uint8_t* codes, const float* x, int64_t ldx,
                        Vector (&sum)[kRows][kVectors]) {
#pragma GCC unroll 8
  for (int v = 0; v < kVectors; ++v) {
    const Pair weights = block.Weights(codes, v);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      sum[r][v] = hn::MulAdd(hn::Set(Tag(), x[r * ldx]), weights.first, sum[r][v]);
      if (kBoth) sum[r][v] = hn::MulAdd(hn::Set(Tag(), x[r * ldx + 1]), weights.second, sum[r][v]);
    }
  }
}

template <int kRows, class Format>
HWY_INLINE void MultiplyRows(const Operands& o, const uint8_t* panel) {
  const Tag d;
  Vector sum[kRows][kVectors];
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) sum[r][v] = hn::Zero(d);
  }
  for (int64_t begin = 0; begin < o.inputs; begin += kQuantizedBlock, panel += Format::kBytes) {
    const Format block(panel);
    const int64_t count = std::min(kQuantizedBlock, o.inputs - begin);
    const float* x = o.x + begin;
    const uint8_t* codes = panel + Format::kCodes;
    int64_t i = 0;
    for (; i + 2 <= count; i += 2, codes += Format::kPairBytes) {
      hwy::Prefetch(codes + kPrefetchBytes);
      AddPair<kRows, true>(block, codes, x + i, o.ldx, sum);
    }
    if (i < count) AddPair<kRows, false>(block, codes, x + i, o.ldx, sum);
  }
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) hn::StoreU(sum[r][v], d, o.y + r * o.ldy + v * kLanes);
  }
}

template <class Format>
void MultiplyPanels(const uint8_t* data, int64_t panel_bytes, const Operands& o, int32_t rows, int32_t panels) {
  const int32_t groups = (rows + kFewRows - 1) / kFewRows;
  for (int32_t p = 0; p < panels; ++p) {
    for (int32_t g = 0; g < groups; ++g) {
      const int32_t begin = rows * g / groups, end = rows * (g + 1) / groups;
      const Operands part{o.x + begin * o.ldx, o.ldx, o.inputs, o.y + begin * o.ldy + p * kPanel, o.ldy};
      WithRows<kFewRows>(end - begin, [&](auto count) HWY_ATTR {
        MultiplyRows<count(), Format>(part, data + p * panel_bytes);
      });
    }
  }
}

template <class Format>
void Widen(const uint8_t* panel, int64_t inputs, float* out) {
  for (int64_t begin = 0; begin < inputs; begin += kQuantizedBlock, panel += Format::kBytes) {
    const Format block(panel);
    const int64_t count = std::min(kQuantizedBlock, inputs - begin);
    const uint8_t* codes = panel + Format::kCodes;
    for (int64_t i = 0; i < count; i += 2, codes += Format::kPairBytes, out += 2 * kPanel) {
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) {
        const Pair pair = block.Weights(codes, v);
        hn::StoreU(pair.first, Tag(), out + v * kLanes);
        if (i + 1 < count) hn::StoreU(pair.second, Tag(), out + kPanel + v * kLanes);
      }
    }
  }
}

// ---- Codes are chosen for vectors of outputs side by side. Products and sums are rounded one by one (this file is
// compiled without contraction), so that all processors choose the same.

// The nearest half float, where it has one below 65504: eleven bits of the number, or multiples of 2^-24. Highway's own
// conversion knows no such multiples on processors that cannot convert.
HWY_INLINE Vector HalfRounded(Vector x) {
  const Tag d;
  const Vector large = hn::Mul(x, hn::Set(d, 8193.0f)), shift = hn::Set(d, 0.75f);
  return hn::IfThenElse(hn::Lt(hn::Abs(x), hn::Set(d, 0x1p-14f)), hn::Sub(hn::Add(x, shift), shift),
                        hn::Sub(large, hn::Sub(large, x)));
}

HWY_INLINE Vector Inverse(Vector scale) {
  return hn::IfThenZeroElse(hn::Eq(scale, hn::Zero(Tag())), hn::Div(hn::Set(Tag(), 1.0f), scale));
}

void ChooseQ8(Block& block, int first) {
  const Tag d;
  const Vector most_code = hn::Set(d, 127.0f);
  Vector most = hn::Zero(d);
  for (int64_t i = 0; i < block.inputs; ++i) most = hn::Max(most, hn::Abs(hn::LoadU(d, block.weights[i] + first)));
  const Vector scale = HalfRounded(hn::Div(most, most_code)), inverse = Inverse(scale);
  hn::StoreU(scale, d, block.scale + first);
  for (int64_t i = 0; i < block.inputs; ++i) {
    const Vector code = hn::Mul(hn::LoadU(d, block.weights[i] + first), inverse);
    hn::StoreU(hn::Round(hn::Clamp(code, hn::Neg(most_code), most_code)), d, block.codes[i] + first);
  }
}

// A scale and a minimum for each of some outputs, and the codes 0 .. 15 that are nearest with them.
struct Grid {
  Vector scale, minimum, inverse;

  HWY_INLINE Grid(Vector scale_of, Vector minimum_of)
      : scale(scale_of), minimum(minimum_of), inverse(Inverse(scale_of)) {}
  HWY_INLINE Vector Code(Vector weights) const {
    const Vector place = hn::Mul(hn::Sub(weights, minimum), inverse);
    return hn::Round(hn::Clamp(place, hn::Zero(Tag()), hn::Set(Tag(), 15.0f)));
  }
};

// With the least squared error for the grid's codes, rounded; the grid's own where all codes are the same.
Grid FitLeastSquares(const Block& block, int first, const Grid& grid) {
  const Tag d;
  const Vector n = hn::Set(d, static_cast<float>(block.inputs));
  Vector codes = hn::Zero(d), squares = codes, weights = codes, products = codes;
  for (int64_t i = 0; i < block.inputs; ++i) {
    const Vector weight = hn::LoadU(d, block.weights[i] + first), code = grid.Code(weight);
    codes = hn::Add(codes, code);
    squares = hn::Add(squares, hn::Mul(code, code));
    weights = hn::Add(weights, weight);
    products = hn::Add(products, hn::Mul(code, weight));
  }
  const Vector determinant = hn::Sub(hn::Mul(n, squares), hn::Mul(codes, codes));
  const auto differ = hn::Gt(determinant, hn::Zero(d));
  const Vector scale = hn::Div(hn::Sub(hn::Mul(n, products), hn::Mul(weights, codes)), determinant);
  const Vector minimum = hn::Div(hn::Sub(hn::Mul(squares, weights), hn::Mul(codes, products)), determinant);
  return {HalfRounded(hn::IfThenElse(differ, scale, grid.scale)),
          HalfRounded(hn::IfThenElse(differ, minimum, grid.minimum))};
}

Vector SquaredError(const Block& block, int first, const Grid& grid) {
  Vector error = hn::Zero(Tag());
  for (int64_t i = 0; i < block.inputs; ++i) {
    const Vector weight = hn::LoadU(Tag(), block.weights[i] + first);
    const Vector off = hn::Sub(hn::Add(hn::Mul(grid.scale, grid.Code(weight)), grid.minimum), weight);
    error = hn::Add(error, hn::Mul(off, off));
  }
  return error;
}

// Tries scales that reach from a place near the least weight to one near the largest, each fitted by least squares to
// the codes that follow. With normal weights the best of these nine has 0.82 times the squared error of a scale that
// reaches from the least to the largest, the best of 196 has 0.77 times.
void ChooseQ4(Block& block, int first) {
  const Tag d;
  Vector low = hn::LoadU(d, block.weights[0] + first), high = low;
  for (int64_t i = 1; i < block.inputs; ++i) {
    low = hn::Min(low, hn::LoadU(d, block.weights[i] + first));
    high = hn::Max(high, hn::LoadU(d, block.weights[i] + first));
  }
  const Vector reach = hn::Sub(high, low);
  Grid best(hn::Zero(d), low);
  Vector least = hn::Set(d, INFINITY);
  constexpr float kInwards[] = {-0.02f, 0.03f, 0.08f};  // of the reach
  for (const float above_low : kInwards) {
    for (const float below_high : kInwards) {
      const Vector step = hn::Mul(reach, hn::Set(d, (1 - above_low - below_high) / 15));
      const Vector begin = hn::Add(low, hn::Mul(reach, hn::Set(d, above_low)));
      const Grid grid = FitLeastSquares(block, first, Grid(step, begin));
      const Vector error = SquaredError(block, first, grid);
      const auto better = hn::Lt(error, least);
      least = hn::IfThenElse(better, error, least);
      best = Grid(hn::IfThenElse(better, grid.scale, best.scale), hn::IfThenElse(better, grid.minimum, best.minimum));
    }
  }
  hn::StoreU(best.scale, d, block.scale + first);
  hn::StoreU(best.minimum, d, block.minimum + first);
  for (int64_t i = 0; i < block.inputs; ++i)
    hn::StoreU(best.Code(hn::LoadU(d, block.weights[i] + first)), d, block.codes[i] + first);
}

}  // namespace

void ChooseCodes(WeightType type, Block& block) {
  for (int first = 0; first < kPanel; first += kLanes)
    type == WeightType::kQ8_0 ? ChooseQ8(block, first) : ChooseQ4(block, first);
}

void MultiplyQuantizedPanels(WeightType type, const uint8_t* data, int64_t inputs, const float* x, int64_t ldx,
                             int32_t rows, int32_t panels, float* y, int64_t ldy) {
  const Operands operands{x, ldx, inputs, y, ldy};
  const int64_t bytes = QuantizedPanelBytes(type, inputs);
  if (type == WeightType::kQ8_0) return MultiplyPanels<Q8>(data, bytes, operands, rows, panels);
  MultiplyPanels<Q4>(data, bytes, operands, rows, panels);
}

void WidenQuantizedPanel(WeightType type, const uint8_t* panel, int64_t inputs, float* out) {
  if (type == WeightType::kQ8_0) return Widen<Q8>(panel, inputs, out);
  Widen<Q4>(panel, inputs, out);
}

}  // namespace kvcapsule::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kvcapsule {

HWY_EXPORT(ChooseCodes);
HWY_EXPORT(MultiplyQuantizedPanels);
HWY_EXPORT(WidenQuantizedPanel);

namespace {

// So that scales and minima stay half floats with any codes. A weight that is not a number fails, too.
void CheckRange(const Block& block) {
  constexpr float kLargest = 32768;
  bool fits = true;
  for (const auto& row : block.weights)
    for (const float weight : row) fits &= std::fabs(weight) <= kLargest;
  if (!fits) throw Error(ErrorCode::kModelInvalid, "weights beyond 32768 have no quantized form");
}

// Bytes of the outputs [first, first + count) of a row of the block.
void StoreBytes(const uint8_t* row, int32_t first, int32_t count, int32_t width, uint8_t* to) {
  std::memcpy(to + int64_t{first} * width, row + int64_t{first} * width, static_cast<size_t>(count) * width);
}

void StoreHalves(const float* values, int32_t first, int32_t count, uint8_t* to) {
  uint8_t halves[kHalvesBytes];
  FromFloat(Dtype::kF16, values, kQuantizedPanel, halves);
  StoreBytes(halves, first, count, 2, to);
}

void StoreQ8(const Block& block, int32_t first, int32_t count, uint8_t* to) {
  StoreHalves(block.scale, first, count, to);
  for (int64_t i = 0; i < block.inputs; ++i) {
    std::array<uint8_t, kQuantizedPanel> codes;
    for (int o = 0; o < kQuantizedPanel; ++o) codes[o] = static_cast<uint8_t>(static_cast<int8_t>(block.codes[i][o]));
    StoreBytes(codes.data(), first, count, 1, to + Q8Layout::kCodes + i * kQuantizedPanel);
  }
}

void StoreQ4(const Block& block, int32_t first, int32_t count, uint8_t* to) {
  StoreHalves(block.scale, first, count, to);
  StoreHalves(block.minimum, first, count, to + kHalvesBytes);
  for (int64_t i = 0; i < block.inputs; i += 2) {
    std::array<uint8_t, kQuantizedPanel> pair;
    for (int o = 0; o < kQuantizedPanel; ++o)
      pair[o] = static_cast<uint8_t>(block.codes[i][o] + 16 * block.codes[i + 1][o]);
    StoreBytes(pair.data(), first, count, 1, to + Q4Layout::kCodes + i / 2 * kQuantizedPanel);
  }
}

int64_t BlockBytes(WeightType type) { return type == WeightType::kQ8_0 ? Q8Layout::kBytes : Q4Layout::kBytes; }

float HalfAt(const uint8_t* at) {
  float value;
  ToFloat(Dtype::kF16, at, 1, &value);
  return value;
}

}  // namespace

int64_t QuantizedPanelBytes(WeightType type, int64_t inputs) {
  return (inputs + kQuantizedBlock - 1) / kQuantizedBlock * BlockBytes(type);
}

void QuantizeOutputs(WeightType type, int64_t inputs, int32_t first, int32_t count, const float* weights,
                     uint8_t* panel) {
  const bool q8 = type == WeightType::kQ8_0;
  for (int64_t begin = 0; begin < inputs; begin += kQuantizedBlock, panel += BlockBytes(type)) {
    Block block;
    block.inputs = std::min(kQuantizedBlock, inputs - begin);
    for (int32_t o = 0; o < count; ++o)
      for (int64_t i = 0; i < block.inputs; ++i) block.weights[i][first + o] = weights[o * inputs + begin + i];
    CheckRange(block);
    HWY_DYNAMIC_DISPATCH(ChooseCodes)(type, block);
    q8 ? StoreQ8(block, first, count, panel) : StoreQ4(block, first, count, panel);
  }
}

void ReadQuantizedOutput(WeightType type, const uint8_t* panel, int64_t inputs, int32_t output, float* out) {
  for (int64_t begin = 0; begin < inputs; begin += kQuantizedBlock, panel += BlockBytes(type)) {
    const float scale = HalfAt(panel + output * 2);
    const float minimum = type == WeightType::kQ4_1 ? HalfAt(panel + kHalvesBytes + output * 2) : 0;
    for (int64_t i = 0; i < std::min(kQuantizedBlock, inputs - begin); ++i) {
      if (type == WeightType::kQ8_0) {
        out[begin + i] = scale * static_cast<int8_t>(panel[Q8Layout::kCodes + i * kQuantizedPanel + output]);
      } else {
        const uint8_t pair = panel[Q4Layout::kCodes + i / 2 * kQuantizedPanel + output];
        out[begin + i] = scale * static_cast<float>(i % 2 == 0 ? pair & 15 : pair >> 4) + minimum;
      }
    }
  }
}

void WidenPanel(WeightType type, const uint8_t* panel, int64_t inputs, float* out) {
  HWY_DYNAMIC_DISPATCH(WidenQuantizedPanel)(type, panel, inputs, out);
}

void MultiplyQuantized(WeightType type, const uint8_t* data, int64_t inputs, const float* x, int64_t ldx, int32_t rows,
                       int32_t panels, float* y, int64_t ldy) {
  HWY_DYNAMIC_DISPATCH(MultiplyQuantizedPanels)(type, data, inputs, x, ldx, rows, panels, y, ldy);
}

}  // namespace kvcapsule
#endif
