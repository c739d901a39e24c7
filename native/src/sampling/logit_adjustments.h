// What a request does to a row of logits before one is drawn: masks, bias and penalties, in vLLM's order.
#pragma once
#include <cstdint>
#include <span>

namespace kvcapsule {

struct LogitAdjustments {
  // One bit a token, lowest bit first, [ceil(vocab / 32)]: 0 forbids it. Empty: all are allowed.
  std::span<const uint32_t> allowed;
  // Added to the logits of these tokens; -infinity forbids one.
  std::span<const int32_t> bias_tokens;
  std::span<const float> bias_values;
  // Tokens that occurred, each once, and how often in the answer; 0: in the prompt alone.
  std::span<const int32_t> seen_tokens;
  std::span<const int32_t> seen_counts;
  float repetition = 1;  // of all that occurred: divides logits above 0, multiplies the others; 1 = off
  float frequency = 0;   // taken off once for each occurrence in the answer
  float presence = 0;    // taken off once when it occurred in the answer

  bool penalizes() const { return repetition != 1 || frequency != 0 || presence != 0; }
  bool empty() const { return allowed.empty() && bias_tokens.empty() && seen_tokens.empty(); }
};

// Every result is finite or, where a token is forbidden, -infinity. Token ids are not checked here.
void AdjustLogits(std::span<float> logits, const LogitAdjustments& adjustments);

}  // namespace kvcapsule
