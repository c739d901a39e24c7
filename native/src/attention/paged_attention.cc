#include "attention/paged_attention.h"

#include <algorithm>
#include <atomic>
#include <variant>

#include "attention/kernels.h"
#include "attention/attention_plan.h"
#include "common/half.h"
#include "kv/codec/capsule/capsule_format.h"
#include "kv/codec/packed/packed_format.h"
#include "kv/codec/q4/q4_format.h"

namespace kvcapsule {
namespace {

struct WorkerScratch {
  AttentionScratch kernel;
  AlignedVector<float> queries, states, rows;
  std::vector<const uint8_t*> pointers;
  std::vector<CapsuleLook> looks;
  std::vector<CapsuleVisit> visits;
  std::vector<std::vector<uint8_t>> units;      // of quantised rows that do not lie together
  std::vector<PackedFormat::Gathered> gathered;  // of capsules likewise, keys and values
};

float* Room(AlignedVector<float>& buffer, int64_t floats) { return AttentionScratch::Room(buffer, floats); }

}  // namespace

class AttentionStep::Runner {
 public:
  Runner(const KvPool& pool, const SequenceTable& table, std::span<const AttentionChunk> chunks,
         const AttentionShape& shape, CapsuleOperators* operators)
      : pool_(pool),
        table_(table),
        shape_(shape),
        operators_(*operators),
        group_(shape.heads / pool.geometry().kv_heads),
        dim_(pool.geometry().head_dim),
        plan_(PlanAttention(pool, table, chunks, shape, *operators)),
        states_(plan_.state_floats),
        layers_(pool.geometry().layers) {
    for (Progress& progress : layers_) {
      progress.left = std::vector<std::atomic<int32_t>>(plan_.tiles.size());
      for (size_t i = 0; i < plan_.tiles.size(); ++i)
        progress.left[i] = static_cast<int32_t>(plan_.tiles[i].parts->size());
    }
  }

  void Run(int32_t layer, const float* queries, float* out) {
    thread_local WorkerScratch scratch;
    Progress& progress = layers_[layer];
    Worker worker{{layer, queries, out}, progress, scratch};
    const auto items = static_cast<int32_t>(plan_.items.size());
    for (;;) {
      const int32_t next = progress.next.fetch_add(1, std::memory_order_relaxed);
      if (next >= items) return;
      const AttentionItem& item = plan_.items[next];
      if (!item.capsules.empty()) {
        RunCapsules(item, worker);
      } else if (plan_.tiles[item.tile].states < 0) {
        RunTile(plan_.tiles[item.tile], worker);
      } else {
        RunParts(item, worker);
      }
    }
  }

  int64_t Macs() const { return plan_.macs; }

 private:
  struct Call {
    int32_t layer;
    const float* queries;
    float* out;
  };
  struct Progress {
    std::atomic<int32_t> next{0};
    std::vector<std::atomic<int32_t>> left;  // parts of each split tile that are not computed yet
  };
  struct Worker {
    Call call;
    Progress& progress;
    WorkerScratch& scratch;
  };

  void RunParts(const AttentionItem& item, const Worker& worker) {
    const AttentionTile& tile = plan_.tiles[item.tile];
    const float* queries = Queries(tile, worker.call, Room(worker.scratch.queries, QueryFloats(tile)));
    int32_t done = 0;
    for (int32_t p = item.first_part; p < item.first_part + item.parts; ++p) {
      if ((*tile.parts)[p].kind == PartKind::kCapsules) continue;
      AttendPart(tile, (*tile.parts)[p], queries, worker, StateOf(tile, p));
      ++done;
    }
    Done(item.tile, done, worker);
  }

