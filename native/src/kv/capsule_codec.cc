#include "kv/capsule_codec.h"

#include <cstring>
#include <string>
#include <vector>

#include "common/half.h"
#include "kv/gemm.h"
#include "kv/simd.h"
#include "kvcapsule/error.h"

namespace kvcapsule {
namespace {

constexpr uint32_t kCodecRows = 0;

int64_t HeaderRows(const KvGeometry& geometry) {
  return (static_cast<int64_t>(sizeof(CapsuleHeader)) + geometry.RowBytes() - 1) / geometry.RowBytes();
}

int64_t AllRows(const CapsuleProfile& profile, const KvGeometry& geometry) {
  int64_t rows = HeaderRows(geometry);
  for (const CapsuleHead& head : profile.heads) rows += 2LL * head.rows;
  return rows;
}

uint64_t Fnv1a(const std::string& text) {
  uint64_t hash = 14695981039346656037ULL;
  for (const char c : text) hash = (hash ^ static_cast<uint8_t>(c)) * 1099511628211ULL;
  return hash;
}

void WriteHeader(const KvPool& pool, const CapsuleSegment& target) {
  CapsuleHeader header;
  header.codec = kCodecRows;
  header.dtype = static_cast<uint32_t>(pool.geometry().dtype);
  header.tokens = static_cast<uint32_t>(target.profile->tokens);
  header.profile_hash = Fnv1a(target.profile->id);
  const KvGeometry& geometry = pool.geometry();
  // The header's rows are consecutive: a block holds at least 32 rows, more than the header takes.
  uint8_t* start = pool.Page(target.pages[0]);
  std::memset(start, 0, HeaderRows(geometry) * geometry.RowBytes());
  std::memcpy(start, &header, sizeof header);
}

const uint8_t* RawRow(const KvPool& pool, const RawSegment& segment, int32_t layer, KvPart part,
                      int32_t kv_head, int32_t row) {
  const int32_t block = segment.blocks[row / KvGeometry::kBlockTokens];
  return pool.Tile(block, layer, part, kv_head) + row % KvGeometry::kBlockTokens * pool.geometry().RowBytes();
}

uint8_t* MutableCapsuleRow(const KvPool& pool, const CapsuleSegment& segment, int32_t layer, KvPart part,
                           int32_t kv_head, int32_t row) {
  return const_cast<uint8_t*>(CapsuleRow(pool, segment, layer, part, kv_head, row));
}

// V_c = U (V - 1 mu^T) of one layer and head.
class ValueEncoder {
 public:
  ValueEncoder(int32_t tokens, int32_t head_dim)
      : dim_(head_dim),
        padded_(RoundToLanes(head_dim)),
        centred_(static_cast<size_t>(tokens) * padded_),
        coded_() {}

  void SetRow(const CapsuleHead& head, Dtype dtype, int32_t i, const uint8_t* bytes) {
    float* row = centred_.data() + static_cast<size_t>(i) * padded_;
    ToFloat(dtype, bytes, dim_, row);
    for (int32_t c = 0; c < dim_; ++c) row[c] -= head.mean[c];
  }
  void Encode(const CapsuleHead& head, int32_t tokens) {
    coded_.resize(static_cast<size_t>(head.rows) * padded_);
    GemmNN(head.rows, padded_, tokens, head.basis.data(), tokens, centred_.data(), padded_, coded_.data(),
           padded_, false);
  }
  const float* Coded(int32_t row) const { return coded_.data() + static_cast<size_t>(row) * padded_; }

