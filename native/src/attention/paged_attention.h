// Attention of a step's query rows over their sequences' segments, raw and capsule mixed, with one joint
// softmax: every segment yields (max, sum, output), merged by log-sum-exp. method.md, "Fused attention".
#pragma once
#include <cstdint>
#include <span>

#include "kv/pool.h"
#include "kv/sequence_table.h"

namespace kvcapsule {

// Consecutive query rows that belong to one raw segment of one sequence.
struct AttentionChunk {
  int32_t slot = 0;
  int32_t segment = 0;     // the raw segment the rows are written to
  int32_t first_row = 0;   // in the step's rows
  int32_t rows = 0;
  int32_t start = 0;       // tokens the segment held before this step
};

struct AttentionShape {
  int32_t heads = 0;       // query heads; heads % kv_heads == 0
  float scale = 0;         // 1 / sqrt(head_dim)
};

// Writes keys and values [rows][kv_heads][head_dim] (float, post-RoPE) of all chunks into the pool.
// Worker ith of nth does its share; all shares must end before PagedAttention of the same layer starts.
void WriteKv(const KvPool& pool, const SequenceTable& table, std::span<const AttentionChunk> chunks,
             int32_t layer, const float* keys, const float* values, int32_t ith, int32_t nth);

// out [rows][heads][head_dim] for queries of the same shape (float, post-RoPE). A row sees all tokens of
// the segments before its own and, in its own, rows up to and including itself. Work is split over
// (chunk, kv head, row tile) so that nth workers finish together; result is independent of nth and of
// which other chunks are in the step.
void PagedAttention(const KvPool& pool, const SequenceTable& table, std::span<const AttentionChunk> chunks,
                    const AttentionShape& shape, int32_t layer, const float* queries, float* out,
                    int32_t ith, int32_t nth);

}  // namespace kvcapsule
