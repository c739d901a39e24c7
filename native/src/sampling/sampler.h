// Greedy, temperature, top-k and top-p with counter-based randomness: the draw is a function of
// (seed, position) alone, so the batch, the cache and the worker do not matter.
#pragma once
#include <cstdint>
#include <span>

namespace kvcapsule {

struct SamplingParams {
  float temperature = 0;   // 0 or below 1e-5: greedy (smaller ones overflow; field case F24)
  float top_p = 1;
  int32_t top_k = 0;       // 0 = off
  uint64_t seed = 0;
  int32_t position = 0;    // index of the sampled token in its sequence
};

struct SampledToken {
  int32_t id = 0;
  float logprob = 0;       // of the raw distribution (before temperature and truncation), finite
};

// Ties are broken by the lower id. NaN logits: throws Error(kEngineFailed).
SampledToken Sample(std::span<const float> logits, const SamplingParams& params);

// Uniform in [0, 1) from (seed, position): Philox4x32-10.
double CounterUniform(uint64_t seed, uint32_t position);

}  // namespace kvcapsule
