// Attention over fitted capsules. Oracle: KvFormat::Decode under test/attention_test.cc.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "attention/kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "attention/capsule_kernel.cc"
#include <hwy/foreach_target.h>

#include "attention/panel-inl.h"
#include "attention/unpack-inl.h"

HWY_BEFORE_NAMESPACE();
namespace kvcapsule {
namespace HWY_NAMESPACE {

// Stored rows of one unit as padded float rows in scratch.values: only those with bits, one after the other;
// scratch.present says which they are. A third to a half of a picture's rows
// have none: their coefficient is zero, so they take part in no product.
HWY_INLINE const float* Unpack(const CapsuleSide& side, const PackedRows& packed, int32_t dim, AttentionScratch& scratch) {
  const int32_t padded = RoundToLanes(dim);
  float* rows = AttentionScratch::Room(scratch.values, static_cast<int64_t>(side.rows) * padded);
  scratch.present.clear();
  for (int32_t r = 0; r < side.rows; ++r) {
    const PackedRow& stored = packed.table[r];
    if (stored.bits == 0) continue;
    float* row = rows + static_cast<int64_t>(scratch.present.size()) * padded;
    UnpackAnyRow(packed.codes + (stored.offset - packed.table[0].offset), stored.scale, stored.bits, dim, row);
    std::fill(row + dim, row + padded, 0.0f);
    scratch.present.push_back(r);
  }
  return rows;
}

// Rows of logits and of stored rows' sums are so far apart: groups are written one after the other in whole vectors,
// each over what the one before it wrote too much, and the last one's surplus still lies in its own row.
constexpr int64_t Stride(int32_t count) { return RoundToLanes(count + kLanes - 1); }

// The query rows of a visit turned back to position 0, padded.
HWY_INLINE void TurnQueries(const CapsuleVisit& visit, float* to) {
  const int32_t dim = visit.state.dim, padded = RoundToLanes(dim), half = dim / 2;
  for (int32_t i = 0; i < visit.state.rows; ++i, to += padded) {
    const float* from = visit.queries + static_cast<int64_t>(i) * dim;
    std::copy_n(from, dim, to);
    std::fill(to + dim, to + padded, 0.0f);
    if (!visit.turn) continue;
    for (int32_t c = 0; c < half; ++c) {
      const float cosine = visit.turn[c], sine = visit.turn[half + c];
      to[c] = from[c] * cosine - from[half + c] * sine;
      to[half + c] = from[c] * sine + from[half + c] * cosine;
    }
  }
}

// S = Q C^T of a packed visit; zero for the rows that have no bits.
HWY_INLINE void PackedLogits(const CapsuleSide& side, const CapsuleVisit& visit, const float* queries, int64_t stride,
                             AttentionScratch& scratch, float* shorts, int64_t short_stride) {
  const int32_t dim = visit.state.dim, padded = RoundToLanes(dim);
  const float* rows = Unpack(side, visit.keys, dim, scratch);
  const auto present = static_cast<int32_t>(scratch.present.size());
  const int64_t padded_present = RoundToLanes(present);
  float* keys = AttentionScratch::Room(scratch.keys, padded * padded_present);
  for (int32_t r = 0; r < present; ++r)
    scratch.wide_rows[r] = reinterpret_cast<const uint8_t*>(rows + static_cast<int64_t>(r) * padded);
  LoadTransposed<float>(scratch.wide_rows.data(), present, padded, keys, padded_present);
  float* dense = AttentionScratch::Room(scratch.dense, visit.state.rows * padded_present);
  Product<false>(visit.state.rows, static_cast<int>(padded_present), dim, queries, stride,
                 DenseRows{keys, padded_present}, dense, padded_present);
  for (int32_t i = 0; i < visit.state.rows; ++i, shorts += short_stride, dense += padded_present) {
    std::fill_n(shorts, side.rows, 0.0f);
    for (int32_t r = 0; r < present; ++r) shorts[scratch.present[r]] = dense[r];
  }
}

// S = Q C^T of every visit, one below the other.
HWY_INLINE void StoredLogits(const CapsuleSide& side, std::span<const CapsuleVisit> visits, const float* queries,
                             int64_t stride, AttentionScratch& scratch, float* shorts, int64_t short_stride) {
  const int64_t padded_m = RoundToLanes(side.rows);
  for (const CapsuleVisit& visit : visits) {
    if (side.packed) {
      PackedLogits(side, visit, queries, stride, scratch, shorts, short_stride);
    } else {
      const int32_t dim = visit.state.dim;
      float* keys = AttentionScratch::Room(scratch.keys, RoundToLanes(dim) * padded_m);
      WithType(visit.rows.dtype, [&](auto type) {
        LoadKeys<decltype(type)>(visit.rows.keys, side.rows, dim, scratch, keys, padded_m);
      });
      Product<false>(visit.state.rows, static_cast<int>(padded_m), dim, queries, stride, DenseRows{keys, padded_m},
                     shorts, short_stride);
    }
    queries += visit.state.rows * stride;
    shorts += visit.state.rows * short_stride;
  }
}

// What the template adds to the logits of its own rows, and the means to all rows of their groups.
HWY_INLINE void AddTemplate(const CapsuleSide& side, const float* direct, float* row) {
  const auto t = static_cast<int32_t>(side.template_columns.size());
  for (int32_t g = 0; g < side.means; ++g) {
    const float common = direct[t + g];
    int32_t c = side.column_begins[g];
    for (; c + kWidth <= side.column_begins[g + 1]; c += kWidth)
      Store(hn::Add(Load(row + c), Splat(common)), row + c);
    for (; c < side.column_begins[g + 1]; ++c) row[c] += common;
  }
  for (int32_t k = 0; k < t; ++k) row[side.template_columns[k]] += direct[k];
}

// Weights of the template's rows, then the sums of the groups that have means.
HWY_INLINE void TemplateWeights(const CapsuleSide& side, const float* row, float* direct) {
  for (const int32_t column : side.template_columns) *direct++ = row[column];
  for (int32_t g = 0; g < side.means; ++g) {
    FloatV sums = hn::Zero(FloatTag());
    int32_t c = side.column_begins[g];
    for (; c + kWidth <= side.column_begins[g + 1]; c += kWidth) sums = hn::Add(sums, Load(row + c));
    float sum = hn::GetLane(hn::SumOfLanes(FloatTag(), sums));
    for (; c < side.column_begins[g + 1]; ++c) sum += row[c];
    *direct++ = sum;
  }
}

// Logits of all tokens, [stacked][padded n].
HWY_INLINE void Logits(const CapsuleOperator& head, std::span<const CapsuleVisit> visits, int32_t stacked,
                       AttentionScratch& scratch, float* shorts, float* weights) {
  const CapsuleSide& side = head.keys;
  const int32_t dim = visits[0].state.dim, padded = RoundToLanes(dim);
  const int64_t short_stride = Stride(side.rows), stride = Stride(head.tokens);
  float* turned = AttentionScratch::Room(scratch.turned, static_cast<int64_t>(stacked) * padded);
  for (float* to = turned; const CapsuleVisit& visit : visits) {
    TurnQueries(visit, to);
    to += static_cast<int64_t>(visit.state.rows) * padded;
  }
  const float* mapped = turned;
  if (!side.map.empty()) {
    float* to = AttentionScratch::Room(scratch.mapped, static_cast<int64_t>(stacked) * padded);
    Product<false>(stacked, padded, dim, turned, padded, DenseRows{side.map.data(), padded}, to, padded);
    mapped = to;
  }
  StoredLogits(side, visits, mapped, padded, scratch, shorts, short_stride);
  for (size_t g = 0; g < side.mix_begins.size(); ++g) {
    const int32_t columns = RoundToLanes(side.column_begins[g + 1] - side.column_begins[g]);
    Product<false>(stacked, columns, side.row_begins[g + 1] - side.row_begins[g], shorts + side.row_begins[g],
                   short_stride, DenseRows{side.mix.data() + side.mix_begins[g], columns},
                   weights + side.column_begins[g], stride);
  }
  const int32_t directs = RoundToLanes(static_cast<int32_t>(side.template_columns.size()) + side.means);
  if (directs > 0) {
    float* direct = AttentionScratch::Room(scratch.direct, static_cast<int64_t>(stacked) * directs);
    Product<false>(stacked, directs, dim, turned, padded, DenseRows{side.direct.data(), directs}, direct, directs);
  }
  for (int32_t i = 0; i < stacked; ++i) {
    float* row = weights + i * stride;
    const int32_t padded_n = RoundToLanes(head.tokens);
    if (directs > 0) AddTemplate(side, scratch.direct.data() + static_cast<int64_t>(i) * directs, row);
    std::fill(row + head.tokens, row + padded_n, kMinusInfinity);
  }
}

// Outputs of all visits from the weights of all tokens.
HWY_INLINE void Outputs(const CapsuleOperator& head, std::span<const CapsuleVisit> visits, int32_t stacked,
                        AttentionScratch& scratch, float* shorts, const float* weights) {
  const CapsuleSide& side = head.values;
  const int32_t dim = visits[0].state.dim, padded = RoundToLanes(dim);
  const int64_t short_stride = Stride(side.rows), stride = Stride(head.tokens);
  for (size_t g = 0; g < side.mix_begins.size(); ++g) {
    const int32_t rows = RoundToLanes(side.row_begins[g + 1] - side.row_begins[g]);
    Product<false>(stacked, rows, side.column_begins[g + 1] - side.column_begins[g],
                   weights + side.column_begins[g], stride, DenseRows{side.mix.data() + side.mix_begins[g], rows},
                   shorts + side.row_begins[g], short_stride);
  }
  const int32_t directs = static_cast<int32_t>(side.template_columns.size()) + side.means;
  for (const CapsuleVisit& visit : visits) {
    const SoftmaxState& state = visit.state;
    float* sums = side.map.empty()
                      ? state.out
                      : AttentionScratch::Room(scratch.mapped, static_cast<int64_t>(state.rows) * padded);
    if (!side.packed) {
      WithType(visit.rows.dtype, [&](auto type) {
        AddValues<decltype(type), false>(visit.rows.values, side.rows, dim, state.rows, shorts, short_stride, scratch, sums);
      });
    } else {
      const float* rows = Unpack(side, visit.values, dim, scratch);
      const auto present = static_cast<int32_t>(scratch.present.size());
      float* dense = AttentionScratch::Room(scratch.dense, static_cast<int64_t>(state.rows) * present);
      for (int32_t i = 0; i < state.rows; ++i)
        for (int32_t r = 0; r < present; ++r)
          dense[static_cast<int64_t>(i) * present + r] = shorts[i * short_stride + scratch.present[r]];
      Product<false>(state.rows, padded, present, dense, present, DenseRows{rows, padded}, sums, padded);
    }
    if (!side.map.empty())
      Product<false>(state.rows, padded, dim, sums, padded, DenseRows{side.map.data(), padded}, state.out, padded);
    if (directs > 0) {
      float* direct = AttentionScratch::Room(scratch.direct, static_cast<int64_t>(state.rows) * directs);
      for (int32_t i = 0; i < state.rows; ++i)
        TemplateWeights(side, weights + i * stride, direct + static_cast<int64_t>(i) * directs);
      Product<true>(state.rows, padded, directs, direct, directs, DenseRows{side.direct.data(), padded}, state.out,
                    padded);
    }
    shorts += state.rows * short_stride;
    weights += state.rows * stride;
  }
}

void AttendCapsules(const CapsuleOperator& head, std::span<const CapsuleVisit> visits, AttentionScratch& scratch) {
  const int64_t stride = Stride(head.tokens);
  const int32_t most = std::max(head.keys.rows, head.values.rows);
  int32_t stacked = 0;
  for (const CapsuleVisit& visit : visits) stacked += visit.state.rows;
  if (static_cast<int32_t>(scratch.wide_rows.size()) < most) scratch.wide_rows.resize(most);
  float* shorts = AttentionScratch::Room(scratch.shorts, stacked * Stride(most));
  float* weights = AttentionScratch::Room(scratch.weights, stacked * stride);
  Logits(head, visits, stacked, scratch, shorts, weights);
  float* row = weights;
  for (const CapsuleVisit& visit : visits) {
    for (int32_t i = 0; i < visit.state.rows; ++i, row += stride)
      visit.state.max[i] = Weigh(row, RoundToLanes(head.tokens), kMinusInfinity, &visit.state.sum[i]);
  }
  Outputs(head, visits, stacked, scratch, shorts, weights);
}

void UnpackRow(const uint8_t* codes, float scale, int32_t bits, int32_t dim, float* row) {
  UnpackAnyRow(codes, scale, bits, dim, row);
}

}  // namespace HWY_NAMESPACE
}  // namespace kvcapsule
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kvcapsule {

HWY_EXPORT(AttendCapsules);
HWY_EXPORT(UnpackRow);

void AttendCapsules(const CapsuleOperator& head, std::span<const CapsuleVisit> visits, AttentionScratch& scratch) {
  HWY_DYNAMIC_DISPATCH(AttendCapsules)(head, visits, scratch);
}

void UnpackRow(const uint8_t* codes, float scale, int32_t bits, int32_t dim, float* row) {
  HWY_DYNAMIC_DISPATCH(UnpackRow)(codes, scale, bits, dim, row);
}

}  // namespace kvcapsule
#endif
