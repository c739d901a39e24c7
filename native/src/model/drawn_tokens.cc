#include "model/drawn_tokens.h"

#include "model/plan_require.h"

namespace kvcapsule {

std::vector<int32_t> DrawnTokens::Fill(const StepPlan& plan) const {
  std::vector<int32_t> tokens(plan.tokens.begin(), plan.tokens.end());
  size_t row = 0;
  for (size_t i = 0; i + 2 < plan.chunks.size(); i += 3) {
    for (int32_t left = plan.chunks[i + 2]; left > 0 && row < tokens.size(); --left, ++row) {
      if (tokens[row] != kTokenDrawnBefore) continue;
      const auto found = row < plan.positions.size() ? tokens_.find({plan.chunks[i], plan.positions[row]})
                                                     : tokens_.end();
      Require(found != tokens_.end(), At("tokens", row) + "was not drawn in the step before");
      tokens[row] = found->second;
    }
  }
  return tokens;
}

void DrawnTokens::Keep(const StepPlan& plan, const std::vector<AttentionChunk>& chunks,
                       const std::vector<int32_t>& drawn) {
  size_t chunk = 0;
  for (size_t i = 0; i < drawn.size(); ++i) {
    const int32_t row = plan.samples[i];
    while (row >= chunks[chunk].first_row + chunks[chunk].rows) ++chunk;
    tokens_[{chunks[chunk].slot, plan.positions[row] + 1}] = drawn[i];
  }
}

}  // namespace kvcapsule
