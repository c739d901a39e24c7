// Whether a step plan keeps the engine's contract. Throws Error(kPlanInvalid) naming what does not.
#pragma once
#include <vector>

#include "attention/paged_attention.h"
#include "kvcapsule/engine.h"

namespace kvcapsule {

// What a plan's numbers may be.
struct PlanLimits {
  int32_t max_rows = 0, vocab = 0, context_tokens = 0;
};

// All that can be said without the page tables: array sizes, ranges, order.
void CheckPlan(const StepPlan& plan, const PlanLimits& limits);

// The plan's chunks against the tables as its ops made them: open slots, raw segments, room in their blocks,
// nothing stored behind them.
std::vector<AttentionChunk> ResolveChunks(const StepPlan& plan, const SequenceTable& table);

}  // namespace kvcapsule
