#include "attention/attention_plan.h"

#include <algorithm>
#include <map>
#include <variant>

#include "attention/kernels.h"
#include "kv/codec/q4/q4_format.h"
#include "kv/codec/q8/q8_format.h"

namespace kvcapsule {
namespace {

// Stacked query rows of a prefill tile: enough that a part's conversion to float is paid by many rows, few enough
// that queries, weights and sums stay in the second-level cache.
constexpr int32_t kTileRows = 96;

// Up to this many stacked rows, a chunk's parts are computed apart and merged by whoever finishes last, so that one
// long sequence occupies all workers.
constexpr int32_t kSplitRows = 32;

// Capsules of a format that are attended to as one part: what does not depend on the picture, such as templates of
// values, is multiplied once for all of them. They are counted from the sequence's beginning, whatever stands between.
constexpr size_t kPartCapsules = 16;

// Query rows at capsules that a worker takes at a time: enough to share what is multiplied with all of them, few enough
// that their weights, and the work of a layer, are spread.
constexpr int32_t kItemRows = 32;

// Tokens that a worker takes at a time, at least, of parts that are not stacked.
constexpr int32_t kItemTokens = 512;

class Planner {
 public:
  Planner(const KvPool& pool, const SequenceTable& table, std::span<const AttentionChunk> chunks,
          const AttentionShape& shape, CapsuleOperators& operators)
      : geometry_(pool.geometry()),
        table_(table),
        chunks_(chunks),
        shape_(shape),
        operators_(operators),
        group_(shape.heads / pool.geometry().kv_heads) {}

  AttentionPlan Make() {
    plan_.parts.reserve(chunks_.size());  // tiles point into it
    for (const AttentionChunk& chunk : chunks_) {
      plan_.parts.push_back(PartsOf(chunk));
      AddTiles(chunk, plan_.parts.back());
    }
    for (int32_t i = 0; i < Count(plan_.tiles); ++i) {
      if (plan_.tiles[i].states < 0) plan_.items.push_back({i, 0, 0, {}});
    }
    AddCapsuleItems();
    for (int32_t i = 0; i < Count(plan_.tiles); ++i) {
      if (plan_.tiles[i].states >= 0) AddPartItems(i);
    }
    return std::move(plan_);
  }

 private:
  template <class T>
  static int32_t Count(const std::vector<T>& list) {
    return static_cast<int32_t>(list.size());
  }

  // Tokens that a segment holds once this step's rows are written, whether or not the table counts them yet.
  int32_t TokensOf(const RawSegment& raw, const AttentionChunk& own, int32_t segment) const {
    if (segment == own.segment) return own.start + own.rows;
    int32_t tokens = raw.tokens;
    for (const AttentionChunk& chunk : chunks_) {
      if (chunk.slot == own.slot && chunk.segment == segment) tokens = std::max(tokens, chunk.start + chunk.rows);
    }
    return tokens;
  }

  std::vector<AttentionPart> PartsOf(const AttentionChunk& chunk) {
    std::vector<AttentionPart> parts;
    const Sequence& sequence = table_.at(chunk.slot);
    const auto cut = [&](PartKind kind, int32_t segment, int32_t tokens, const KvFormat* format) {
      for (int32_t first = 0; first < tokens; first += AttentionStep::kPartTokens)
        parts.push_back({kind, segment, first, std::min(AttentionStep::kPartTokens, tokens - first), format});
    };
    for (int32_t i = 0; i <= chunk.segment; ++i) {
      if (const auto* raw = std::get_if<RawSegment>(&sequence.segments[i])) {
        cut(PartKind::kRaw, i, TokensOf(*raw, chunk, i), nullptr);
        continue;
      }
      const auto& capsule = std::get<CapsuleSegment>(sequence.segments[i]);
      const KvFormat* format = capsule.format.get();
      if (dynamic_cast<const Q8Format*>(format) || dynamic_cast<const Q4Format*>(format)) {
        cut(PartKind::kRows, i, capsule.tokens, format);
      } else {
        AddCapsule(capsule, i, parts);
      }
    }
    return parts;
  }

