// The capsule codec: m rows of keys and values a layer and head, in the pool's dtype.
//
// Bytes of a capsule: CapsuleHeader, padded to whole rows, then rows [layer][K,V][kv head][m][head_dim]; m
// differs by layer and head. A page holds a whole number of rows, so no row straddles two pages.
#pragma once
#include <cstdint>
#include <span>

#include "kv/pool.h"
#include "kv/profile.h"
#include "kv/sequence_table.h"

namespace kvcapsule {

// First bytes of the first page. Fields are appended only, under a new version.
struct CapsuleHeader {
  char magic[8] = {'K', 'V', 'C', 'A', 'P', 'S', 'U', 'L'};
  uint32_t version = 1;
  uint32_t codec = 0;  // 0: rows in the pool's dtype
  uint32_t dtype = 0;
  uint32_t tokens = 0;        // n
  uint64_t profile_hash = 0;  // FNV-1a of the profile's id
};

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

// Index of the first row of (layer, part, kv head) among all rows of the capsule, header rows counted.
int64_t CapsuleFirstRow(const CapsuleProfile& profile, const KvGeometry& geometry, int32_t layer, KvPart part,
                        int32_t kv_head);

// Reconstructs all n rows, [n][head_dim] float: K^ or V^. For tests and evaluation.
void DecodeCapsule(const KvPool& pool, const CapsuleSegment& segment, int32_t layer, KvPart part,
                   int32_t kv_head, float* out);

// Calls visit(first_row, rows, bytes) for each run of rows of (layer, part, kv head) that lies consecutively
// in memory, in order.
template <class Visit>
void VisitCapsuleRuns(const KvPool& pool, const CapsuleSegment& segment, int32_t layer, KvPart part,
                      int32_t kv_head, Visit visit) {
  const KvGeometry& geometry = pool.geometry();
  const int64_t rows_per_block = geometry.BlockBytes() / geometry.RowBytes();
  const int64_t first = CapsuleFirstRow(*segment.profile, geometry, layer, part, kv_head);
  const int32_t rows = segment.profile->head(layer, kv_head).rows;
  for (int32_t row = 0; row < rows;) {
    const int64_t block = (first + row) / rows_per_block;
    const int64_t inside = (first + row) % rows_per_block;
    const auto run =
        static_cast<int32_t>(rows - row < rows_per_block - inside ? rows - row : rows_per_block - inside);
    visit(row, run,
          pool.Page(segment.pages[block * KvGeometry::kPagesPerBlock]) + inside * geometry.RowBytes());
    row += run;
  }
}

}  // namespace kvcapsule
