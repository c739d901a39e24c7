#include "attention/kernels.h"

#include <algorithm>
#include <cmath>

#include "common/half.h"
#include "kv/codec/q4/q4_format.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "attention/kernels.cc"
#include <hwy/foreach_target.h>

#include "attention/panel-inl.h"

HWY_BEFORE_NAMESPACE();
namespace kvcapsule {
namespace HWY_NAMESPACE {

// Softmax of one panel for all rows, earlier panels' sums rescaled to the new maximum.
HWY_INLINE void WeighPanel(float* weights, int32_t first, int32_t count, int32_t columns, const Visibility& visibility,
                           const SoftmaxState& state) {
  const int32_t padded = RoundToLanes(state.dim);
  for (int32_t i = 0; i < state.rows; ++i) {
    float* row = weights + static_cast<int64_t>(i) * kPanelTokens;
    const int32_t seen =
        visibility.causal ? std::clamp(visibility.seen + i / visibility.group - first, 0, count) : count;
    if (seen == 0) {
      std::fill_n(row, columns, 0.0f);
      continue;
    }
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
  }
}

// Panels of rows in the pool's type.
template <class T>
struct StoredPanels {
  using Element = T;
  const PartRows& part;
  int32_t count() const { return part.count; }
  const uint8_t* const* Keys(int32_t first, int32_t /*count*/) const { return part.keys + first; }
  const uint8_t* const* Values(int32_t first, int32_t /*count*/) const { return part.values + first; }
  void PrefetchKey(int32_t row, int64_t bytes) const { Prefetch(part.keys[row], bytes); }
  void PrefetchValue(int32_t row, int64_t bytes) const { Prefetch(part.values[row], bytes); }
};

HWY_INLINE void PlainQ8(const uint8_t* codes, const float* scales, int32_t dim, float* row) {
  const hn::Rebind<int8_t, FloatTag> narrow;
  const hn::RebindToSigned<FloatTag> whole;
  const auto* from = reinterpret_cast<const int8_t*>(codes);
  const FloatV scale = Splat(scales[0]);
  int32_t c = 0;
  for (; c + kWidth <= dim; c += kWidth) {
    const auto code = hn::ConvertTo(FloatTag(), hn::PromoteTo(whole, hn::LoadU(narrow, from + c)));
    Store(hn::Mul(code, scale), row + c);
  }
  for (; c < dim; ++c) row[c] = scales[0] * static_cast<float>(from[c]);
}

HWY_INLINE void PlainQ4(const uint8_t* codes, const float* scales, int32_t dim, float* row) {
  const hn::Rebind<uint8_t, FloatTag> narrow;
  const hn::RebindToSigned<FloatTag> whole;
  const auto low = hn::Set(whole, 15);
  const FloatV middle = Splat(8);
  for (int32_t first = 0; first < dim; first += Q4Format::kGroup, ++scales) {
    const int32_t half = std::min(Q4Format::kGroup, dim - first) / 2;
    const uint8_t* from = codes + first / 2;
    float* to = row + first;
    const FloatV scale = Splat(*scales);
    int32_t j = 0;
    for (; j + kWidth <= half; j += kWidth) {
      const auto pair = hn::PromoteTo(whole, hn::LoadU(narrow, from + j));
      const FloatV lower = hn::ConvertTo(FloatTag(), hn::And(pair, low));
      const FloatV upper = hn::ConvertTo(FloatTag(), hn::ShiftRight<4>(pair));
      Store(hn::Mul(hn::Sub(lower, middle), scale), to + j);
      Store(hn::Mul(hn::Sub(upper, middle), scale), to + half + j);
    }
    for (; j < half; ++j) {
      to[j] = *scales * static_cast<float>((from[j] & 15) - 8);
      to[half + j] = *scales * static_cast<float>((from[j] >> 4) - 8);
    }
  }
}

// Panels of quantised rows, made float a panel at a time.
struct QuantPanels {
  using Element = float;
  const QuantRows& part;
  int32_t dim;
  AttentionScratch& scratch;

  int32_t count() const { return part.count; }
  const uint8_t* const* Keys(int32_t first, int32_t count) const {
    return Plain(part.key_codes, part.key_scales, first, count);
  }
  const uint8_t* const* Values(int32_t first, int32_t count) const {
    return Plain(part.value_codes, part.value_scales, first, count);
  }
  // Codes lie one after the other: the machine looks ahead by itself.
  void PrefetchKey(int32_t /*row*/, int64_t /*bytes*/) const {}
  void PrefetchValue(int32_t /*row*/, int64_t /*bytes*/) const {}

