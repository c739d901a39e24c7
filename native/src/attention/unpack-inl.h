// Packed rows (kv/codec/packed/row_code.h) to float for one target. See kv/simd-inl.h.
#if defined(KVCAPSULE_ATTENTION_UNPACK_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef KVCAPSULE_ATTENTION_UNPACK_INL_H_
#undef KVCAPSULE_ATTENTION_UNPACK_INL_H_
#else
#define KVCAPSULE_ATTENTION_UNPACK_INL_H_
#endif

#include <algorithm>
#include <array>
#include <cstring>

#include "kv/codec/packed/row_code.h"
#include "kv/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace kvcapsule {
namespace HWY_NAMESPACE {

#if HWY_TARGET != HWY_SCALAR
using WordTag = hn::ScalableTag<uint64_t>;
using WordV = hn::Vec<WordTag>;
constexpr int kWords = static_cast<int>(hn::MaxLanes(WordTag()));
constexpr int kCodeBytes = 8 * kWords;  // channels in a register of codes

// Bytes of a field of kWidthBits bits that belong to the channels from kFirst on: byte j of the field holds channels
// j, j + kBytes, ..., so where the field is shorter than a register it is repeated.
template <int kBytes, int kFirst>
HWY_INLINE WordV LoadField(const uint8_t* field) {
  const WordTag d;
  const hn::Repartition<uint8_t, WordTag> bytes;
  if constexpr (kBytes >= kCodeBytes) {
    return hn::BitCast(d, hn::LoadU(bytes, field + kFirst % kBytes));
  } else if constexpr (kBytes == 8) {
    uint64_t word;
    std::memcpy(&word, field, sizeof word);
    return hn::Set(d, word);
  } else if constexpr (kBytes == 16) {
    return hn::BitCast(d, hn::LoadDup128(bytes, field));
  } else {
    static_assert(kBytes == 32 && kCodeBytes == 64);
    const hn::Half<decltype(bytes)> half;
    const auto low = hn::LoadU(half, field);
    return hn::BitCast(d, hn::Combine(bytes, low, low));
  }
}

// Codes of kCodeBytes channels from kFirst on, a byte each: the bits of one field, where they belong in the code.
template <int kDim, int kFieldBits, int kPlace, int kFirst>
HWY_INLINE WordV FieldBits(const uint8_t* field) {
  const WordTag d;
  constexpr int kBytes = kDim * kFieldBits / 8;
  static constexpr auto kShifts = [] {
    std::array<uint64_t, kWords> shifts{};
    for (int i = 0; i < kWords; ++i) shifts[i] = (kFirst + 8 * i) / kBytes * kFieldBits;
    return shifts;
  }();
  WordV word = LoadField<kBytes, kFirst>(field);
  if constexpr (kFieldBits == 8) return word;
  if constexpr (kShifts[0] != 0 || kShifts[kWords - 1] != 0) word = hn::Shr(word, hn::LoadU(d, kShifts.data()));
  constexpr uint64_t kMask = ((1u << kFieldBits) - 1) * 0x0101010101010101u;
  return hn::ShiftLeft<kPlace>(hn::And(word, hn::Set(d, kMask)));
}

template <int kDim, int kBits, int kFirst>
HWY_INLINE void UnpackFrom(const uint8_t* codes, uint8_t* to) {
  if constexpr (kFirst < kDim) {
    const WordTag d;
    WordV code = hn::Zero(d);
    if constexpr ((kBits & 8) != 0) code = FieldBits<kDim, 8, 0, kFirst>(codes);
    if constexpr ((kBits & 4) != 0) code = hn::Or(code, FieldBits<kDim, 4, kBits & 3, kFirst>(codes));
    if constexpr ((kBits & 2) != 0)
      code = hn::Or(code, FieldBits<kDim, 2, kBits & 1, kFirst>(codes + kDim * (kBits & 4) / 8));
    if constexpr ((kBits & 1) != 0) code = hn::Or(code, FieldBits<kDim, 1, 0, kFirst>(codes + kDim * (kBits & 6) / 8));
    hn::StoreU(code, d, reinterpret_cast<uint64_t*>(to + kFirst));
    UnpackFrom<kDim, kBits, kFirst + kCodeBytes>(codes, to);
  }
}

template <int kDim>
HWY_INLINE void UnpackCodes(const uint8_t* codes, int32_t bits, uint8_t* to) {
  switch (bits) {
    case 1: return UnpackFrom<kDim, 1, 0>(codes, to);
    case 2: return UnpackFrom<kDim, 2, 0>(codes, to);
    case 3: return UnpackFrom<kDim, 3, 0>(codes, to);
    case 4: return UnpackFrom<kDim, 4, 0>(codes, to);
    case 5: return UnpackFrom<kDim, 5, 0>(codes, to);
    case 6: return UnpackFrom<kDim, 6, 0>(codes, to);
    case 7: return UnpackFrom<kDim, 7, 0>(codes, to);
    default: return UnpackFrom<kDim, 8, 0>(codes, to);
  }
}

// row = scale * step * (code - middle).
template <int kDim>
HWY_INLINE void UnpackRowOf(const uint8_t* codes, float step, int32_t bits, float* row) {
  const FloatTag d;
  alignas(64) uint8_t bytes[kDim];
  UnpackCodes<kDim>(codes, bits, bytes);
  const FloatV factor = Splat(step), least = Splat(-0.5f * static_cast<float>((1 << bits) - 1) * step);
  const hn::Rebind<uint8_t, FloatTag> narrow;
  const hn::RebindToSigned<FloatTag> whole;
#pragma GCC unroll 32
  for (int c = 0; c < kDim; c += kWidth) {
    const FloatV code = hn::ConvertTo(d, hn::PromoteTo(whole, hn::LoadU(narrow, bytes + c)));
    Store(hn::MulAdd(code, factor, least), row + c);
  }
}
#endif

HWY_INLINE void UnpackAnyRow(const uint8_t* codes, float scale, int32_t bits, int32_t dim, float* row) {
#if HWY_TARGET != HWY_SCALAR
  if (bits == 0) return static_cast<void>(std::fill_n(row, dim, 0.0f));
  if (dim == 64) return UnpackRowOf<64>(codes, scale * GaussianStep(bits), bits, row);
  if (dim == 128) return UnpackRowOf<128>(codes, scale * GaussianStep(bits), bits, row);
#endif
  DecodeRow(codes, scale, bits, dim, row);
}

}  // namespace HWY_NAMESPACE
}  // namespace kvcapsule
HWY_AFTER_NAMESPACE();
#endif
