// Greedy, temperature, min-p, top-k and top-p with counter-based randomness: the draw is a function of
// (seed, position) alone, so the batch, the cache and the worker do not matter.
#pragma once
#include <cstdint>
#include <span>

namespace kvcapsule {

struct SamplingParams {
  float temperature = 0;  // 0 or below 1e-5: greedy (smaller ones overflow; field case F24)
  float top_p = 1;
  int32_t top_k = 0;  // 0 = off
  uint64_t seed = 0;
  int32_t position = 0;  // index of the sampled token in its sequence
  float min_p = 0;       // least probability, as a share of the likeliest token's; 0 = off
};

// Draws a token id from [vocab] logits. Truncation goes as in vLLM: temperature, min-p, top-k, top-p. Ties
// are broken by the lower id; -infinity is never drawn. NaN logits: throws Error(kEngineFailed).
int32_t Sample(std::span<const float> logits, const SamplingParams& params);

// Uniform in [0, 1) from (seed, position): Philox4x32-10.
double CounterUniform(uint64_t seed, uint32_t position);

}  // namespace kvcapsule
