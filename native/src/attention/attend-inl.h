// Attention of stacked query rows over one part, panel by panel, for one target: softmax between the two products of
// stream-inl.h, over any source of rows. See kv/simd-inl.h.
#if defined(KVCAPSULE_ATTENTION_ATTEND_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef KVCAPSULE_ATTENTION_ATTEND_INL_H_
#undef KVCAPSULE_ATTENTION_ATTEND_INL_H_
#else
#define KVCAPSULE_ATTENTION_ATTEND_INL_H_
#endif

#include <algorithm>
#include <cmath>

#include "attention/stream-inl.h"
#include "common/half.h"

HWY_BEFORE_NAMESPACE();
namespace kvcapsule {
namespace HWY_NAMESPACE {

HWY_INLINE void MultiplyRow(float* row, const float* factors, int32_t columns) {
  for (int32_t j = 0; j < columns; j += kWidth) Store(hn::Mul(Load(row + j), Load(factors + j)), row + j);
}

// Softmax of one panel for all rows, earlier panels' sums rescaled to the new maximum. Logits are multiplied by their
// keys' factors before it, weights by their values' factors after it; null: by 1.
HWY_INLINE void WeighPanel(float* weights, int32_t first, int32_t count, const Visibility& visibility,
                           const float* key_factors, const float* value_factors, const SoftmaxState& state) {
  const int32_t padded = RoundToLanes(state.dim), columns = RoundToLanes(count);
  for (int32_t i = 0; i < state.rows; ++i) {
    float* row = weights + static_cast<int64_t>(i) * kPanelTokens;
    const int32_t seen =
        visibility.causal ? std::clamp(visibility.seen + i / visibility.group - first, 0, count) : count;
    if (seen == 0) {
      std::fill_n(row, columns, 0.0f);
      continue;
    }
    if (key_factors) MultiplyRow(row, key_factors, columns);
    std::fill(row + seen, row + columns, kMinusInfinity);
    float added = 0;
    const float top = Weigh(row, columns, state.max[i], &added);
    if (top > state.max[i]) {
      const float shrink = std::exp(state.max[i] - top);
      Scale(state.out + static_cast<int64_t>(i) * padded, padded, shrink);
      state.sum[i] *= shrink;
      state.max[i] = top;
    }
    state.sum[i] += added;
    if (value_factors) MultiplyRow(row, value_factors, columns);
  }
}

// Sources give a panel's rows, `count` of them from `first` on, and the factors of WeighPanel.
struct UnscaledSource {
  const float* KeyFactors(int32_t /*first*/, int32_t /*count*/) const { return nullptr; }
  const float* ValueFactors(int32_t /*first*/, int32_t /*count*/) const { return nullptr; }
};

// Of a part's rows, those of the panel that begins at `first`.
HWY_INLINE RowPointers PanelOf(const uint8_t* const* rows, int32_t all, int32_t first, int32_t count) {
  return {rows + first, rows + first + count, std::clamp(all - first - count, 0, kPanelTokens)};
}

// Rows in the pool's type; head_dim is a multiple of kLanes.
template <class T>
struct StoredSource : UnscaledSource {
  const PartRows& part;
  explicit StoredSource(const PartRows& part) : part(part) {}
  StoredRows<T> Keys(int32_t first, int32_t count) const { return {PanelOf(part.keys, part.count, first, count)}; }
  StoredRows<T> Values(int32_t first, int32_t count) const {
    return {PanelOf(part.values, part.count, first, count)};
  }
};

// Rows of any head_dim, made float a panel at a time.
template <class T>
struct PaddedSource : UnscaledSource {
  const PartRows& part;
  int32_t dim;
  AttentionScratch& scratch;
  PaddedSource(const PartRows& part, int32_t dim, AttentionScratch& scratch)
      : part(part), dim(dim), scratch(scratch) {}
  PlainRows Keys(int32_t first, int32_t count) const { return Rows(part.keys + first, count); }
  PlainRows Values(int32_t first, int32_t count) const { return Rows(part.values + first, count); }

