// exp as plain arithmetic, so that a loop around it becomes vector code (libm's expf would not).
#pragma once
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

namespace kvcapsule {

// 2^n times a polynomial, within 2 ulp for -87 <= x <= 87; clamped outside.
inline float FastExp(float x) {
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

}  // namespace kvcapsule
