// Ways to attend to stored rows that were tried and lost, beside the production kernels. All give what AttendRows and
// AttendQuantRows of attention/kernels.h give, up to rounding; all query rows see all tokens.
#pragma once
#include "attention/kernels.h"

namespace kvcapsule::lab {

// Panels of keys are turned over, so that logits are a plain matrix product; memory is asked for a panel at once.
void AttendTurnedOver(const PartRows& part, const float* queries, AttentionScratch& scratch,
                      const SoftmaxState& state);
// As production, but memory is never asked ahead.
void AttendUnasked(const PartRows& part, const float* queries, AttentionScratch& scratch, const SoftmaxState& state);
// As production, but rows are asked for into the first-level cache.
void AttendAskedNearer(const PartRows& part, const float* queries, AttentionScratch& scratch,
                       const SoftmaxState& state);
// Quantised panels are made float before they are multiplied.
void AttendMadeFloat(const QuantRows& part, const float* queries, AttentionScratch& scratch,
                     const SoftmaxState& state);

}  // namespace kvcapsule::lab
