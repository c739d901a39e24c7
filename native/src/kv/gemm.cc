#include "kv/gemm.h"

#include "kv/simd.h"

namespace kvcapsule {
namespace {

struct Operands {
  int n, k;
  const float* a;
  int lda;
  const float* b;
  int ldb;
  float* c;
  int ldc;
};

// Six rows by two vectors: 12 accumulators hide the latency of two FMA ports and fit AVX2's 16 registers.
constexpr int kRowsNN = 6;
constexpr int kTileNT = 4;

template <int kRows, int kVectors, bool kAccumulate>
KVC_INLINE void KernelNN(const Operands& o, int column) {
  const float* b = o.b + column;
  float* c = o.c + column;
  FloatV sum[kRows][kVectors];
#pragma GCC unroll 8
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < kVectors; ++j) sum[i][j] = kAccumulate ? LoadV(c + i * o.ldc + j * kLanes) : FloatV{};
  }
  for (int p = 0; p < o.k; ++p) {
    FloatV row[kVectors];
#pragma GCC unroll 4
    for (int j = 0; j < kVectors; ++j) row[j] = LoadV(b + static_cast<long>(p) * o.ldb + j * kLanes);
#pragma GCC unroll 8
    for (int i = 0; i < kRows; ++i) {
      const FloatV x = SetV(o.a[static_cast<long>(i) * o.lda + p]);
#pragma GCC unroll 4
      for (int j = 0; j < kVectors; ++j) sum[i][j] += x * row[j];
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < kVectors; ++j) StoreV(c + i * o.ldc + j * kLanes, sum[i][j]);
  }
}

void NarrowNN(const Operands& o, int rows) {
  for (int i = 0; i < rows; ++i) {
    for (int j = 0; j < o.n; ++j) {
      float sum = 0;
      for (int p = 0; p < o.k; ++p) sum += o.a[i * o.lda + p] * o.b[p * o.ldb + j];
      o.c[i * o.ldc + j] = sum;
    }
  }
}

template <int kRows, bool kAccumulate>
void RowsNN(const Operands& o) {
  if (o.n < kLanes) return NarrowNN(o, kRows);
  constexpr int kVectors = kRows <= 2 ? 4 : 2;  // few rows: more columns keep the FMA ports busy
  int j = 0;
  for (; j + kVectors * kLanes <= o.n; j += kVectors * kLanes) KernelNN<kRows, kVectors, kAccumulate>(o, j);
  for (; j + kLanes <= o.n; j += kLanes) KernelNN<kRows, 1, kAccumulate>(o, j);
  // The ragged end overlaps columns already done: the same sums again, no masks.
  if (j < o.n) KernelNN<kRows, 1, false>(o, o.n - kLanes);
}

template <bool kAccumulate>
void RowBlockNN(const Operands& o, int rows) {
  switch (rows) {
    case 1: return RowsNN<1, kAccumulate>(o);
    case 2: return RowsNN<2, kAccumulate>(o);
    case 3: return RowsNN<3, kAccumulate>(o);
    case 4: return RowsNN<4, kAccumulate>(o);
    case 5: return RowsNN<5, kAccumulate>(o);
    default: return RowsNN<6, kAccumulate>(o);
  }
}

// Sums of the lanes of each of four vectors, in lanes 0..3.
KVC_INLINE FloatV SumFour(const FloatV v[kTileNT]) {
  const FloatV even = InterleaveLow(v[0], v[2]) + InterleaveHigh(v[0], v[2]);
  const FloatV odd = InterleaveLow(v[1], v[3]) + InterleaveHigh(v[1], v[3]);
  FloatV sum = InterleaveLow(even, odd) + InterleaveHigh(even, odd);
  for (int width = kLanes / 2; width >= kTileNT; width /= 2) {
    IntV pick;
    for (int i = 0; i < kLanes; ++i) pick[i] = (i + width) % kLanes;
    sum += __builtin_shuffle(sum, pick);
  }
  return sum;
}

