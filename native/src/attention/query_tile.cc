#include "attention/query_tile.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "common/half.h"
#include "kv/gemm.h"
#include "kv/simd.h"

namespace kvcapsule {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

// count rows of dim elements to float rows of padded_dim; the padding is zero.
void WidenRows(Dtype dtype, const uint8_t* from, int32_t count, int32_t dim, int32_t padded_dim, float* to) {
  if (dim == padded_dim) return ToFloat(dtype, from, static_cast<int64_t>(count) * dim, to);
  const int64_t row_bytes = dim * DtypeBytes(dtype);
  for (int32_t i = 0; i < count; ++i) {
    ToFloat(dtype, from + i * row_bytes, dim, to + static_cast<int64_t>(i) * padded_dim);
    std::fill_n(to + static_cast<int64_t>(i) * padded_dim + dim, padded_dim - dim, 0.0f);
  }
}

}  // namespace

void QueryTile::Begin(const KvGeometry& geometry, int32_t layer, int32_t kv_head, int32_t group, int32_t rows,
                      float scale, int32_t heads, const float* queries, int64_t first_row) {
  geometry_ = geometry;
  layer_ = layer;
  kv_head_ = kv_head;
  group_ = group;
  stacked_ = rows * group;
  padded_dim_ = RoundToLanes(geometry.head_dim);
  const int64_t group_floats = static_cast<int64_t>(group) * geometry.head_dim;
  float* to = Room(queries_, rows * group_floats);
  for (int32_t r = 0; r < rows; ++r) {
    const float* from =
        queries + ((first_row + r) * heads + static_cast<int64_t>(kv_head) * group) * geometry.head_dim;
    for (int64_t i = 0; i < group_floats; ++i) to[r * group_floats + i] = from[i] * scale;
  }
  out_.assign(static_cast<size_t>(stacked_) * padded_dim_, 0.0f);
  max_.assign(stacked_, kMinusInfinity);
  sum_.assign(stacked_, 0.0f);
}

void QueryTile::AttendRaw(const KvPool& pool, const RawSegment& segment, int32_t tokens) {
  AttendRawPanels(pool, segment, tokens, 0, false);
}

void QueryTile::AttendOwn(const KvPool& pool, const RawSegment& segment, int32_t start) {
  AttendRawPanels(pool, segment, start + stacked_ / group_, start, true);
}

void QueryTile::PrefetchPanel(const KvPool& pool, const RawSegment& segment, int32_t first_token,
                              int32_t tokens) const {
  constexpr int32_t kTokens = KvGeometry::kBlockTokens;
  constexpr int64_t kLineBytes = 64;
  const int32_t end = std::min(first_token + kPanelTokens, tokens);
  for (int32_t token = first_token; token < end; token += kTokens) {
    for (const KvPart part : {KvPart::kKey, KvPart::kValue}) {
      const uint8_t* tile = pool.Tile(segment.blocks[token / kTokens], layer_, part, kv_head_);
      for (int64_t byte = 0; byte < geometry_.TileBytes(); byte += kLineBytes)
        __builtin_prefetch(tile + byte, 0, 2);
    }
  }
}

void QueryTile::AttendRawPanels(const KvPool& pool, const RawSegment& segment, int32_t tokens, int32_t start,
                                bool causal) {
  const LoadRows load = [&](KvPart part, int32_t first, int32_t count, float* rows) {
    constexpr int32_t kTokens = KvGeometry::kBlockTokens;
    for (int32_t i = 0; i < count; i += kTokens) {
      const int32_t block = segment.blocks[(first + i) / kTokens];
      WidenRows(geometry_.dtype, pool.Tile(block, layer_, part, kv_head_), std::min(kTokens, count - i),
                geometry_.head_dim, padded_dim_, rows + static_cast<int64_t>(i) * padded_dim_);
    }
  };
  AttendPanels(load, tokens, start, causal,
               [&](int32_t next) { PrefetchPanel(pool, segment, next, tokens); });
}

