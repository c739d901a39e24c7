#include "fit/attention_statistics.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "common/half.h"
#include "kv/codec/format.h"

namespace kvcapsule {
namespace {

// Keeps rows that no question has looked at from weighing nothing.
constexpr double kFloor = 0.02;

struct VisibleRows {
  std::vector<float> keys, values;  // [tokens][head_dim]
  int32_t span_begin = 0;
};

VisibleRows Gather(const KvPool& pool, const Sequence& sequence, int32_t span, const AttentionChunk& chunk,
                   int32_t layer, int32_t kv_head) {
  const KvGeometry& geometry = pool.geometry();
  VisibleRows rows;
  for (int32_t s = 0; s <= chunk.segment; ++s) {
    const auto& raw = std::get<RawSegment>(sequence.segments[s]);
    if (s == span) rows.span_begin = static_cast<int32_t>(rows.keys.size()) / geometry.head_dim;
    const int32_t tokens = s == chunk.segment ? chunk.start + chunk.rows : raw.tokens;
    for (int32_t i = 0; i < tokens; ++i) {
      rows.keys.resize(rows.keys.size() + geometry.head_dim);
      rows.values.resize(rows.keys.size());
      ToFloat(geometry.dtype, RawRow(pool, raw, layer, KvPart::kKey, kv_head, i), geometry.head_dim,
              rows.keys.data() + rows.keys.size() - geometry.head_dim);
      ToFloat(geometry.dtype, RawRow(pool, raw, layer, KvPart::kValue, kv_head, i), geometry.head_dim,
              rows.values.data() + rows.values.size() - geometry.head_dim);
    }
  }
  return rows;
}

float SquaredDistance(const float* a, const float* b, int32_t dim) {
  float sum = 0;
  for (int32_t c = 0; c < dim; ++c) sum += (a[c] - b[c]) * (a[c] - b[c]);
  return sum;
}

}  // namespace

AttentionStatistics::AttentionStatistics(const KvGeometry& geometry, int32_t tokens)
    : geometry_(geometry),
      tokens_(tokens),
      counts_(2 * static_cast<size_t>(geometry.layers) * geometry.kv_heads, std::vector<double>(tokens)) {}

void AttentionStatistics::Add(const KvPool& pool, const Sequence& sequence, int32_t span,
                              const AttentionChunk& chunk, const AttentionShape& shape, int32_t layer,
                              const float* queries) {
  const int32_t dim = geometry_.head_dim, group = shape.heads / geometry_.kv_heads;
  std::vector<float> weights, output(dim);
  const std::vector<float> zero(dim);
  for (int32_t kv_head = 0; kv_head < geometry_.kv_heads; ++kv_head) {
    const VisibleRows rows = Gather(pool, sequence, span, chunk, layer, kv_head);
    const auto all = static_cast<int32_t>(rows.keys.size()) / dim;
    std::vector<double>& keys = counts_[(static_cast<size_t>(layer) * geometry_.kv_heads + kv_head) * 2];
    std::vector<double>& values =
        counts_[(static_cast<size_t>(layer) * geometry_.kv_heads + kv_head) * 2 + 1];
    for (int32_t r = 0; r < chunk.rows * group; ++r) {
      const int32_t row = r / group, seen = all - chunk.rows + row + 1;
      const float* query =
          queries +
          ((static_cast<int64_t>(chunk.first_row) + row) * shape.heads + kv_head * group + r % group) * dim;
      weights.assign(seen, 0);
      for (int32_t i = 0; i < seen; ++i) {
        for (int32_t c = 0; c < dim; ++c)
          weights[i] += query[c] * rows.keys[static_cast<size_t>(i) * dim + c];
      }
      const float top = *std::max_element(weights.begin(), weights.end());
      float total = 0;
      for (float& weight : weights) total += weight = std::exp((weight - top) * shape.scale);
      std::fill(output.begin(), output.end(), 0.0f);
      for (int32_t i = 0; i < tokens_; ++i) {
        float& p = weights[rows.span_begin + i];
        p /= total;
        const float* value = rows.values.data() + static_cast<size_t>(rows.span_begin + i) * dim;
        for (int32_t c = 0; c < dim; ++c) output[c] += p * value[c];
      }
      const double size = SquaredDistance(query, zero.data(), dim);
      for (int32_t i = 0; i < tokens_; ++i) {
        const double p = weights[rows.span_begin + i];
        const float* value = rows.values.data() + static_cast<size_t>(rows.span_begin + i) * dim;
        values[i] += p * p;
        keys[i] += p * p * size * SquaredDistance(value, output.data(), dim);
      }
    }
  }
}

std::vector<float> AttentionStatistics::WeightsOf(const std::vector<double>& counts) {
  const auto rows = static_cast<double>(counts.size());
  const double mean = std::accumulate(counts.begin(), counts.end(), 0.0) / rows;
  if (!(mean > 0)) return std::vector<float>(counts.size(), 1.0f);
  std::vector<double> squares;
  for (const double count : counts) squares.push_back(std::sqrt(count / mean + kFloor));
  const double unit = std::accumulate(squares.begin(), squares.end(), 0.0) / rows;
  std::vector<float> weights;
  for (const double square : squares) weights.push_back(static_cast<float>(std::sqrt(square / unit)));
  return weights;
}

}  // namespace kvcapsule
