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

// S = Q C^T of a packed look; zero for the rows that have no bits. queries [rows][padded dim], shorts [rows][stride].
HWY_NOINLINE void PackedLogits(const CapsuleSide& side, const StackedLook& at, const float* queries, const uint8_t* next,
                               AttentionScratch& scratch, float* shorts, int64_t short_stride) {
  const int32_t dim = at.visit->state.dim, padded = RoundToLanes(dim), stride = CodeStride(dim), rows = at.rows();
  PackedTable& table = scratch.table;
  UnpackUnit(side, at.look->keys, next, dim, table);
  scratch.whole.resize(std::max(scratch.whole.size(), static_cast<size_t>(rows) * stride));
  int16_t* whole = scratch.whole.data();
  float* steps = AttentionScratch::Room(scratch.direct, rows);
  scratch.whole_sums.resize(std::max(scratch.whole_sums.size(), static_cast<size_t>(rows)));
  int32_t* sums = scratch.whole_sums.data();
  for (int32_t i = 0; i < rows; ++i) {
    int16_t* row = whole + static_cast<int64_t>(i) * stride;
    const WholeRow made = Quantise(queries + static_cast<int64_t>(i) * padded, padded, MostLevels(stride), row);
    std::fill(row + padded, row + stride, int16_t{0});
    steps[i] = made.step;
    sums[i] = made.sum;
  }
  const int64_t dense_stride = RoundToLanes(table.present) + kLanes;
  float* dense = AttentionScratch::Room(scratch.dense, rows * dense_stride);
  InRowBlocks<kSumBlock>(rows, [&](auto block, int32_t first) {
    const int64_t row = first;
    CodeProducts<block()>(table, stride, {whole + row * stride, stride, steps + row, sums + row},
                          dense + row * dense_stride, dense_stride);
  });
  for (int32_t i = 0; i < rows; ++i) Spread(table, side.rows, dense + i * dense_stride, shorts + i * short_stride);
}

// S = Q C^T of every look, one below the other.
HWY_INLINE void StoredLogits(const CapsuleSide& side, std::span<const StackedLook> looks, const float* queries,
                             AttentionScratch& scratch, float* shorts, int64_t short_stride) {
  const int64_t padded_m = RoundToLanes(side.rows);
  for (size_t i = 0; i < looks.size(); ++i) {
    const StackedLook& at = looks[i];
    const int32_t dim = at.visit->state.dim, padded = RoundToLanes(dim);
    const float* own = queries + at.row * padded;
    float* to = shorts + at.row * short_stride;
    if (side.packed) {
      PackedLogits(side, at, own, CodesOf(looks, i + 1, &CapsuleLook::keys), scratch, to, short_stride);
      continue;
    }
    float* keys = AttentionScratch::Room(scratch.keys, padded * padded_m);
    WithType(at.look->rows.dtype, [&](auto type) {
      LoadKeys<decltype(type)>(at.look->rows.keys, side.rows, dim, scratch, keys, padded_m);
    });
    Product<false>(at.rows(), static_cast<int>(padded_m), dim, own, padded, DenseRows{keys, padded_m}, to, short_stride);
  }
}

HWY_INLINE void AddTo(float* to, int32_t count, FloatV more) {
  int32_t c = 0;
  for (; c + kWidth <= count; c += kWidth) Store(hn::Add(Load(to + c), more), to + c);
  const float rest = hn::GetLane(more);
  for (; c < count; ++c) to[c] += rest;
}

HWY_INLINE void AddRow(const float* from, int32_t count, float* to) {
  int32_t c = 0;
  for (; c + kWidth <= count; c += kWidth) Store(hn::Add(Load(to + c), Load(from + c)), to + c);
  for (; c < count; ++c) to[c] += from[c];
}