  void RunTile(const AttentionTile& tile, const Worker& worker) const {
    const float* queries = Queries(tile, worker.call, Room(worker.scratch.queries, QueryFloats(tile)));
    const int32_t stacked = tile.rows * group_;
    const int64_t floats = SoftmaxState::Floats(stacked, dim_);
    float* room = Room(worker.scratch.states, 2 * floats);
    const SoftmaxState all = SoftmaxState::At(room, stacked, dim_);
    const SoftmaxState one = SoftmaxState::At(room + floats, stacked, dim_);
    Clear(all);
    for (const AttentionPart& part : *tile.parts) {
      if (part.segment == tile.chunk->segment && part.first >= tile.chunk->start + tile.first + tile.rows) break;
      AttendPart(tile, part, queries, worker, one);
      Merge(one, all);
    }
    Finish(tile, all, worker.call.out);
  }

  void RunCapsules(const AttentionItem& item, const Worker& worker) {
    WorkerScratch& scratch = worker.scratch;
    int64_t query_floats = 0;
    for (const auto& capsule : item.capsules) query_floats += QueryFloats(plan_.tiles[capsule.first]);
    float* queries = Room(scratch.queries, query_floats);
    const auto& [t0, p0] = item.capsules.front();
    const CapsuleOperator& head = Operator(plan_.tiles[t0], PartOf(t0, p0), worker);
    size_t looks = 0;
    for (const auto& [t, p] : item.capsules) {
      looks += PartOf(t, p).capsules.size();
      AskForHeads(plan_.tiles[t], PartOf(t, p), worker);
    }
    BeginVisits(looks, head, scratch);
    for (const auto& [t, p] : item.capsules) {
      const AttentionTile& tile = plan_.tiles[t];
      AddVisit(tile, PartOf(t, p), worker, Queries(tile, worker.call, queries), StateOf(tile, p));
      queries += QueryFloats(tile);
    }
    AttendCapsules(head, scratch.visits, scratch.kernel);
    for (const auto& capsule : item.capsules) Done(capsule.first, 1, worker);
  }

  void AttendPart(const AttentionTile& tile, const AttentionPart& part, const float* queries, const Worker& worker,
                  const SoftmaxState& state) const {
    AttentionScratch& kernel = worker.scratch.kernel;
    if (part.kind == PartKind::kCapsules) {
      const CapsuleOperator& head = Operator(tile, part, worker);
      BeginVisits(part.capsules.size(), head, worker.scratch);
      AddVisit(tile, part, worker, queries, state);
      return AttendCapsules(head, worker.scratch.visits, kernel);
    }
    if (part.kind == PartKind::kRows) return AttendQuantRows(Quantised(tile, part, worker), queries, kernel, state);
    if (part.kind == PartKind::kDecoded) return AttendRows(Decoded(tile, part, worker), {}, queries, kernel, state);
    const bool own = part.segment == tile.chunk->segment;
    const int32_t start = tile.chunk->start + tile.first - part.first;  // of the tile's first row in this part
    const int32_t count = own ? std::min(part.count, start + tile.rows) : part.count;
    AttendRows(RawRows(tile, part, count, worker), {own, start + 1, group_}, queries, kernel, state);
  }

  PartRows RawRows(const AttentionTile& tile, const AttentionPart& part, int32_t count, const Worker& worker) const {
    constexpr int32_t kTokens = KvGeometry::kBlockTokens;
    const KvGeometry& geometry = pool_.geometry();
    const auto& raw = std::get<RawSegment>(SegmentOf(tile, part));
    const int32_t blocks = (count + kTokens - 1) / kTokens, padded = blocks * kTokens;
    worker.scratch.pointers.resize(2 * static_cast<size_t>(padded));
    const uint8_t** keys = worker.scratch.pointers.data();
    const uint8_t** values = keys + padded;
    const int64_t row_bytes = geometry.RowBytes(), block_bytes = geometry.BlockBytes();
    const uint8_t* first_key = pool_.Tile(0, worker.call.layer, KvPart::kKey, tile.kv_head);
    const uint8_t* first_value = pool_.Tile(0, worker.call.layer, KvPart::kValue, tile.kv_head);
    const int32_t* block = raw.blocks.data() + part.first / kTokens;  // parts begin at a block's first token
    for (int32_t b = 0; b < blocks; ++b) {
      const uint8_t* key = first_key + block[b] * block_bytes;
      const uint8_t* value = first_value + block[b] * block_bytes;
      for (int32_t r = 0; r < kTokens; ++r) {
        keys[b * kTokens + r] = key + r * row_bytes;
        values[b * kTokens + r] = value + r * row_bytes;
      }
    }
    return {geometry.dtype, count, keys, values};
  }

