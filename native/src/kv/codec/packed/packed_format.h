// capsule-q8, capsule-q4 and capsule-mixed: coefficient rows of 0 to 8 bits.
#pragma once
#include <memory>

#include "kv/codec/format.h"
#include "kv/codec/packed/packed_profile.h"
#include "kv/codec/packed/row_code.h"

namespace kvcapsule {

// A part of one layer and KV head as attention and encoding want it: float, padded, in column order.
struct PackedUnit {
  int32_t rank = 0;                   // m
  int64_t levels_offset = 0;          // of its scale levels in the capsule, two a byte, low half first
  std::vector<int32_t> rank_begins;   // [groups + 1] into the m rows
  std::vector<int64_t> basis_begins;  // [groups + 1] into encode and expand
  std::vector<float> encode;          // E = U diag(w), [m_g][n_g] group by group
  std::vector<float> expand;          // U diag(1/w), likewise
  std::vector<float> deviations;      // [m]
  std::vector<float> energies;        // [m] sensitivity * head_dim * deviation^2
  std::vector<uint8_t> bits;          // [m], or empty: from the energies, the levels and the capsule's price
  std::vector<int32_t> template_columns;  // [t]
  std::vector<float> template_rows;       // [t][padded_dim]
  std::vector<float> means;               // [groups][padded_dim], or empty
};

// One coefficient row of a capsule.
struct PackedRow {
  int64_t offset = 0;  // of its codes in the capsule
  int32_t bits = 0;
  float scale = 0;  // times GaussianStep(bits) is the distance of two codes
};

// Where a unit of a capsule lies: what attention reads it from.
struct PackedBytes {
  const uint8_t* levels = nullptr;  // scale levels of the m rows
  const uint8_t* codes = nullptr;   // of the rows that have bits, by (group, rank)
  int64_t code_bytes = 0;
  BitThresholds thresholds = {};    // of a row's energy, where bits are chosen for each picture
};

// Turns `rows` rows of dim floats, `stride` apart, by `positions` places, as the model turned its keys
// (channel pairs c, c + dim / 2); negative turns back. rope_theta 0: not at all.
void RotateRows(float* data, int64_t rows, int64_t stride, int32_t dim, float rope_theta, int32_t positions);

// Capsule bytes: header slot; for each unit [layer][kv head][keys, values] where its rows begin (uint32); the
// scale levels of all units; their rows, by (group, rank). The price of a bit is a field of the header.
class PackedFormat final : public KvFormat {
 public:
  // Throws Error(kProfileInvalid) when the transform has no usable inverse or a capsule no room for its rows.
  PackedFormat(const KvGeometry& geometry, PackedProfile profile);

  const PackedProfile& profile() const { return profile_; }
  int64_t MemoryBytes() const override;
  const PackedUnit& unit(int32_t layer, KvPart part, int32_t kv_head) const {
    return units_[UnitNumber(layer, part, kv_head)];
  }
  int32_t padded_dim() const { return padded_dim_; }
  const std::vector<float>& transform() const { return transform_; }          // A [dim][padded_dim]
  const std::vector<float>& inverse() const { return inverse_; }              // A^-1 [dim][padded_dim]
  const std::vector<int32_t>& columns() const { return columns_; }            // [n] row of each column
  const std::vector<int32_t>& group_begins() const { return group_begins_; }  // [groups + 1] into the columns

  void Decode(const KvPool& pool, const CapsuleSegment& segment, int32_t layer, KvPart part, int32_t kv_head,
              float* out) const override;

  // What does not lie together is gathered in scratch. Bytes of a capsule that was not made here stay inside it.
  struct Gathered {
    std::vector<uint8_t> levels, codes;
  };
  // Asks memory for what Locate reads first, where many capsules are located one after the other.
  void AskForHead(const KvPool& pool, const CapsuleSegment& segment, int32_t layer, int32_t kv_head) const;
  PackedBytes Locate(const KvPool& pool, const CapsuleSegment& segment, int32_t layer, KvPart part, int32_t kv_head,
                     Gathered& scratch) const;
  // Where the rows of a unit are and how they are coded; [rank].
  void ReadRowTable(const KvPool& pool, const CapsuleSegment& segment, int32_t layer, KvPart part,
                    int32_t kv_head, std::vector<PackedRow>& rows) const;
  // Coefficients of a unit, [rank] rows of padded_dim floats, the padding zero.
  void ReadCoefficients(const KvPool& pool, const CapsuleSegment& segment, int32_t layer, KvPart part,
                        int32_t kv_head, float* out) const;

 protected:
  int64_t PayloadBytes(int32_t tokens) const override;
  void EncodeRows(const KvPool& pool, const RawSegment& source, std::span<const int32_t> covered,
                  const CapsuleSegment& target, const RunTasks& run) const override;

 private:
  // A unit on its way into a capsule.
  struct Draft {
    std::vector<float> coefficients;  // [rank][padded_dim]
    std::vector<int32_t> levels;      // [rank]
    std::vector<float> energies;      // [rank] of this picture
    std::vector<int32_t> bits;        // [rank]
    int64_t offset = 0, bytes = 0;    // of the rows' codes
  };

  size_t UnitNumber(int32_t layer, KvPart part, int32_t kv_head) const {
    return (static_cast<size_t>(layer) * geometry().kv_heads + kv_head) * 2 + static_cast<size_t>(part);
  }
  void GatherRows(const KvPool& pool, const RawSegment& source, std::span<const int32_t> covered,
                  int32_t position, size_t unit, std::vector<float>& rows) const;
  void Project(const std::vector<float>& rows, const PackedUnit& unit, Draft& draft) const;
  // What was taken off a column's row, [padded_dim]; null: nothing.
  const float* TemplateOf(const PackedUnit& unit, int32_t column) const;
  float ChoosePrice(const std::vector<Draft>& drafts) const;
  void PlaceRows(float price, std::vector<Draft>& drafts) const;

  const PackedProfile profile_;
  const int32_t padded_dim_;
  const BitThresholds unit_thresholds_;
  std::vector<int32_t> columns_, group_begins_;
  std::vector<float> transform_, inverse_;
  std::vector<PackedUnit> units_;
  int64_t rows_offset_ = 0;  // where the first unit's rows begin
  int64_t bytes_ = 0;        // of a capsule
};

}  // namespace kvcapsule
