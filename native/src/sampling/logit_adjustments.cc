#include "sampling/logit_adjustments.h"

#include <algorithm>
#include <limits>

namespace kvcapsule {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kLargest = std::numeric_limits<float>::max();

void ForbidOthers(std::span<float> logits, std::span<const uint32_t> allowed) {
  for (size_t word = 0; word < allowed.size(); ++word) {
    const uint32_t bits = allowed[word];
    const size_t begin = word * 32, end = std::min(begin + 32, logits.size());
    if (bits == ~0u || begin >= end) continue;
    // without a branch for each token, so that the loop is vectorised
    for (size_t i = begin; i < end; ++i) logits[i] = bits >> (i - begin) & 1 ? logits[i] : -kInfinity;
  }
}

float Bounded(float logit) { return std::clamp(logit, -kLargest, kLargest); }

}  // namespace

void AdjustLogits(std::span<float> logits, const LogitAdjustments& adjustments) {
  ForbidOthers(logits, adjustments.allowed);
  for (size_t i = 0; i < adjustments.bias_tokens.size(); ++i) {
    float& logit = logits[adjustments.bias_tokens[i]];
    const float bias = adjustments.bias_values[i];
    if (logit == -kInfinity) continue;
    logit = bias == -kInfinity ? -kInfinity : Bounded(logit + bias);
  }
  for (size_t i = 0; i < adjustments.seen_tokens.size(); ++i) {
    float& logit = logits[adjustments.seen_tokens[i]];
    if (logit == -kInfinity) continue;
    const auto count = static_cast<float>(adjustments.seen_counts[i]);
    logit = Bounded(logit > 0 ? logit / adjustments.repetition : logit * adjustments.repetition);
    logit = Bounded(logit - adjustments.frequency * count - (count > 0 ? adjustments.presence : 0));
  }
}

}  // namespace kvcapsule