void QueryTile::AttendPanels(const LoadRows& load, int32_t tokens, int32_t start, bool causal,
                             const std::function<void(int32_t next)>& before_next) {
  float* rows = Room(rows_, static_cast<int64_t>(kPanelTokens) * padded_dim_);
  float* keys = Room(keys_, static_cast<int64_t>(kPanelTokens) * padded_dim_);
  // Panels begin at multiples of their size in the segment, so a row's sums do not depend on its tile.
  for (int32_t first = 0; first < tokens; first += kPanelTokens) {
    const int32_t count = std::min(kPanelTokens, tokens - first);
    const int32_t columns = RoundToLanes(count);
    load(KvPart::kKey, first, count, rows);
    Transpose(count, padded_dim_, rows, padded_dim_, keys, kPanelTokens);
    load(KvPart::kValue, first, count, rows);
    before_next(first + kPanelTokens);
    float* weights = Room(weights_, static_cast<int64_t>(stacked_) * kPanelTokens);
    GemmNN(stacked_, columns, geometry_.head_dim, queries_.data(), geometry_.head_dim, keys,
           kPanelTokens, weights, kPanelTokens, false);
    for (int32_t i = 0; i < stacked_; ++i) {
      float* row = weights + static_cast<int64_t>(i) * kPanelTokens;
      const int32_t seen = causal ? std::clamp(start + i / group_ + 1 - first, 0, count) : count;
      std::fill(row + seen, row + columns, kMinusInfinity);
      Weigh(i, row, columns);
    }
    GemmNN(stacked_, padded_dim_, count, weights, kPanelTokens, rows, padded_dim_, out_.data(), padded_dim_,
           true);
  }
}

float QueryTile::Weigh(int32_t i, float* logits, int32_t columns) {
  FloatV widest = SetV(max_[i]);
  for (int32_t j = 0; j < columns; j += kLanes) widest = MaxV(widest, LoadV(logits + j));
  const float top = MaxOfV(widest);
  FloatV total = {};
  for (int32_t j = 0; j < columns; j += kLanes) {
    const FloatV weight = ExpV(LoadV(logits + j) - top);
    StoreV(logits + j, weight);
    total += weight;
  }
  const float added = SumV(total);
  if (top > max_[i]) {
    const float shrink = std::exp(max_[i] - top);
    float* out = out_.data() + static_cast<int64_t>(i) * padded_dim_;
    for (int32_t c = 0; c < padded_dim_; c += kLanes) StoreV(out + c, LoadV(out + c) * shrink);
    sum_[i] *= shrink;
    max_[i] = top;
  }
  sum_[i] += added;
  return added;
}

void QueryTile::AttendCapsule(const KvPool& pool, const CapsuleSegment& segment) {
  if (const auto* rows = dynamic_cast<const RowFormat*>(segment.format.get())) {
    AttendRows(pool, segment, *rows);
  } else if (const auto* short_rows = dynamic_cast<const CapsuleFormat*>(segment.format.get())) {
    AttendShortRows(pool, segment, *short_rows);
  } else {
    AttendDecoded(pool, segment);
  }
}

void QueryTile::AttendDecoded(const KvPool& pool, const CapsuleSegment& segment) {
  const int32_t dim = geometry_.head_dim;
  const int64_t floats = static_cast<int64_t>(segment.tokens) * dim;
  float* decoded = Room(decoded_, 2 * floats);
  for (const KvPart part : {KvPart::kKey, KvPart::kValue})
    segment.format->Decode(pool, segment, layer_, part, kv_head_, decoded + static_cast<int>(part) * floats);
  const LoadRows load = [&](KvPart part, int32_t first, int32_t count, float* rows) {
    for (int32_t i = 0; i < count; ++i, rows += padded_dim_) {
      std::copy_n(decoded + static_cast<int>(part) * floats + static_cast<int64_t>(first + i) * dim, dim, rows);
      std::fill(rows + dim, rows + padded_dim_, 0.0f);
    }
  };
  AttendPanels(load, segment.tokens, 0, false, [](int32_t) {});
}