  QuantRows Quantised(const AttentionTile& tile, const AttentionPart& part, const Worker& worker) const {
    const auto& capsule = std::get<CapsuleSegment>(SegmentOf(tile, part));
    const auto& format = static_cast<const RowFormat&>(*part.format);
    const auto* q4 = dynamic_cast<const Q4Format*>(&format);
    const int64_t code_bytes = q4 ? dim_ / 2 : dim_, scale_bytes = q4 ? 2 * q4->groups() : 2;
    const PagedBytes bytes(pool_, capsule.pages);
    auto& units = worker.scratch.units;
    if (units.size() < 4) units.resize(4);
    worker.scratch.pointers.resize(2 * static_cast<size_t>(part.count));
    const std::span<const uint8_t*> pointers = worker.scratch.pointers;
    QuantRows rows = {q4 ? QuantCode::kQ4 : QuantCode::kQ8, part.count, pointers.data(),
                      pointers.data() + part.count,           nullptr,    nullptr};
    for (const KvPart side : {KvPart::kKey, KvPart::kValue}) {
      const bool key = side == KvPart::kKey;
      const int64_t unit = format.UnitOffset(capsule.tokens, worker.call.layer, side, tile.kv_head);
      bytes.ReadRows(unit + part.first * code_bytes, code_bytes, pointers.subspan(key ? 0 : part.count, part.count),
                     units[key ? 0 : 1]);
      (key ? rows.key_scales : rows.value_scales) =
          bytes.Read(unit + capsule.tokens * code_bytes + part.first * scale_bytes, part.count * scale_bytes,
                     units[key ? 2 : 3]);
    }
    return rows;
  }

  // Reconstructed keys and values.
  PartRows Decoded(const AttentionTile& tile, const AttentionPart& part, const Worker& worker) const {
    const auto& capsule = std::get<CapsuleSegment>(SegmentOf(tile, part));
    const int64_t floats = static_cast<int64_t>(part.count) * dim_;
    float* rows = Room(worker.scratch.rows, 2 * floats);
    part.format->Decode(pool_, capsule, worker.call.layer, KvPart::kKey, tile.kv_head, rows);
    part.format->Decode(pool_, capsule, worker.call.layer, KvPart::kValue, tile.kv_head, rows + floats);
    worker.scratch.pointers.resize(2 * static_cast<size_t>(part.count));
    const uint8_t** pointers = worker.scratch.pointers.data();
    for (int64_t i = 0; i < 2LL * part.count; ++i) pointers[i] = reinterpret_cast<const uint8_t*>(rows + i * dim_);
    return {Dtype::kF32, part.count, pointers, pointers + part.count};
  }

  // Visits of `looks` capsules in all are to be added.
  static void BeginVisits(size_t looks, const CapsuleOperator& head, WorkerScratch& scratch) {
    scratch.visits.clear();
    scratch.looks.clear();
    scratch.looks.reserve(looks);  // visits point into it
    scratch.pointers.resize(2 * looks * head.keys.rows);
    if (scratch.gathered.size() < 2 * looks) scratch.gathered.resize(2 * looks);
  }

  void AddVisit(const AttentionTile& tile, const AttentionPart& part, const Worker& worker, const float* queries,
                const SoftmaxState& state) const {
    WorkerScratch& scratch = worker.scratch;
    const size_t first = scratch.looks.size();
    for (const CapsulePlace& place : part.capsules) AddLook(tile, part, place, worker);
    scratch.visits.push_back({std::span(scratch.looks).subspan(first), queries, state});
  }

