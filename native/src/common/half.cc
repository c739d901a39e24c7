#include "common/half.h"

#include <bit>
#include <cstring>

#if defined(__F16C__)
#include <immintrin.h>
#endif

namespace kvcapsule {
namespace {

// GCC 12 does not vectorise _Float16 conversions on F16C alone, so the 8-wide instructions are named.
void HalfToFloat(const uint16_t* source, int64_t count, float* out) {
  int64_t i = 0;
#if defined(__F16C__)
  for (; i + 8 <= count; i += 8) {
    const __m128i half = _mm_loadu_si128(reinterpret_cast<const __m128i*>(source + i));
    _mm256_storeu_ps(out + i, _mm256_cvtph_ps(half));
  }
#endif
  for (; i < count; ++i) out[i] = static_cast<float>(std::bit_cast<_Float16>(source[i]));
}

void FloatToHalf(const float* source, int64_t count, uint16_t* out) {
  int64_t i = 0;
#if defined(__F16C__)
  for (; i + 8 <= count; i += 8) {
    const __m128i half = _mm256_cvtps_ph(_mm256_loadu_ps(source + i), _MM_FROUND_TO_NEAREST_INT);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out + i), half);
  }
#endif
  for (; i < count; ++i) out[i] = std::bit_cast<uint16_t>(static_cast<_Float16>(source[i]));
}

void Bfloat16ToFloat(const uint16_t* source, int64_t count, float* out) {
  for (int64_t i = 0; i < count; ++i) out[i] = std::bit_cast<float>(static_cast<uint32_t>(source[i]) << 16);
}

void FloatToBfloat16(const float* source, int64_t count, uint16_t* out) {
  for (int64_t i = 0; i < count; ++i) {
    const uint32_t bits = std::bit_cast<uint32_t>(source[i]);
    const bool nan = (bits & 0x7fffffffu) > 0x7f800000u;
    const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    out[i] = static_cast<uint16_t>(nan ? (bits >> 16) | 0x40u : rounded);
  }
}

}  // namespace

void ToFloat(Dtype dtype, const uint8_t* source, int64_t count, float* out) {
  switch (dtype) {
    case Dtype::kF32: std::memcpy(out, source, count * sizeof(float)); return;
    case Dtype::kF16: return HalfToFloat(reinterpret_cast<const uint16_t*>(source), count, out);
    case Dtype::kBF16: return Bfloat16ToFloat(reinterpret_cast<const uint16_t*>(source), count, out);
  }
}

void FromFloat(Dtype dtype, const float* source, int64_t count, uint8_t* out) {
  switch (dtype) {
    case Dtype::kF32: std::memcpy(out, source, count * sizeof(float)); return;
    case Dtype::kF16: return FloatToHalf(source, count, reinterpret_cast<uint16_t*>(out));
    case Dtype::kBF16: return FloatToBfloat16(source, count, reinterpret_cast<uint16_t*>(out));
  }
}

}  // namespace kvcapsule
