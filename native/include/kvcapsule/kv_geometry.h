// Sizes of the paged pool. design.md, "Pages and capsules".
#pragma once
#include <cstdint>

namespace kvcapsule {

enum class Dtype : int32_t { kF32 = 0, kF16 = 1, kBF16 = 2 };
inline int64_t DtypeBytes(Dtype dtype) { return dtype == Dtype::kF32 ? 4 : 2; }

enum class KvPart : int32_t { kKey = 0, kValue = 1 };

// A block is 16 raw tokens of all layers, [layer][K,V][kv head][16][head_dim]: the unit of naming.
// A page is an eighth of a block in bytes: the unit of lease and accounting. Block b owns pages
// 8b .. 8b+7.
struct KvGeometry {
  static constexpr int32_t kBlockTokens = 16;
  static constexpr int32_t kPagesPerBlock = 8;

  int32_t layers = 0;
  int32_t kv_heads = 0;
  int32_t head_dim = 0;
  Dtype dtype = Dtype::kF16;

  bool operator==(const KvGeometry&) const = default;
  int64_t RowBytes() const { return head_dim * DtypeBytes(dtype); }
  // Bytes of the rows of one (layer, part, kv head) in a block: [16][head_dim].
  int64_t TileBytes() const { return kBlockTokens * RowBytes(); }
  int64_t BlockBytes() const { return 2LL * layers * kv_heads * TileBytes(); }
  int64_t PageBytes() const { return BlockBytes() / kPagesPerBlock; }
  // Byte offset of a tile inside its block.
  int64_t TileOffset(int32_t layer, KvPart part, int32_t kv_head) const {
    return ((2LL * layer + static_cast<int32_t>(part)) * kv_heads + kv_head) * TileBytes();
  }
};

}  // namespace kvcapsule
