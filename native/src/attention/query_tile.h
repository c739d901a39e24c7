// A few query rows that share a KV head, with the running state of their joint softmax. Rows of a chunk and
// the heads of a group are stacked: row (r, g) is r * group + g. One thread's scratch lives inside.
#pragma once
#include <cstdint>
#include <functional>
#include <vector>

#include "kv/codec/capsule/capsule_format.h"
#include "kv/pool.h"
#include "kv/sequence_table.h"

namespace kvcapsule {

class QueryTile {
 public:
  // Begins with `rows` rows of `group` heads; queries [rows][heads][head_dim] from row first_row on.
  void Begin(const KvGeometry& geometry, int32_t layer, int32_t kv_head, int32_t group, int32_t rows,
             float scale, int32_t heads, const float* queries, int64_t first_row);
  // All rows see the first `tokens` tokens.
  void AttendRaw(const KvPool& pool, const RawSegment& segment, int32_t tokens);
  // Row r sees the first start + r + 1 tokens.
  void AttendOwn(const KvPool& pool, const RawSegment& segment, int32_t start);
  void AttendCapsule(const KvPool& pool, const CapsuleSegment& segment);
  // Writes out [rows][heads][head_dim] at first_row.
  void Finish(int32_t heads, int64_t first_row, float* out) const;

 private:
  // Grows only: a thread's scratch settles at its largest tile.
  static float* Room(std::vector<float>& buffer, int64_t floats) {
    if (static_cast<int64_t>(buffer.size()) < floats) buffer.resize(floats);
    return buffer.data();
  }

  // A panel of keys and values in float, small enough to stay in the first-level cache.
  static constexpr int32_t kPanelTokens = 64;

  // Puts `count` rows of a part from `first` on into float rows of padded_dim_, the padding zero.
  using LoadRows = std::function<void(KvPart part, int32_t first, int32_t count, float* rows)>;

  // Rows 0 .. tokens - 1 of what `load` gives, in panels; `before_next` runs ahead of the next panel's load.
  void AttendPanels(const LoadRows& load, int32_t tokens, int32_t start, bool causal,
                    const std::function<void(int32_t next)>& before_next);
  void AttendRawPanels(const KvPool& pool, const RawSegment& segment, int32_t tokens, int32_t start,
                       bool causal);
  void AttendRows(const KvPool& pool, const CapsuleSegment& segment, const RowFormat& format);
  // Of any format, reconstructed.
  void AttendDecoded(const KvPool& pool, const CapsuleSegment& segment);
  void AttendShortRows(const KvPool& pool, const CapsuleSegment& segment, const CapsuleFormat& format);
  // Tiles lie a block apart, where no hardware prefetcher follows.
  void PrefetchPanel(const KvPool& pool, const RawSegment& segment, int32_t first_token,
                     int32_t tokens) const;
  void LoadShortRows(const KvPool& pool, const CapsuleSegment& segment, const CapsuleFormat& format);
  // Turns `columns` logits of row i into weights under the joint maximum; returns their sum.
  float Weigh(int32_t i, float* logits, int32_t columns);

  KvGeometry geometry_;
  int32_t layer_ = 0, kv_head_ = 0, group_ = 1;
  int32_t stacked_ = 0;           // rows * group
  int32_t padded_dim_ = 0;        // head_dim rounded up to whole vectors
  std::vector<float> queries_;    // [stacked][head_dim], scaled
  std::vector<float> out_;        // [stacked][padded_dim], not yet divided by sum_
  std::vector<float> max_, sum_;  // [stacked]
  std::vector<float> rows_;       // [tokens or m][padded_dim] converted keys, then values
  std::vector<float> keys_;       // [padded_dim][tokens or m] transposed
  std::vector<float> short_;      // [stacked][m] S, then W
  std::vector<float> weights_;    // [stacked][tokens or n] logits, then weights
  std::vector<float> mean_;       // [padded_dim] mu
  std::vector<float> decoded_;    // [2][n][head_dim] keys and values of a capsule
};

}  // namespace kvcapsule
