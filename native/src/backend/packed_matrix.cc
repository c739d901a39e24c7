#include "backend/packed_matrix.h"

#include <sys/mman.h>

#include <algorithm>
#include <string>
#include <type_traits>

#include "backend/quantized_panels.h"
#include "common/half.h"
#include "kvcapsule/error.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/packed_matrix.cc"
#include <hwy/cache_control.h>
#include <hwy/foreach_target.h>  // compiles this file once for every instruction set
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace kvcapsule::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

constexpr int kPanel = PackedMatrix::kPanel;
using Tag = hn::CappedTag<float, 16>;
using Vector = hn::Vec<Tag>;
constexpr int kLanes = static_cast<int>(hn::MaxLanes(Tag()));
constexpr int kVectors = kPanel / kLanes;  // of a panel's row

// No hardware prefetcher crosses a 4-KiB boundary, and many rows leave it little time: at 16 rows of F32
// weights in the third-level cache this doubles the speed.
constexpr int64_t kPrefetchBytes = 2048;

HWY_INLINE Vector LoadWeights(const float* from) { return hn::LoadU(Tag(), from); }
HWY_INLINE Vector LoadWeights(const hwy::float16_t* from) {
  return hn::PromoteTo(Tag(), hn::LoadU(hn::Rebind<hwy::float16_t, Tag>(), from));
}
HWY_INLINE Vector LoadWeights(const hwy::bfloat16_t* from) {
  return hn::PromoteTo(Tag(), hn::LoadU(hn::Rebind<hwy::bfloat16_t, Tag>(), from));
}

// Calls go(std::integral_constant) with the number of rows, which is at most kMost.
template <int kMost, class Go>
HWY_INLINE void WithRows(int32_t rows, Go go) {
  if constexpr (kMost > 1) {
    if (rows < kMost) return WithRows<kMost - 1>(rows, go);
  }
  go(std::integral_constant<int, kMost>());
}

// Where group g of `groups` begins. Groups are as even as can be: 16 rows are 8 and 8, not 12 and 4.
int32_t GroupBegin(int32_t rows, int32_t groups, int32_t g) {
  return static_cast<int32_t>(int64_t{rows} * g / groups);
}

// ---- Few rows: a panel's outputs together, so that the weights pass once, from memory.

// Rows taken at a time. 32 registers hold 24 sums, the panel's two vectors and a broadcast; 16 hold 8, four and one.
constexpr int kFewRows = kVectors == 2 ? 12 : kVectors == 4 ? 2 : 1;
// So many rows go this way: AVX-512's tiles are as wide as a panel, others' are not.
constexpr int32_t kMostTogether = kVectors == 2 ? 24 : kFewRows;

struct Operands {
  const float* x;
  int64_t ldx;
  int64_t inputs;
  float* y;
  int64_t ldy;
};

template <int kRows, class Weight>
HWY_INLINE void MultiplyRows(const Operands& o, const Weight* panel) {
  const Tag d;
  Vector sum[kRows][kVectors];
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) sum[r][v] = hn::Zero(d);
  }
  for (int64_t i = 0; i < o.inputs; ++i) {
    const auto* ahead = reinterpret_cast<const uint8_t*>(panel + i * kPanel) + kPrefetchBytes;
#pragma GCC unroll 2
    for (size_t byte = 0; byte < kPanel * sizeof(Weight); byte += 64) hwy::Prefetch(ahead + byte);
    Vector weights[kVectors];
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) weights[v] = LoadWeights(panel + i * kPanel + v * kLanes);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      const Vector x = hn::Set(d, o.x[r * o.ldx + i]);
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) sum[r][v] = hn::MulAdd(x, weights[v], sum[r][v]);
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) hn::StoreU(sum[r][v], d, o.y + r * o.ldy + v * kLanes);
  }
}