 private:
  int32_t dim_;
  int32_t padded_;
  std::vector<float> centred_;  // [tokens][padded]
  std::vector<float> coded_;    // [m][padded]
};

}  // namespace

int64_t CapsuleBytes(const CapsuleProfile& profile, const KvGeometry& geometry) {
  return AllRows(profile, geometry) * geometry.RowBytes();
}

int32_t CapsulePages(const CapsuleProfile& profile, const KvGeometry& geometry) {
  const int64_t pages = (CapsuleBytes(profile, geometry) + geometry.PageBytes() - 1) / geometry.PageBytes();
  return static_cast<int32_t>(pages);
}

int64_t CapsuleFirstRow(const CapsuleProfile& profile, const KvGeometry& geometry, int32_t layer, KvPart part,
                        int32_t kv_head) {
  int64_t row = HeaderRows(geometry);
  const int32_t heads = profile.kv_heads;
  for (int32_t i = 0; i < layer * heads; ++i) row += 2LL * profile.heads[i].rows;
  const CapsuleHead* own = profile.heads.data() + static_cast<size_t>(layer) * heads;
  if (part == KvPart::kValue) {
    for (int32_t h = 0; h < heads; ++h) row += own[h].rows;
  }
  for (int32_t h = 0; h < kv_head; ++h) row += own[h].rows;
  return row;
}

const uint8_t* CapsuleRow(const KvPool& pool, const CapsuleSegment& segment, int32_t layer, KvPart part,
                          int32_t kv_head, int32_t row) {
  const KvGeometry& geometry = pool.geometry();
  const int64_t rows_per_page = geometry.PageBytes() / geometry.RowBytes();
  const int64_t index = CapsuleFirstRow(*segment.profile, geometry, layer, part, kv_head) + row;
  return pool.Page(segment.pages[index / rows_per_page]) + index % rows_per_page * geometry.RowBytes();
}

void EncodeCapsule(const KvPool& pool, const RawSegment& source, std::span<const int32_t> covered,
                   const CapsuleSegment& target) {
  const CapsuleProfile& profile = *target.profile;
  const KvGeometry& geometry = pool.geometry();
  if (static_cast<int64_t>(covered.size()) != profile.tokens) {
    throw Error(ErrorCode::kPlanInvalid, "profile " + profile.id + " is for " +
                                             std::to_string(profile.tokens) + " tokens, not " +
                                             std::to_string(covered.size()));
  }
  WriteHeader(pool, target);
  ValueEncoder encoder(profile.tokens, geometry.head_dim);
  for (int32_t layer = 0; layer < geometry.layers; ++layer) {
    for (int32_t kv_head = 0; kv_head < geometry.kv_heads; ++kv_head) {
      const CapsuleHead& head = profile.head(layer, kv_head);
      for (int32_t i = 0; i < profile.tokens; ++i) {
        encoder.SetRow(head, geometry.dtype, i,
                       RawRow(pool, source, layer, KvPart::kValue, kv_head, covered[i]));
      }
      encoder.Encode(head, profile.tokens);
      for (int32_t r = 0; r < head.rows; ++r) {
        std::memcpy(MutableCapsuleRow(pool, target, layer, KvPart::kKey, kv_head, r),
                    RawRow(pool, source, layer, KvPart::kKey, kv_head, covered[head.mask[r]]),
                    geometry.RowBytes());
        FromFloat(geometry.dtype, encoder.Coded(r), geometry.head_dim,
                  MutableCapsuleRow(pool, target, layer, KvPart::kValue, kv_head, r));
      }
    }
  }
}

void DecodeCapsule(const KvPool& pool, const CapsuleSegment& segment, int32_t layer, KvPart part,
                   int32_t kv_head, float* out) {
  const KvGeometry& geometry = pool.geometry();
  const CapsuleProfile& profile = *segment.profile;
  const CapsuleHead& head = profile.head(layer, kv_head);
  const std::vector<float>& mix = part == KvPart::kKey ? head.theta : head.basis;
  std::vector<float> row(geometry.head_dim);
  for (int32_t i = 0; i < profile.tokens; ++i) {
    for (int32_t c = 0; c < geometry.head_dim; ++c) {
      out[static_cast<int64_t>(i) * geometry.head_dim + c] = part == KvPart::kKey ? 0 : head.mean[c];
    }
  }
  for (int32_t r = 0; r < head.rows; ++r) {
    ToFloat(geometry.dtype, CapsuleRow(pool, segment, layer, part, kv_head, r), geometry.head_dim,
            row.data());
    for (int32_t i = 0; i < profile.tokens; ++i) {
      const float weight = mix[static_cast<size_t>(r) * profile.tokens + i];
      for (int32_t c = 0; c < geometry.head_dim; ++c)
        out[static_cast<int64_t>(i) * geometry.head_dim + c] += weight * row[c];
    }
  }
}

}  // namespace kvcapsule
