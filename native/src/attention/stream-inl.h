// Attention's two products over rows of rows-inl.h, for one target. Few query rows: stored rows are converted in
// registers as they stream by, nothing is turned over or copied. Many: over panels that were converted once.
//
// A logit is defined as kLanes chains of fused multiply-adds, chain l over channels l, l + kLanes, ..., whose sums
// are added up pairwise, first those 8 apart, then 4, 2 and 1. So it has the same bits however many query rows are
// computed together.
#if defined(KVCAPSULE_ATTENTION_STREAM_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef KVCAPSULE_ATTENTION_STREAM_INL_H_
#undef KVCAPSULE_ATTENTION_STREAM_INL_H_
#else
#define KVCAPSULE_ATTENTION_STREAM_INL_H_
#endif

#include <algorithm>

#include "attention/rows-inl.h"

HWY_BEFORE_NAMESPACE();
namespace kvcapsule {
namespace HWY_NAMESPACE {

// Up to this many query rows stream. With head_dim 64, a row costs 1.3 ns a token, turned over 0.9 ns and 8 ns once;
// with 128, 2.2 ns against 1.7 and 16.
constexpr int32_t kStreamRows = 16;

// Registers of kLanes chains.
constexpr int kChainRegisters = kLanes / kWidth;
// Rows whose chains share a register once they are folded: AVX-512 adds up the halves of two.
constexpr int kFoldRows = kWidth == 16 ? 2 : 1;
// Folded registers that become kWidth logits.
constexpr int kFolded = kWidth / kFoldRows;

// Chains of a row, added up as far as they lie in different registers.
HWY_INLINE FloatV Fold(FloatV* chains) {
#pragma GCC unroll 4
  for (int half = kChainRegisters / 2; half > 0; half /= 2) {
#pragma GCC unroll 8
    for (int i = 0; i < half; ++i) chains[i] = hn::Add(chains[i], chains[i + half]);
  }
  return chains[0];
}

// Folded chains of rows 0 .. kWidth - 1 (AVX-512: of rows i and i + 8 in folded[i]), `stride` registers apart, become
// their logits in order.
HWY_INLINE FloatV Unite(const FloatV* folded, [[maybe_unused]] int stride) {
  const FloatTag d;
  const hn::Repartition<double, FloatTag> d64;
  FloatV quad[4];
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    quad[j] = folded[j * stride];
#if HWY_TARGET == HWY_AVX2
    const FloatV other = folded[(j + 4) * stride];
    quad[j] = hn::Add(hn::ConcatUpperLower(d, other, quad[j]), hn::ConcatLowerUpper(d, other, quad[j]));
#elif HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL
    const FloatV other = folded[(j + 4) * stride];
    quad[j] = hn::Add(hn::OddEvenBlocks(other, quad[j]), hn::SwapAdjacentBlocks(hn::OddEvenBlocks(quad[j], other)));
#endif
  }
  FloatV pair[2];
#pragma GCC unroll 2
  for (int j = 0; j < 2; ++j)
    pair[j] = hn::Add(hn::InterleaveLower(d, quad[2 * j], quad[2 * j + 1]),
                      hn::InterleaveUpper(d, quad[2 * j], quad[2 * j + 1]));
  const auto a = hn::BitCast(d64, pair[0]), b = hn::BitCast(d64, pair[1]);
  return hn::Add(hn::BitCast(d, hn::InterleaveLower(d64, a, b)), hn::BitCast(d, hn::InterleaveUpper(d64, a, b)));
}

// Stacked query rows, padded with zeros to whole vectors of kLanes channels; faster where those are cache lines.
struct QueryRows {
  const float* first;  // [count][stride]
  int64_t stride;
  int32_t count, vectors;
};

// folded[i] = what query row i makes of `row` (AVX-512: of row and row + 8, neither past `last`). kVectors: of the
// query rows, where that is known; 0: any number of them.
template <int kVectors, class Rows>
HWY_INLINE void FoldRow(const Rows& rows, int32_t row, int32_t last, const QueryRows& queries, FloatV* folded) {
  const int32_t registers = (kVectors ? kVectors : queries.vectors) * kChainRegisters;
  const int32_t from[] = {std::min(row, last), std::min(row + 8, last)};
  FloatV key[kFoldRows][kVectors ? kVectors * kChainRegisters : 1];
  if constexpr (kVectors > 0) {
#pragma GCC unroll 2
    for (int t = 0; t < kFoldRows; ++t) {
#pragma GCC unroll 128
      for (int v = 0; v < kVectors * kChainRegisters; ++v) key[t][v] = rows.At(from[t], 0, v * kWidth);
    }
  }
  const float* query = queries.first;
  for (int32_t i = 0; i < queries.count; ++i, query += queries.stride) {
    FloatV chains[2][kChainRegisters];
#pragma GCC unroll 128
    for (int v = 0; v < registers; ++v) {
      const FloatV x = Load(query + v * kWidth);
#pragma GCC unroll 2
      for (int t = 0; t < kFoldRows; ++t) {
        const FloatV y = kVectors ? key[t][kVectors ? v : 0] : rows.At(from[t], 0, v * kWidth);
        FloatV& chain = chains[t][v % kChainRegisters];
        chain = v < kChainRegisters ? hn::Mul(x, y) : hn::MulAdd(x, y, chain);
      }
    }
    folded[i] = Fold(chains[0]);
#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL
    const FloatTag d;
    const FloatV upper = Fold(chains[1]);
    folded[i] = hn::Add(hn::ConcatUpperLower(d, upper, folded[i]), hn::ConcatLowerUpper(d, upper, folded[i]));
#endif
  }
}

// logits [queries.count][kPanelTokens]: at most kStreamRows query rows times `count` rows.
template <int kVectors, class Rows>
HWY_NOINLINE void StreamLogits(const Rows& rows, int32_t count, const QueryRows& queries, float* logits) {
  FloatV folded[kFolded * kStreamRows];
  for (int32_t first = 0; first < count; first += kWidth) {
    for (int r = 0; r < kFolded; ++r) {
      FoldRow<kVectors>(rows, first + r, count - 1, queries, folded + r * kStreamRows);
#pragma GCC unroll 2
      for (int t = 0; t < kFoldRows; ++t) rows.Touch(first + r * kFoldRows + t, queries.vectors * kLanes);
    }
    for (int32_t i = 0; i < queries.count; ++i)
      Store(Unite(folded + i, kStreamRows), logits + i * kPanelTokens + first);
  }
}

// keys [vectors * kLanes][kPanelTokens]: rows as columns. Up to kWidth - 1 columns more are written.
template <class Rows>
HWY_NOINLINE void Turn(const Rows& rows, int32_t count, int32_t vectors, float* keys) {
  for (int32_t first = 0; first < count; first += kWidth) {
    for (int32_t channel = 0; channel < vectors * kLanes; channel += kWidth) {
      FloatV square[kWidth];
#pragma GCC unroll 16
      for (int i = 0; i < kWidth; ++i) 
        square[i] = rows.At(std::min(first + i, count - 1), 0, channel);
      StoreTransposed(square, keys + channel * kPanelTokens + first, kPanelTokens);
    }
  }
  for (int32_t row = 0; row < count; ++row) rows.Touch(row, vectors * kLanes);
}

// kRows query rows times kColumns registers of columns of Turn.
template <int kRows, int kColumns>
struct TurnedTile {
  const QueryRows& queries;
  const float* query;  // the first
  const float* keys;   // the first column
  using Sums = FloatV[kRows][kColumns];

