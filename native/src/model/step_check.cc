#include "model/step_check.h"

#include <set>
#include <string>

#include "model/plan_require.h"
#include "model/step_sampling.h"

namespace kvcapsule {
void CheckPlan(const StepPlan& plan, const PlanLimits& limits) {
  const size_t rows = plan.tokens.size();
  Require(rows <= static_cast<size_t>(limits.max_rows), "more rows than max_step_tokens");
  Require(
      plan.positions.size() == rows && plan.image_handles.size() == rows && plan.image_rows.size() == rows,
      "row arrays differ in length");
  for (size_t i = 0; i < rows; ++i) {
    Require(plan.tokens[i] >= 0 && plan.tokens[i] < limits.vocab,
            At("tokens", i) + "is outside the vocabulary");
    Require(plan.positions[i] >= 0 && plan.positions[i] < limits.context_tokens,
            At("positions", i) + "is outside the context");
  }
  Require(plan.chunks.size() % 3 == 0, "chunks is not a list of [slot, segment, rows]");
  int64_t chunk_rows = 0;
  for (size_t i = 2; i < plan.chunks.size(); i += 3) {
    Require(plan.chunks[i] > 0, At("chunks", i) + "is not a positive number of rows");
    chunk_rows += plan.chunks[i];
  }
  Require(chunk_rows == static_cast<int64_t>(rows), "chunks do not add up to the rows");
  CheckSampling(plan, limits.vocab);
}

std::vector<AttentionChunk> ResolveChunks(const StepPlan& plan, const SequenceTable& table) {
  std::vector<AttentionChunk> chunks;
  std::set<std::pair<int32_t, int32_t>> seen;  // (slot, segment), later segments of a slot after earlier ones
  int32_t first_row = 0;
  for (size_t i = 0; i < plan.chunks.size(); i += 3) {
    const int32_t slot = plan.chunks[i], segment = plan.chunks[i + 1], rows = plan.chunks[i + 2];
    Require(table.contains(slot), At("chunks", i) + "is not an open slot");
    const std::vector<Segment>& segments = table.at(slot).segments;
    Require(segment >= 0 && static_cast<size_t>(segment) < segments.size(),
            At("chunks", i + 1) + "is not a segment");
    const auto* raw = std::get_if<RawSegment>(&segments[segment]);
    Require(raw != nullptr, At("chunks", i + 1) + "is not a raw segment");
    const int64_t room = static_cast<int64_t>(raw->blocks.size()) * KvGeometry::kBlockTokens - raw->tokens;
    Require(rows <= room, At("chunks", i + 2) + "is more than the segment's blocks hold");
    for (size_t later = segment + 1; later < segments.size(); ++later) {
      const auto* behind = std::get_if<RawSegment>(&segments[later]);
      Require(behind != nullptr && behind->tokens == 0, At("chunks", i + 1) + "has tokens behind it");
    }
    const auto next = seen.lower_bound({slot, segment});
    Require(next == seen.end() || next->first != slot,
            At("chunks", i + 1) + "is not after the slot's chunk before");
    seen.insert({slot, segment});
    chunks.push_back({slot, segment, first_row, rows, raw->tokens});
    first_row += rows;
  }
  return chunks;
}

}  // namespace kvcapsule
