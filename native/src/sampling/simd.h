// A vector of floats as wide as the target's registers, in GCC's vector extension: no intrinsics, so the
// same source serves AVX2, AVX-512 and NEON (8 lanes lower to two registers there).
#pragma once
#include <cstdint>
#include <cstring>

namespace kvcapsule::sampling {

#if defined(__AVX512F__)
inline constexpr int kLanes = 16;
#else
inline constexpr int kLanes = 8;
#endif

using FloatV = float __attribute__((vector_size(kLanes * 4)));
using IntV = int32_t __attribute__((vector_size(kLanes * 4)));

#define KVC_INLINE inline __attribute__((always_inline))

inline constexpr int RoundToLanes(int count) { return (count + kLanes - 1) / kLanes * kLanes; }

KVC_INLINE FloatV LoadV(const float* from) {
  FloatV v;
  std::memcpy(&v, from, sizeof v);
  return v;
}
KVC_INLINE FloatV LoadPartV(const float* from, int count) {
  FloatV v = {};
  std::memcpy(&v, from, count * sizeof(float));
  return v;
}
KVC_INLINE void StoreV(float* to, FloatV v) { std::memcpy(to, &v, sizeof v); }
KVC_INLINE FloatV SetV(float x) { return x - FloatV{}; }
KVC_INLINE FloatV MaxV(FloatV a, FloatV b) { return a > b ? a : b; }

template <class Combine>
KVC_INLINE float ReduceV(FloatV v, Combine combine) {
  float lanes[kLanes];
  StoreV(lanes, v);
  for (int width = kLanes / 2; width > 0; width /= 2) {
    for (int i = 0; i < width; ++i) lanes[i] = combine(lanes[i], lanes[i + width]);
  }
  return lanes[0];
}
KVC_INLINE float SumV(FloatV v) {
  return ReduceV(v, [](float a, float b) { return a + b; });
}
KVC_INLINE float MaxOfV(FloatV v) {
  return ReduceV(v, [](float a, float b) { return a > b ? a : b; });
}

// Lanes of a and b in turn: the lower halves, and the upper halves.
KVC_INLINE FloatV InterleaveLow(FloatV a, FloatV b) {
  IntV pick;
  for (int i = 0; i < kLanes; ++i) pick[i] = i / 2 + (i % 2) * kLanes;
  return __builtin_shuffle(a, b, pick);
}
KVC_INLINE FloatV InterleaveHigh(FloatV a, FloatV b) {
  IntV pick;
  for (int i = 0; i < kLanes; ++i) pick[i] = (kLanes + i) / 2 + (i % 2) * kLanes;
  return __builtin_shuffle(a, b, pick);
}

// e^x for x <= 88, 2 ulp; exactly 0 below -87.3 and for -infinity; NaN gives 0 or NaN.
KVC_INLINE FloatV ExpV(FloatV x) {
  const FloatV bounded = MaxV(x, SetV(-87.3f));
  const FloatV magic = SetV(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer
  const FloatV shifted = bounded * 1.44269504f + magic;
  const FloatV whole = shifted - magic;
  FloatV r = bounded - whole * 0.693359375f;
  r = r - whole * -2.12194440e-4f;
  FloatV p = SetV(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  IntV exponent, bits;
  std::memcpy(&exponent, &shifted, sizeof exponent);
  std::memcpy(&bits, &p, sizeof bits);
  bits += exponent << 23;  // the magic's own bits leave the word at the top
  FloatV result;
  std::memcpy(&result, &bits, sizeof result);
  return x < -87.3f ? FloatV{} : result;
}

}  // namespace kvcapsule::sampling
