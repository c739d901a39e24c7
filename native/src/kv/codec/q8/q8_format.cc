#include "kv/codec/q8/q8_format.h"

#include <algorithm>
#include <cmath>

#include "common/half.h"

namespace kvcapsule {
namespace {

constexpr float kMaxCode = 127;
constexpr int64_t kScaleBytes = 2;

FormatInfo InfoOf(const KvGeometry& geometry) {
  FormatInfo info;
  info.codec = "q8";
  info.bytes_per_token = 2LL * geometry.layers * geometry.kv_heads * (geometry.head_dim + kScaleBytes);
  return info;
}

}  // namespace

Q8Format::Q8Format(const KvGeometry& geometry) : RowFormat(geometry, CodecNumber::kQ8, InfoOf(geometry)) {}

void Q8Format::EncodeHead(const KvPool& pool, const RawSegment& source, std::span<const int32_t> covered,
                          const CapsuleSegment& target, int32_t layer, int32_t kv_head) const {
  const int32_t dim = geometry().head_dim;
  const auto tokens = static_cast<int64_t>(covered.size());
  std::vector<float> row(dim);
  std::vector<int8_t> codes(tokens * dim);
  std::vector<uint8_t> scales(tokens * kScaleBytes);
  for (const KvPart part : {KvPart::kKey, KvPart::kValue}) {
    for (int64_t i = 0; i < tokens; ++i) {
      ToFloat(geometry().dtype, RawRow(pool, source, layer, part, kv_head, covered[i]), dim, row.data());
      float largest = 0;
      for (const float x : row) largest = std::max(largest, std::abs(x));
      // Codes are made with the scale that will be read: its rounding costs nothing then.
      float scale = largest / kMaxCode;
      FromFloat(Dtype::kF16, &scale, 1, scales.data() + i * kScaleBytes);
      ToFloat(Dtype::kF16, scales.data() + i * kScaleBytes, 1, &scale);
      const float inverse = scale > 0 ? 1 / scale : 0;
      for (int32_t c = 0; c < dim; ++c) {
        codes[i * dim + c] =
            static_cast<int8_t>(std::lrintf(std::clamp(row[c] * inverse, -kMaxCode, kMaxCode)));
      }
    }
    const PagedBytes bytes(pool, target.pages);
    const int64_t unit = UnitOffset(target.tokens, layer, part, kv_head);
    bytes.Write(unit, codes.data(), tokens * dim);
    bytes.Write(unit + tokens * dim, scales.data(), tokens * kScaleBytes);
  }
}

void Q8Format::ReadRows(const KvPool& pool, const CapsuleSegment& segment, int32_t layer, KvPart part,
                        int32_t kv_head, int32_t first, int32_t count, float* out, int64_t stride) const {
  const int32_t dim = geometry().head_dim;
  const PagedBytes bytes(pool, segment.pages);
  const int64_t unit = UnitOffset(segment.tokens, layer, part, kv_head);
  thread_local std::vector<uint8_t> code_scratch, scale_scratch;
  thread_local std::vector<float> scales;
  const auto* codes = reinterpret_cast<const int8_t*>(
      bytes.Read(unit + static_cast<int64_t>(first) * dim, static_cast<int64_t>(count) * dim, code_scratch));
  const uint8_t* stored = bytes.Read(unit + static_cast<int64_t>(segment.tokens) * dim + first * kScaleBytes,
                                     count * kScaleBytes, scale_scratch);
  scales.resize(count);
  ToFloat(Dtype::kF16, stored, count, scales.data());
  for (int32_t i = 0; i < count; ++i) {
    float* row = out + i * stride;
    for (int32_t c = 0; c < dim; ++c) row[c] = scales[i] * static_cast<float>(codes[i * dim + c]);
  }
}

}  // namespace kvcapsule