template <class Weight>
void MultiplyFew(const Weight* data, int64_t inputs, const InputRows::View& x, int32_t panels, float* y, int64_t ldy) {
  const int32_t groups = (x.rows + kFewRows - 1) / kFewRows;
  for (int32_t p = 0; p < panels; ++p) {
    for (int32_t g = 0; g < groups; ++g) {
      const int32_t begin = GroupBegin(x.rows, groups, g), end = GroupBegin(x.rows, groups, g + 1);
      const Operands part{x.data + begin * x.stride, x.stride, inputs, y + begin * ldy + p * kPanel, ldy};
      const Weight* panel = data + p * inputs * kPanel;
      WithRows<kFewRows>(end - begin, [&](auto rows) HWY_ATTR { MultiplyRows<rows()>(part, panel); });
    }
  }
}

// ---- More rows: a block of a panel's weights at a time, which tiles of outputs read from the first-level cache. For many
// rows it is converted once; for some each tile converts in registers, which takes less than storing it.

// A tile of sums is two vectors wide: 12 sums of six rows, two vectors of weights and a broadcast fill 15 of 16
// registers and hide the latency of two units; 32 registers hold 12 rows.
constexpr int kTileVectors = 2, kTileWidth = kTileVectors * kLanes;
constexpr int kTileRows = kVectors == 2 ? 12 : 6;
// More rows than these are copied.
constexpr int32_t kMostInPlace = kVectors == 2 ? 24 : 4;
// Up to so many groups of rows convert for themselves: with bf16 and AVX2 4 to 6 rows take 0.75 of the time that a
// converted block takes, 16 rows 0.95, 48 rows 0.98, and 192 rows 1.03. AVX-512 converts where it multiplies.
constexpr int32_t kMostConverting = kVectors == 2 ? 2 : 8;
// Inputs of a block: 16 KiB of weights and a group's rows stay in a first-level cache of 32 KiB.
constexpr int64_t kBlockInputs = 128;

HWY_INLINE const float* Widened(const float* block, int64_t /*inputs*/, float* /*room*/) { return block; }
template <class Weight>
HWY_INLINE const float* Widened(const Weight* block, int64_t inputs, float* room) {
  for (int64_t i = 0; i < inputs * kPanel; i += kLanes) hn::Store(LoadWeights(block + i), Tag(), room + i);
  return room;
}

// What is fetched while a tile is multiplied: a line with each input.
struct Ahead {
  const void* data;
  int64_t step;  // bytes
};

// Part of a block's inputs, for one tile. x is [input][kRows] where it was copied; with `resume` the sums go on from y.
template <int kRows, bool kCopied, class Weight>
HWY_INLINE void MultiplyTile(const float* x, int64_t stride, const Weight* weights, int64_t inputs, bool resume,
                             Ahead ahead, float* y, int64_t ldy) {
  const Tag d;
  const auto* fetched = static_cast<const uint8_t*>(ahead.data);
  Vector sum[kRows][kTileVectors];
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 2
    for (int v = 0; v < kTileVectors; ++v) sum[r][v] = resume ? hn::LoadU(d, y + r * ldy + v * kLanes) : hn::Zero(d);
  }
  for (int64_t i = 0; i < inputs; ++i, x += kCopied ? kRows : 1, weights += kPanel, fetched += ahead.step) {
    hwy::Prefetch(fetched);
    Vector row[kTileVectors];
#pragma GCC unroll 2
    for (int v = 0; v < kTileVectors; ++v) row[v] = LoadWeights(weights + v * kLanes);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      const Vector one = hn::Set(d, x[kCopied ? r : r * stride]);
#pragma GCC unroll 2
      for (int v = 0; v < kTileVectors; ++v) sum[r][v] = hn::MulAdd(one, row[v], sum[r][v]);
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 2
    for (int v = 0; v < kTileVectors; ++v) hn::StoreU(sum[r][v], d, y + r * ldy + v * kLanes);
  }
}

