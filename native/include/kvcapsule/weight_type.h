// Types that a model's matrices are kept in.
#pragma once
#include <cstdint>

#include "kvcapsule/kv_geometry.h"

namespace kvcapsule {

// The quantized ones share a scale among 32 inputs of an output, named as in llama.cpp: kQ8_0 has 8 bits a weight and a
// scale (8.5 bits), kQ4_1 has 4 bits, a scale and a minimum (5 bits).
enum class WeightType : int32_t { kF32 = 0, kF16 = 1, kBF16 = 2, kQ8_0 = 3, kQ4_1 = 4 };

inline bool IsQuantized(WeightType type) { return type == WeightType::kQ8_0 || type == WeightType::kQ4_1; }

// Of numbers that each stand for themselves.
inline Dtype PlainDtype(WeightType type) { return static_cast<Dtype>(type); }

}  // namespace kvcapsule