  // Chain kLane.
  template <int kLane>
  HWY_INLINE void Chain(Sums sums) const {
    Step<true>(kLane, sums);
    for (int32_t v = 1; v < queries.vectors; ++v) Step<false>(kLane + v * kLanes, sums);
  }
  template <bool kFirst>
  HWY_INLINE void Step(int32_t channel, Sums sums) const {
    FloatV column[kColumns];
#pragma GCC unroll 2
    for (int j = 0; j < kColumns; ++j) column[j] = Load(keys + channel * kPanelTokens + j * kWidth);
#pragma GCC unroll 4
    for (int i = 0; i < kRows; ++i) {
      const FloatV x = Splat(query[i * queries.stride + channel]);
#pragma GCC unroll 2
      for (int j = 0; j < kColumns; ++j)
        sums[i][j] = kFirst ? hn::Mul(x, column[j]) : hn::MulAdd(x, column[j], sums[i][j]);
    }
  }
  // Chains kLane, kLane + kApart, ... together.
  template <int kLane, int kApart>
  HWY_INLINE void Sum(Sums sums) const {
    if constexpr (kApart == kLanes) {
      Chain<kLane>(sums);
    } else {
      Sums other;
      Sum<kLane, 2 * kApart>(sums);
      Sum<kLane + kApart, 2 * kApart>(other);
#pragma GCC unroll 4
      for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 2
        for (int j = 0; j < kColumns; ++j) sums[i][j] = hn::Add(sums[i][j], other[i][j]);
      }
    }
  }
};