// Some rows of a group and the tiles of a panel's block that hold the first `outputs` of its outputs.
template <bool kCopied, class Weight>
void MultiplyGroup(int32_t rows, const float* x, int64_t stride, const Weight* weights, int64_t inputs, int32_t outputs,
                   bool resume, Ahead ahead, float* y, int64_t ldy) {
  WithRows<kTileRows>(rows, [&](auto count) HWY_ATTR {
    for (int32_t column = 0; column < outputs; column += kTileWidth)
      MultiplyTile<count(), kCopied>(x, stride, weights + column, inputs, resume, ahead, y + column, ldy);
  });
}

template <bool kCopied, class Weight>
void MultiplyMany(const Weight* data, int64_t inputs, const InputRows::View& x, int32_t outputs, float* y, int64_t ldy) {
  alignas(64) float room[kBlockInputs * kPanel];
  const int32_t groups = (x.rows + kTileRows - 1) / kTileRows;
  for (int32_t output = 0; output < outputs; output += kPanel, data += inputs * kPanel, y += kPanel) {
    const int32_t used = std::min(kPanel, outputs - output);
    for (int64_t first = 0; first < inputs; first += kBlockInputs) {
      const int64_t count = std::min(kBlockInputs, inputs - first);
      const Weight* block = data + first * kPanel;
      const float* widened = groups > kMostConverting ? Widened(block, count, room) : nullptr;
      const Ahead next_block{data + (first + count) * kPanel, 64};
      for (int32_t g = 0; g < groups; ++g) {
        const int32_t begin = GroupBegin(x.rows, groups, g), rows = GroupBegin(x.rows, groups, g + 1) - begin;
        const float* from = kCopied ? x.data + begin * inputs + first * rows : x.data + begin * x.stride + first;
        const Ahead next_rows = kCopied ? Ahead{from + rows * inputs, int64_t{rows} * 4} : Ahead{from, 0};
        const auto multiply = [&](const auto* weights) HWY_ATTR {
          MultiplyGroup<kCopied>(rows, from, x.stride, weights, count, used, first > 0,
                                 g == 0 ? next_block : next_rows, y + begin * ldy, ldy);
        };
        widened ? multiply(widened) : multiply(block);
      }
    }
  }
}

template <class Weight>
void MultiplyBy(const uint8_t* data, int64_t inputs, const InputRows::View& x, int32_t outputs, float* y, int64_t ldy) {
  const auto* weights = reinterpret_cast<const Weight*>(data);
  if (x.stride == InputRows::kCopied) return MultiplyMany<true>(weights, inputs, x, outputs, y, ldy);
  if (x.rows > kMostTogether) return MultiplyMany<false>(weights, inputs, x, outputs, y, ldy);
  MultiplyFew(weights, inputs, x, (outputs + kPanel - 1) / kPanel, y, ldy);
}

}  // namespace

// y of the first `outputs` outputs of data; up to the end of their last panel it holds anything.
void MultiplyPacked(Dtype dtype, const uint8_t* data, int64_t inputs, const InputRows::View& x, int32_t outputs,
                    float* y, int64_t ldy) {
  switch (dtype) {
    case Dtype::kF32: return MultiplyBy<float>(data, inputs, x, outputs, y, ldy);
    case Dtype::kF16: return MultiplyBy<hwy::float16_t>(data, inputs, x, outputs, y, ldy);
    case Dtype::kBF16: return MultiplyBy<hwy::bfloat16_t>(data, inputs, x, outputs, y, ldy);
  }
}

bool AreMany(int32_t rows) { return rows > kMostInPlace; }

// To [group][input][row of the group].
void PackRows(const float* x, int64_t ldx, int32_t rows, int64_t inputs, float* packed) {
  const int32_t groups = (rows + kTileRows - 1) / kTileRows;
  for (int32_t g = 0; g < groups; ++g) {
    const int32_t begin = GroupBegin(rows, groups, g), end = GroupBegin(rows, groups, g + 1);
    WithRows<kTileRows>(end - begin, [&](auto count) HWY_ATTR {
      constexpr int kRows = count();
      const float* from = x + begin * ldx;
      for (int64_t i = 0; i < inputs; ++i, packed += kRows) {
#pragma GCC unroll 16
        for (int r = 0; r < kRows; ++r) packed[r] = from[r * ldx + i];
      }
    });
  }
}

}  // namespace kvcapsule::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kvcapsule {

