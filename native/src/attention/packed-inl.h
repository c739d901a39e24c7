// Products of query rows with packed rows (kv/codec/packed/row_code.h) for one target, in integers: a query row, or the
// weights of a unit's rows, in 16 bits, codes as they are. Sums of integers are exact, so in whatever order a target
// adds, it finds the same. 16 bits of a query cost some 2^-16 of its largest channel; a code of 8 bits, 2^-9.
#if defined(KVCAPSULE_ATTENTION_PACKED_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef KVCAPSULE_ATTENTION_PACKED_INL_H_
#undef KVCAPSULE_ATTENTION_PACKED_INL_H_
#else
#define KVCAPSULE_ATTENTION_PACKED_INL_H_
#endif

#include <algorithm>
#include <array>
#include <cstring>

#include "attention/kernels.h"
#include "attention/unpack-inl.h"
#include "attention/wide_codes.h"
#include "common/isa.h"
#include "kv/gemm-inl.h"

HWY_BEFORE_NAMESPACE();
namespace kvcapsule {
namespace HWY_NAMESPACE {

using IntTag = hn::RebindToSigned<FloatTag>;
using IntV = hn::Vec<IntTag>;
using ShortTag = hn::Repartition<int16_t, FloatTag>;
using ShortV = hn::Vec<ShortTag>;
using ByteTag = hn::Repartition<uint8_t, FloatTag>;
using ByteV = hn::Vec<ByteTag>;
constexpr int kShorts = 2 * kWidth;
constexpr int kCodes = 4 * kWidth;  // codes in a register

// Bytes of a row of codes, whole registers of any target; the surplus is zero.
constexpr int32_t CodeStride(int32_t dim) { return (dim + 4 * kLanes - 1) / (4 * kLanes) * (4 * kLanes); }

// The most that tiles take of a number and that sums of `terms` products with 8-bit codes have room for in 32 bits.
constexpr int32_t MostLevels(int32_t terms) { return std::min(kTileLevels, INT32_MAX / (255 * terms)); }

// Rows whose weighted codes are summed up in 32 bits.
constexpr int32_t kSumRows = 256;
static_assert(255 * kSumRows <= INT32_MAX / INT16_MAX);

// Sums of pairs of products in 32-bit lanes, whatever the target's order of adding.
struct PairSums {
  IntV even, odd;  // odd stays zero where one instruction makes both
  HWY_INLINE void Clear() { even = odd = hn::Zero(IntTag()); }
  HWY_INLINE void Add(ShortV a, ShortV b) { even = hn::ReorderWidenMulAccumulate(IntTag(), a, b, even, odd); }
  HWY_INLINE IntV Total() const { return hn::Add(even, odd); }
};

HWY_INLINE void ClearAll(PairSums (&sums)[4]) {
  for (PairSums& each : sums) each.Clear();
}

// table[number] of 16 floats.
HWY_INLINE FloatV Lookup(const float* table, IntV number) {
  const FloatTag d;
  if constexpr (kWidth == kLanes) return hn::TableLookupLanes(Load(table), hn::IndicesFromVec(d, number));
  if constexpr (2 * kWidth == kLanes) {  // a gather of 8 lanes is some 40 operations on several processors
    const IntTag di;
    const auto lane = hn::IndicesFromVec(d, hn::And(number, hn::Set(di, kWidth - 1)));
    const auto upper = hn::RebindMask(d, hn::Gt(number, hn::Set(di, kWidth - 1)));
    return hn::IfThenElse(upper, hn::TableLookupLanes(Load(table + kWidth), lane), hn::TableLookupLanes(Load(table), lane));
  }
  return hn::GatherIndex(d, table, number);
}

// The largest codes of rows of so many bits: twice the middle.
HWY_INLINE IntV Tops(IntV bits) {
  const IntTag di;
  return hn::Sub(hn::Set(di, 256), hn::Shl(hn::Set(di, 1), hn::Sub(hn::Set(di, 8), bits)));
}

// Scale levels of kWidth rows; two a byte.
HWY_INLINE IntV LoadLevels(const uint8_t* levels) {
  const hn::CappedTag<uint8_t, kWidth / 2> packed;
  const hn::Rebind<uint16_t, decltype(packed)> pair;
  const hn::Repartition<uint8_t, decltype(pair)> bytes;
  const auto both = hn::PromoteTo(pair, hn::LoadU(packed, levels));
  const auto apart = hn::And(hn::Or(both, hn::ShiftLeft<4>(both)), hn::Set(pair, 0x0f0f));
  return hn::PromoteTo(IntTag(), hn::BitCast(bytes, apart));
}

constexpr int kMaskBytes = (kWidth + 7) / 8;

// Lanes whose bit is set, moved together and apart again. Highway's Compress has its table on the stack: GCC copies that
// KiB there at every call.
#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL
class SetLanes {
 public:
  HWY_INLINE explicit SetLanes(const uint8_t* bits) : set_(hn::LoadMaskBits(FloatTag(), bits)) {}
  HWY_INLINE FloatV Together(FloatV v) const { return hn::Compress(v, set_); }
  HWY_INLINE IntV Together(IntV v) const { return hn::Compress(v, hn::RebindMask(IntTag(), set_)); }
  HWY_INLINE FloatV Apart(FloatV v) const { return FloatV{_mm512_maskz_expand_ps(set_.raw, v.raw)}; }