 private:
  PlainRows Rows(const uint8_t* const* rows, int32_t count) const {
    Widen<T>(rows, count, dim, scratch.plain, scratch.wide_rows.data());
    return {scratch.plain.data(), RoundToLanes(dim)};
  }
};

// `count` F16 scales from the first-th on as float, readable to a whole panel's. Keys' and values' lie apart.
HWY_INLINE const float* Scales(const uint8_t* stored, int64_t first, int64_t count, int64_t most, KvPart side,
                               AttentionScratch& scratch) {
  float* scales = AttentionScratch::Room(scratch.scales, 2 * most) + (side == KvPart::kKey ? 0 : most);
  ToFloat(Dtype::kF16, stored + 2 * first, count, scales);
  return scales;
}

// Rows of Q8Format; head_dim is a multiple of kLanes.
struct Q8Source {
  const QuantRows& part;
  AttentionScratch& scratch;
  StoredRows<int8_t> Keys(int32_t first, int32_t count) const {
    return {PanelOf(part.keys, part.count, first, count)};
  }
  StoredRows<int8_t> Values(int32_t first, int32_t count) const {
    return {PanelOf(part.values, part.count, first, count)};
  }
  const float* KeyFactors(int32_t first, int32_t count) const {
    return Scales(part.key_scales, first, count, kPanelTokens, KvPart::kKey, scratch);
  }
  const float* ValueFactors(int32_t first, int32_t count) const {
    return Scales(part.value_scales, first, count, kPanelTokens, KvPart::kValue, scratch);
  }
};

// Rows of Q4Format; head_dim is a multiple of its groups.
struct Q4Source : UnscaledSource {
  const QuantRows& part;
  int64_t groups;
  AttentionScratch& scratch;
  Q4Source(const QuantRows& part, int32_t dim, AttentionScratch& scratch)
      : part(part), groups(dim / Q4Format::kGroup), scratch(scratch) {}
  Q4Rows Keys(int32_t first, int32_t count) const {
    return Rows(part.keys, part.key_scales, first, count, KvPart::kKey);
  }
  Q4Rows Values(int32_t first, int32_t count) const {
    return Rows(part.values, part.value_scales, first, count, KvPart::kValue);
  }

 private:
  Q4Rows Rows(const uint8_t* const* rows, const uint8_t* scales, int32_t first, int32_t count, KvPart side) const {
    const int64_t most = kPanelTokens * groups;
    return {PanelOf(rows, part.count, first, count),
            Scales(scales, first * groups, count * groups, most, side, scratch), groups};
  }
};

// Quantised rows of any head_dim, made float a panel at a time.
struct PlainQuantSource : UnscaledSource {
  const QuantRows& part;
  int32_t dim;
  AttentionScratch& scratch;
  PlainQuantSource(const QuantRows& part, int32_t dim, AttentionScratch& scratch)
      : part(part), dim(dim), scratch(scratch) {}
  PlainRows Keys(int32_t first, int32_t count) const { return Rows(part.keys, part.key_scales, first, count); }
  PlainRows Values(int32_t first, int32_t count) const { return Rows(part.values, part.value_scales, first, count); }