  void AddLook(const AttentionTile& tile, const AttentionPart& part, const CapsulePlace& place,
               const Worker& worker) const {
    WorkerScratch& scratch = worker.scratch;
    const size_t nth = scratch.looks.size();
    const auto& segment = std::get<CapsuleSegment>(table_.at(tile.chunk->slot).segments[place.segment]);
    CapsuleLook look;
    look.turn = place.turn;
    if (const auto* packed = dynamic_cast<const PackedFormat*>(part.format)) {
      const auto locate = [&](KvPart side, size_t number) {
        return packed->Locate(pool_, segment, worker.call.layer, side, tile.kv_head, scratch.gathered[number]);
      };
      look.keys = locate(KvPart::kKey, 2 * nth);
      look.values = locate(KvPart::kValue, 2 * nth + 1);
    } else {
      const int32_t m = Operator(tile, part, worker).keys.rows;
      const uint8_t** rows = scratch.pointers.data() + 2 * nth * m;
      look.rows = {pool_.geometry().dtype, m, rows, rows + m};
      StoredRows(segment, worker.call.layer, tile.kv_head, rows, rows + m);
    }
    scratch.looks.push_back(look);
  }

  void AskForHeads(const AttentionTile& tile, const AttentionPart& part, const Worker& worker) const {
    const auto* packed = dynamic_cast<const PackedFormat*>(part.format);
    if (!packed) return;
    for (const CapsulePlace& place : part.capsules) {
      const auto& capsule = std::get<CapsuleSegment>(table_.at(tile.chunk->slot).segments[place.segment]);
      packed->AskForHead(pool_, capsule, worker.call.layer, tile.kv_head);
    }
  }

  // Pointers to a capsule's stored rows.
  void StoredRows(const CapsuleSegment& segment, int32_t layer, int32_t kv_head, const uint8_t** keys,
                  const uint8_t** values) const {
    const auto& format = static_cast<const CapsuleFormat&>(*segment.format);
    const int64_t row_bytes = pool_.geometry().RowBytes();
    for (const KvPart side : {KvPart::kKey, KvPart::kValue}) {
      const uint8_t** to = side == KvPart::kKey ? keys : values;
      format.VisitRuns(pool_, segment, layer, side, kv_head,
                       [&](int32_t first, int32_t count, const uint8_t* bytes) {
                         for (int32_t i = 0; i < count; ++i) to[first + i] = bytes + i * row_bytes;
                       });
    }
  }

  // Parts are merged in their order by the worker that computed the last of them.
  void Done(int32_t index, int32_t parts, const Worker& worker) {
    if (worker.progress.left[index].fetch_sub(parts, std::memory_order_acq_rel) != parts) return;
    const AttentionTile& tile = plan_.tiles[index];
    const int32_t stacked = tile.rows * group_;
    const SoftmaxState all =
        SoftmaxState::At(Room(worker.scratch.states, SoftmaxState::Floats(stacked, dim_)), stacked, dim_);
    Clear(all);
    for (int32_t p = 0; p < static_cast<int32_t>(tile.parts->size()); ++p) Merge(StateOf(tile, p), all);
    Finish(tile, all, worker.call.out);
  }

  const AttentionPart& PartOf(int32_t tile, int32_t part) const { return (*plan_.tiles[tile].parts)[part]; }

  const Segment& SegmentOf(const AttentionTile& tile, const AttentionPart& part) const {
    return table_.at(tile.chunk->slot).segments[part.segment];
  }

  const CapsuleOperator& Operator(const AttentionTile& tile, const AttentionPart& part, const Worker& worker) const {
    return operators_.At(*part.format, worker.call.layer, tile.kv_head);
  }

  SoftmaxState StateOf(const AttentionTile& tile, int32_t p) {
    const int32_t stacked = tile.rows * group_;
    return SoftmaxState::At(states_.data() + tile.states + p * SoftmaxState::Floats(stacked, dim_), stacked, dim_);
  }

  int64_t QueryFloats(const AttentionTile& tile) const { return static_cast<int64_t>(tile.rows) * group_ * dim_; }

