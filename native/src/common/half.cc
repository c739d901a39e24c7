#include "common/half.h"

#include <bit>
#include <cstring>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "common/half.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace kvcapsule {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// Only where the processor itself converts: Highway's substitute knows no infinities.
#if HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL || HWY_TARGET == HWY_NEON
#define KVCAPSULE_CONVERTS_HALF 1
#else
#define KVCAPSULE_CONVERTS_HALF 0
#endif

void HalfToFloat(const uint16_t* source, int64_t count, float* out) {
  int64_t i = 0;
#if KVCAPSULE_CONVERTS_HALF
  const hn::ScalableTag<float> d;
  const hn::Rebind<hwy::float16_t, decltype(d)> half;
  const auto width = static_cast<int64_t>(hn::Lanes(d));
  for (; i + width <= count; i += width)
    hn::StoreU(hn::PromoteTo(d, hn::LoadU(half, reinterpret_cast<const hwy::float16_t*>(source + i))), d, out + i);
#endif
  for (; i < count; ++i) out[i] = static_cast<float>(std::bit_cast<_Float16>(source[i]));
}

void FloatToHalf(const float* source, int64_t count, uint16_t* out) {
  int64_t i = 0;
#if KVCAPSULE_CONVERTS_HALF
  const hn::ScalableTag<float> d;
  const hn::Rebind<hwy::float16_t, decltype(d)> half;
  const auto width = static_cast<int64_t>(hn::Lanes(d));
  for (; i + width <= count; i += width)
    hn::StoreU(hn::DemoteTo(half, hn::LoadU(d, source + i)), half, reinterpret_cast<hwy::float16_t*>(out + i));
#endif
  for (; i < count; ++i) out[i] = std::bit_cast<uint16_t>(static_cast<_Float16>(source[i]));
}

#undef KVCAPSULE_CONVERTS_HALF

}  // namespace HWY_NAMESPACE
}  // namespace kvcapsule
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kvcapsule {
namespace {

HWY_EXPORT(HalfToFloat);
HWY_EXPORT(FloatToHalf);

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
    case Dtype::kF16:
      return HWY_DYNAMIC_DISPATCH(HalfToFloat)(reinterpret_cast<const uint16_t*>(source), count, out);
    case Dtype::kBF16: return Bfloat16ToFloat(reinterpret_cast<const uint16_t*>(source), count, out);
  }
}

void FromFloat(Dtype dtype, const float* source, int64_t count, uint8_t* out) {
  switch (dtype) {
    case Dtype::kF32: std::memcpy(out, source, count * sizeof(float)); return;
    case Dtype::kF16:
      return HWY_DYNAMIC_DISPATCH(FloatToHalf)(source, count, reinterpret_cast<uint16_t*>(out));
    case Dtype::kBF16: return FloatToBfloat16(source, count, reinterpret_cast<uint16_t*>(out));
  }
}

}  // namespace kvcapsule
#endif
