// Vector building blocks, compiled once for each target (SSE4, AVX2 or AVX-512; the machine's
// best is chosen when the program starts). Include inside a file that foreach_target.h compiles again.
#if defined(KVCAPSULE_KV_SIMD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef KVCAPSULE_KV_SIMD_INL_H_
#undef KVCAPSULE_KV_SIMD_INL_H_
#else
#define KVCAPSULE_KV_SIMD_INL_H_
#endif

#include <hwy/highway.h>

#include "kv/simd.h"

HWY_BEFORE_NAMESPACE();
namespace kvcapsule {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using FloatTag = hn::CappedTag<float, kLanes>;
using FloatV = hn::Vec<FloatTag>;

// Floats in a register of this target: 4, 8 or 16.
constexpr int kWidth = static_cast<int>(hn::MaxLanes(FloatTag()));

HWY_INLINE FloatV Splat(float x) { return hn::Set(FloatTag(), x); }
HWY_INLINE FloatV Load(const float* from) { return hn::LoadU(FloatTag(), from); }
HWY_INLINE void Store(FloatV v, float* to) { hn::StoreU(v, FloatTag(), to); }

// The next kWidth numbers of a type that the pool holds.
HWY_INLINE FloatV LoadWide(const float* from) { return Load(from); }
HWY_INLINE FloatV LoadWide(const hwy::float16_t* from) {
  return hn::PromoteTo(FloatTag(), hn::LoadU(hn::Rebind<hwy::float16_t, FloatTag>(), from));
}
HWY_INLINE FloatV LoadWide(const hwy::bfloat16_t* from) {
  return hn::PromoteTo(FloatTag(), hn::LoadU(hn::Rebind<hwy::bfloat16_t, FloatTag>(), from));
}

// e^x for x <= 88, 2.3 ulp; exactly 0 below -87.3 and for -infinity; NaN gives 0 or NaN.
HWY_INLINE FloatV Exp(FloatV x) {
  const FloatTag d;
  const hn::RebindToSigned<FloatTag> di;
  const FloatV least = Splat(-87.3f);
  const FloatV bounded = hn::Max(x, least);
  const FloatV magic = Splat(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer
  const FloatV shifted = hn::MulAdd(bounded, Splat(1.44269504f), magic);
  const FloatV whole = hn::Sub(shifted, magic);
  FloatV r = hn::NegMulAdd(whole, Splat(0.693359375f), bounded);
  r = hn::NegMulAdd(whole, Splat(-2.12194440e-4f), r);
  // (e^r - 1) / r for |r| <= ln 2 / 2, so that e^r errs by 9.2e-8 at most before rounding
  FloatV p = hn::MulAdd(Splat(0.00828930363f), r, Splat(0.0418978371f));
  p = hn::MulAdd(p, r, Splat(0.166676521f));
  p = hn::MulAdd(p, r, Splat(0.499991506f));
  p = hn::MulAdd(p, r, Splat(0.999999702f));
  p = hn::MulAdd(p, r, Splat(1.0f));
  // the magic's own bits leave the word at the top
  const auto exponent = hn::ShiftLeft<23>(hn::BitCast(di, shifted));
  const FloatV power = hn::BitCast(d, hn::Add(hn::BitCast(di, p), exponent));
  return hn::IfThenZeroElse(hn::Lt(x, least), power);
}

// Four rows' 4x4 squares turned over inside each 128-bit block: lane i of block b of rows[k] becomes row i, column
// 4b + k of the input.
HWY_INLINE void TransposeBlocks(FloatV* rows) {
  const FloatTag d;
  const hn::Repartition<double, FloatTag> d64;
  const auto low01 = hn::BitCast(d64, hn::InterleaveLower(d, rows[0], rows[1]));
  const auto high01 = hn::BitCast(d64, hn::InterleaveUpper(d, rows[0], rows[1]));
  const auto low23 = hn::BitCast(d64, hn::InterleaveLower(d, rows[2], rows[3]));
  const auto high23 = hn::BitCast(d64, hn::InterleaveUpper(d, rows[2], rows[3]));
  rows[0] = hn::BitCast(d, hn::InterleaveLower(d64, low01, low23));
  rows[1] = hn::BitCast(d, hn::InterleaveUpper(d64, low01, low23));
  rows[2] = hn::BitCast(d, hn::InterleaveLower(d64, high01, high23));
  rows[3] = hn::BitCast(d, hn::InterleaveUpper(d64, high01, high23));
}

// kWidth rows in registers become columns; column c is stored at to + c * stride.
HWY_INLINE void StoreTransposed(FloatV* rows, float* to, int64_t stride) {
  for (int i = 0; i < kWidth; i += 4) TransposeBlocks(rows + i);
#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL
  const FloatTag d;
  for (int k = 0; k < 4; ++k) {
    const FloatV even[2] = {hn::ConcatLowerLower(d, rows[8 + k], rows[k]),
                            hn::ConcatUpperUpper(d, rows[8 + k], rows[k])};
    const FloatV odd[2] = {hn::ConcatLowerLower(d, rows[12 + k], rows[4 + k]),
                           hn::ConcatUpperUpper(d, rows[12 + k], rows[4 + k])};
    for (int half = 0; half < 2; ++half) {
      Store(hn::OddEvenBlocks(hn::SwapAdjacentBlocks(odd[half]), even[half]), to + (8 * half + k) * stride);
      Store(hn::OddEvenBlocks(odd[half], hn::SwapAdjacentBlocks(even[half])), to + (8 * half + 4 + k) * stride);
    }
  }
#elif HWY_TARGET == HWY_AVX2
  const FloatTag d;
  for (int k = 0; k < 4; ++k) {
    Store(hn::ConcatLowerLower(d, rows[4 + k], rows[k]), to + k * stride);
    Store(hn::ConcatUpperUpper(d, rows[4 + k], rows[k]), to + (4 + k) * stride);
  }
#else
  static_assert(kWidth == 4);
  for (int k = 0; k < 4; ++k) Store(rows[k], to + k * stride);
#endif
}

}  // namespace HWY_NAMESPACE
}  // namespace kvcapsule
HWY_AFTER_NAMESPACE();
#endif