 private:
  hn::Mask<FloatTag> set_;
};
#else
// By the bits of the lanes.
struct LaneTables {
  using Table = std::array<std::array<int8_t, kWidth>, 1 << kWidth>;
  Table together{};  // the set lanes' numbers, then the others'
  Table apart{};     // how many set lanes stand before a set one; -1 of the others

  constexpr LaneTables() {
    for (int bits = 0; bits < 1 << kWidth; ++bits) {
      int8_t set = 0, other = 0;
      for (int lane = 0; lane < kWidth; ++lane) other += bits >> lane & 1;
      for (int8_t lane = 0; lane < kWidth; ++lane) {
        const bool is_set = bits >> lane & 1;
        apart[bits][lane] = is_set ? set : -1;
        together[bits][is_set ? set++ : other++] = lane;
      }
    }
  }
};
constexpr LaneTables kLaneTables;

class SetLanes {
 public:
  HWY_INLINE explicit SetLanes(const uint8_t* bits) : bits_(*bits) {}
  template <class V>
  HWY_INLINE V Together(V v) const {
    return hn::TableLookupLanes(v, hn::IndicesFromVec(hn::DFromV<V>(), Lanes(kLaneTables.together)));
  }
  // Zero where no bit is set.
  HWY_INLINE FloatV Apart(FloatV v) const {
    const FloatTag d;
    const IntTag di;
    const IntV rank = Lanes(kLaneTables.apart);
    const auto from = hn::IndicesFromVec(d, hn::And(rank, hn::Set(di, kWidth - 1)));
    return hn::IfThenZeroElse(hn::RebindMask(d, hn::Lt(rank, hn::Zero(di))), hn::TableLookupLanes(v, from));
  }

 private:
  HWY_INLINE IntV Lanes(const LaneTables::Table& table) const {
    const hn::Rebind<int8_t, IntTag> narrow;
    return hn::PromoteTo(IntTag(), hn::LoadU(narrow, table[bits_].data()));
  }

