// Rows between the pool's types and float. Rounds to nearest even; infinities and NaNs survive.
#pragma once
#include <cstdint>

#include "kvcapsule/kv_geometry.h"

namespace kvcapsule {

// count elements of `dtype` at `source` (aligned to their size) to float, and back.
void ToFloat(Dtype dtype, const uint8_t* source, int64_t count, float* out);
void FromFloat(Dtype dtype, const float* source, int64_t count, uint8_t* out);

}  // namespace kvcapsule
