#include "kv/codec/format.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "common/half.h"
#include "kvcapsule/error.h"

namespace kvcapsule {
namespace {

uint64_t Fnv1a(const std::string& text) {
  uint64_t hash = 14695981039346656037ULL;
  for (const char c : text) hash = (hash ^ static_cast<uint8_t>(c)) * 1099511628211ULL;
  return hash;
}

}  // namespace

template <class Visit>
void PagedBytes::VisitPieces(int64_t offset, int64_t bytes, Visit visit) const {
  const int64_t run_bytes = pool_.geometry().BlockBytes();
  while (bytes > 0) {
    const int64_t inside = offset % run_bytes;
    const int64_t piece = std::min(bytes, run_bytes - inside);
    visit(pool_.Page(pages_[offset / run_bytes * KvGeometry::kPagesPerBlock]) + inside, piece);
    offset += piece;
    bytes -= piece;
  }
}

const uint8_t* PagedBytes::Read(int64_t offset, int64_t bytes, std::vector<uint8_t>& scratch) const {
  const int64_t run_bytes = pool_.geometry().BlockBytes();
  if (offset % run_bytes + bytes <= run_bytes)
    return pool_.Page(pages_[offset / run_bytes * KvGeometry::kPagesPerBlock]) + offset % run_bytes;
  scratch.resize(bytes + kOverRead);
  uint8_t* to = scratch.data();
  VisitPieces(offset, bytes, [&to](const uint8_t* from, int64_t piece) {
    std::memcpy(to, from, piece);
    to += piece;
  });
  return scratch.data();
}

void PagedBytes::ReadRows(int64_t offset, int64_t row_bytes, std::span<const uint8_t*> rows,
                          std::vector<uint8_t>& scratch) const {
  const int64_t run_bytes = pool_.geometry().BlockBytes(), count = static_cast<int64_t>(rows.size());
  scratch.resize((count * row_bytes / run_bytes + 1) * row_bytes);
  uint8_t* gathered = scratch.data();
  for (int64_t i = 0; i < count;) {
    const int64_t at = offset + i * row_bytes, inside = at % run_bytes;
    const uint8_t* from = pool_.Page(pages_[at / run_bytes * KvGeometry::kPagesPerBlock]) + inside;
    const int64_t whole = std::min((run_bytes - inside) / row_bytes, count - i);
    for (int64_t r = 0; r < whole; ++r) rows[i + r] = from + r * row_bytes;
    i += whole;
    if (i == count || (run_bytes - inside) % row_bytes == 0) continue;
    rows[i++] = gathered;
    VisitPieces(at + whole * row_bytes, row_bytes, [&gathered](const uint8_t* piece, int64_t bytes) {
      std::memcpy(gathered, piece, bytes);
      gathered += bytes;
    });
  }
}

void PagedBytes::Write(int64_t offset, const void* from, int64_t bytes) const {
  const auto* source = static_cast<const uint8_t*>(from);
  VisitPieces(offset, bytes, [&source](uint8_t* to, int64_t piece) {
    std::memcpy(to, source, piece);
    source += piece;
  });
}

KvFormat::KvFormat(const KvGeometry& geometry, CodecNumber number, FormatInfo info)
    : geometry_(geometry), number_(number), info_(std::move(info)) {}

int32_t KvFormat::Pages(int32_t tokens) const {
  return static_cast<int32_t>((Bytes(tokens) + geometry_.PageBytes() - 1) / geometry_.PageBytes());
}

void KvFormat::Encode(const KvPool& pool, const RawSegment& source, std::span<const int32_t> covered,
                      const CapsuleSegment& target, const RunTasks& run) const {
  if (!Covers(static_cast<int32_t>(covered.size())) || static_cast<size_t>(target.tokens) != covered.size() ||
      target.pages.size() != static_cast<size_t>(Pages(target.tokens))) {
    throw Error(ErrorCode::kPlanInvalid, "format " + info_.codec + " " + info_.profile_id +
                                             " does not cover " + std::to_string(covered.size()) +
                                             " tokens in " + std::to_string(target.pages.size()) + " pages");
  }
  EncodeRows(pool, source, covered, target, run);
}

void RunInTurn(int32_t count, const std::function<void(int32_t)>& task) {
  for (int32_t i = 0; i < count; ++i) task(i);
}

void HeadwiseFormat::EncodeRows(const KvPool& pool, const RawSegment& source,
                                std::span<const int32_t> covered, const CapsuleSegment& target,
                                const RunTasks& run) const {
  WriteHeader(pool, target);
  const int32_t heads = geometry().kv_heads;
  run(geometry().layers * heads,
      [&](int32_t i) { EncodeHead(pool, source, covered, target, i / heads, i % heads); });
}

void KvFormat::WriteHeader(const KvPool& pool, const CapsuleSegment& target, float bit_price) const {
  CapsuleHeader header;
  header.field_bytes = sizeof header;
  header.codec = static_cast<uint32_t>(number_);
  header.dtype = static_cast<uint32_t>(geometry_.dtype);
  header.tokens = target.tokens;
  header.position = target.position;
  header.profile_hash = Fnv1a(info_.profile_id);
  header.bit_price = bit_price;
  uint8_t slot[CapsuleHeader::kSlotBytes] = {};
  std::memcpy(slot, &header, sizeof header);
  PagedBytes(pool, target.pages).Write(0, slot, sizeof slot);
}

void KvFormat::CheckHeader(const KvPool& pool, const CapsuleSegment& segment) const {
  const auto require = [this](bool holds, const char* problem) {
    if (!holds) throw Error(ErrorCode::kCapsuleInvalid, "capsule of format " + info_.codec + ": " + problem);
  };
  std::vector<uint8_t> scratch;
  CapsuleHeader header;
  std::memcpy(&header, PagedBytes(pool, segment.pages).Read(0, sizeof header, scratch), sizeof header);
  require(std::memcmp(header.magic, CapsuleHeader().magic, sizeof header.magic) == 0,
          "the pages do not begin with a header");
  require(header.version <= CapsuleHeader::kVersion, "it was written by a newer version");
  require(header.version == CapsuleHeader::kVersion, "its version is no longer read");
  require(header.field_bytes >= sizeof header && header.field_bytes <= CapsuleHeader::kSlotBytes,
          "its header is of no possible length");
  require(header.codec == static_cast<uint32_t>(number_), "it is in another codec");
  require(header.dtype == static_cast<uint32_t>(geometry_.dtype), "its rows are of another type");
  require(header.profile_hash == Fnv1a(info_.profile_id), "it belongs to another profile");
  require(header.tokens == segment.tokens, "it covers another number of tokens");
}

const uint8_t* RawRow(const KvPool& pool, const RawSegment& segment, int32_t layer, KvPart part,
                      int32_t kv_head, int32_t row) {
  const int32_t block = segment.blocks[row / KvGeometry::kBlockTokens];
  return pool.Tile(block, layer, part, kv_head) + row % KvGeometry::kBlockTokens * pool.geometry().RowBytes();
}

int64_t RowFormat::UnitOffset(int32_t tokens, int32_t layer, KvPart part, int32_t kv_head) const {
  const int64_t unit = (2LL * layer + static_cast<int32_t>(part)) * geometry().kv_heads + kv_head;
  const int64_t units = 2LL * geometry().layers * geometry().kv_heads;
  return info().header_bytes + unit * (PayloadBytes(tokens) / units);
}

std::vector<float> ReadSegmentRows(const KvPool& pool, const Segment& segment) {
  const KvGeometry& geometry = pool.geometry();
  const auto* raw = std::get_if<RawSegment>(&segment);
  const int32_t tokens = raw ? raw->tokens : std::get<CapsuleSegment>(segment).tokens;
  const int64_t unit = static_cast<int64_t>(tokens) * geometry.head_dim;
  std::vector<float> rows(2 * unit * geometry.layers * geometry.kv_heads);
  float* out = rows.data();
  for (int32_t layer = 0; layer < geometry.layers; ++layer) {
    for (const KvPart part : {KvPart::kKey, KvPart::kValue}) {
      for (int32_t head = 0; head < geometry.kv_heads; ++head, out += unit) {
        if (raw) {
          for (int32_t row = 0; row < tokens; ++row)
            ToFloat(geometry.dtype, RawRow(pool, *raw, layer, part, head, row), geometry.head_dim,
                    out + static_cast<int64_t>(row) * geometry.head_dim);
        } else {
          const auto& capsule = std::get<CapsuleSegment>(segment);
          capsule.format->Decode(pool, capsule, layer, part, head, out);
        }
      }
    }
  }
  return rows;
}

}  // namespace kvcapsule