 private:
  PlainRows Rows(const uint8_t* const* stored, const uint8_t* scales, int32_t first, int32_t count) const {
    const int32_t group = part.code == QuantCode::kQ8 ? dim : Q4Format::kGroup;
    const int64_t groups = (dim + group - 1) / group, padded = RoundToLanes(dim);
    const float* scale = Scales(scales, first * groups, count * groups, kPanelTokens * groups, KvPart::kKey, scratch);
    float* rows = AttentionScratch::Room(scratch.plain, kPanelTokens * padded);
    std::fill_n(rows, count * padded, 0.0f);
    for (int32_t i = 0; i < count; ++i) {
      for (int32_t begin = 0; begin < dim; begin += group, ++scale)
        PlainGroup(stored[first + i], begin, std::min(group, dim - begin), *scale, rows + i * padded);
    }
    return {rows, padded};
  }
  // Channels [begin, begin + size) of a row, by the formats' definition.
  void PlainGroup(const uint8_t* codes, int32_t begin, int32_t size, float scale, float* row) const {
    if (part.code == QuantCode::kQ8) {
      for (int32_t c = begin; c < begin + size; ++c)
        row[c] = scale * static_cast<float>(static_cast<int8_t>(codes[c]));
      return;
    }
    const int32_t half = size / 2;
    for (int32_t j = 0; j < half; ++j) {
      const uint8_t pair = codes[begin / 2 + j];
      row[begin + j] = scale * static_cast<float>((pair & 15) - 8);
      row[begin + half + j] = scale * static_cast<float>((pair >> 4) - 8);
    }
  }
};

// kVectors: as of FoldRow.
template <int kVectors, class Source>
HWY_INLINE void AttendPanels(const Source& source, int32_t tokens, const Visibility& visibility,
                             const QueryRows& queries, AttentionScratch& scratch, const SoftmaxState& state) {
  const int32_t padded = RoundToLanes(state.dim);
  const bool stream = state.rows <= kStreamRows;
  float* weights = AttentionScratch::Room(scratch.weights, static_cast<int64_t>(state.rows) * kPanelTokens);
  // Nobody has asked for the first panel.
  const auto first_keys = source.Keys(0, 0);
  const auto first_values = source.Values(0, 0);
  for (int32_t row = 0; row < kPanelTokens; ++row) first_keys.Touch(row, padded);
  for (int32_t row = 0; row < kPanelTokens; ++row) first_values.Touch(row, padded);
  for (int32_t first = 0; first < tokens; first += kPanelTokens) {
    const int32_t count = std::min(kPanelTokens, tokens - first);
    const auto keys = source.Keys(first, count);
    if (stream) {
      StreamLogits<kVectors>(keys, count, queries, weights);
    } else {
      float* turned = AttentionScratch::Room(scratch.keys, static_cast<int64_t>(padded) * kPanelTokens);
      Turn(keys, count, queries.vectors, turned);
      TurnedLogits(queries, turned, RoundToLanes(count), weights);
    }
    WeighPanel(weights, first, count, visibility, source.KeyFactors(first, count), source.ValueFactors(first, count),
               state);
    const auto values = source.Values(first, count);
    if (stream) {
      AddWeighted(state.rows, values, {weights, count, state.out, padded});
    } else {
      float* plain = AttentionScratch::Room(scratch.values, static_cast<int64_t>(padded) * kPanelTokens);
      Copy(values, count, padded, plain);
      AddWeighted(state.rows, PlainRows{plain, padded}, {weights, count, state.out, padded});
    }
  }
}

// For head_dim 64 and 128, whose rows fit in registers.
template <class Source>
HWY_INLINE void AttendInRegisters(const Source& source, int32_t tokens, const Visibility& visibility,
                                  const QueryRows& queries, AttentionScratch& scratch, const SoftmaxState& state) {
  if (state.dim == 64) return AttendPanels<64 / kLanes>(source, tokens, visibility, queries, scratch, state);
  AttendPanels<128 / kLanes>(source, tokens, visibility, queries, scratch, state);
}

HWY_INLINE bool FitsRegisters(int32_t dim) { return dim == 64 || dim == 128; }

// Query rows padded with zeros, in cache lines.
HWY_INLINE QueryRows Padded(const float* queries, const SoftmaxState& state, AttentionScratch& scratch) {
  const int32_t padded = RoundToLanes(state.dim);
  float* to = AttentionScratch::Room(scratch.queries, static_cast<int64_t>(state.rows) * padded);
  for (int32_t i = 0; i < state.rows; ++i) {
    float* row = std::copy_n(queries + static_cast<int64_t>(i) * state.dim, state.dim, to + int64_t{i} * padded);
    std::fill(row, to + (i + int64_t{1}) * padded, 0.0f);
  }
  return {to, padded, state.rows, padded / kLanes};
}

}  // namespace HWY_NAMESPACE
}  // namespace kvcapsule
HWY_AFTER_NAMESPACE();
#endif