void QueryTile::AttendRows(const KvPool& pool, const CapsuleSegment& segment, const RowFormat& format) {
  const LoadRows load = [&](KvPart part, int32_t first, int32_t count, float* rows) {
    format.ReadRows(pool, segment, layer_, part, kv_head_, first, count, rows, padded_dim_);
    if (padded_dim_ == geometry_.head_dim) return;
    for (int32_t i = 0; i < count; ++i) {
      float* padding = rows + static_cast<int64_t>(i) * padded_dim_ + geometry_.head_dim;
      std::fill_n(padding, padded_dim_ - geometry_.head_dim, 0.0f);
    }
  };
  AttendPanels(load, segment.tokens, 0, false, [](int32_t) {});
}

void QueryTile::LoadShortRows(const KvPool& pool, const CapsuleSegment& segment,
                              const CapsuleFormat& format) {
  const int32_t m = format.profile().head(layer_, kv_head_).rows;
  const int32_t padded_m = RoundToLanes(m);
  float* rows = Room(rows_, static_cast<int64_t>(padded_m) * padded_dim_);
  float* keys = Room(keys_, static_cast<int64_t>(padded_m) * padded_dim_);
  const auto widen = [&](KvPart part) {
    format.VisitRuns(pool, segment, layer_, part, kv_head_,
                     [&](int32_t first, int32_t count, const uint8_t* bytes) {
                       WidenRows(geometry_.dtype, bytes, count, geometry_.head_dim, padded_dim_,
                                 rows + static_cast<int64_t>(first) * padded_dim_);
                     });
  };
  widen(KvPart::kKey);
  Transpose(m, padded_dim_, rows, padded_dim_, keys, padded_m);
  widen(KvPart::kValue);
}

void QueryTile::AttendShortRows(const KvPool& pool, const CapsuleSegment& segment,
                                const CapsuleFormat& format) {
  const CapsuleHead& head = format.profile().head(layer_, kv_head_);
  const int32_t n = segment.tokens, m = head.rows;
  const int32_t padded_n = RoundToLanes(n), padded_m = RoundToLanes(m);
  LoadShortRows(pool, segment, format);
  float* shortened = Room(short_, static_cast<int64_t>(stacked_) * padded_m);
  float* weights = Room(weights_, static_cast<int64_t>(stacked_) * padded_n);
  // S = sigma Q K_c^T, L = S theta
  GemmNN(stacked_, padded_m, geometry_.head_dim, queries_.data(), geometry_.head_dim, keys_.data(), padded_m,
         shortened, padded_m, false);
  GemmNN(stacked_, n, m, shortened, padded_m, head.theta.data(), n, weights, padded_n, false);
  float* mean = Room(mean_, padded_dim_);
  std::copy(head.mean.begin(), head.mean.end(), mean);
  std::fill(mean + geometry_.head_dim, mean + padded_dim_, 0.0f);
  for (int32_t i = 0; i < stacked_; ++i) {
    float* row = weights + static_cast<int64_t>(i) * padded_n;
    std::fill(row + n, row + padded_n, kMinusInfinity);
    const float share = Weigh(i, row, padded_n);
    float* out = out_.data() + static_cast<int64_t>(i) * padded_dim_;
    for (int32_t c = 0; c < padded_dim_; c += kLanes)
      StoreV(out + c, LoadV(out + c) + LoadV(mean + c) * share);
  }
  // W = P U^T, Y = W V_c + (sum P) mu
  GemmNT(stacked_, m, n, weights, padded_n, head.basis.data(), n, shortened, padded_m);
  GemmNN(stacked_, padded_dim_, m, shortened, padded_m, rows_.data(), padded_dim_, out_.data(), padded_dim_,
         true);
}

void QueryTile::Finish(int32_t heads, int64_t first_row, float* out) const {
  const int32_t dim = geometry_.head_dim;
  for (int32_t i = 0; i < stacked_; ++i) {
    const float* from = out_.data() + static_cast<int64_t>(i) * padded_dim_;
    float* to =
        out + ((first_row + i / group_) * heads + static_cast<int64_t>(kv_head_) * group_ + i % group_) * dim;
    for (int32_t c = 0; c < dim; ++c) to[c] = from[c] / sum_[i];
  }
}

}  // namespace kvcapsule
