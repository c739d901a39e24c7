// What a step's attention consists of: parts of sequences, tiles of query rows, and the items that workers take.
#pragma once
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "attention/operators.h"
#include "attention/paged_attention.h"
#include "kv/codec/format.h"
#include "kv/pool.h"
#include "kv/sequence_table.h"

namespace kvcapsule {

enum class PartKind {
  kRaw,      // tokens of a raw segment
  kRows,     // tokens of a Q8Format or Q4Format
  kCapsules,  // whole capsules of one format with an operator
  kDecoded,  // a whole capsule of a format without a kernel: reconstructed, then attended to as rows
};

// A capsule among a part's.
struct CapsulePlace {
  int32_t segment;
  const float* turn;  // CapsuleLook::turn
};

// Tokens [first, first + count) of a segment, or capsules.
struct AttentionPart {
  PartKind kind;
  int32_t segment;  // of capsules, the first one's
  int32_t first;
  int32_t count;
  const KvFormat* format = nullptr;  // nullptr: raw
  std::vector<CapsulePlace> capsules = {};
};

// Rows of one chunk and KV head that are finished together.
struct AttentionTile {
  const AttentionChunk* chunk;
  const std::vector<AttentionPart>* parts;
  int32_t kv_head;
  int32_t first;        // row in the chunk
  int32_t rows;
  int64_t states = -1;  // floats before the split tile's states, one a part; -1: not split
};

// What a worker takes at a time: a whole tile; parts of a split tile; or parts that are capsules of one format and KV
// head, of any number of split tiles.
struct AttentionItem {
  int32_t tile = -1;
  int32_t first_part = 0, parts = 0;                   // of a split tile; capsules among them are elsewhere
  std::vector<std::pair<int32_t, int32_t>> capsules;  // (tile, part)
};

// What all workers of a layer follow, the same for every layer.
struct AttentionPlan {
  std::vector<std::vector<AttentionPart>> parts;  // by chunk
  std::vector<AttentionTile> tiles;
  std::vector<AttentionItem> items;  // the long ones first
  int64_t state_floats = 0;          // of all split tiles
  int64_t macs = 0;                  // of one layer
};

// Operators of every format met are prepared.
AttentionPlan PlanAttention(const KvPool& pool, const SequenceTable& table, std::span<const AttentionChunk> chunks,
                            const AttentionShape& shape, CapsuleOperators& operators);

}  // namespace kvcapsule
