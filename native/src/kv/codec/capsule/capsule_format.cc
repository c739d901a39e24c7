#include "kv/codec/capsule/capsule_format.h"

#include <cstring>
#include <utility>

#include "common/half.h"
#include "common/vector_bytes.h"
#include "kv/gemm.h"
#include "kv/simd.h"

namespace kvcapsule {
namespace {

FormatInfo InfoOf(const KvGeometry& geometry, const CapsuleProfile& profile) {
  FormatInfo info;
  info.codec = "capsule";
  info.profile_id = profile.id;
  info.tokens = profile.tokens;
  const int64_t row_bytes = geometry.RowBytes();
  info.header_bytes = (CapsuleHeader::kSlotBytes + row_bytes - 1) / row_bytes * row_bytes;
  double macs = 0;  // m (d + n) for keys and as many for values
  for (const CapsuleHead& head : profile.heads) macs += 2.0 * head.rows * (geometry.head_dim + profile.tokens);
  info.macs_share = macs / (2.0 * profile.tokens * geometry.head_dim * static_cast<double>(profile.heads.size()));
  return info;
}

// V_c = U (V - 1 mu^T) of one layer and head.
class ValueEncoder {
 public:
  ValueEncoder(int32_t tokens, int32_t head_dim)
      : dim_(head_dim),
        padded_(RoundToLanes(head_dim)),
        centred_(static_cast<size_t>(tokens) * padded_),
        coded_() {}

  void SetRow(const CapsuleHead& head, Dtype dtype, int32_t i, const uint8_t* bytes) {
    float* row = centred_.data() + static_cast<size_t>(i) * padded_;
    ToFloat(dtype, bytes, dim_, row);
    for (int32_t c = 0; c < dim_; ++c) row[c] -= head.mean[c];
  }
  void Encode(const CapsuleHead& head, int32_t tokens) {
    coded_.resize(static_cast<size_t>(head.rows) * padded_);
    GemmNN(head.rows, padded_, tokens, head.basis.data(), tokens, centred_.data(), padded_, coded_.data(),
           padded_, false);
  }
  const float* Coded(int32_t row) const { return coded_.data() + static_cast<size_t>(row) * padded_; }

 private:
  int32_t dim_;
  int32_t padded_;
  std::vector<float> centred_;  // [tokens][padded]
  std::vector<float> coded_;    // [m][padded]
};

}  // namespace

CapsuleFormat::CapsuleFormat(const KvGeometry& geometry, std::shared_ptr<const CapsuleProfile> profile)
    : HeadwiseFormat(geometry, CodecNumber::kRows, InfoOf(geometry, *profile)),
      profile_(std::move(profile)) {}

int64_t CapsuleFormat::PayloadBytes(int32_t /*tokens*/) const {
  int64_t rows = 0;
  for (const CapsuleHead& head : profile_->heads) rows += 2LL * head.rows;
  return rows * geometry().RowBytes();
}

int64_t CapsuleFormat::MemoryBytes() const {
  int64_t bytes = VectorBytes(profile_->heads);
  for (const CapsuleHead& head : profile_->heads) bytes += VectorsBytes(head.mask, head.theta, head.basis, head.mean);
  return bytes;
}

int64_t CapsuleFormat::FirstRow(int32_t layer, KvPart part, int32_t kv_head) const {
  int64_t row = info().header_bytes / geometry().RowBytes();
  const int32_t heads = profile_->kv_heads;
  for (int32_t i = 0; i < layer * heads; ++i) row += 2LL * profile_->heads[i].rows;
  const CapsuleHead* own = profile_->heads.data() + static_cast<size_t>(layer) * heads;
  if (part == KvPart::kValue) {
    for (int32_t h = 0; h < heads; ++h) row += own[h].rows;
  }
  for (int32_t h = 0; h < kv_head; ++h) row += own[h].rows;
  return row;
}

uint8_t* CapsuleFormat::Row(const KvPool& pool, const CapsuleSegment& segment, int32_t layer, KvPart part,
                            int32_t kv_head, int32_t row) const {
  const int64_t rows_per_page = geometry().PageBytes() / geometry().RowBytes();
  const int64_t index = FirstRow(layer, part, kv_head) + row;
  return pool.Page(segment.pages[index / rows_per_page]) + index % rows_per_page * geometry().RowBytes();
}

void CapsuleFormat::EncodeHead(const KvPool& pool, const RawSegment& source, std::span<const int32_t> covered,
                               const CapsuleSegment& target, int32_t layer, int32_t kv_head) const {
  const CapsuleHead& head = profile_->head(layer, kv_head);
  ValueEncoder encoder(target.tokens, geometry().head_dim);
  for (int32_t i = 0; i < target.tokens; ++i) {
    encoder.SetRow(head, geometry().dtype, i,
                   RawRow(pool, source, layer, KvPart::kValue, kv_head, covered[i]));
  }
  encoder.Encode(head, target.tokens);
  for (int32_t r = 0; r < head.rows; ++r) {
    std::memcpy(Row(pool, target, layer, KvPart::kKey, kv_head, r),
                RawRow(pool, source, layer, KvPart::kKey, kv_head, covered[head.mask[r]]),
                geometry().RowBytes());
    FromFloat(geometry().dtype, encoder.Coded(r), geometry().head_dim,
              Row(pool, target, layer, KvPart::kValue, kv_head, r));
  }
}

void CapsuleFormat::Decode(const KvPool& pool, const CapsuleSegment& segment, int32_t layer, KvPart part,
                           int32_t kv_head, float* out) const {
  const int32_t dim = geometry().head_dim, tokens = profile_->tokens;
  const CapsuleHead& head = profile_->head(layer, kv_head);
  const std::vector<float>& mix = part == KvPart::kKey ? head.theta : head.basis;
  std::vector<float> row(dim);
  for (int32_t i = 0; i < tokens; ++i) {
    for (int32_t c = 0; c < dim; ++c) {
      out[static_cast<int64_t>(i) * dim + c] = part == KvPart::kKey ? 0 : head.mean[c];
    }
  }
  for (int32_t r = 0; r < head.rows; ++r) {
    ToFloat(geometry().dtype, Row(pool, segment, layer, part, kv_head, r), dim, row.data());
    for (int32_t i = 0; i < tokens; ++i) {
      const float weight = mix[static_cast<size_t>(r) * tokens + i];
      for (int32_t c = 0; c < dim; ++c) out[static_cast<int64_t>(i) * dim + c] += weight * row[c];
    }
  }
}

}  // namespace kvcapsule
