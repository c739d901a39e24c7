// Panels of rows for one target: loading, turning over, weighing. See kv/simd-inl.h.
#if defined(KVCAPSULE_ATTENTION_PANEL_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef KVCAPSULE_ATTENTION_PANEL_INL_H_
#undef KVCAPSULE_ATTENTION_PANEL_INL_H_
#else
#define KVCAPSULE_ATTENTION_PANEL_INL_H_
#endif

#include <algorithm>
#include <limits>
#include <vector>

#include "attention/kernels.h"
#include "kv/gemm-inl.h"

HWY_BEFORE_NAMESPACE();
namespace kvcapsule {
namespace HWY_NAMESPACE {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

// Tokens whose keys and weights stay in the first-level cache together.
constexpr int32_t kPanelTokens = 64;

// Up to this many query rows, values are converted as they are multiplied: once or twice, without a copy.
constexpr int32_t kFewRows = 2 * kProductRows;

template <class T>
HWY_INLINE const T* As(const uint8_t* row) {
  return reinterpret_cast<const T*>(row);
}

// to [head_dim][stride]: count rows of dim elements as columns. Up to kWidth - 1 columns more are written.
template <class T>
HWY_INLINE void LoadTransposed(const uint8_t* const* rows, int32_t count, int32_t dim, float* to, int64_t stride) {
  for (int32_t first = 0; first < count; first += kWidth) {
    for (int32_t column = 0; column < dim; column += kWidth) {
      FloatV square[kWidth];
#pragma GCC unroll 16
      for (int i = 0; i < kWidth; ++i)
        square[i] = LoadWide(As<T>(rows[std::min(first + i, count - 1)]) + column);
      StoreTransposed(square, to + column * stride + first, stride);
    }
  }
}

// Rows as float, padded with zeros to whole vectors; pointers to them in wide_rows.
template <class T>
void Widen(const uint8_t* const* rows, int32_t count, int32_t dim, AlignedVector<float>& room, const uint8_t** wide_rows) {
  const int32_t padded = RoundToLanes(dim);
  float* to = AttentionScratch::Room(room, static_cast<int64_t>(count) * padded);
  for (int32_t i = 0; i < count; ++i, to += padded) {
    int32_t c = 0;
    for (; c + kWidth <= dim; c += kWidth) Store(LoadWide(As<T>(rows[i]) + c), to + c);
    if (c < dim) {
      T rest[kWidth] = {};
      std::copy_n(As<T>(rows[i]) + c, dim - c, rest);
      Store(LoadWide(rest), to + c);
      c += kWidth;
    }
    for (; c < padded; c += kWidth) Store(hn::Zero(FloatTag()), to + c);
    wide_rows[i] = reinterpret_cast<const uint8_t*>(to);
  }
}

// Calls go(T) with a value of the element type.
template <class Go>
HWY_INLINE void WithType(Dtype dtype, Go go) {
  switch (dtype) {
    case Dtype::kF32: return go(float{});
    case Dtype::kF16: return go(hwy::float16_t{});
    case Dtype::kBF16: return go(hwy::bfloat16_t{});
  }
}

// keys [RoundToLanes(dim)][stride] of count rows.
template <class T>
HWY_INLINE void LoadKeys(const uint8_t* const* rows, int32_t count, int32_t dim, AttentionScratch& scratch, float* keys,
                         int64_t stride) {
  if (dim % kLanes == 0) return LoadTransposed<T>(rows, count, dim, keys, stride);
  const uint8_t** wide = scratch.wide_rows.data();
  Widen<T>(rows, count, dim, scratch.values, wide);
  LoadTransposed<float>(wide, count, RoundToLanes(dim), keys, stride);
}

// out [m][RoundToLanes(dim)] += a [m][lda] times count rows of values.
template <class T, bool kAccumulate>
HWY_INLINE void AddValues(const uint8_t* const* rows, int32_t count, int32_t dim, int32_t m, const float* a, int64_t lda,
                          AttentionScratch& scratch, float* out) {
  const int32_t padded = RoundToLanes(dim);
  if (dim == padded && m <= kFewRows)
    return Product<kAccumulate>(m, dim, count, a, lda, ScatteredRows<T>{rows}, out, padded);
  const uint8_t** wide = scratch.wide_rows.data();
  Widen<T>(rows, count, dim, scratch.values, wide);
  Product<kAccumulate>(m, padded, count, a, lda, DenseRows{scratch.values.data(), padded}, out, padded);
}

// Of a row's numbers and `least`.
HWY_INLINE float Largest(const float* row, int32_t columns, float least = kMinusInfinity) {
  FloatV widest = Splat(least);
  for (int32_t j = 0; j < columns; j += kWidth) widest = hn::Max(widest, Load(row + j));
  // In all panels but the first few nothing is larger, which is known sooner than what is largest.
  if (hn::AllFalse(FloatTag(), hn::Gt(widest, Splat(least)))) return least;
  return hn::GetLane(hn::MaxOfLanes(FloatTag(), widest));
}

// Turns a row's logits into weights under `top`, which none passes; returns their sum.
HWY_INLINE float WeighUnder(float top, float* logits, int32_t columns) {
  const FloatTag d;
  const FloatV peak = Splat(top);
  FloatV total = hn::Zero(d);
  for (int32_t j = 0; j < columns; j += kWidth) {
    const FloatV weight = Exp(hn::Sub(Load(logits + j), peak));
    Store(weight, logits + j);
    total = hn::Add(total, weight);
  }
  return hn::GetLane(hn::SumOfLanes(d, total));
}

// The same under max(top, the row's largest); returns that maximum.
HWY_INLINE float Weigh(float* logits, int32_t columns, float top, float* added) {
  top = Largest(logits, columns, top);
  *added = WeighUnder(top, logits, columns);
  return top;
}

HWY_INLINE void Scale(float* row, int32_t count, float factor) {
  for (int32_t c = 0; c < count; c += kWidth) Store(hn::Mul(Load(row + c), Splat(factor)), row + c);
}

}  // namespace HWY_NAMESPACE
}  // namespace kvcapsule
HWY_AFTER_NAMESPACE();
#endif