HWY_EXPORT(MultiplyPacked);
HWY_EXPORT(AreMany);
HWY_EXPORT(PackRows);

namespace {

constexpr int64_t kLargePage = 2 << 20;

int64_t RoundUp(int64_t bytes, int64_t to) { return (bytes + to - 1) / to * to; }

TileProduct TileProductFor(WeightType type) { return type == WeightType::kBF16 ? ChosenTileProduct() : nullptr; }

int64_t PanelBytes(int64_t inputs, WeightType type, bool on_tiles) {
  if (on_tiles) return TileBytes(kTilePanel, inputs);
  if (IsQuantized(type)) return QuantizedPanelBytes(type, inputs);
  return PackedMatrix::kPanel * inputs * DtypeBytes(PlainDtype(type));
}

}  // namespace

void LargeBuffer::Unmap::operator()(uint8_t* data) const { munmap(data, static_cast<size_t>(bytes)); }

LargeBuffer::LargeBuffer(int64_t bytes) : data_(nullptr, Unmap{RoundUp(bytes, kLargePage)}) {
  const auto size = static_cast<size_t>(data_.get_deleter().bytes);
  void* data = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED) {
    throw Error(ErrorCode::kEngineFailed,
                "not enough memory for " + std::to_string(bytes) + " bytes of weights");
  }
  data_.reset(static_cast<uint8_t*>(data));
  madvise(data, size, MADV_HUGEPAGE);
}

void InputRows::Refer(const float* x, int64_t ldx, int32_t rows) { view_ = {x, ldx, rows}; }

void InputRows::Assign(const PackedMatrix& matrix, const float* x, int64_t ldx, int32_t rows) {
  const int64_t inputs = matrix.inputs();
  Refer(x, ldx, rows);
  if (matrix.on_tiles()) {
    const int64_t bytes = rows * CutRowBytes(inputs);
    if (static_cast<int64_t>(cut_.size()) < bytes) cut_.resize(bytes);
    return CutRows(x, ldx, rows, inputs, cut_.data());
  }
  if (!HWY_DYNAMIC_DISPATCH(AreMany)(rows)) return;
  if (static_cast<int64_t>(packed_.size()) < rows * inputs) packed_.resize(rows * inputs);
  HWY_DYNAMIC_DISPATCH(PackRows)(x, ldx, rows, inputs, packed_.data());
  view_ = {packed_.data(), kCopied, rows};
}

PackedMatrix::PackedMatrix(int64_t outputs, int64_t inputs, WeightType type, uint8_t* memory)
    : inputs_(inputs),
      panels_(static_cast<int32_t>((outputs + kPanel - 1) / kPanel)),
      type_(type),
      tile_product_(TileProductFor(type)),
      data_(memory) {}

int64_t PackedMatrix::Bytes(int64_t outputs, int64_t inputs, WeightType type) {
  return RoundUp(outputs, kPanel) / kPanel * PanelBytes(inputs, type, TileProductFor(type) != nullptr);
}

uint8_t* PackedMatrix::Panel(int64_t panel) const {
  return data_ + panel * PanelBytes(inputs_, type_, on_tiles());
}

uint8_t* PackedMatrix::At(int64_t output) const {
  return data_ + Place(output, 0, inputs_) * DtypeBytes(PlainDtype(type_));
}

uint16_t& PackedMatrix::OnTiles(int64_t output, int64_t input) const {
  return reinterpret_cast<uint16_t*>(data_)[TilePlace(output, input, inputs_)];
}

void PackedMatrix::SetOutputsOnTiles(int64_t output, int64_t count, const float* weights) {
  uint16_t block[kTileInputs];
  for (int64_t first = 0; first < inputs_; first += kTileInputs) {
    const int64_t inputs = std::min<int64_t>(kTileInputs, inputs_ - first);
    for (int64_t o = 0; o < count; ++o) {
      FromFloat(Dtype::kBF16, weights + o * inputs_ + first, inputs, reinterpret_cast<uint8_t*>(block));
      for (int64_t i = 0; i < inputs; ++i) OnTiles(output + o, first + i) = block[i];
    }
  }
}

