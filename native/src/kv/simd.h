// Widths that scratch is laid out for, whatever the machine: the widest vector of any target of simd-inl.h.
#pragma once
#include <span>

namespace kvcapsule {

inline constexpr int kLanes = 16;

inline constexpr int RoundToLanes(int count) { return (count + kLanes - 1) / kLanes * kLanes; }

// weights[i] = e^((logits[i] - peak) * scale), 2 ulp; returns their sum. weights may be null.
double ExpWeights(std::span<const float> logits, float peak, float scale, float* weights);

}  // namespace kvcapsule
