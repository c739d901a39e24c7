#include "model/row_ops.h"

#include <algorithm>
#include <bit>
#include <cmath>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "model/row_ops.cc"
#include <hwy/foreach_target.h>  // compiles this file once for every instruction set
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace kvcapsule {
namespace HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

// `out` is one of the inputs or overlaps none, which ivdep says below.

// Sums are kept in as many lanes as the widest target has, so that they are vectors without reassociation.
constexpr int kPartials = 16;

template <class Term>
HWY_INLINE float SumRow(int64_t count, Term term) {
  float partial[kPartials] = {};
  int64_t i = 0;
  for (; i + kPartials <= count; i += kPartials) {
    for (int lane = 0; lane < kPartials; ++lane) partial[lane] += term(i + lane);
  }
  for (; i < count; ++i) partial[0] += term(i);
  float sum = 0;
  for (const float part : partial) sum += part;
  return sum;
}

// 2^n times a polynomial, within 2 ulp for -87 <= x <= 87; clamped outside. Plain arithmetic, so that a loop
// around it becomes vector code: libm's expf would not. Attention's Exp (kv/simd-inl.h) is another polynomial, written
// in vectors and exactly 0 far below; one for both would change the bits of every answer.
HWY_INLINE float FastExp(float x) {
  x = std::min(std::max(x, -87.0f), 87.0f);
  const float n = std::nearbyint(x * 1.44269504088896341f);
  const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  return p * std::bit_cast<float>((static_cast<int32_t>(n) + 127) << 23);
}

void RmsNormRow(const float* x, const float* weight, int64_t count, float epsilon, float* out) {
  const float squares = SumRow(count, [x](int64_t i) { return x[i] * x[i]; });
  const float scale = 1.0f / std::sqrt(squares / static_cast<float>(count) + epsilon);
#pragma GCC ivdep
  for (int64_t i = 0; i < count; ++i) out[i] = x[i] * scale * weight[i];
}

void LayerNormRow(const float* x, const float* weight, const float* bias, int64_t count, float epsilon,
                  float* out) {
  const auto n = static_cast<float>(count);
  const float mean = SumRow(count, [x](int64_t i) { return x[i]; }) / n;
  const float squares = SumRow(count, [x, mean](int64_t i) { return (x[i] - mean) * (x[i] - mean); });
  const float scale = 1.0f / std::sqrt(squares / n + epsilon);
#pragma GCC ivdep
  for (int64_t i = 0; i < count; ++i) out[i] = (x[i] - mean) * scale * weight[i] + bias[i];
}

void AddRow(const float* a, const float* b, int64_t count, float* out) {
#pragma GCC ivdep
  for (int64_t i = 0; i < count; ++i) out[i] = a[i] + b[i];
}

void RotateRow(const float* x, const float* cosines, const float* sines, int32_t dim, float* out) {
  const int32_t half = dim / 2;
#pragma GCC ivdep
  for (int32_t i = 0; i < half; ++i) {
    out[i] = x[i] * cosines[i] - x[i + half] * sines[i];
    out[i + half] = x[i + half] * cosines[i] + x[i] * sines[i];
  }
}

void GateRow(const float* gate, const float* up, int64_t count, float* out) {
#pragma GCC ivdep
  for (int64_t i = 0; i < count; ++i) out[i] = gate[i] / (1.0f + FastExp(-gate[i])) * up[i];
}

// 0.5 x (1 + tanh(z)) = x / (1 + exp(-2 z)), z = sqrt(2 / pi) (x + 0.044715 x^3)
void GeluRow(const float* x, int64_t count, float* out) {
  for (int64_t i = 0; i < count; ++i) {
    const float z2 = 1.5957691216057308f * (x[i] + 0.044715f * x[i] * x[i] * x[i]);
    out[i] = x[i] / (1.0f + FastExp(-z2));
  }
}

// With as many lanes as SumRow; which of them a value meets makes no difference.
HWY_INLINE float MostOf(const float* x, int64_t count) {
  const hn::CappedTag<float, kPartials> d;
  constexpr auto kLanes = static_cast<int64_t>(hn::MaxLanes(d)), kVectors = kPartials / kLanes;
  hn::Vec<decltype(d)> most[kVectors];
  for (auto& one : most) one = hn::Set(d, x[0]);
  int64_t i = 0;
  for (; i + kPartials <= count; i += kPartials) {
    for (int64_t v = 0; v < kVectors; ++v) most[v] = hn::Max(hn::LoadU(d, x + i + v * kLanes), most[v]);
  }
  float top = x[0];
  for (const auto& one : most) top = std::max(top, hn::GetLane(hn::MaxOfLanes(d, one)));
  for (; i < count; ++i) top = std::max(top, x[i]);
  return top;
}

float ExpRow(const float* x, float scale, int64_t count, float* out) {
  const float top = MostOf(x, count);
#pragma GCC ivdep
  for (int64_t i = 0; i < count; ++i) out[i] = FastExp(scale * (x[i] - top));
  return 1.0f / SumRow(count, [out](int64_t k) { return out[k]; });
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace kvcapsule
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kvcapsule {

HWY_EXPORT(RmsNormRow);
HWY_EXPORT(LayerNormRow);
HWY_EXPORT(AddRow);
HWY_EXPORT(RotateRow);
HWY_EXPORT(GateRow);
HWY_EXPORT(GeluRow);
HWY_EXPORT(ExpRow);

void RmsNormRow(const float* x, const float* weight, int64_t count, float epsilon, float* out) {
  HWY_DYNAMIC_DISPATCH(RmsNormRow)(x, weight, count, epsilon, out);
}
void LayerNormRow(const float* x, const float* weight, const float* bias, int64_t count, float epsilon,
                  float* out) {
  HWY_DYNAMIC_DISPATCH(LayerNormRow)(x, weight, bias, count, epsilon, out);
}
void AddRow(const float* a, const float* b, int64_t count, float* out) {
  HWY_DYNAMIC_DISPATCH(AddRow)(a, b, count, out);
}
void RotateRow(const float* x, const float* cosines, const float* sines, int32_t dim, float* out) {
  HWY_DYNAMIC_DISPATCH(RotateRow)(x, cosines, sines, dim, out);
}
void GateRow(const float* gate, const float* up, int64_t count, float* out) {
  HWY_DYNAMIC_DISPATCH(GateRow)(gate, up, count, out);
}
void GeluRow(const float* x, int64_t count, float* out) { HWY_DYNAMIC_DISPATCH(GeluRow)(x, count, out); }
float ExpRow(const float* x, float scale, int64_t count, float* out) {
  return HWY_DYNAMIC_DISPATCH(ExpRow)(x, scale, count, out);
}

}  // namespace kvcapsule
#endif