template <int kRows>
HWY_NOINLINE void TurnedRows(const QueryRows& queries, int32_t first, const float* keys, int32_t columns,
                             float* logits) {
  constexpr int kColumns = 2;  // with 4 rows: enough chains to hide the latency, fewer loads than products
  for (int32_t c = 0; c < columns; c += kColumns * kWidth) {
    FloatV sums[kRows][kColumns];
    const float* query = queries.first + first * queries.stride;
    TurnedTile<kRows, kColumns>{queries, query, keys + c}.template Sum<0, 1>(sums);
#pragma GCC unroll 4
    for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 2
      for (int j = 0; j < kColumns; ++j) Store(sums[i][j], logits + (first + i) * kPanelTokens + c + j * kWidth);
    }
  }
}

// logits [queries.count][kPanelTokens] over `columns` columns of Turn; as many as two registers more are written.
HWY_INLINE void TurnedLogits(const QueryRows& queries, const float* keys, int32_t columns, float* logits) {
  constexpr int kRows = 4;
  int32_t i = 0;
  for (; i + kRows <= queries.count; i += kRows) TurnedRows<kRows>(queries, i, keys, columns, logits);
  for (; i < queries.count; ++i) TurnedRows<1>(queries, i, keys, columns, logits);
}

// Weights [m][kPanelTokens] times `count` rows are added to out [m][padded].
struct WeightedRows {
  const float* weights;
  int32_t count;
  float* out;
  int64_t padded;
};

// Rows of the next panel are asked for one by one, every so many rows of this one: [row, ...).
struct Asking {
  int32_t row, every;
};

template <int kRows, int kRegisters, class Rows>
HWY_INLINE void AddTile(const Rows& rows, const WeightedRows& o, int32_t base, int32_t offset, Asking asking) {
  float* out = o.out + base + offset;
  FloatV sum[kRows][kRegisters];
#pragma GCC unroll 8
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < kRegisters; ++j) sum[i][j] = Load(out + i * o.padded + j * kWidth);
  }
  int32_t wait = 1;
  for (int32_t p = 0; p < o.count; ++p) {
    FloatV value[kRegisters];
#pragma GCC unroll 4
    for (int j = 0; j < kRegisters; ++j) value[j] = rows.At(p, base, offset + j * kWidth);
    if (--wait == 0) {
      rows.Touch(asking.row++, static_cast<int32_t>(o.padded));
      wait = asking.every;
    }
#pragma GCC unroll 8
    for (int i = 0; i < kRows; ++i) {
      const FloatV weight = Splat(o.weights[i * kPanelTokens + p]);
#pragma GCC unroll 4
      for (int j = 0; j < kRegisters; ++j) sum[i][j] = hn::MulAdd(weight, value[j], sum[i][j]);
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < kRegisters; ++j) Store(sum[i][j], out + i * o.padded + j * kWidth);
  }
}

// ask: whether the next panel is still to be asked for.
template <int kRows, class Rows>
HWY_NOINLINE void AddRows(const Rows& rows, const WeightedRows& o, bool ask) {
  constexpr int kRegisters = kRows <= 2 ? 4 : 2;  // few rows: more channels keep the FMA ports busy
  const auto passes = static_cast<int32_t>(o.padded / (kRegisters * kWidth));
  Asking asking = {ask ? 0 : kPanelTokens, std::max(1, passes)};
  constexpr int kStep = kRegisters * kWidth, kBases = std::max(kStep, kBase);  // one divides the other
  int32_t base = 0;
  for (; base + kBases <= o.padded; base += kBases) {
    for (int offset = 0; offset < kBases; offset += kStep) {
      AddTile<kRows, kRegisters>(rows, o, base, offset, asking);
      asking.row += (o.count + passes - 1) / passes;
    }
  }
  for (int32_t channel = base; channel < o.padded; channel += kWidth)
    AddTile<kRows, 1>(rows, o, base, channel - base, {kPanelTokens, 1});
}

// m rows of weights.
template <class Rows>
HWY_INLINE void AddWeighted(int32_t m, const Rows& rows, const WeightedRows& all) {
  InRowBlocks<kProductRows>(m, [&](auto block, int32_t first) {
    AddRows<block()>(rows, {all.weights + first * kPanelTokens, all.count, all.out + first * all.padded, all.padded},
                     first == 0);
  });
}

// Rows as floats, [count][padded].
template <class Rows>
HWY_NOINLINE void Copy(const Rows& rows, int32_t count, int64_t padded, float* to) {
  for (int32_t row = 0; row < count; ++row) {
    for (int32_t channel = 0; channel < padded; channel += kWidth)
      Store(rows.At(row, 0, channel), to + row * padded + channel);
    rows.Touch(row, static_cast<int32_t>(padded));
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace kvcapsule
HWY_AFTER_NAMESPACE();
#endif