// What the template adds to the logits of its own rows, and the means to all rows of their groups.
HWY_NOINLINE void AddTemplate(const CapsuleSide& side, const float* direct, float* row) {
  for (int32_t g = 0; g < side.means; ++g) {
    AddTo(row + side.column_begins[g], side.column_begins[g + 1] - side.column_begins[g],
          Splat(direct[side.template_rows + g]));
  }
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

// The products of a side's bases with kRows rows, group by group: keys' short rows to columns, values' columns to short
// rows. What a group's whole vectors write too much, the next group writes over.
template <int kRows, bool kKeys>
HWY_NOINLINE void MixRows(const CapsuleSide& side, const float* from, int64_t from_stride, float* to, int64_t to_stride) {
  const auto& inner = kKeys ? side.row_begins : side.column_begins;
  const auto& outer = kKeys ? side.column_begins : side.row_begins;
  for (size_t g = 0; g < side.mix_begins.size(); ++g) {
    const int32_t columns = RoundToLanes(outer[g + 1] - outer[g]);
    const Operands<DenseRows> product = {columns, inner[g + 1] - inner[g], from + inner[g], from_stride,
                                         DenseRows{side.mix.data() + side.mix_begins[g], columns}, to + outer[g], to_stride};
    int32_t column = 0;
    for (; column + 2 * kWidth <= columns; column += 2 * kWidth) ProductTile<kRows, 2, false>(product, column);
    for (; column < columns; column += kWidth) ProductTile<kRows, 1, false>(product, column);
  }
}

template <bool kKeys>
HWY_INLINE void Mix(const CapsuleSide& side, int32_t rows, const float* from, int64_t from_stride, float* to,
                    int64_t to_stride) {
  InRowBlocks<kProductRows>(rows, [&](auto block, int32_t first) {
    MixRows<block(), kKeys>(side, from + first * from_stride, from_stride, to + first * to_stride, to_stride);
  });
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
  Mix<true>(side, stacked, shorts, short_stride, weights, stride);
  const int32_t directs = RoundToLanes(side.directs());
  float* direct = AttentionScratch::Room(scratch.direct, static_cast<int64_t>(stacked) * directs);
  if (directs > 0)
    Product<false>(stacked, directs, dim, turned, padded, DenseRows{side.direct.data(), directs}, direct, directs);
  for (int32_t i = 0; i < stacked; ++i, direct += directs, weights += stride) {
    if (directs > 0) AddTemplate(side, direct, weights);
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

// sums [rows][CodeStride(dim)] += W C of a packed look, in Untangle's order.
HWY_NOINLINE void AddPackedSums(const CapsuleSide& side, const StackedLook& at, const float* shorts,
                                int64_t short_stride, const uint8_t* next, AttentionScratch& scratch, float* sums) {
  const int32_t dim = at.visit->state.dim, stride = CodeStride(dim), rows = at.rows();
  PackedTable& table = scratch.table;
  UnpackUnit(side, at.look->values, next, dim, table);
  const int64_t whole_stride = RoundToLanes(table.present) + kLanes;
  float* collected = AttentionScratch::Room(scratch.dense, whole_stride);
  scratch.whole.resize(std::max(scratch.whole.size(), static_cast<size_t>(rows * whole_stride)));
  int16_t* whole = scratch.whole.data();
  float* steps = AttentionScratch::Room(scratch.direct, rows);
  for (int32_t i = 0; i < rows; ++i) {
    Collect(table, side.rows, shorts + i * short_stride, whole_stride, collected);
    steps[i] = Quantise(collected, static_cast<int32_t>(whole_stride), INT16_MAX, whole + i * whole_stride).step;
  }
  InRowBlocks<kSumBlock>(rows, [&](auto block, int32_t first) {
    const int64_t row = first;
    WeighedRows<block()>(table, stride, {whole + row * whole_stride, whole_stride, steps + row}, sums + row * stride,
                         stride);
  });
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
    for (size_t i = 0; i < looks.size(); ++i) {
      AddPackedSums(side, looks[i], shorts + looks[i].row * short_stride, short_stride,
                    CodesOf(looks, i + 1, &CapsuleLook::values), scratch, sums);
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

// Outputs of all visits from the weights of all tokens.
HWY_INLINE void Outputs(const CapsuleOperator& head, std::span<const StackedLook> looks, int32_t stacked,
                        AttentionScratch& scratch, float* shorts, const float* weights) {
  const CapsuleSide& side = head.values;
  const int32_t dim = looks[0].visit->state.dim, padded = RoundToLanes(dim);
  const int64_t short_stride = Stride(side.rows), stride = Stride(head.tokens);
  Mix<false>(side, stacked, weights, stride, shorts, short_stride);
  const int32_t directs = side.directs();
  const int64_t direct_stride = RoundToLanes(directs);
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
    if (directs == 0) continue;
    float* direct = AttentionScratch::Room(scratch.direct, state.rows * direct_stride);
    std::fill_n(direct, state.rows * direct_stride, 0.0f);
    for (const StackedLook& at : own) {
      for (int32_t i = 0; i < state.rows; ++i)
        AddTemplateWeights(side, weights + (at.row + i) * stride, direct + i * direct_stride);
    }
    Product<true>(state.rows, padded, directs, direct, direct_stride, DenseRows{side.direct.data(), padded}, state.out,
                  padded);
  }
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
