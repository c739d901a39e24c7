// The matrix product of gemm.h for one target, to be inlined into kernels. See simd-inl.h.
#if defined(KVCAPSULE_KV_GEMM_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef KVCAPSULE_KV_GEMM_INL_H_
#undef KVCAPSULE_KV_GEMM_INL_H_
#else
#define KVCAPSULE_KV_GEMM_INL_H_
#endif

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "kv/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace kvcapsule {
namespace HWY_NAMESPACE {

// Rows of b one below the other.
template <class T>
struct RowsBelow {
  const T* first;
  int64_t stride;
  HWY_INLINE const T* Row(int p) const { return first + p * stride; }
};
using DenseRows = RowsBelow<float>;
using HalfRows = RowsBelow<hwy::float16_t>;

// Rows of b wherever they lie, in a type that the pool holds.
template <class T>
struct ScatteredRows {
  const uint8_t* const* rows;
  HWY_INLINE const T* Row(int p) const { return reinterpret_cast<const T*>(rows[p]); }
};

template <class Rows>
struct Operands {
  int n, k;
  const float* a;
  int64_t lda;
  Rows b;
  float* c;
  int64_t ldc;
};

// sum += what kRows rows of a give in kVectors vectors of columns.
template <int kRows, int kVectors, class Rows>
HWY_INLINE void SumTile(const Operands<Rows>& o, int column, FloatV (&sum)[kRows][kVectors]) {
  for (int p = 0; p < o.k; ++p) {
    const auto* b = o.b.Row(p) + column;
    FloatV row[kVectors];
#pragma GCC unroll 8
    for (int j = 0; j < kVectors; ++j) row[j] = LoadWide(b + j * kWidth);
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) {
      const FloatV x = Splat(o.a[i * o.lda + p]);
#pragma GCC unroll 8
      for (int j = 0; j < kVectors; ++j) sum[i][j] = hn::MulAdd(x, row[j], sum[i][j]);
    }
  }
}

template <int kRows, int kVectors, class Rows>
HWY_INLINE void StoreTile(const Operands<Rows>& o, int column, const FloatV (&sum)[kRows][kVectors]) {
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 8
    for (int j = 0; j < kVectors; ++j) Store(sum[i][j], o.c + column + i * o.ldc + j * kWidth);
  }
}

template <int kRows, int kVectors, bool kAccumulate, class Rows>
HWY_INLINE void ProductTile(const Operands<Rows>& o, int column) {
  FloatV sum[kRows][kVectors];
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 8
    for (int j = 0; j < kVectors; ++j)
      sum[i][j] = kAccumulate ? Load(o.c + column + i * o.ldc + j * kWidth) : hn::Zero(FloatTag());
  }
  SumTile<kRows, kVectors>(o, column, sum);
  StoreTile<kRows, kVectors>(o, column, sum);
}

// Vectors of columns that are summed up beside each other for so many rows: sums enough to hide the latency of two FMA
// ports (8 to 12), few enough for the registers: 16, or 32 with AVX-512.
constexpr int TileVectors(int rows) {
  if (kWidth == kLanes) return rows <= 2 ? 4 : 2;
  return rows == 1 ? 8 : rows <= 3 ? 4 : 2;
}

// Calls tile(std::integral_constant, column) for tiles of at most kVectors vectors that together are n columns, a
// multiple of kWidth.
template <int kVectors, class Tile>
HWY_INLINE void InColumns(int n, int column, Tile tile) {
  for (; column + kVectors * kWidth <= n; column += kVectors * kWidth)
    tile(std::integral_constant<int, kVectors>(), column);
  if constexpr (kVectors > 1) InColumns<kVectors / 2>(n, column, tile);
}

template <int kRows, bool kAccumulate, class Rows>
HWY_NOINLINE void ProductRows(const Operands<Rows>& o) {
  InColumns<TileVectors(kRows)>(
      o.n, 0, [&](auto vectors, int column) { ProductTile<kRows, vectors(), kAccumulate>(o, column); });
}

// Rows by two vectors: 12 accumulators hide the latency of two FMA ports and fit 16 registers; AVX-512 has 32.
constexpr int kProductRows = kWidth == 16 ? 8 : 6;

// Calls go(std::integral_constant, first) for blocks of up to kMost rows that together are `rows`, as even as they can
// be: 7 rows are 4 and 3, not 6 and 1.
template <int kMost, class Go>
HWY_INLINE void InRowBlocks(int32_t rows, Go go) {
  int32_t first = 0;
  for (int32_t left = (rows + kMost - 1) / kMost; left > 0; --left) {
    const int32_t count = (rows - first + left - 1) / left;
    switch (count) {
      case 1: go(std::integral_constant<int, 1>(), first); break;
      case 2: go(std::integral_constant<int, 2>(), first); break;
      case 3: go(std::integral_constant<int, std::min(3, kMost)>(), first); break;
      case 4: go(std::integral_constant<int, std::min(4, kMost)>(), first); break;
      case 5: go(std::integral_constant<int, std::min(5, kMost)>(), first); break;
      case 6: go(std::integral_constant<int, std::min(6, kMost)>(), first); break;
      case 7: go(std::integral_constant<int, std::min(7, kMost)>(), first); break;
      default: go(std::integral_constant<int, kMost>(), first); break;
    }
    first += count;
  }
}

// As GemmNN of gemm.h.
template <bool kAccumulate, class Rows>
HWY_INLINE void Product(int m, int n, int k, const float* a, int64_t lda, Rows b, float* c, int64_t ldc) {
  InRowBlocks<kProductRows>(m, [&](auto block, int first) {
    ProductRows<block(), kAccumulate>(Operands<Rows>{n, k, a + first * lda, lda, b, c + first * ldc, ldc});
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace kvcapsule
HWY_AFTER_NAMESPACE();
#endif