  uint8_t bits_;
};
#endif

// Those of the kWidth rows from the r-th on, a multiple of kWidth, that have bits.
HWY_INLINE SetLanes Present(const PackedTable& table, int32_t r) {
  return SetLanes(table.present_bits.data() + r / kWidth * kMaskBytes);
}

// Which rows of a unit have bits, how many and how far apart their codes stand.
HWY_NOINLINE void ReadTable(const CapsuleSide& side, const PackedBytes& unit, int32_t dim, PackedTable& table) {
  const FloatTag d;
  const IntTag di;
  const int32_t padded = RoundToLanes(side.rows) + kLanes;
  for (auto* list : {&table.bits, &table.before}) AttentionScratch::Room(*list, padded);
  AttentionScratch::Room(table.steps, padded);
  AttentionScratch::Room(table.present_bits, padded);
  static const auto units = [] {  // of a code, whose highest bit is always a byte's
    std::array<float, kLanes> made{};
    for (int32_t b = 0; b <= kMaxRowBits; ++b) made[b] = GaussianStep(b) / static_cast<float>(1 << (kMaxRowBits - b));
    return made;
  }();
  FloatV thresholds[kMaxRowBits];
  for (int32_t b = 0; b < kMaxRowBits; ++b) thresholds[b] = Splat(unit.thresholds[b]);
  const float* factors = ScaleFactors().data();
  size_t present = 0;
  IntV total = hn::Zero(di);
  for (int32_t r = 0; r < side.rows; r += kWidth) {
    const FloatV factor = Lookup(factors, LoadLevels(unit.levels + r / 2));
    IntV bits = hn::Zero(di);
    if (side.bits.empty()) {
      const FloatV energy = hn::Mul(Load(side.energies.data() + r), hn::Mul(factor, factor));
      for (const FloatV& threshold : thresholds)
        bits = hn::IfThenElse(hn::RebindMask(di, hn::Gt(energy, threshold)), hn::Add(bits, hn::Set(di, 1)), bits);
    } else {
      bits = hn::LoadU(di, side.bits.data() + r);
    }
    const FloatV scale = hn::Mul(Load(side.deviations.data() + r), factor);
    const auto some = hn::Gt(bits, hn::Zero(di));
    hn::StoreMaskBits(di, some, table.present_bits.data() + r / kWidth * kMaskBytes);
    table.before[r / kWidth] = static_cast<int32_t>(present);
    const SetLanes set = Present(table, r);
    hn::StoreU(set.Together(bits), di, table.bits.data() + present);
    hn::StoreU(set.Together(hn::Mul(scale, Lookup(units.data(), bits))), d, table.steps.data() + present);
    present += hn::CountTrue(di, some);
    total = hn::Add(total, bits);
  }
  const int32_t bits = hn::GetLane(hn::SumOfLanes(di, total));
  // Never in a capsule that this engine wrote.
  if (RowCodeBytes(1, dim) * bits > unit.code_bytes) {
    present = 0;
    std::fill(table.present_bits.begin(), table.present_bits.end(), uint8_t{0});
    std::fill(table.before.begin(), table.before.end(), 0);
  }
  table.present = static_cast<int32_t>(present);
}

// Rows of codes from one after the other. next: codes of the unit that is needed after this one and lies anywhere in
// memory, asked for a little at a time, since many lines at once hold up what is computed meanwhile.
template <int kDim>
HWY_NOINLINE void UnpackRows(const uint8_t* codes, const uint8_t* next, int32_t dim, PackedTable& table) {
  const int32_t stride = CodeStride(kDim != 0 ? kDim : dim);
  const int64_t bit_bytes = RowCodeBytes(1, kDim != 0 ? kDim : dim);
  const int32_t* bits = table.bits.data();
  const uint8_t* first = codes;
  uint8_t* to = table.codes.data();
  for (int32_t i = 0; i < table.present; ++i, to += stride) {
    if (next) __builtin_prefetch(next + (codes - first), 0, 2);
    UnpackAnyCodes<kDim>(codes, bits[i], dim, to);
    codes += bit_bytes * bits[i];
  }
}

// UnpackRows where UnpackByMatrices can do it.
HWY_INLINE void UnpackWideRows(const PackedBytes& unit, const uint8_t* next, int32_t dim, bool tiles, PackedTable& table) {
  constexpr int32_t kRows = 64;  // 350 cycles' worth
  const uint8_t* codes = unit.codes;
  for (int32_t first = 0; first < table.present; first += kRows) {
    if (tiles) KeepTilesAwake();
    const int32_t rows = std::min(kRows, table.present - first);
    codes = UnpackByMatrices(codes, next ? next + (codes - unit.codes) : nullptr, table.bits.data() + first, rows, dim,
                             table.codes.data() + int64_t{first} * dim);
  }
}

// The unit's table and codes. A row of zero weight follows the last, so that rows can be taken in pairs, and what
// whole vectors read after it is initialised. next: as UnpackRows'. tiles: that are in use are kept awake.
HWY_INLINE void UnpackUnit(const CapsuleSide& side, const PackedBytes& unit, const uint8_t* next, int32_t dim, bool tiles,
                           PackedTable& table) {
  if (tiles) KeepTilesAwake();
  ReadTable(side, unit, dim, table);
  AttentionScratch::Room(table.codes, (int64_t{RoundToLanes(side.rows)} + kLanes) * CodeStride(dim));
  if (kWidth == kLanes && (dim == 64 || dim == 128) && MayUse(IsaFeature::kByteMatrices))
    return UnpackWideRows(unit, next, dim, tiles, table);
  WithDim(dim, [&](auto known) { UnpackRows<known()>(unit.codes, next, dim, table); });
}

struct WholeRow {
  float step;
  int32_t sum;
};

// Whole numbers of `count` values, whole vectors of them: values / step, rounded. step = largest / levels.
HWY_INLINE WholeRow Quantise(const float* values, int32_t count, int32_t levels, int16_t* to) {
  const FloatTag d;
  const IntTag di;
  const hn::Rebind<int16_t, FloatTag> narrow;
  FloatV largest = hn::Zero(d);
  for (int32_t c = 0; c < count; c += kWidth) largest = hn::Max(largest, hn::Abs(Load(values + c)));
  const float most = hn::GetLane(hn::MaxOfLanes(d, largest));
  const FloatV factor = Splat(most > 0 ? static_cast<float>(levels) / most : 0);
  IntV sum = hn::Zero(di);
  for (int32_t c = 0; c < count; c += kWidth) {
    const IntV whole = hn::NearestInt(hn::Mul(Load(values + c), factor));
    hn::StoreU(hn::DemoteTo(narrow, whole), narrow, to + c);
    sum = hn::Add(sum, whole);
  }
  return {most / static_cast<float>(levels), hn::GetLane(hn::SumOfLanes(di, sum))};
}

// Four vectors' sums over the lanes that have the same place in their blocks, one block for each: lane i of block b is
// the sum of block b of rows[i].
HWY_INLINE IntV SumsInBlocks(const IntV* rows) {
  const IntTag di;
  const hn::Repartition<int64_t, IntTag> pairs;
  const auto first = hn::BitCast(pairs, hn::Add(hn::InterleaveLower(di, rows[0], rows[1]),
                                                hn::InterleaveUpper(di, rows[0], rows[1])));
  const auto second = hn::BitCast(pairs, hn::Add(hn::InterleaveLower(di, rows[2], rows[3]),
                                                 hn::InterleaveUpper(di, rows[2], rows[3])));
  return hn::Add(hn::BitCast(di, hn::InterleaveLower(pairs, first, second)),
                 hn::BitCast(di, hn::InterleaveUpper(pairs, first, second)));
}

// Lane i: the sum of row i, from the block sums of kWidth rows.
HWY_INLINE IntV SumsOfRows(const IntV* fours) {
  [[maybe_unused]] const IntTag di;
#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL
  const IntV even = hn::Add(hn::ConcatLowerLower(di, fours[2], fours[0]), hn::ConcatUpperUpper(di, fours[2], fours[0]));
  const IntV odd = hn::Add(hn::ConcatLowerLower(di, fours[3], fours[1]), hn::ConcatUpperUpper(di, fours[3], fours[1]));
  return hn::OddEvenBlocks(hn::Add(odd, hn::SwapAdjacentBlocks(odd)), hn::Add(even, hn::SwapAdjacentBlocks(even)));
#elif HWY_TARGET == HWY_AVX2
  return hn::Add(hn::ConcatLowerLower(di, fours[1], fours[0]), hn::ConcatUpperUpper(di, fours[1], fours[0]));
#else
  static_assert(kWidth == 4);
  return fours[0];
#endif
}

// Query rows in whole numbers, for products with codes.
struct WholeQueries {
  const int16_t* rows;  // [..][stride]
  int64_t stride;       // CodeStride(dim); zeros after dim
  const float* steps;
  const int32_t* sums;  // of a row's numbers

