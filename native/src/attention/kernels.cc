#include "attention/kernels.h"

#include <algorithm>
#include <cmath>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "attention/kernels.cc"
#include <hwy/foreach_target.h>

#include "attention/attend-inl.h"

HWY_BEFORE_NAMESPACE();
namespace kvcapsule {
namespace HWY_NAMESPACE {

void ClearState(const SoftmaxState& state) {
  std::fill_n(state.max, state.rows, kMinusInfinity);
  std::fill_n(state.sum, state.rows, 0.0f);
  std::fill_n(state.out, static_cast<int64_t>(state.rows) * RoundToLanes(state.dim), 0.0f);
}

void AttendRows(const PartRows& part, const Visibility& visibility, const float* queries, AttentionScratch& scratch,
                const SoftmaxState& state) {
  ClearState(state);
  const QueryRows rows = Padded(queries, state, scratch);
  WithType(part.dtype, [&](auto type) {
    using T = decltype(type);
    if (FitsRegisters(state.dim))
      return AttendInRegisters(StoredSource<T>(part), part.count, visibility, rows, scratch, state);
    if (scratch.wide_rows.size() < kPanelTokens) scratch.wide_rows.resize(kPanelTokens);
    AttendPanels<0>(PaddedSource<T>(part, state.dim, scratch), part.count, visibility, rows, scratch, state);
  });
}

void AttendQuantRows(const QuantRows& part, const float* queries, AttentionScratch& scratch,
                     const SoftmaxState& state) {
  const int64_t groups =
      part.code == QuantCode::kQ8 ? 1 : (state.dim + Q4Format::kGroup - 1) / Q4Format::kGroup;
  for (int64_t byte = 0; byte < 2 * groups * part.count; byte += kLineBytes) {
    Ask(part.key_scales + byte);
    Ask(part.value_scales + byte);
  }
  ClearState(state);
  const QueryRows rows = Padded(queries, state, scratch);
  if (!FitsRegisters(state.dim))
    return AttendPanels<0>(PlainQuantSource(part, state.dim, scratch), part.count, {}, rows, scratch, state);
  if (part.code == QuantCode::kQ8)
    return AttendInRegisters(Q8Source{part, scratch}, part.count, {}, rows, scratch, state);
  AttendInRegisters(Q4Source(part, state.dim, scratch), part.count, {}, rows, scratch, state);
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
