// Rows as 8-bit integers with a 16-bit float scale a row.
#pragma once
#include "kv/codec/format.h"

namespace kvcapsule {

// A unit (layer, part, KV head) is [tokens][head_dim] int8, then [tokens] F16 scales: row = scale * code with
// codes in [-127, 127].
class Q8Format final : public RowFormat {
 public:
  explicit Q8Format(const KvGeometry& geometry);
  void ReadRows(const KvPool& pool, const CapsuleSegment& segment, int32_t layer, KvPart part,
                int32_t kv_head, int32_t first, int32_t count, float* out, int64_t stride) const override;

 protected:
  void EncodeHead(const KvPool& pool, const RawSegment& source, std::span<const int32_t> covered,
                  const CapsuleSegment& target, int32_t layer, int32_t kv_head) const override;
};

}  // namespace kvcapsule