  void AddCapsule(const CapsuleSegment& capsule, int32_t segment, std::vector<AttentionPart>& parts) {
    const KvFormat* format = capsule.format.get();
    if (!operators_.Prepare(capsule.format)) {
      parts.push_back({PartKind::kDecoded, segment, 0, capsule.tokens, format});
      return;
    }
    const auto open = std::find_if(parts.rbegin(), parts.rend(), [&](const AttentionPart& part) {
      return part.kind == PartKind::kCapsules && part.format == format;
    });
    const bool fresh = open == parts.rend() || open->capsules.size() == kPartCapsules;
    AttentionPart& part =
        fresh ? parts.emplace_back(AttentionPart{PartKind::kCapsules, segment, 0, 0, format}) : *open;
    const auto* packed = dynamic_cast<const PackedFormat*>(format);
    part.capsules.push_back({segment, packed ? operators_.Turn(*packed, capsule.position) : nullptr});
    part.count += capsule.tokens;
  }

  void AddTiles(const AttentionChunk& chunk, const std::vector<AttentionPart>& parts) {
    int64_t tokens = 0;
    for (const AttentionPart& part : parts) tokens += part.count;
    plan_.macs += 2 * tokens * chunk.rows * shape_.heads * geometry_.head_dim;
    const bool split = chunk.rows * group_ <= kSplitRows;
    const int32_t most = split ? chunk.rows : std::max(1, kTileRows / group_);
    for (int32_t kv_head = 0; kv_head < geometry_.kv_heads; ++kv_head) {
      for (int32_t first = 0; first < chunk.rows; first += most) {
        AttentionTile tile{&chunk, &parts, kv_head, first, std::min(most, chunk.rows - first)};
        if (split) {
          tile.states = plan_.state_floats;
          plan_.state_floats +=
              Count(parts) * SoftmaxState::Floats(tile.rows * group_, geometry_.head_dim);
        }
        plan_.tiles.push_back(tile);
      }
    }
  }

  void AddCapsuleItems() {
    struct Open {
      size_t item = 0;
      int32_t rows = kItemRows;
    };
    std::map<std::pair<const KvFormat*, int32_t>, Open> open;  // by format and KV head; looked up only
    for (int32_t i = 0; i < Count(plan_.tiles); ++i) {
      const AttentionTile& tile = plan_.tiles[i];
      if (tile.states < 0) continue;
      for (int32_t p = 0; p < Count(*tile.parts); ++p) {
        const AttentionPart& part = (*tile.parts)[p];
        if (part.kind != PartKind::kCapsules) continue;
        const int32_t rows = tile.rows * group_ * Count(part.capsules);
        Open& last = open[{part.format, tile.kv_head}];
        if (last.rows + rows > kItemRows) {
          last = {plan_.items.size(), 0};
          plan_.items.emplace_back();
        }
        plan_.items[last.item].capsules.emplace_back(i, p);
        last.rows += rows;
      }
    }
  }

  void AddPartItems(int32_t index) {
    const std::vector<AttentionPart>& parts = *plan_.tiles[index].parts;
    AttentionItem item;
    int32_t tokens = 0;
    for (int32_t p = 0; p < Count(parts); ++p) {
      if (parts[p].kind != PartKind::kCapsules) {
        if (item.parts == 0) item = {index, p, 0, {}};
        item.parts = p + 1 - item.first_part;
        tokens += parts[p].count;
      }
      if (item.parts > 0 && (tokens >= kItemTokens || p + 1 == Count(parts))) {
        plan_.items.push_back(item);
        item = {};
        tokens = 0;
      }
    }
  }

  const KvGeometry& geometry_;
  const SequenceTable& table_;
  std::span<const AttentionChunk> chunks_;
  const AttentionShape& shape_;
  CapsuleOperators& operators_;
  const int32_t group_;
  AttentionPlan plan_;
};

}  // namespace

AttentionPlan PlanAttention(const KvPool& pool, const SequenceTable& table, std::span<const AttentionChunk> chunks,
                            const AttentionShape& shape, CapsuleOperators& operators) {
  return Planner(pool, table, chunks, shape, operators).Make();
}

}  // namespace kvcapsule
