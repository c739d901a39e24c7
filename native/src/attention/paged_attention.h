// Attention of a step's query rows over their sequences' segments, raw and capsule mixed, with one joint
// softmax: every segment yields (max, sum, output), merged by log-sum-exp. method.md, "Fused attention".
#pragma once
#include <cstdint>
#include <memory>
#include <span>

#include "attention/operators.h"
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
// Worker ith of nth does its share; all shares must end before AttentionStep::Run of the same layer starts.
void WriteKv(const KvPool& pool, const SequenceTable& table, std::span<const AttentionChunk> chunks,
             int32_t layer, const float* keys, const float* values, int32_t ith, int32_t nth);

// One step's attention, planned once for all layers: which rows look at which parts of their sequences, in pieces
// that any number of workers take as they come. Segments are cut into parts at multiples of kPartTokens from their
// start and a fitted capsule is one part, so where sums are split depends on the sequence alone: the result is the same bit for bit
// whatever the number of workers, the other chunks of the step, and how a prompt is cut into chunks.
class AttentionStep {
 public:
  static constexpr int32_t kPartTokens = 1024;

  // Everything referred to outlives the step. Chunks as checked by ResolveChunks.
  AttentionStep(const KvPool& pool, const SequenceTable& table, std::span<const AttentionChunk> chunks,
                const AttentionShape& shape, CapsuleOperators* operators);
  ~AttentionStep();

  // out [rows][heads][head_dim] for queries of the same shape (float, post-RoPE). A row sees all tokens of the
  // segments before its own and, in its own, rows up to and including itself. All workers of a layer call this
  // once; when the last returns, out is complete. A layer runs once a step, after the layer before it.
  void Run(int32_t layer, const float* queries, float* out);

  // Multiply-adds of one layer, to choose how many workers are worth waking.
  int64_t Macs() const;

 private:
  class Runner;
  std::unique_ptr<Runner> runner_;
};

}  // namespace kvcapsule
