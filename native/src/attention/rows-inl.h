// Rows of keys or values as they are stored, read a register of channels at a time, for one target.
// At(row, base, offset) gives kWidth channels from base + offset on as float, where base is a multiple of kBase; loops
// that know offset when they are compiled leave less to do in each step. Touch asks memory for the row that is wanted a
// panel later. See kv/simd-inl.h.
#if defined(KVCAPSULE_ATTENTION_ROWS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef KVCAPSULE_ATTENTION_ROWS_INL_H_
#undef KVCAPSULE_ATTENTION_ROWS_INL_H_
#else
#define KVCAPSULE_ATTENTION_ROWS_INL_H_
#endif

#include "attention/panel-inl.h"
#include "kv/codec/q4/q4_format.h"

HWY_BEFORE_NAMESPACE();
namespace kvcapsule {
namespace HWY_NAMESPACE {

constexpr int32_t kLineBytes = 64;

// Channels: two vectors of kLanes, a group of Q4Format.
constexpr int32_t kBase = 2 * kLanes;
static_assert(kBase == Q4Format::kGroup);

// Codes of Q8Format; whoever sums multiplies by the row's scale.
HWY_INLINE FloatV LoadWide(const int8_t* from) {
  const hn::Rebind<int8_t, FloatTag> narrow;
  const hn::RebindToSigned<FloatTag> whole;
  return hn::ConvertTo(FloatTag(), hn::PromoteTo(whole, hn::LoadU(narrow, from)));
}

// Into the second-level cache: asking for the first level's takes 15 % longer, since its fill buffers are few.
HWY_INLINE void Ask(const void* line) { __builtin_prefetch(line, 0, 2); }

// Rows wherever they lie, and those that are wanted a panel later.
struct RowPointers {
  const uint8_t* const* rows;
  const uint8_t* const* next;
  int32_t ahead;  // rows of next
};

// Elements of the pool's type, or Q8Format's codes.
template <class T>
struct StoredRows : RowPointers {

  HWY_INLINE FloatV At(int32_t row, int32_t base, int32_t offset) const {
    return LoadWide(As<T>(rows[row]) + base + offset);
  }
  HWY_INLINE void Touch(int32_t row, int32_t dim) const {
    if (row >= ahead) return;
    for (int32_t c = 0; c < dim; c += kLineBytes / sizeof(T)) Ask(As<T>(next[row]) + c);
  }
};

// Float rows one below the other, padded with zeros to whole vectors of kLanes.
struct PlainRows {
  const float* first;
  int64_t padded;
  HWY_INLINE FloatV At(int32_t row, int32_t base, int32_t offset) const {
    return Load(first + row * padded + base + offset);
  }
  HWY_INLINE void Touch(int32_t /*row*/, int32_t /*dim*/) const {}
};

// Rows of Q4Format; head_dim is a multiple of its groups of 32 channels.
struct Q4Rows : RowPointers {
  const float* scales;  // [rows][groups]
  int64_t groups;

  HWY_INLINE FloatV At(int32_t row, int32_t base, int32_t offset) const {
    constexpr int32_t kHalf = Q4Format::kGroup / 2;
    const int32_t group = base / Q4Format::kGroup + offset / Q4Format::kGroup, within = offset % Q4Format::kGroup;
    const uint8_t* from = rows[row] + group * kHalf + within % kHalf;
    const FloatV scale = Splat(scales[row * groups + group]);
    const hn::Rebind<uint8_t, FloatTag> narrow;
    const hn::RebindToSigned<FloatTag> whole;
    auto pair = hn::PromoteTo(whole, hn::LoadU(narrow, from));
    if (within >= kHalf) pair = hn::ShiftRight<4>(pair);
#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL
    // The look-up takes the four low bits of each number; one product scales the values of both halves.
    alignas(kLineBytes) static constexpr float kValues[] = {-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7};
    const FloatV values = hn::Mul(hn::Load(FloatTag(), kValues), scale);
    return FloatV{_mm512_permutexvar_ps(pair.raw, values.raw)};
#else
    if (within < kHalf) pair = hn::And(pair, hn::Set(whole, 15));
    return hn::Mul(hn::Sub(hn::ConvertTo(FloatTag(), pair), Splat(8)), scale);
#endif
  }
  HWY_INLINE void Touch(int32_t row, int32_t dim) const {
    const bool halves = dim < 2 * kLineBytes && row % 2 == 1;  // two rows share a line
    if (row >= ahead || halves) return;
    for (int32_t c = 0; c < dim; c += 2 * kLineBytes) Ask(next[row] + c / 2);
  }
};

}  // namespace HWY_NAMESPACE
}  // namespace kvcapsule
HWY_AFTER_NAMESPACE();
#endif
