#include "lab/attention_variants.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "lab/attention_variants.cc"
#include <hwy/foreach_target.h>

#include "attention/attend-inl.h"

HWY_BEFORE_NAMESPACE();
namespace kvcapsule::HWY_NAMESPACE {

template <class T>
HWY_INLINE void AskAll(const uint8_t* const* rows, int32_t count, int32_t dim) {
  for (int32_t i = 0; i < count; ++i) {
    for (int64_t byte = 0; byte < dim * static_cast<int64_t>(sizeof(T)); byte += kLineBytes) Ask(rows[i] + byte);
  }
}

template <class T>
HWY_INLINE void TurnedOver(const PartRows& part, const float* queries, AttentionScratch& scratch,
                           const SoftmaxState& state) {
  const int32_t dim = state.dim, padded = RoundToLanes(dim);
  float* keys = AttentionScratch::Room(scratch.keys, int64_t{padded} * kPanelTokens);
  float* weights = AttentionScratch::Room(scratch.weights, int64_t{state.rows} * kPanelTokens);
  for (int32_t first = 0; first < part.count; first += kPanelTokens) {
    const int32_t count = std::min(kPanelTokens, part.count - first), columns = RoundToLanes(count);
    const int32_t next = first + count, ahead = std::min(kPanelTokens, part.count - next);
    LoadKeys<T>(part.keys + first, count, dim, scratch, keys, kPanelTokens);
    AskAll<T>(part.keys + next, ahead, dim);
    Product<false>(state.rows, columns, dim, queries, dim, DenseRows{keys, kPanelTokens}, weights, kPanelTokens);
    WeighPanel(weights, first, count, {}, nullptr, nullptr, state);
    AddValues<T, true>(part.values + first, count, dim, state.rows, weights, kPanelTokens, scratch, state.out);
    AskAll<T>(part.values + next, ahead, dim);
  }
}

void TurnedOverAttend(const PartRows& part, const float* queries, AttentionScratch& scratch,
                      const SoftmaxState& state) {
  if (scratch.wide_rows.size() < kPanelTokens) scratch.wide_rows.resize(kPanelTokens);
  WithType(part.dtype, [&](auto type) { TurnedOver<decltype(type)>(part, queries, scratch, state); });
}

template <class T>
struct UnaskedRows : StoredRows<T> {
  HWY_INLINE void Touch(int32_t /*row*/, int32_t /*dim*/) const {}
};
template <class T>
struct NearerRows : StoredRows<T> {
  HWY_INLINE void Touch(int32_t row, int32_t dim) const {
    if (row >= this->ahead) return;
    for (int32_t c = 0; c < dim; c += kLineBytes / sizeof(T)) __builtin_prefetch(As<T>(this->next[row]) + c, 0, 3);
  }
};

template <class Rows>
struct RowsSource : UnscaledSource {
  const PartRows& part;
  explicit RowsSource(const PartRows& part) : part(part) {}
  Rows Keys(int32_t first, int32_t count) const { return {{PanelOf(part.keys, part.count, first, count)}}; }
  Rows Values(int32_t first, int32_t count) const { return {{PanelOf(part.values, part.count, first, count)}}; }
};

template <template <class> class Rows>
HWY_INLINE void AttendThrough(const PartRows& part, const float* queries, AttentionScratch& scratch,
                              const SoftmaxState& state) {
  const QueryRows rows = Padded(queries, state, scratch);
  WithType(part.dtype, [&](auto type) {
    AttendInRegisters(RowsSource<Rows<decltype(type)>>(part), part.count, {}, rows, scratch, state);
  });
}

void UnaskedAttend(const PartRows& part, const float* queries, AttentionScratch& scratch, const SoftmaxState& state) {
  AttendThrough<UnaskedRows>(part, queries, scratch, state);
}
void NearerAttend(const PartRows& part, const float* queries, AttentionScratch& scratch, const SoftmaxState& state) {
  AttendThrough<NearerRows>(part, queries, scratch, state);
}

// Panels of another source as float.
template <class Source>
struct FloatSource {
  const Source& source;
  int64_t padded;
  AttentionScratch& scratch;
  PlainRows Keys(int32_t first, int32_t count) const { return Floats(source.Keys(first, count), count); }
  PlainRows Values(int32_t first, int32_t count) const { return Floats(source.Values(first, count), count); }
  const float* KeyFactors(int32_t first, int32_t count) const { return source.KeyFactors(first, count); }
  const float* ValueFactors(int32_t first, int32_t count) const { return source.ValueFactors(first, count); }

 private:
  template <class Rows>
  PlainRows Floats(const Rows& rows, int32_t count) const {
    float* to = AttentionScratch::Room(scratch.plain, kPanelTokens * padded);
    Copy(rows, count, padded, to);
    return {to, padded};
  }
};

void MadeFloatAttend(const QuantRows& part, const float* queries, AttentionScratch& scratch,
                     const SoftmaxState& state) {
  const QueryRows rows = Padded(queries, state, scratch);
  const auto attend = [&](const auto& source) {
    AttendInRegisters(FloatSource<std::decay_t<decltype(source)>>{source, RoundToLanes(state.dim), scratch},
                      part.count, {}, rows, scratch, state);
  };
  if (part.code == QuantCode::kQ8) return attend(Q8Source{part, scratch});
  attend(Q4Source(part, state.dim, scratch));
}

}  // namespace kvcapsule::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kvcapsule {
HWY_EXPORT(TurnedOverAttend);
HWY_EXPORT(UnaskedAttend);
HWY_EXPORT(NearerAttend);
HWY_EXPORT(MadeFloatAttend);
}  // namespace kvcapsule

namespace kvcapsule::lab {

void AttendTurnedOver(const PartRows& part, const float* queries, AttentionScratch& scratch,
                      const SoftmaxState& state) {
  Clear(state);
  HWY_DYNAMIC_DISPATCH(TurnedOverAttend)(part, queries, scratch, state);
}

void AttendUnasked(const PartRows& part, const float* queries, AttentionScratch& scratch, const SoftmaxState& state) {
  Clear(state);
  HWY_DYNAMIC_DISPATCH(UnaskedAttend)(part, queries, scratch, state);
}

void AttendAskedNearer(const PartRows& part, const float* queries, AttentionScratch& scratch,
                       const SoftmaxState& state) {
  Clear(state);
  HWY_DYNAMIC_DISPATCH(NearerAttend)(part, queries, scratch, state);
}

void AttendMadeFloat(const QuantRows& part, const float* queries, AttentionScratch& scratch,
                     const SoftmaxState& state) {
  Clear(state);
  HWY_DYNAMIC_DISPATCH(MadeFloatAttend)(part, queries, scratch, state);
}

}  // namespace kvcapsule::lab
#endif
