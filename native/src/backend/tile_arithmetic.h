// How a tile adds up products of bf16, number by number: TDPBF16PS in Intel 64 and IA-32 Architectures Software
// Developer's Manual, volume 2. Rounding is to nearest even, numbers without a normal form are read and written as zeros
// of their sign, and MXCSR has no say.
#pragma once
#include <bit>
#include <cmath>
#include <cstdint>

namespace kvcapsule {

// Tiny as SSE finds it: after rounding to 24 bits of any exponent.
inline constexpr double kLeastNormal = 0x1p-126, kRoundsToNormal = kLeastNormal - 0x1p-151;

// A double holds a product of two bf16 exactly, and its sum with a float well enough to round as one: where 53 bits do
// not hold the sum, what they drop is far below half of the float's last bit and the sum is no tie.
inline float RoundTileSum(double sum) {
  return std::fabs(sum) < kRoundsToNormal ? std::copysign(0.0f, static_cast<float>(sum)) : static_cast<float>(sum);
}

inline float FlushedToZero(float value) {
  return std::fabs(value) < static_cast<float>(kLeastNormal) ? std::copysign(0.0f, value) : value;
}

// As a tile reads it.
inline float TileFloat(uint16_t bf16) { return FlushedToZero(std::bit_cast<float>(uint32_t{bf16} << 16)); }

// sum and `pairs` pairs of products of a and b, as TileFloat gives them: even and odd ones are added up apart, each from
// zero with fused multiply-adds, then together, then to the sum.
inline float AddTileProducts(float sum, const float* a, const float* b, int32_t pairs) {
  float even = 0, odd = 0;
  for (int32_t k = 0; k < pairs; ++k) {
    even = RoundTileSum(double{a[2 * k]} * b[2 * k] + even);
    odd = RoundTileSum(double{a[2 * k + 1]} * b[2 * k + 1] + odd);
  }
  return RoundTileSum(double{FlushedToZero(sum)} + RoundTileSum(double{even} + odd));
}

}  // namespace kvcapsule
