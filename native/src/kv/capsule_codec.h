// The capsule codec: m rows of keys and values a layer and head, in the pool's dtype.
#pragma once
#include <cstdint>
#include <span>

#include "kv/pool.h"
#include "kv/profile.h"
#include "kv/sequence_table.h"

namespace kvcapsule {

// Bytes and whole pages that a capsule takes; known before encoding. Rows never straddle two runs of
// pages: every block's worth of pages (8 consecutive ones) holds floor(BlockBytes / RowBytes) rows.
int64_t CapsuleBytes(const CapsuleProfile& profile, const KvGeometry& geometry);
int32_t CapsulePages(const CapsuleProfile& profile, const KvGeometry& geometry);

// Encodes covered rows (numbers into the raw segment, ascending, exactly profile.tokens of them).
void EncodeCapsule(const KvPool& pool, const RawSegment& source, std::span<const int32_t> covered,
                   const CapsuleSegment& target);

// Row r of (layer, part, kv head) as stored.
const uint8_t* CapsuleRow(const KvPool& pool, const CapsuleSegment& segment, int32_t layer, KvPart part,
                          int32_t kv_head, int32_t row);

// Reconstructs all n rows, [n][head_dim] float: K^ or V^. For tests and evaluation.
void DecodeCapsule(const KvPool& pool, const CapsuleSegment& segment, int32_t layer, KvPart part,
                   int32_t kv_head, float* out);

}  // namespace kvcapsule