  // Where row `row` of a tile begins in queries and out.
  int64_t Offset(const AttentionTile& tile, int32_t row) const {
    return ((static_cast<int64_t>(tile.chunk->first_row) + tile.first + row) * shape_.heads +
            static_cast<int64_t>(tile.kv_head) * group_) *
           dim_;
  }

  // Rows and the heads of a group stacked: row (r, g) is r * group + g.
  const float* Queries(const AttentionTile& tile, const Call& call, float* to) const {
    const int64_t floats = static_cast<int64_t>(group_) * dim_;
    for (int32_t r = 0; r < tile.rows; ++r) {
      const float* from = call.queries + Offset(tile, r);
      for (int64_t i = 0; i < floats; ++i) to[r * floats + i] = from[i] * shape_.scale;
    }
    return to;
  }

  void Finish(const AttentionTile& tile, const SoftmaxState& state, float* out) const {
    const int32_t padded = RoundToLanes(dim_);
    for (int32_t i = 0; i < state.rows; ++i) {
      const float* from = state.out + static_cast<int64_t>(i) * padded;
      float* to = out + Offset(tile, i / group_) + static_cast<int64_t>(i % group_) * dim_;
      for (int32_t c = 0; c < dim_; ++c) to[c] = from[c] / state.sum[i];
    }
  }

  const KvPool& pool_;
  const SequenceTable& table_;
  const AttentionShape shape_;
  const CapsuleOperators& operators_;
  const int32_t group_, dim_;
  const AttentionPlan plan_;
  AlignedVector<float> states_;  // of the split tiles' parts
  std::vector<Progress> layers_;
};

AttentionStep::AttentionStep(const KvPool& pool, const SequenceTable& table, std::span<const AttentionChunk> chunks,
                             const AttentionShape& shape, CapsuleOperators* operators)
    : runner_(std::make_unique<Runner>(pool, table, chunks, shape, operators)) {}

AttentionStep::~AttentionStep() = default;

void AttentionStep::Run(int32_t layer, const float* queries, float* out) { runner_->Run(layer, queries, out); }

int64_t AttentionStep::Macs() const { return runner_->Macs(); }

void WriteKv(const KvPool& pool, const SequenceTable& table, std::span<const AttentionChunk> chunks,
             int32_t layer, const float* keys, const float* values, int32_t ith, int32_t nth) {
  const KvGeometry& geometry = pool.geometry();
  constexpr int32_t kTokens = KvGeometry::kBlockTokens;
  int64_t total = 0;
  for (const AttentionChunk& chunk : chunks) total += chunk.rows;
  const int64_t begin = total * ith / nth, end = total * (ith + 1) / nth;
  int64_t passed = 0;
  for (const AttentionChunk& chunk : chunks) {
    const auto from = static_cast<int32_t>(std::clamp<int64_t>(begin - passed, 0, chunk.rows));
    const auto to = static_cast<int32_t>(std::clamp<int64_t>(end - passed, 0, chunk.rows));
    passed += chunk.rows;
    if (from == to) continue;
    const auto& raw = std::get<RawSegment>(table.at(chunk.slot).segments[chunk.segment]);
    for (int32_t r = from; r < to; ++r) {
      const int32_t token = chunk.start + r;
      const int64_t row = (static_cast<int64_t>(chunk.first_row) + r) * geometry.kv_heads;
      for (int32_t head = 0; head < geometry.kv_heads; ++head) {
        const int64_t offset = token % kTokens * geometry.RowBytes();
        const int32_t block = raw.blocks[token / kTokens];
        FromFloat(geometry.dtype, keys + (row + head) * geometry.head_dim, geometry.head_dim,
                  pool.Tile(block, layer, KvPart::kKey, head) + offset);
        FromFloat(geometry.dtype, values + (row + head) * geometry.head_dim, geometry.head_dim,
                  pool.Tile(block, layer, KvPart::kValue, head) + offset);
      }
    }
  }
}

}  // namespace kvcapsule
