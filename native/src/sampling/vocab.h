// Passes over one row of logits, [vocab], as wide as the machine's registers are. A row is summed in steps of
// 16 lanes whatever that width is, so every target with fused multiply-adds gives the same bits.
#pragma once
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

namespace kvcapsule {

struct Peak {
  int32_t id;
  float value;
};

// The last token that is kept, in the order of falling logits and, where those are equal, rising ids.
struct Cut {
  float logit = -std::numeric_limits<float>::infinity();
  int32_t id = std::numeric_limits<int32_t>::max();

  bool Keeps(float value, int32_t token) const { return value > logit || (value == logit && token <= id); }
};

// The largest logit and its lowest id. Throws Error(kEngineFailed) when a logit is NaN or +infinity, or none
// is finite.
Peak FindPeak(std::span<const float> logits);

// weights[i] = e^((logits[i] - peak) * scale), 2.3 ulp; returns their sum. weights may be null: the sum alone.
double Weigh(std::span<const float> logits, float peak, float scale, float* weights);

// Weights below `least` become 0; returns the sum of the others.
double DropBelow(std::span<float> weights, float least);

// The largest value of each block of `block` values, a multiple of 16; the last block may be shorter.
void BlockMaxima(std::span<const float> values, size_t block, std::vector<float>& maxima);

inline constexpr size_t kSumBlock = 512;
// The weights of what is kept, summed over each block of kSumBlock tokens; returns the sum of all.
double KeptSums(std::span<const float> logits, std::span<const float> weights, const Cut& cut,
                std::vector<double>& sums);

}  // namespace kvcapsule