  HWY_INLINE WholeQueries From(int64_t row) const {
    return {rows + row * stride, stride, steps + row, sums + row};
  }
};

// What makes a product's worth of the sums of codes times a query's numbers, of kWidth rows from the r-th on.
struct CodeScale {
  FloatV half_steps;
  IntV tops;
  HWY_INLINE CodeScale(const PackedTable& table, int32_t r)
      : half_steps(hn::Mul(Load(table.steps.data() + r), Splat(0.5f))),
        tops(Tops(hn::LoadU(IntTag(), table.bits.data() + r))) {}

  // Twice the distance from the middle of the codes; what passes 32 bits on the way comes back.
  HWY_INLINE FloatV operator()(IntV sums, const WholeQueries& queries, int q) const {
    const IntV middled = hn::Sub(hn::ShiftLeft<1>(sums), hn::Mul(tops, hn::Set(IntTag(), queries.sums[q])));
    return hn::Mul(hn::Mul(hn::ConvertTo(FloatTag(), middled), half_steps), Splat(queries.steps[q]));
  }
};

// out [kRows][out_stride]: products of query rows with all present rows, in units of both.
template <int kRows>
HWY_NOINLINE void CodeProducts(const PackedTable& table, int32_t stride, const WholeQueries& queries, float* out,
                               int64_t out_stride) {
  const ShortTag ds;
  const hn::Half<ByteTag> half;
  for (int32_t r = 0; r < table.present; r += kWidth) {
    IntV fours[kRows][kWidth / 4];
#pragma GCC unroll 4
    for (int f = 0; f < kWidth / 4; ++f) {
      const uint8_t* codes = table.codes.data() + static_cast<int64_t>(r + 4 * f) * stride;
      PairSums sums[kRows][4];
      for (auto& row : sums) ClearAll(row);
      for (int32_t c = 0; c < stride; c += kShorts) {
        ShortV code[4];
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i) code[i] = hn::PromoteTo(ds, hn::LoadU(half, codes + i * stride + c));
#pragma GCC unroll 8
        for (int q = 0; q < kRows; ++q) {
          const ShortV query = hn::LoadU(ds, queries.rows + q * queries.stride + c);
#pragma GCC unroll 4
          for (int i = 0; i < 4; ++i) sums[q][i].Add(query, code[i]);
        }
      }
#pragma GCC unroll 8
      for (int q = 0; q < kRows; ++q) {
        const IntV totals[4] = {sums[q][0].Total(), sums[q][1].Total(), sums[q][2].Total(), sums[q][3].Total()};
        fours[q][f] = SumsInBlocks(totals);
      }
    }
    const CodeScale scale(table, r);
#pragma GCC unroll 8
    for (int q = 0; q < kRows; ++q) Store(scale(SumsOfRows(fours[q]), queries, q), out + q * out_stride + r);
  }
}

// As CodeProducts, of `rows` query rows that were laid out for tiles.
HWY_INLINE void TileProducts(const PackedTable& table, int32_t dim, const WholeQueries& queries, int32_t rows,
                             const uint8_t* laid_out, AttentionScratch& scratch, float* out, int64_t out_stride) {
  const int64_t sum_stride = RoundToLanes(table.present);
  int32_t* sums = AttentionScratch::Room(scratch.tile_sums, rows * sum_stride);
  TileCodeSums(table.codes.data(), table.present, dim, laid_out, rows, sums, sum_stride);
  for (int32_t r = 0; r < table.present; r += kWidth) {
    const CodeScale scale(table, r);
    for (int32_t q = 0; q < rows; ++q)
      Store(scale(hn::LoadU(IntTag(), sums + q * sum_stride + r), queries, q), out + q * out_stride + r);
  }
}

// to [m]: numbers of the present rows at their places, zero elsewhere.
HWY_INLINE void Spread(const PackedTable& table, int32_t rows, const float* from, float* to) {
  for (int32_t r = 0; r < rows; r += kWidth)
    Store(Present(table, r).Apart(Load(from + table.before[r / kWidth])), to + r);
}

// The present rows' numbers of from [m], each times its row's step, to [count], zero after them.
HWY_NOINLINE void Collect(const PackedTable& table, int32_t rows, const float* from, int64_t count, float* to) {
  for (int32_t r = 0; r < rows; r += kWidth)
    Store(Present(table, r).Together(Load(from + r)), to + table.before[r / kWidth]);
  const int32_t present = table.present;
  for (int32_t i = 0; i < present; i += kWidth) Store(hn::Mul(Load(to + i), Load(table.steps.data() + i)), to + i);
  std::fill(to + present, to + count, 0.0f);
}

// Weights of rows in whole numbers.
struct WholeWeights {
  const int16_t* rows;  // [..][stride], zeros after the present rows
  int64_t stride;       // even
  const float* steps;
};

// Channels of one register of codes, of kRows query rows: sums [kRows][sum_stride] += weights times codes of the rows
// [first, first + count), count even. Channels are in Untangle's order.
template <int kRows>
HWY_INLINE void WeighedCodes(const PackedTable& table, int32_t stride, int32_t first, int32_t count, int32_t channel,
                             const WholeWeights& weights, const int32_t* tops, float* sums, int64_t sum_stride) {
  const IntTag di;
  const ShortTag ds;
  const ByteTag db;
  PairSums added[kRows][4];
  for (auto& row : added) ClearAll(row);
  const uint8_t* codes = table.codes.data() + static_cast<int64_t>(first) * stride + channel;
  for (int32_t r = 0; r < count; r += 2, codes += 2 * stride) {
    const ByteV one = hn::LoadU(db, codes), other = hn::LoadU(db, codes + stride);
    const ByteV low = hn::InterleaveLower(db, one, other), high = hn::InterleaveUpper(db, one, other);
    const ByteV zero = hn::Zero(db);
    const ShortV pairs[4] = {
        hn::BitCast(ds, hn::InterleaveLower(db, low, zero)), hn::BitCast(ds, hn::InterleaveUpper(db, low, zero)),
        hn::BitCast(ds, hn::InterleaveLower(db, high, zero)), hn::BitCast(ds, hn::InterleaveUpper(db, high, zero))};
#pragma GCC unroll 8
    for (int q = 0; q < kRows; ++q) {
      int32_t both;
      std::memcpy(&both, weights.rows + q * weights.stride + first + r, sizeof both);
      const ShortV weight = hn::BitCast(ds, hn::Set(di, both));
#pragma GCC unroll 4
      for (int k = 0; k < 4; ++k) added[q][k].Add(weight, pairs[k]);
    }
  }
#pragma GCC unroll 8
  for (int q = 0; q < kRows; ++q) {
    const FloatV step = Splat(0.5f * weights.steps[q]);
    float* to = sums + q * sum_stride + channel;
#pragma GCC unroll 4
    for (int k = 0; k < 4; ++k) {
      const IntV middled = hn::Sub(hn::ShiftLeft<1>(added[q][k].Total()), hn::Set(di, tops[q]));
      Store(hn::MulAdd(hn::ConvertTo(FloatTag(), middled), step, Load(to + k * kWidth)), to + k * kWidth);
    }
  }
}

// Weights times the largest codes of rows [first, first + count): twice the middles'.
HWY_INLINE int32_t WeighedTops(const PackedTable& table, int32_t first, int32_t count, const int16_t* weights) {
  const IntTag di;
  const hn::Rebind<int16_t, IntTag> narrow;
  IntV sum = hn::Zero(di);
  for (int32_t r = 0; r < count; r += kWidth) {
    const IntV weight = hn::PromoteTo(di, hn::LoadU(narrow, weights + r));
    sum = hn::Add(sum, hn::Mul(weight, Tops(hn::LoadU(di, table.bits.data() + first + r))));
  }
  return hn::GetLane(hn::SumOfLanes(di, sum));
}

// sums [kRows][sum_stride] += what all present rows give, in Untangle's order.
template <int kRows>
HWY_NOINLINE void WeighedRows(const PackedTable& table, int32_t stride, const WholeWeights& weights, float* sums,
                              int64_t sum_stride) {
  for (int32_t first = 0; first < table.present; first += kSumRows) {
    const int32_t count = std::min(kSumRows, table.present - first);
    int32_t tops[kRows];
    for (int q = 0; q < kRows; ++q)
      tops[q] = WeighedTops(table, first, count, weights.rows + q * weights.stride + first);
    for (int32_t channel = 0; channel < stride; channel += kCodes)
      WeighedCodes<kRows>(table, stride, first, (count + 1) / 2 * 2, channel, weights, tops, sums, sum_stride);
  }
}

// sums [rows][dim] += what TileWeighedSums found of so many query rows.
HWY_INLINE void AddTileSums(const int32_t* found, int32_t rows, int32_t dim, const float* steps, const int32_t* tops,
                            float* sums) {
  const IntTag di;
  for (int32_t q = 0; q < rows; ++q, found += 2 * dim, sums += dim) {
    const FloatV step = Splat(0.5f * steps[q]);
    for (int32_t c = 0; c < dim; c += kWidth) {
      const IntV total = hn::Add(hn::ShiftLeft<8>(hn::LoadU(di, found + c)), hn::LoadU(di, found + dim + c));
      const IntV middled = hn::Sub(hn::ShiftLeft<1>(total), hn::Set(di, tops[q]));
      Store(hn::MulAdd(hn::ConvertTo(FloatTag(), middled), step, Load(sums + c)), sums + c);
    }
  }
}

// Channels from the order that WeighedCodes leaves them in: in each register's worth of codes, vector k has in block b
// the channels 16 b + 4 k to 16 b + 4 k + 3.
HWY_INLINE void Untangle(const float* from, int32_t count, float* to) {
  constexpr int kBlocks = kWidth / 4;
  for (int32_t first = 0; first < count; first += kCodes) {
    for (int k = 0; k < 4; ++k) {
      for (int b = 0; b < kBlocks; ++b)
        std::memcpy(to + first + 16 * b + 4 * k, from + first + k * kWidth + 4 * b, 4 * sizeof(float));
    }
  }
}

#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL || HWY_TARGET == HWY_AVX2
HWY_INLINE FloatV SwapHalves(FloatV v) { return hn::ConcatLowerUpper(FloatTag(), v, v); }
#endif

// Lanes i and i + h of each 2h become their sum and their difference, for all h below a register's lanes.
HWY_INLINE FloatV HadamardInside(FloatV v) {
  const FloatTag d;
  const auto lane = hn::Iota(hn::RebindToSigned<FloatTag>(), 0);
  const auto stage = [&](FloatV other, int h) {
    const auto odd = hn::RebindMask(d, hn::TestBit(lane, hn::Set(hn::RebindToSigned<FloatTag>(), h)));
    return hn::Add(other, hn::IfThenElse(odd, hn::Neg(v), v));
  };
  v = stage(hn::Shuffle2301(v), 1);
  v = stage(hn::Shuffle1032(v), 2);
#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL
  v = stage(hn::SwapAdjacentBlocks(v), 4);
  v = stage(SwapHalves(v), 8);
#elif HWY_TARGET == HWY_AVX2
  v = stage(SwapHalves(v), 4);
#endif
  return v;
}

// to [kDim] = from times the Hadamard matrix of +1 and -1 (entry (i, j): the parity of the bits that i and j share):
// d log2 d additions instead of d^2 products.
template <int kDim>
HWY_INLINE void Hadamard(const float* from, float* to) {
  constexpr int kVectors = kDim / kWidth;
  FloatV v[kVectors];
#pragma GCC unroll 32
  for (int i = 0; i < kVectors; ++i) v[i] = HadamardInside(Load(from + i * kWidth));
#pragma GCC unroll 8
  for (int h = 1; h < kVectors; h *= 2) {
#pragma GCC unroll 32
    for (int i = 0; i < kVectors; ++i) {
      if (i & h) continue;
      const FloatV sum = hn::Add(v[i], v[i + h]), difference = hn::Sub(v[i], v[i + h]);
      v[i] = sum;
      v[i + h] = difference;
    }
  }
#pragma GCC unroll 32
  for (int i = 0; i < kVectors; ++i) Store(v[i], to + i * kWidth);
}

// Rows of sums that fit the registers beside what they are made of.
constexpr int kSumBlock = kWidth == kLanes ? 4 : 2;

// Whether codes are multiplied with tiles.
HWY_INLINE bool WithTiles(int32_t dim) {
  return kWidth == kLanes && (dim == 64 || dim == 128) && MayUse(IsaFeature::kInt8Tiles);
}

}  // namespace HWY_NAMESPACE
}  // namespace kvcapsule
HWY_AFTER_NAMESPACE();
#endif