template <int kRows>
KVC_INLINE void KernelNT(const Operands& o, int column) {
  // Columns past the end repeat the last one and are dropped when stored.
  const float* b[kTileNT];
  const int columns = o.n - column < kTileNT ? o.n - column : kTileNT;
  for (int j = 0; j < kTileNT; ++j)
    b[j] = o.b + static_cast<long>(column + (j < columns ? j : columns - 1)) * o.ldb;
  FloatV sum[kRows][kTileNT] = {};
  int p = 0;
  for (; p + kLanes <= o.k; p += kLanes) {
#pragma GCC unroll 4
    for (int j = 0; j < kTileNT; ++j) {
      const FloatV y = LoadV(b[j] + p);
#pragma GCC unroll 4
      for (int i = 0; i < kRows; ++i) sum[i][j] += LoadV(o.a + i * o.lda + p) * y;
    }
  }
  if (p < o.k) {
#pragma GCC unroll 4
    for (int j = 0; j < kTileNT; ++j) {
      const FloatV y = LoadPartV(b[j] + p, o.k - p);
#pragma GCC unroll 4
      for (int i = 0; i < kRows; ++i) sum[i][j] += LoadPartV(o.a + i * o.lda + p, o.k - p) * y;
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < kRows; ++i) {
    const FloatV sums = SumFour(sum[i]);
    std::memcpy(o.c + i * o.ldc + column, &sums, columns * sizeof(float));
  }
}

template <int kRows>
void RowsNT(const Operands& o) {
  for (int j = 0; j < o.n; j += kTileNT) KernelNT<kRows>(o, j);
}

// Row i and row i + half shuffled together become rows 2i and 2i + 1.
KVC_INLINE void Shuffle(FloatV (&rows)[kLanes]) {
  FloatV next[kLanes];
#pragma GCC unroll 8
  for (int i = 0; i < kLanes / 2; ++i) {
    next[2 * i] = InterleaveLow(rows[i], rows[i + kLanes / 2]);
    next[2 * i + 1] = InterleaveHigh(rows[i], rows[i + kLanes / 2]);
  }
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; ++i) rows[i] = next[i];
}

// log2(kLanes) perfect shuffles turn columns into rows. Written out: in a loop GCC 12 keeps the rows in
// memory.
KVC_INLINE void TransposeTile(const float* in, int ldi, float* out, int ldo) {
  static_assert(kLanes == 8 || kLanes == 16);
  FloatV rows[kLanes];
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; ++i) rows[i] = LoadV(in + static_cast<long>(i) * ldi);
  Shuffle(rows);
  Shuffle(rows);
  Shuffle(rows);
  if constexpr (kLanes == 16) Shuffle(rows);
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; ++i) StoreV(out + static_cast<long>(i) * ldo, rows[i]);
}

}  // namespace

void GemmNN(int m, int n, int k, const float* a, int lda, const float* b, int ldb, float* c, int ldc,
            bool accumulate) {
  for (int i = 0; i < m; i += kRowsNN) {
    const Operands o{n, k, a + static_cast<long>(i) * lda, lda, b, ldb, c + static_cast<long>(i) * ldc, ldc};
    const int rows = m - i < kRowsNN ? m - i : kRowsNN;
    if (accumulate) {
      RowBlockNN<true>(o, rows);
    } else {
      RowBlockNN<false>(o, rows);
    }
  }
}

void GemmNT(int m, int n, int k, const float* a, int lda, const float* b, int ldb, float* c, int ldc) {
  for (int i = 0; i < m; i += kTileNT) {
    const Operands o{n, k, a + static_cast<long>(i) * lda, lda, b, ldb, c + static_cast<long>(i) * ldc, ldc};
    switch (m - i) {
      case 1: RowsNT<1>(o); break;
      case 2: RowsNT<2>(o); break;
      case 3: RowsNT<3>(o); break;
      default: RowsNT<4>(o); break;
    }
  }
}

void Transpose(int rows, int columns, const float* in, int ldi, float* out, int ldo) {
  for (int i = 0; i < rows; i += kLanes) {
    for (int j = 0; j < columns; j += kLanes) {
      TransposeTile(in + static_cast<long>(i) * ldi + j, ldi, out + static_cast<long>(j) * ldo + i, ldo);
    }
  }
}

}  // namespace kvcapsule
