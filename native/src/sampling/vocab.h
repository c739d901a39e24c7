// Passes over one row of logits, [vocab], as wide as the registers are.
#pragma once
#include <cstdint>
#include <span>

namespace kvcapsule {

struct Peak {
  int32_t id;
  float value;
};

// The largest logit and its lowest id. Throws Error(kEngineFailed) when a logit is NaN or +infinity, or none
// is finite.
Peak FindPeak(std::span<const float> logits);

// weights[i] = exp((logits[i] - peak) * scale); returns their sum. weights may be null: the sum alone.
double Weigh(std::span<const float> logits, float peak, float scale, float* weights);

}  // namespace kvcapsule