 private:
  const uint8_t* const* Plain(const uint8_t* codes, const uint8_t* stored, int32_t first, int32_t count) const {
    const bool q8 = part.code == QuantCode::kQ8;
    const int64_t row_bytes = q8 ? dim : dim / 2;
    const int64_t groups = q8 ? 1 : (dim + Q4Format::kGroup - 1) / Q4Format::kGroup;
    float* rows = AttentionScratch::Room(scratch.plain, kPanelTokens * (dim + groups));
    float* scales = rows + static_cast<int64_t>(kPanelTokens) * dim;
    ToFloat(Dtype::kF16, stored + 2 * groups * first, groups * count, scales);
    codes += row_bytes * first;
    for (int32_t i = 0; i < count; ++i) {
      float* row = rows + static_cast<int64_t>(i) * dim;
      if (q8) {
        PlainQ8(codes + i * row_bytes, scales + i, dim, row);
      } else {
        PlainQ4(codes + i * row_bytes, scales + i * groups, dim, row);
      }
      scratch.plain_rows[i] = reinterpret_cast<const uint8_t*>(row);
    }
    return scratch.plain_rows.data();
  }
};

template <class Panels>
HWY_INLINE void AttendPanels(const Panels& panels, const Visibility& visibility, const float* queries,
                             AttentionScratch& scratch, const SoftmaxState& state) {
  using T = typename Panels::Element;
  const int32_t dim = state.dim, padded = RoundToLanes(dim);
  float* keys = AttentionScratch::Room(scratch.keys, static_cast<int64_t>(padded) * kPanelTokens);
  float* weights = AttentionScratch::Room(scratch.weights, static_cast<int64_t>(state.rows) * kPanelTokens);
  const int64_t row_bytes = dim * static_cast<int64_t>(sizeof(T));
  for (int32_t first = 0; first < panels.count(); first += kPanelTokens) {
    const int32_t count = std::min(kPanelTokens, panels.count() - first);
    const int32_t next = first + count, ahead = std::min(kPanelTokens, panels.count() - next);
    LoadKeys<T>(panels.Keys(first, count), count, dim, scratch, keys, kPanelTokens);
    for (int32_t i = 0; i < ahead; ++i) panels.PrefetchKey(next + i, row_bytes);
    const int32_t columns = RoundToLanes(count);
    Product<false>(state.rows, columns, dim, queries, dim, DenseRows{keys, kPanelTokens}, weights, kPanelTokens);
    WeighPanel(weights, first, count, columns, visibility, state);
    AddValues<T, true>(panels.Values(first, count), count, dim, state.rows, weights, kPanelTokens, scratch, state.out);
    for (int32_t i = 0; i < ahead; ++i) panels.PrefetchValue(next + i, row_bytes);
  }
}

void ClearState(const SoftmaxState& state) {
  std::fill_n(state.max, state.rows, kMinusInfinity);
  std::fill_n(state.sum, state.rows, 0.0f);
  std::fill_n(state.out, static_cast<int64_t>(state.rows) * RoundToLanes(state.dim), 0.0f);
}

HWY_INLINE void BeginRows(AttentionScratch& scratch, const SoftmaxState& state) {
  ClearState(state);
  scratch.wide_rows.resize(std::max<size_t>(scratch.wide_rows.size(), kPanelTokens));
  scratch.plain_rows.resize(kPanelTokens);
}

void AttendRows(const PartRows& part, const Visibility& visibility, const float* queries, AttentionScratch& scratch,
                const SoftmaxState& state) {
  BeginRows(scratch, state);
  WithType(part.dtype, [&](auto type) {
    AttendPanels(StoredPanels<decltype(type)>{part}, visibility, queries, scratch, state);
  });
}

void AttendQuantRows(const QuantRows& part, const float* queries, AttentionScratch& scratch,
                     const SoftmaxState& state) {
  BeginRows(scratch, state);
  AttendPanels(QuantPanels{part, state.dim, scratch}, {}, queries, scratch, state);
}

void Merge(const SoftmaxState& part, const SoftmaxState& into) {
  const int32_t padded = RoundToLanes(into.dim);
  for (int32_t i = 0; i < into.rows; ++i) {
    if (part.sum[i] == 0) continue;
    const float top = std::max(part.max[i], into.max[i]);
    const float before = std::exp(into.max[i] - top), now = std::exp(part.max[i] - top);
    into.sum[i] = into.sum[i] * before + part.sum[i] * now;
    into.max[i] = top;
    const float* from = part.out + static_cast<int64_t>(i) * padded;
    float* out = into.out + static_cast<int64_t>(i) * padded;
    for (int32_t c = 0; c < padded; c += kWidth) {
      const FloatV kept = hn::Mul(Load(out + c), Splat(before));
      Store(hn::MulAdd(Load(from + c), Splat(now), kept), out + c);
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace kvcapsule
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kvcapsule {

HWY_EXPORT(AttendRows);
HWY_EXPORT(AttendQuantRows);
HWY_EXPORT(ClearState);
HWY_EXPORT(Merge);

void AttendRows(const PartRows& part, const Visibility& visibility, const float* queries, AttentionScratch& scratch,
                const SoftmaxState& state) {
  HWY_DYNAMIC_DISPATCH(AttendRows)(part, visibility, queries, scratch, state);
}

void AttendQuantRows(const QuantRows& part, const float* queries, AttentionScratch& scratch,
                     const SoftmaxState& state) {
  HWY_DYNAMIC_DISPATCH(AttendQuantRows)(part, queries, scratch, state);
}

void Clear(const SoftmaxState& state) { HWY_DYNAMIC_DISPATCH(ClearState)(state); }

void Merge(const SoftmaxState& part, const SoftmaxState& into) { HWY_DYNAMIC_DISPATCH(Merge)(part, into); }

}  // namespace kvcapsule
#endif
