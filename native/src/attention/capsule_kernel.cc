// Attention over fitted capsules. Oracle: KvFormat::Decode under test/attention_test.cc.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "attention/kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "attention/capsule_kernel.cc"
#include <hwy/foreach_target.h>

#include "attention/panel-inl.h"
#include "attention/packed-inl.h"

HWY_BEFORE_NAMESPACE();
namespace kvcapsule {
namespace HWY_NAMESPACE {

// Rows of logits and of stored rows' sums are so far apart: groups are written one after the other in whole vectors,
// each over what the one before it wrote too much, and the last one's surplus still lies in its own row.
constexpr int64_t Stride(int32_t count) { return RoundToLanes(count + kLanes - 1); }

// Query rows of one visit at one of its capsules; they are stacked, look by look.
struct StackedLook {
  const CapsuleVisit* visit;
  const CapsuleLook* look;
  int64_t row;  // the first's number among the stacked
  int32_t rows() const { return visit->state.rows; }
};

// Codes of a look's unit; none after the last.
HWY_INLINE const uint8_t* CodesOf(std::span<const StackedLook> looks, size_t number, PackedBytes CapsuleLook::*side) {
  return number < looks.size() ? (looks[number].look->*side).codes : nullptr;
}

HWY_INLINE void PrefetchCodes(const PackedBytes& unit) {
  for (int64_t byte = 0; byte < unit.code_bytes; byte += 64) __builtin_prefetch(unit.codes + byte, 0, 2);
}

// The query rows turned back to position 0, padded.
HWY_NOINLINE void TurnQueries(const StackedLook& at, float* to) {
  const SoftmaxState& state = at.visit->state;
  const int32_t dim = state.dim, padded = RoundToLanes(dim), half = dim / 2;
  const float* turn = at.look->turn;
  for (int32_t i = 0; i < state.rows; ++i, to += padded) {
    const float* from = at.visit->queries + static_cast<int64_t>(i) * dim;
    std::fill(to + dim, to + padded, 0.0f);
    if (!turn) {
      std::copy_n(from, dim, to);
      continue;
    }
    int32_t c = 0;
    for (; c + kWidth <= half; c += kWidth) {
      const FloatV x = Load(from + c), y = Load(from + half + c), cosine = Load(turn + c), sine = Load(turn + half + c);
      Store(hn::Sub(hn::Mul(x, cosine), hn::Mul(y, sine)), to + c);
      Store(hn::Add(hn::Mul(x, sine), hn::Mul(y, cosine)), to + half + c);
    }
    for (; c < half; ++c) {
      to[c] = from[c] * turn[c] - from[half + c] * turn[half + c];
      to[half + c] = from[c] * turn[half + c] + from[half + c] * turn[c];
    }
  }
}

// Mapped query rows of all looks in whole numbers, [stacked][CodeStride(dim)], and as tiles take them, look by look.
struct WholeLooks {
  WholeQueries queries;
  const uint8_t* laid_out;  // null: no tiles
};

// queries [stacked][padded dim].
HWY_INLINE WholeLooks QuantiseLooks(std::span<const StackedLook> looks, const float* queries, bool tiles,
                                    AttentionScratch& scratch) {
  const int32_t dim = looks[0].visit->state.dim, padded = RoundToLanes(dim), stride = CodeStride(dim);
  const int64_t stacked = looks.back().row + looks.back().rows();
  int16_t* whole = AttentionScratch::Room(scratch.whole, stacked * stride);
  float* steps = AttentionScratch::Room(scratch.steps, stacked);
  int32_t* sums = AttentionScratch::Room(scratch.whole_sums, stacked);
  for (int64_t i = 0; i < stacked; ++i) {
    int16_t* row = whole + i * stride;
    const WholeRow made = Quantise(queries + i * padded, padded, MostLevels(stride), row);
    std::fill(row + padded, row + stride, int16_t{0});
    steps[i] = made.step;
    sums[i] = made.sum;
  }
  if (!tiles) return {{whole, stride, steps, sums}, nullptr};
  uint8_t* laid_out = AttentionScratch::Room(scratch.tile_queries, TileQueryBytes(2, dim) * stacked);
  for (const StackedLook& at : looks)
    LayOutTileQueries(whole + at.row * stride, stride, at.rows(), dim, laid_out + TileQueryBytes(2, dim) * at.row);
  return {{whole, stride, steps, sums}, laid_out};
}

// S = Q C^T of the packed look that was unpacked; zero for the rows that have no bits. shorts [rows][stride].
HWY_NOINLINE void PackedLogits(const CapsuleSide& side, const StackedLook& at, const WholeLooks& whole,
                               AttentionScratch& scratch, float* shorts, int64_t short_stride) {
  const PackedTable& table = scratch.table;
  const int32_t dim = at.visit->state.dim, stride = CodeStride(dim), rows = at.rows();
  const WholeQueries queries = whole.queries.From(at.row);
  const int64_t dense_stride = RoundToLanes(table.present) + kLanes;
  float* dense = AttentionScratch::Room(scratch.dense, rows * dense_stride);
  if (whole.laid_out) {
    TileProducts(table, dim, queries, rows, whole.laid_out + TileQueryBytes(2, dim) * at.row, scratch, dense, dense_stride);
  } else {
    InRowBlocks<kSumBlock>(rows, [&](auto block, int32_t first) {
      CodeProducts<block()>(table, stride, queries.From(first), dense + first * dense_stride, dense_stride);
    });
  }
  for (int32_t i = 0; i < rows; ++i) Spread(table, side.rows, dense + i * dense_stride, shorts + i * short_stride);
}

// S = Q C^T of all packed looks, one below the other.
HWY_INLINE void AllPackedLogits(const CapsuleSide& side, std::span<const StackedLook> looks, const float* queries,
                                AttentionScratch& scratch, float* shorts, int64_t short_stride) {
  const int32_t dim = looks[0].visit->state.dim;
  const bool tiles = WithTiles(dim);
  const WholeLooks whole = QuantiseLooks(looks, queries, tiles, scratch);
  const TileScope scope(tiles ? &kTilesOfProducts : nullptr);
  for (size_t i = 0; i < looks.size(); ++i) {
    UnpackUnit(side, looks[i].look->keys, CodesOf(looks, i + 1, &CapsuleLook::keys), dim, tiles, scratch.table);
    PackedLogits(side, looks[i], whole, scratch, shorts + looks[i].row * short_stride, short_stride);
  }
}

// S = Q C^T of every look, one below the other. queries [stacked][padded dim], shorts [stacked][stride].
HWY_INLINE void StoredLogits(const CapsuleSide& side, std::span<const StackedLook> looks, const float* queries,
                             AttentionScratch& scratch, float* shorts, int64_t short_stride) {
  if (side.packed) return AllPackedLogits(side, looks, queries, scratch, shorts, short_stride);
  const int64_t padded_m = RoundToLanes(side.rows);
  for (const StackedLook& at : looks) {
    const int32_t dim = at.visit->state.dim, padded = RoundToLanes(dim);
    float* keys = AttentionScratch::Room(scratch.keys, padded * padded_m);
    WithType(at.look->rows.dtype, [&](auto type) {
      LoadKeys<decltype(type)>(at.look->rows.keys, side.rows, dim, scratch, keys, padded_m);
    });
    Product<false>(at.rows(), static_cast<int>(padded_m), dim, queries + at.row * padded, padded,
                   DenseRows{keys, padded_m}, shorts + at.row * short_stride, short_stride);
  }
}

HWY_INLINE void AddRow(const float* from, int32_t count, float* to) {
  int32_t c = 0;
  for (; c + kWidth <= count; c += kWidth) Store(hn::Add(Load(to + c), Load(from + c)), to + c);
  for (; c < count; ++c) to[c] += from[c];
}

// What the template adds to the logits of its own rows.
HWY_NOINLINE void AddTemplate(const CapsuleSide& side, const float* direct, float* row) {
  for (const TemplateRange& range : side.templates) AddRow(direct + range.direct, range.count, row + range.column);
}

// Adds the weights of the template's rows, then the sums of the groups that have means.
HWY_NOINLINE void AddTemplateWeights(const CapsuleSide& side, const float* row, float* direct) {
  for (const TemplateRange& range : side.templates) AddRow(row + range.column, range.count, direct + range.direct);
  for (int32_t g = 0; g < side.means; ++g) {
    FloatV sums = hn::Zero(FloatTag());
    int32_t c = side.column_begins[g];
    for (; c + kWidth <= side.column_begins[g + 1]; c += kWidth) sums = hn::Add(sums, Load(row + c));
    float sum = hn::GetLane(hn::SumOfLanes(FloatTag(), sums));
    for (; c < side.column_begins[g + 1]; ++c) sum += row[c];
    direct[side.template_rows + g] += sum;
  }
}

// In place.
HWY_NOINLINE void HadamardRow(float* row, int32_t dim) {
  if (dim == 64) return Hadamard<64>(row, row);
  Hadamard<128>(row, row);
}

// Rows that a side's bases are multiplied with at a time: groups are short, so what a tile costs to begin and to end is
// shared by as many rows as the registers hold.
constexpr int kMixRows = kWidth == kLanes ? 16 : kProductRows;

// What a tile of products starts from: means of groups, [rows][stride] from the group's on, or zero.
struct MixStart {
  const float* means;  // null: zero
  int64_t stride;
};

template <int kRows, int kVectors>
HWY_INLINE void MixTile(const Operands<DenseRows>& o, const MixStart& start, int32_t column) {
  FloatV sum[kRows][kVectors];
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) {
    const FloatV first = start.means ? Splat(start.means[i * start.stride]) : hn::Zero(FloatTag());
#pragma GCC unroll 8
    for (int j = 0; j < kVectors; ++j) sum[i][j] = first;
  }
  SumTile<kRows, kVectors>(o, column, sum);
  StoreTile<kRows, kVectors>(o, column, sum);
}

// The products of a side's bases with kRows rows, group by group: keys' short rows to columns, values' columns to short
// rows. What a group's whole vectors write too much, the next group writes over. means [rows][stride]: of keys.
template <int kRows, bool kKeys>
HWY_NOINLINE void MixRows(const CapsuleSide& side, const float* from, int64_t from_stride, const MixStart& means, float* to,
                          int64_t to_stride) {
  const auto& inner = kKeys ? side.row_begins : side.column_begins;
  const auto& outer = kKeys ? side.column_begins : side.row_begins;
  for (size_t g = 0; g < side.mix_begins.size(); ++g) {
    const int32_t count = outer[g + 1] - outer[g], columns = (count + kWidth - 1) / kWidth * kWidth;
    const Operands<DenseRows> product = {
        columns,   inner[g + 1] - inner[g], from + inner[g], from_stride,
        DenseRows{side.mix.data() + side.mix_begins[g], RoundToLanes(count)}, to + outer[g], to_stride};
    const MixStart start = {means.means ? means.means + g : nullptr, means.stride};
    InColumns<(kRows <= kProductRows ? TileVectors(kRows) : 1)>(
        columns, 0, [&](auto vectors, int32_t column) { MixTile<kRows, vectors()>(product, start, column); });
  }
}

template <bool kKeys>
HWY_INLINE void Mix(const CapsuleSide& side, int32_t rows, const float* from, int64_t from_stride, MixStart means,
                    float* to, int64_t to_stride) {
  const auto mix = [&](auto block, int32_t first) {
    const MixStart own = {means.means ? means.means + first * means.stride : nullptr, means.stride};
    MixRows<block(), kKeys>(side, from + first * from_stride, from_stride, own, to + first * to_stride, to_stride);
  };
  const int32_t whole = kMixRows > kProductRows ? rows / kMixRows * kMixRows : 0;
  for (int32_t first = 0; first < whole; first += kMixRows) mix(std::integral_constant<int, kMixRows>(), first);
  InRowBlocks<kProductRows>(rows - whole, [&](auto block, int32_t first) { mix(block, whole + first); });
}

// Logits of all tokens, [stacked][padded n].
HWY_INLINE void Logits(const CapsuleOperator& head, std::span<const StackedLook> looks, int32_t stacked,
                       AttentionScratch& scratch, float* shorts, float* weights) {
  const CapsuleSide& side = head.keys;
  const int32_t dim = looks[0].visit->state.dim, padded = RoundToLanes(dim), padded_n = RoundToLanes(head.tokens);
  const int64_t short_stride = Stride(side.rows), stride = Stride(head.tokens);
  float* turned = AttentionScratch::Room(scratch.turned, static_cast<int64_t>(stacked) * padded);
  for (const StackedLook& at : looks) TurnQueries(at, turned + at.row * padded);
  const float* mapped = turned;
  if (!side.signs.empty()) {
    float* to = AttentionScratch::Room(scratch.mapped, static_cast<int64_t>(stacked) * padded);
    for (int32_t i = 0; i < stacked; ++i) {
      const float* from = turned + static_cast<int64_t>(i) * padded;
      float* row = to + static_cast<int64_t>(i) * padded;
      for (int32_t c = 0; c < padded; c += kWidth) Store(hn::Mul(Load(from + c), Load(side.signs.data() + c)), row + c);
      HadamardRow(row, dim);
    }
    mapped = to;
  } else if (!side.map.empty()) {
    float* to = AttentionScratch::Room(scratch.mapped, static_cast<int64_t>(stacked) * padded);
    Product<false>(stacked, padded, dim, turned, padded, DenseRows{side.map.data(), padded}, to, padded);
    mapped = to;
  }
  StoredLogits(side, looks, mapped, scratch, shorts, short_stride);
  const int32_t directs = RoundToLanes(side.directs());
  float* direct = AttentionScratch::Room(scratch.direct, static_cast<int64_t>(stacked) * directs);
  if (directs > 0)
    Product<false>(stacked, directs, dim, turned, padded, DenseRows{side.direct.data(), directs}, direct, directs);
  const MixStart means = {side.means > 0 ? direct + side.template_rows : nullptr, directs};
  Mix<true>(side, stacked, shorts, short_stride, means, weights, stride);
  for (int32_t i = 0; i < stacked; ++i, direct += directs, weights += stride) {
    AddTemplate(side, direct, weights);
    std::fill(weights + head.tokens, weights + padded_n, kMinusInfinity);
  }
}

// One softmax over all looks of each visit.
HWY_NOINLINE void WeighLooks(std::span<const CapsuleVisit> visits, int32_t tokens, float* weights) {
  const int64_t stride = Stride(tokens);
  const int32_t columns = RoundToLanes(tokens);
  for (const CapsuleVisit& visit : visits) {
    const int64_t next = visit.state.rows * stride;  // the same row at the next look
    for (int32_t i = 0; i < visit.state.rows; ++i) {
      float top = kMinusInfinity, sum = 0;
      const float* seen = weights + i * stride;
      for (size_t k = 0; k < visit.looks.size(); ++k, seen += next) top = std::max(top, Largest(seen, columns));
      float* row = weights + i * stride;
      for (size_t k = 0; k < visit.looks.size(); ++k, row += next) sum += WeighUnder(top, row, columns);
      visit.state.max[i] = top;
      visit.state.sum[i] = sum;
    }
    weights += static_cast<int64_t>(visit.looks.size()) * next;
  }
}

// What present rows' weights, of `rows` query rows, are made whole numbers into.
struct WeightsRoom {
  int16_t* rows;  // [rows][stride], zeros after the present rows
  int64_t stride;
  float* steps;
};

// shorts [rows][short_stride], of all m rows of the unit. collected: room for a row of weights.
HWY_INLINE void QuantiseWeights(const PackedTable& table, int32_t m, int32_t rows, const float* shorts,
                                int64_t short_stride, float* collected, const WeightsRoom& to) {
  for (int32_t i = 0; i < rows; ++i) {
    Collect(table, m, shorts + i * short_stride, to.stride, collected);
    to.steps[i] = Quantise(collected, static_cast<int32_t>(to.stride), kTileLevels, to.rows + i * to.stride).step;
  }
}

// sums [rows][CodeStride(dim)] += W C of a packed look, in Untangle's order.
HWY_NOINLINE void AddPackedSums(const CapsuleSide& side, const StackedLook& at, const float* shorts,
                                int64_t short_stride, const uint8_t* next, AttentionScratch& scratch, float* sums) {
  const int32_t dim = at.visit->state.dim, stride = CodeStride(dim), rows = at.rows();
  PackedTable& table = scratch.table;
  UnpackUnit(side, at.look->values, next, dim, false, table);
  const int64_t whole_stride = RoundToLanes(table.present) + kLanes;
  float* collected = AttentionScratch::Room(scratch.dense, whole_stride);
  int16_t* whole = AttentionScratch::Room(scratch.whole, rows * whole_stride);
  float* steps = AttentionScratch::Room(scratch.steps, rows);
  QuantiseWeights(table, side.rows, rows, shorts, short_stride, collected, {whole, whole_stride, steps});
  InRowBlocks<kSumBlock>(rows, [&](auto block, int32_t first) {
    const int64_t row = first;
    WeighedRows<block()>(table, stride, {whole + row * whole_stride, whole_stride, steps + row}, sums + row * stride,
                         stride);
  });
}

// Fewer query rows than this are summed up as quickly by AVX-512 as codes are laid out for tiles.
constexpr int32_t kTiledValueRows = 4;

// Looks whose values are laid out before tiles sum them up.
constexpr size_t kTiledLooks = 8;

// As AddPackedSums of the first kTiledLooks looks of a visit, with tiles.
HWY_NOINLINE void AddTiledSums(const CapsuleSide& side, std::span<const StackedLook> looks, const float* shorts,
                               int64_t short_stride, AttentionScratch& scratch, float* sums) {
  const int32_t dim = looks[0].visit->state.dim, rows = looks[0].rows();
  const size_t count = std::min(kTiledLooks, looks.size());
  const int64_t spans = TileSpans(side.rows), width = spans * kTileSpan;
  const int64_t blocks = (rows + kTileWeightRows - 1) / kTileWeightRows;
  constexpr int64_t kSpanWeights = int64_t{2} * kTileWeightRows * kTileSpan;
  constexpr int32_t kSumSpans = kSumRows / kTileSpan;
  const int64_t parts = (spans + kSumSpans - 1) / kSumSpans;  // whose sums fit 32 bits
  float* collected = AttentionScratch::Room(scratch.dense, width + kLanes);
  int16_t* whole = AttentionScratch::Room(scratch.whole, rows * width);
  float* steps = AttentionScratch::Room(scratch.steps, static_cast<int64_t>(count) * rows);
  int32_t* tops = AttentionScratch::Room(scratch.whole_sums, static_cast<int64_t>(count) * parts * rows);
  uint8_t* codes = AttentionScratch::Room(scratch.tile_codes, static_cast<int64_t>(count) * width * dim);
  uint8_t* weights =
      AttentionScratch::Room(scratch.tile_queries, static_cast<int64_t>(count) * blocks * spans * kSpanWeights);
  int32_t* found = AttentionScratch::Room(scratch.tile_sums, int64_t{2} * kTileWeightRows * dim);
  std::array<int32_t, kTiledLooks> present;
  for (size_t l = 0; l < count; ++l) {
    PackedTable& table = scratch.table;
    UnpackUnit(side, looks[l].look->values, CodesOf(looks, l + 1, &CapsuleLook::values), dim, false, table);
    present[l] = table.present;
    const int64_t own = TileSpans(table.present) * kTileSpan;
    QuantiseWeights(table, side.rows, rows, shorts + looks[l].row * short_stride, short_stride, collected,
                    {whole, own, steps + l * rows});
    for (int32_t i = 0; i < rows; ++i) {
      for (int32_t part = 0; part * kSumRows < table.present; ++part) {
        const int32_t first = part * kSumRows;
        tops[(l * parts + part) * rows + i] = WeighedTops(table, first, std::min(kSumRows, table.present - first),
                                                          whole + i * own + first);
      }
    }
    LayOutTileCodes(table.codes.data(), table.present, dim, codes + static_cast<int64_t>(l) * width * dim);
    for (int64_t block = 0; block < blocks; ++block) {
      const int64_t first = block * kTileWeightRows;
      LayOutTileWeights(whole + first * own, own, static_cast<int32_t>(std::min<int64_t>(kTileWeightRows, rows - first)),
                        table.present, weights + (static_cast<int64_t>(l) * blocks + block) * spans * kSpanWeights);
    }
  }
  const TileScope scope(&kTilesOfWeighedSums);
  for (size_t l = 0; l < count; ++l) {
    for (int32_t part = 0; part * kSumRows < present[l]; ++part) {
      const int64_t span = int64_t{part} * kSumSpans;
      const int64_t covered = std::min<int64_t>(kSumSpans, TileSpans(present[l]) - span);
      for (int64_t block = 0; block < blocks; ++block) {
        const int64_t first = block * kTileWeightRows, rest = std::min<int64_t>(kTileWeightRows, rows - first);
        TileWeighedSums(codes + (static_cast<int64_t>(l) * width + span * kTileSpan) * dim,
                        weights + ((static_cast<int64_t>(l) * blocks + block) * spans + span) * kSpanWeights, covered,
                        dim, found);
        AddTileSums(found, static_cast<int32_t>(rest), dim, steps + l * rows + first,
                    tops + (l * parts + part) * rows + first, sums + first * dim);
      }
    }
  }
}

// W C of all looks of a visit, [rows][padded dim].
HWY_INLINE void StoredSums(const CapsuleSide& side, std::span<const StackedLook> looks, const float* shorts,
                           int64_t short_stride, AttentionScratch& scratch, float* to) {
  const SoftmaxState& state = looks[0].visit->state;
  const int32_t dim = state.dim, padded = RoundToLanes(dim), stride = CodeStride(dim);
  if (side.packed) {
    float* sums = AttentionScratch::Room(scratch.sums, static_cast<int64_t>(state.rows) * 2 * stride);
    float* untangled = sums + static_cast<int64_t>(state.rows) * stride;
    std::fill_n(sums, static_cast<int64_t>(state.rows) * stride, 0.0f);
    if (WithTiles(dim) && state.rows >= kTiledValueRows) {
      for (size_t i = 0; i < looks.size(); i += kTiledLooks)
        AddTiledSums(side, looks.subspan(i), shorts, short_stride, scratch, sums);
    } else {
      for (size_t i = 0; i < looks.size(); ++i) {
        AddPackedSums(side, looks[i], shorts + looks[i].row * short_stride, short_stride,
                      CodesOf(looks, i + 1, &CapsuleLook::values), scratch, sums);
      }
    }
    for (int32_t i = 0; i < state.rows; ++i) {
      Untangle(sums + static_cast<int64_t>(i) * stride, stride, untangled);
      std::copy_n(untangled, padded, to + static_cast<int64_t>(i) * padded);
    }
    return;
  }
  std::fill_n(to, static_cast<int64_t>(state.rows) * padded, 0.0f);
  for (const StackedLook& at : looks) {
    WithType(at.look->rows.dtype, [&](auto type) {
      AddValues<decltype(type), true>(at.look->rows.values, side.rows, dim, state.rows, shorts + at.row * short_stride,
                                      short_stride, scratch, to);
    });
  }
}

// Adds what the values' template gives for all visits, multiplied in one go: it is read once for all of them.
HWY_INLINE void AddDirects(const CapsuleSide& side, std::span<const StackedLook> looks, const float* weights,
                           int64_t stride, AttentionScratch& scratch) {
  const int32_t directs = side.directs(), padded = RoundToLanes(looks[0].visit->state.dim);
  const int64_t direct_stride = RoundToLanes(directs);
  int32_t rows = 0;
  for (const StackedLook& at : looks) rows += at.look == &at.visit->looks.front() ? at.rows() : 0;
  float* direct = AttentionScratch::Room(scratch.direct, rows * direct_stride);
  float* sums = AttentionScratch::Room(scratch.mapped, int64_t{rows} * padded);
  std::fill_n(direct, rows * direct_stride, 0.0f);
  float* own = direct;  // of the visit
  for (const StackedLook& at : looks) {
    for (int32_t i = 0; i < at.rows(); ++i)
      AddTemplateWeights(side, weights + (at.row + i) * stride, own + i * direct_stride);
    if (at.look == &at.visit->looks.back()) own += at.rows() * direct_stride;
  }
  if (side.half_direct.empty()) {
    Product<false>(rows, padded, directs, direct, direct_stride, DenseRows{side.direct.data(), padded}, sums, padded);
  } else {
    const auto* halves = reinterpret_cast<const hwy::float16_t*>(side.half_direct.data());
    Product<false>(rows, padded, directs, direct, direct_stride, HalfRows{halves, padded}, sums, padded);
  }
  for (const StackedLook& at : looks) {
    if (at.look != &at.visit->looks.back()) continue;
    AddRow(sums, at.rows() * padded, at.visit->state.out);
    sums += int64_t{at.rows()} * padded;
  }
}

// Outputs of all visits from the weights of all tokens.
HWY_INLINE void Outputs(const CapsuleOperator& head, std::span<const StackedLook> looks, int32_t stacked,
                        AttentionScratch& scratch, float* shorts, const float* weights) {
  const CapsuleSide& side = head.values;
  const int32_t dim = looks[0].visit->state.dim, padded = RoundToLanes(dim);
  const int64_t short_stride = Stride(side.rows), stride = Stride(head.tokens);
  Mix<false>(side, stacked, weights, stride, {}, shorts, short_stride);
  for (size_t first = 0, next; first < looks.size(); first = next) {
    const SoftmaxState& state = looks[first].visit->state;
    next = first + looks[first].visit->looks.size();
    const std::span<const StackedLook> own = looks.subspan(first, next - first);
    float* sums = side.map.empty() ? state.out
                                   : AttentionScratch::Room(scratch.mapped, static_cast<int64_t>(state.rows) * padded);
    StoredSums(side, own, shorts, short_stride, scratch, sums);
    for (int32_t i = 0; i < state.rows && !side.signs.empty(); ++i) {
      float* row = sums + static_cast<int64_t>(i) * padded;
      HadamardRow(row, dim);
      for (int32_t c = 0; c < padded; c += kWidth) Store(hn::Mul(Load(row + c), Load(side.signs.data() + c)), row + c);
    }
    if (!side.map.empty())
      Product<false>(state.rows, padded, dim, sums, padded, DenseRows{side.map.data(), padded}, state.out, padded);
  }
  if (side.directs() > 0) AddDirects(side, looks, weights, stride, scratch);
}

HWY_INLINE void AttendStacked(const CapsuleOperator& head, std::span<const CapsuleVisit> visits,
                              AttentionScratch& scratch) {
  thread_local std::vector<StackedLook> looks;
  looks.clear();
  int64_t stacked = 0;
  for (const CapsuleVisit& visit : visits) {
    for (const CapsuleLook& look : visit.looks) {
      looks.push_back({&visit, &look, stacked});
      stacked += visit.state.rows;
    }
  }
  const int32_t most = std::max(head.keys.rows, head.values.rows);
  if (static_cast<int32_t>(scratch.wide_rows.size()) < most) scratch.wide_rows.resize(most);
  float* shorts = AttentionScratch::Room(scratch.shorts, stacked * Stride(most));
  float* weights = AttentionScratch::Room(scratch.weights, stacked * Stride(head.tokens));
  PrefetchCodes(looks[0].look->keys);
  Logits(head, looks, static_cast<int32_t>(stacked), scratch, shorts, weights);
  PrefetchCodes(looks[0].look->values);
  WeighLooks(visits, head.tokens, weights);
  Outputs(head, looks, static_cast<int32_t>(stacked), scratch, shorts, weights);
}

void AttendCapsules(const CapsuleOperator& head, std::span<const CapsuleVisit> visits, AttentionScratch& scratch) {
  thread_local std::vector<CapsuleVisit> slices;
  slices.clear();
  int64_t stacked = 0;
  const auto flush = [&] {
    if (!slices.empty()) AttendStacked(head, slices, scratch);
    slices.clear();
    stacked = 0;
  };
  for (const CapsuleVisit& visit : visits) {
    const auto looks = static_cast<int64_t>(visit.looks.size());
    const int32_t most = std::max<int32_t>(1, kStackedRows / looks);
    for (int32_t first = 0; first < visit.state.rows; first += most) {
      const int32_t rows = std::min(most, visit.state.rows - first);
      if (stacked + rows * looks > kStackedRows) flush();
      const int64_t dim = visit.state.dim;
      slices.push_back({visit.looks, visit.queries + first * dim, visit.state.Slice(first, rows)});
      stacked += rows * looks;
    }
  }
  flush();
}

void UnpackCodes(const uint8_t* codes, int32_t bits, int32_t dim, uint8_t* to) {
  WithDim(dim, [&](auto known) { UnpackAnyCodes<known()>(codes, bits, dim, to); });
}

}  // namespace HWY_NAMESPACE
}  // namespace kvcapsule
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kvcapsule {

HWY_EXPORT(AttendCapsules);
HWY_EXPORT(UnpackCodes);

void AttendCapsules(const CapsuleOperator& head, std::span<const CapsuleVisit> visits, AttentionScratch& scratch) {
  HWY_DYNAMIC_DISPATCH(AttendCapsules)(head, visits, scratch);
}

void UnpackCodes(const uint8_t* codes, int32_t bits, int32_t dim, uint8_t* to) {
  HWY_DYNAMIC_DISPATCH(UnpackCodes)(codes, bits, dim, to);
}

}  // namespace kvcapsule
#endif
