// The sampling half of a step: its arrays, and what they make of the logits.
#pragma once
#include <span>

#include "kvcapsule/engine.h"

namespace kvcapsule {

// Sizes, ranges and order of everything about samples; a sample must have a token left that it may draw.
// Throws Error(kPlanInvalid).
void CheckSampling(const StepPlan& plan, int32_t vocab);

// Fills the result's tokens and log-probabilities from logits, [samples][vocab]. The plan has been checked.
// filled: [rows] the plan's tokens, those drawn in the step before filled in.
void SampleRows(const StepPlan& plan, std::span<const int32_t> filled, std::span<const float> logits,
                int32_t vocab, StepResult& result);

}  // namespace kvcapsule
