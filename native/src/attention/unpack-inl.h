// Packed rows (kv/codec/packed/row_code.h) to a byte a channel for one target. See kv/simd-inl.h.
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
#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL
    return WordV{_mm512_broadcast_i64x4(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(field)))};
#endif
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
    constexpr int kUp = 8 - kBits;  // to the highest bits of a byte
    WordV code = hn::Zero(d);
    if constexpr ((kBits & 8) != 0) code = FieldBits<kDim, 8, 0, kFirst>(codes);
    if constexpr ((kBits & 4) != 0) code = hn::Or(code, FieldBits<kDim, 4, kUp + (kBits & 3), kFirst>(codes));
    if constexpr ((kBits & 2) != 0)
      code = hn::Or(code, FieldBits<kDim, 2, kUp + (kBits & 1), kFirst>(codes + kDim * (kBits & 4) / 8));
    if constexpr ((kBits & 1) != 0)
      code = hn::Or(code, FieldBits<kDim, 1, kUp, kFirst>(codes + kDim * (kBits & 6) / 8));
    hn::StoreU(code, d, reinterpret_cast<uint64_t*>(to + kFirst));
    UnpackFrom<kDim, kBits, kFirst + kCodeBytes>(codes, to);
  }
}

#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL
// How the fields of a row of kBits bits are read into 64 channels from kFirst on, for all bits by the same instructions:
// rows of one picture have any number of bits in any order, and a branch on it would be guessed wrong at every other.
template <int kDim, int kFirst>
struct FieldPlan {
  struct Field {
    int64_t offset = 0;                        // of its bytes in the row
    uint64_t mask = 0;                         // of the code's bits; 0: no such field
    alignas(64) std::array<uint64_t, 8> turn{};  // right, so that its bits come there
  };
  std::array<Field, 3> fields;  // of 4, 2 and 1 bits

  constexpr explicit FieldPlan(int bits) {
    int rest = bits;
    int64_t offset = 0;
    for (int f = 0; f < 3; ++f) {
      const int width = 4 >> f, bytes = kDim * width / 8;
      if ((bits & width) == 0) continue;
      rest -= width;
      const int place = 8 - bits + rest;
      fields[f].offset = offset;
      fields[f].mask = (((1u << width) - 1) << place) * 0x0101010101010101u;
      for (int lane = 0; lane < 8; ++lane)
        fields[f].turn[lane] = static_cast<uint64_t>((kFirst + 8 * lane) / bytes * width - place) & 63;
      offset += bytes;
    }
  }
};

template <int kDim, int kFirst>
HWY_INLINE void UnpackEven(const uint8_t* codes, int32_t bits, uint8_t* to) {
  using Plan = FieldPlan<kDim, kFirst>;
  static constexpr std::array<Plan, 8> kPlans = {Plan(0), Plan(1), Plan(2), Plan(3),
                                                 Plan(4), Plan(5), Plan(6), Plan(7)};
  const Plan& plan = kPlans[bits];
  const auto field = [&](auto width, int f) {
    constexpr int kBytes = kDim * width() / 8;
    const __m512i word = LoadField<kBytes, kFirst>(codes + plan.fields[f].offset).raw;
    return _mm512_rorv_epi64(word, _mm512_load_si512(plan.fields[f].turn.data()));
  };
  constexpr int kOrKept = 0xF8;  // a | (b & c)
  const auto mask = [&](int f) { return _mm512_set1_epi64(static_cast<int64_t>(plan.fields[f].mask)); };
  __m512i code = _mm512_and_si512(field(std::integral_constant<int, 4>(), 0), mask(0));
  code = _mm512_ternarylogic_epi64(code, field(std::integral_constant<int, 2>(), 1), mask(1), kOrKept);
  code = _mm512_ternarylogic_epi64(code, field(std::integral_constant<int, 1>(), 2), mask(2), kOrKept);
  _mm512_storeu_si512(to + kFirst, code);
}
#endif

#if HWY_TARGET == HWY_AVX2
// As UnpackEven of AVX-512, in shifts: a field's bits are turned down to the lowest of their byte, then up to their place,
// or, where the row has no such field, out of the word.
struct RowShifts {
  std::array<int64_t, 3> up;      // of the fields of 4, 2 and 1 bits; 64: no such field
  std::array<int32_t, 3> eighths;  // of kDim bytes before the field
  constexpr explicit RowShifts(int bits) : up{}, eighths{} {
    int rest = bits, passed = 0;
    for (int f = 0; f < 3; ++f) {
      const int width = 4 >> f;
      up[f] = 64;
      if ((bits & width) == 0) continue;
      rest -= width;
      up[f] = 8 - bits + rest;
      eighths[f] = passed;
      passed += width;
    }
  }
};

template <int kDim, int kFieldBits, int kFirst>
HWY_INLINE __m256i TurnedField(const uint8_t* field, int64_t up) {
  return _mm256_sll_epi64(FieldBits<kDim, kFieldBits, 0, kFirst>(field).raw, _mm_cvtsi64_si128(up));
}

template <int kDim, int kFirst>
HWY_INLINE void UnpackEven(const uint8_t* codes, int32_t bits, uint8_t* to) {
  if constexpr (kFirst < kDim) {
    static constexpr std::array<RowShifts, 8> kShifts = {RowShifts(0), RowShifts(1), RowShifts(2), RowShifts(3),
                                                         RowShifts(4), RowShifts(5), RowShifts(6), RowShifts(7)};
    const RowShifts& row = kShifts[bits];
    const auto from = [&](int f) { return codes + row.eighths[f] * (kDim / 8); };
    const __m256i code = _mm256_or_si256(_mm256_or_si256(TurnedField<kDim, 4, kFirst>(from(0), row.up[0]),
                                                         TurnedField<kDim, 2, kFirst>(from(1), row.up[1])),
                                         TurnedField<kDim, 1, kFirst>(from(2), row.up[2]));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + kFirst), code);
    UnpackEven<kDim, kFirst + 32>(codes, bits, to);
  }
}
#endif

template <int kDim>
HWY_INLINE void UnpackCodesOf(const uint8_t* codes, int32_t bits, uint8_t* to) {
#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL
  if (bits == 8) return UnpackFrom<kDim, 8, 0>(codes, to);  // rare or, in a format of 8 bits, all of them
  UnpackEven<kDim, 0>(codes, bits, to);
  if constexpr (kDim == 128) UnpackEven<kDim, 64>(codes, bits, to);
#elif HWY_TARGET == HWY_AVX2
  if (bits == 8) return UnpackFrom<kDim, 8, 0>(codes, to);
  UnpackEven<kDim, 0>(codes, bits, to);
#else
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
#endif
}

// kDim 0: any, dim.
template <int kDim>
HWY_INLINE void UnpackAnyCodes(const uint8_t* codes, int32_t bits, int32_t dim, uint8_t* to) {
  if constexpr (kDim != 0) return UnpackCodesOf<kDim>(codes, bits, to);
  DecodeCodes(codes, bits, dim, to);
  for (int32_t c = 0; c < dim; ++c) to[c] = static_cast<uint8_t>(to[c] << (8 - bits));
}

// Calls go(std::integral_constant) with the dim if code was made for it, else with 0.
template <class Go>
HWY_INLINE void WithDim(int32_t dim, Go go) {
  switch (dim) {
    case 64: return go(std::integral_constant<int, 64>());
    case 128: return go(std::integral_constant<int, 128>());
    default: return go(std::integral_constant<int, 0>());
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace kvcapsule
HWY_AFTER_NAMESPACE();
#endif