void PackedMatrix::SetOutputs(int64_t output, int64_t count, const float* weights) {
  if (IsQuantized(type_)) {
    return QuantizeOutputs(type_, inputs_, static_cast<int32_t>(output % kPanel), static_cast<int32_t>(count), weights,
                           Panel(output / kPanel));
  }
  if (on_tiles()) return SetOutputsOnTiles(output, count, weights);
  constexpr int64_t kBlock = 64;  // inputs turned over at a time, in the first-level cache
  float turned[kBlock * kPanel];
  const Dtype dtype = PlainDtype(type_);
  const int64_t stride = kPanel * DtypeBytes(dtype);
  for (int64_t first = 0; first < inputs_; first += kBlock) {
    const int64_t inputs = std::min(kBlock, inputs_ - first);
    for (int64_t o = 0; o < count; ++o) {
      for (int64_t i = 0; i < inputs; ++i) turned[i * count + o] = weights[o * inputs_ + first + i];
    }
    uint8_t* to = At(output) + first * stride;
    if (count == kPanel) {
      FromFloat(dtype, turned, inputs * kPanel, to);
    } else {
      for (int64_t i = 0; i < inputs; ++i) FromFloat(dtype, turned + i * count, count, to + i * stride);
    }
  }
}

void PackedMatrix::ReadOutput(int64_t output, float* weights) const {
  if (IsQuantized(type_)) {
    return ReadQuantizedOutput(type_, Panel(output / kPanel), inputs_, static_cast<int32_t>(output % kPanel), weights);
  }
  const Dtype dtype = PlainDtype(type_);
  const int64_t stride = kPanel * DtypeBytes(dtype);
  for (int64_t i = 0; i < inputs_; ++i) {
    const uint8_t* at = on_tiles() ? reinterpret_cast<const uint8_t*>(&OnTiles(output, i)) : At(output) + i * stride;
    ToFloat(dtype, at, 1, weights + i);
  }
}

void PackedMatrix::Multiply(const InputRows& x, int32_t first_panel, int32_t panels, float* y, int64_t ldy) const {
  const InputRows::View& rows = x.view();
  if (on_tiles()) {
    tile_product_({x.cut(), rows.rows, Panel(first_panel), panels, inputs_, y, ldy});
  } else if (!IsQuantized(type_)) {
    HWY_DYNAMIC_DISPATCH(MultiplyPacked)(PlainDtype(type_), Panel(first_panel), inputs_, rows, panels * kPanel, y, ldy);
  } else if (rows.stride != InputRows::kCopied) {
    MultiplyQuantized(type_, Panel(first_panel), inputs_, rows.data, rows.stride, rows.rows, panels, y, ldy);
  } else {
    thread_local std::vector<float> widened;
    if (static_cast<int64_t>(widened.size()) < inputs_ * kPanel) widened.resize(inputs_ * kPanel);
    for (int32_t p = 0; p < panels; ++p) {
      WidenPanel(type_, Panel(first_panel + p), inputs_, widened.data());
      HWY_DYNAMIC_DISPATCH(MultiplyPacked)(Dtype::kF32, reinterpret_cast<const uint8_t*>(widened.data()), inputs_, rows,
                                           kPanel, y + p * kPanel, ldy);
    }
  }
}

void PackedMatrix::MultiplyFirst(const InputRows& x, int32_t outputs, float* y, int64_t ldy) const {
  if (IsQuantized(type_) || on_tiles()) return Multiply(x, 0, (outputs + kPanel - 1) / kPanel, y, ldy);
  HWY_DYNAMIC_DISPATCH(MultiplyPacked)(PlainDtype(type_), data_, inputs_, x.view(), outputs, y, ldy);
}

}  // namespace kvcapsule
#endif
