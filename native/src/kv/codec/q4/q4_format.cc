#include "kv/codec/q4/q4_format.h"

#include <algorithm>
#include <cmath>

#include "common/half.h"

namespace kvcapsule {
namespace {

constexpr int32_t kLeast = -8, kMost = 7;
constexpr int64_t kScaleBytes = 2;

FormatInfo InfoOf(const KvGeometry& geometry) {
  FormatInfo info;
  info.codec = "q4";
  const int64_t groups = (geometry.head_dim + Q4Format::kGroup - 1) / Q4Format::kGroup;
  info.bytes_per_token =
      2LL * geometry.layers * geometry.kv_heads * (geometry.head_dim / 2 + groups * kScaleBytes);
  return info;
}

// g channels to g / 2 bytes and one scale.
void EncodeGroup(const float* from, int32_t g, uint8_t* codes, uint8_t* stored_scale) {
  float widest = 0;
  for (int32_t c = 0; c < g; ++c) widest = std::abs(from[c]) > std::abs(widest) ? from[c] : widest;
  float scale = widest / kLeast;
  FromFloat(Dtype::kF16, &scale, 1, stored_scale);
  ToFloat(Dtype::kF16, stored_scale, 1, &scale);
  const float inverse = scale != 0 ? 1 / scale : 0;
  const auto code = [inverse](float x) {
    return static_cast<int32_t>(std::clamp<long>(std::lrintf(x * inverse), kLeast, kMost)) - kLeast;
  };
  for (int32_t j = 0; j < g / 2; ++j)
    codes[j] = static_cast<uint8_t>(code(from[j]) | code(from[j + g / 2]) << 4);
}

}  // namespace

Q4Format::Q4Format(const KvGeometry& geometry) : RowFormat(geometry, CodecNumber::kQ4, InfoOf(geometry)) {}

void Q4Format::EncodeHead(const KvPool& pool, const RawSegment& source, std::span<const int32_t> covered,
                          const CapsuleSegment& target, int32_t layer, int32_t kv_head) const {
  const int32_t dim = geometry().head_dim;
  const int64_t code_bytes = dim / 2, scale_bytes = groups() * kScaleBytes;
  const auto tokens = static_cast<int64_t>(covered.size());
  std::vector<float> row(dim);
  std::vector<uint8_t> codes(tokens * code_bytes), scales(tokens * scale_bytes);
  for (const KvPart part : {KvPart::kKey, KvPart::kValue}) {
    for (int64_t i = 0; i < tokens; ++i) {
      ToFloat(geometry().dtype, RawRow(pool, source, layer, part, kv_head, covered[i]), dim, row.data());
      for (int32_t group = 0; group < groups(); ++group) {
        const int32_t first = group * kGroup;
        EncodeGroup(row.data() + first, std::min(kGroup, dim - first),
                    codes.data() + i * code_bytes + first / 2,
                    scales.data() + i * scale_bytes + group * kScaleBytes);
      }
    }
    const PagedBytes bytes(pool, target.pages);
    const int64_t unit = UnitOffset(target.tokens, layer, part, kv_head);
    bytes.Write(unit, codes.data(), tokens * code_bytes);
    bytes.Write(unit + tokens * code_bytes, scales.data(), tokens * scale_bytes);
  }
}

void Q4Format::ReadRows(const KvPool& pool, const CapsuleSegment& segment, int32_t layer, KvPart part,
                        int32_t kv_head, int32_t first, int32_t count, float* out, int64_t stride) const {
  const int32_t dim = geometry().head_dim;
  const int64_t code_bytes = dim / 2, scale_bytes = groups() * kScaleBytes;
  const PagedBytes bytes(pool, segment.pages);
  const int64_t unit = UnitOffset(segment.tokens, layer, part, kv_head);
  thread_local std::vector<uint8_t> code_scratch, scale_scratch;
  thread_local std::vector<float> scales;
  const uint8_t* codes = bytes.Read(unit + first * code_bytes, count * code_bytes, code_scratch);
  const uint8_t* stored = bytes.Read(unit + segment.tokens * code_bytes + first * scale_bytes,
                                     count * scale_bytes, scale_scratch);
  scales.resize(static_cast<size_t>(count) * groups());
  ToFloat(Dtype::kF16, stored, static_cast<int64_t>(count) * groups(), scales.data());
  for (int32_t i = 0; i < count; ++i) {
    for (int32_t group = 0; group < groups(); ++group) {
      const int32_t half = std::min(kGroup, dim - group * kGroup) / 2;
      const uint8_t* from = codes + i * code_bytes + group * kGroup / 2;
      const float scale = scales[static_cast<size_t>(i) * groups() + group];
      float* to = out + i * stride + group * kGroup;
      for (int32_t j = 0; j < half; ++j) {
        to[j] = scale * static_cast<float>((from[j] & 15) + kLeast);
        to[j + half] = scale * static_cast<float>((from[j] >> 4) + kLeast);
      }
    }
  }
}

}  // namespace kvcapsule
