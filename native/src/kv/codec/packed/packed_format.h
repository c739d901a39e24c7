// capsule-q8, capsule-q4 and capsule-mixed: coefficient rows of 1 to 8 bits.
#pragma once
#include <memory>

#include "kv/codec/format.h"
#include "kv/codec/packed/packed_profile.h"

namespace kvcapsule {

// A part of one layer and KV head as attention and encoding want it: float, padded, in column order.
struct PackedUnit {
  int64_t offset = 0;           // of the unit's bytes in the capsule: [m] scales, then the rows' codes
  int64_t bytes = 0;
  int32_t rank = 0;             // m
  std::vector<int64_t> row_offsets;  // [m] of each row's codes, from the unit's first byte
  std::vector<int32_t> rank_begins;  // [groups + 1] into the m rows
  std::vector<int64_t> basis_begins; // [groups + 1] into encode and expand
  std::vector<float> encode;    // E = U diag(w), [m_g][n_g] group by group
  std::vector<float> expand;    // U diag(1/w), likewise
  std::vector<float> transform; // A [dim][padded_dim]
  std::vector<float> inverse;   // A^-1 [dim][padded_dim]
  std::vector<float> offset_rows;    // O [m][padded_dim], or empty
  std::vector<float> template_rows;  // [t][padded_dim]
  std::vector<float> mean;           // [padded_dim], or empty
};

// Capsule bytes: header, then the units [layer][kv head][keys, values].
class PackedFormat final : public KvFormat {
 public:
  // Throws Error(kProfileInvalid) when a transform has no usable inverse.
  PackedFormat(const KvGeometry& geometry, PackedProfile profile);

  const PackedProfile& profile() const { return profile_; }
  const PackedUnit& unit(int32_t layer, KvPart part, int32_t kv_head) const {
    return units_[(static_cast<size_t>(layer) * geometry().kv_heads + kv_head) * 2 + static_cast<size_t>(part)];
  }
  int32_t padded_dim() const { return padded_dim_; }
  const std::vector<int32_t>& columns() const { return columns_; }             // [n] row of each column
  const std::vector<int32_t>& group_begins() const { return group_begins_; }  // [groups + 1] into the columns
  const std::vector<int32_t>& template_columns() const { return template_columns_; }  // [t]

  void EncodeHead(const KvPool& pool, const RawSegment& source, std::span<const int32_t> covered,
                  const CapsuleSegment& target, int32_t layer, int32_t kv_head) const override;
  void Decode(const KvPool& pool, const CapsuleSegment& segment, int32_t layer, KvPart part, int32_t kv_head,
              float* out) const override;

  // Coefficients C + O of a unit, [m] rows of padded_dim floats, the padding zero.
  void ReadCoefficients(const KvPool& pool, const CapsuleSegment& segment, int32_t layer, KvPart part,
                        int32_t kv_head, float* out) const;

  // Turns `rows` rows of head_dim floats, `stride` apart, by `positions` places, as the model turned its keys
  // (channel pairs c, c + dim / 2); negative turns back.
  void Rotate(float* data, int64_t rows, int64_t stride, int32_t positions) const;

 protected:
  int64_t PayloadBytes(int32_t tokens) const override;

 private:
  void EncodePart(const KvPool& pool, const RawSegment& source, std::span<const int32_t> covered,
                  const CapsuleSegment& target, int32_t layer, KvPart part, int32_t kv_head) const;

  const PackedProfile profile_;
  const int32_t padded_dim_;
  std::vector<int32_t> columns_, group_begins_, template_columns_;
  std::vector<PackedUnit> units_;
  int64_t payload_bytes_ = 0;
};

}  // namespace kvcapsule
