// The paper's capsule: m rows of keys and values a layer and head, in the pool's dtype.
#pragma once
#include <memory>

#include "kv/codec/capsule/profile.h"
#include "kv/codec/format.h"

namespace kvcapsule {

// The header, padded to whole rows, then rows [layer][K,V][kv head][m][head_dim]; m differs by layer and
// head. A block holds a whole number of rows, so no row straddles two runs of pages.
class CapsuleFormat final : public HeadwiseFormat {
 public:
  CapsuleFormat(const KvGeometry& geometry, std::shared_ptr<const CapsuleProfile> profile);

  const CapsuleProfile& profile() const { return *profile_; }
  int64_t MemoryBytes() const override;
  void Decode(const KvPool& pool, const CapsuleSegment& segment, int32_t layer, KvPart part, int32_t kv_head,
              float* out) const override;

  // Row r of (layer, part, kv head) as stored.
  uint8_t* Row(const KvPool& pool, const CapsuleSegment& segment, int32_t layer, KvPart part,
               int32_t kv_head, int32_t row) const;

  // Calls visit(first_row, rows, bytes) for each run of rows of (layer, part, kv head) that lies
  // consecutively in memory, in order.
  template <class Visit>
  void VisitRuns(const KvPool& pool, const CapsuleSegment& segment, int32_t layer, KvPart part,
                 int32_t kv_head, Visit visit) const {
    const int64_t rows_per_block = geometry().BlockBytes() / geometry().RowBytes();
    const int64_t first = FirstRow(layer, part, kv_head);
    const int32_t rows = profile_->head(layer, kv_head).rows;
    for (int32_t row = 0; row < rows;) {
      const int64_t inside = (first + row) % rows_per_block;
      const int64_t left = rows_per_block - inside;
      const auto run = static_cast<int32_t>(rows - row < left ? rows - row : left);
      visit(row, run, Row(pool, segment, layer, part, kv_head, row));
      row += run;
    }
  }

 protected:
  void EncodeHead(const KvPool& pool, const RawSegment& source, std::span<const int32_t> covered,
                  const CapsuleSegment& target, int32_t layer, int32_t kv_head) const override;
  int64_t PayloadBytes(int32_t tokens) const override;

 private:
  // Number of the first row of (layer, part, kv head) among all rows, the header's counted.
  int64_t FirstRow(int32_t layer, KvPart part, int32_t kv_head) const;

  const std::shared_ptr<const CapsuleProfile> profile_;
};

}  // namespace kvcapsule
