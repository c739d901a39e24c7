// Attention over packed capsules: the coefficients are unpacked once a tile, bases and transforms are applied
// to the stacked query rows. Oracle: PackedFormat::Decode under test/attention_test.cc.
#include <algorithm>
#include <limits>

#include "attention/query_tile.h"
#include "kv/gemm.h"
#include "kv/simd.h"

namespace kvcapsule {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

}  // namespace

void QueryTile::AttendPacked(const KvPool& pool, const CapsuleSegment& segment, const PackedFormat& format) {
  PackedLogits(pool, segment, format);
  PackedOutput(pool, segment, format);
}

void QueryTile::PackedLogits(const KvPool& pool, const CapsuleSegment& segment, const PackedFormat& format) {
  const PackedUnit& keys = format.unit(layer_, KvPart::kKey, kv_head_);
  const int32_t n = segment.tokens, dim = geometry_.head_dim, m = keys.rank;
  const int32_t padded_n = RoundToLanes(n), padded_m = RoundToLanes(m);
  const auto t = static_cast<int32_t>(format.template_columns().size());
  float* turned = Room(turned_, static_cast<int64_t>(stacked_) * padded_dim_);
  for (int32_t i = 0; i < stacked_; ++i) {
    std::copy_n(queries_.data() + static_cast<int64_t>(i) * dim, dim, turned + static_cast<int64_t>(i) * padded_dim_);
  }
  format.Rotate(turned, stacked_, padded_dim_, -segment.position);
  // S = q A^-T (C + O)^T
  float* mapped = Room(mapped_, static_cast<int64_t>(stacked_) * padded_dim_);
  GemmNT(stacked_, dim, dim, turned, padded_dim_, keys.inverse.data(), padded_dim_, mapped, padded_dim_);
  float* rows = Room(rows_, static_cast<int64_t>(padded_m) * padded_dim_);
  float* columns = Room(keys_, static_cast<int64_t>(padded_m) * padded_dim_);
  format.ReadCoefficients(pool, segment, layer_, KvPart::kKey, kv_head_, rows);
  Transpose(m, padded_dim_, rows, padded_dim_, columns, padded_m);
  float* shortened = Room(short_, static_cast<int64_t>(stacked_) * padded_m);
  GemmNN(stacked_, padded_m, dim, mapped, padded_dim_, columns, padded_m, shortened, padded_m, false);
  // L = S U diag(1/w), group by group
  float* logits = Room(weights_, static_cast<int64_t>(stacked_) * padded_n);
  const std::vector<int32_t>& begins = format.group_begins();
  for (size_t g = 0; g + 1 < begins.size(); ++g) {
    const int32_t extent = begins[g + 1] - begins[g];
    GemmNN(stacked_, extent, keys.rank_begins[g + 1] - keys.rank_begins[g], shortened + keys.rank_begins[g],
           padded_m, keys.expand.data() + keys.basis_begins[g], extent, logits + begins[g], padded_n, false);
  }
  // What the template says of every row
  float* direct = Room(direct_, static_cast<int64_t>(stacked_) * (t + 1));
  GemmNT(stacked_, t, dim, turned, padded_dim_, keys.template_rows.data(), padded_dim_, direct, t + 1);
  for (int32_t i = 0; i < stacked_; ++i) {
    float* row = logits + static_cast<int64_t>(i) * padded_n;
    float* own = direct + static_cast<int64_t>(i) * (t + 1);
    if (!keys.mean.empty()) {
      float common = 0;
      for (int32_t c = 0; c < dim; ++c) common += turned[static_cast<int64_t>(i) * padded_dim_ + c] * keys.mean[c];
      for (int32_t c = 0; c < n; ++c) row[c] += common;
      for (int32_t k = 0; k < t; ++k) own[k] -= common;
    }
    for (int32_t k = 0; k < t; ++k) row[format.template_columns()[k]] += own[k];
    std::fill(row + n, row + padded_n, kMinusInfinity);
  }
}

void QueryTile::PackedOutput(const KvPool& pool, const CapsuleSegment& segment, const PackedFormat& format) {
  const PackedUnit& values = format.unit(layer_, KvPart::kValue, kv_head_);
  const int32_t n = segment.tokens, m = values.rank;
  const int32_t padded_n = RoundToLanes(n), padded_m = RoundToLanes(m);
  const auto t = static_cast<int32_t>(format.template_columns().size());
  float* weights = Room(weights_, static_cast<int64_t>(stacked_) * padded_n);
  float* direct = Room(direct_, static_cast<int64_t>(stacked_) * (t + 1));
  for (int32_t i = 0; i < stacked_; ++i) {
    float* row = weights + static_cast<int64_t>(i) * padded_n;
    float* own = direct + static_cast<int64_t>(i) * (t + 1);
    float others = Weigh(i, row, padded_n);
    for (int32_t k = 0; k < t; ++k) others -= own[k] = row[format.template_columns()[k]];
    if (values.mean.empty()) continue;
    float* out = out_.data() + static_cast<int64_t>(i) * padded_dim_;
    for (int32_t c = 0; c < padded_dim_; c += kLanes)
      StoreV(out + c, LoadV(out + c) + LoadV(values.mean.data() + c) * others);
  }
  // W = P diag(1/w) U^T, Y = W (C + O) A^-1 + P_T N
  float* shortened = Room(short_, static_cast<int64_t>(stacked_) * padded_m);
  const std::vector<int32_t>& begins = format.group_begins();
  for (size_t g = 0; g + 1 < begins.size(); ++g) {
    const int32_t extent = begins[g + 1] - begins[g];
    GemmNT(stacked_, values.rank_begins[g + 1] - values.rank_begins[g], extent, weights + begins[g], padded_n,
           values.expand.data() + values.basis_begins[g], extent, shortened + values.rank_begins[g], padded_m);
  }
  float* rows = Room(rows_, static_cast<int64_t>(padded_m) * padded_dim_);
  format.ReadCoefficients(pool, segment, layer_, KvPart::kValue, kv_head_, rows);
  float* mapped = Room(mapped_, static_cast<int64_t>(stacked_) * padded_dim_);
  GemmNN(stacked_, padded_dim_, m, shortened, padded_m, rows, padded_dim_, mapped, padded_dim_, false);
  GemmNN(stacked_, padded_dim_, geometry_.head_dim, mapped, padded_dim_, values.inverse.data(), padded_dim_,
         out_.data(), padded_dim_, true);
  GemmNN(stacked_, padded_dim_, t, direct, t + 1, values.template_rows.data(), padded_dim_, out_.data(),
         padded_dim_, true);
}

}  // namespace kvcapsule
