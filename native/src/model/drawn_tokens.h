// The tokens that the last step with rows drew, for a plan that was made before they were known.
#pragma once
#include <map>
#include <utility>
#include <vector>

#include "attention/paged_attention.h"
#include "kvcapsule/engine.h"

namespace kvcapsule {

class DrawnTokens {
 public:
  // The plan's tokens with what was drawn in the place of each kTokenDrawnBefore. Throws Error(kPlanInvalid)
  // where nothing was drawn for the row's slot and position.
  std::vector<int32_t> Fill(const StepPlan& plan) const;
  // A step begins: until `Keep` there is nothing to fill in, so what follows a step that fails, fails.
  void Clear() { tokens_.clear(); }
  // The step's samples have been drawn.
  void Keep(const StepPlan& plan, const std::vector<AttentionChunk>& chunks, const std::vector<int32_t>& drawn);

 private:
  std::map<std::pair<int32_t, int32_t>, int32_t> tokens_;  // (slot, position) -> token
};

}  // namespace kvcapsule
