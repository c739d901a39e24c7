// Panels of quantized weights: 32 outputs each, [block of 32 inputs][scales, minima, codes]. A weight is scale * code,
// or scale * code + minimum, rounded once to single precision, and the same number on every processor. Products add up
// over the inputs in order, one multiply-add after the other, so that a row's sum is the same bit for bit whether its
// weights were made in registers (few rows) or first written out (many rows).
#pragma once
#include <cstdint>

#include "kvcapsule/weight_type.h"

namespace kvcapsule {

constexpr int32_t kQuantizedPanel = 32;  // outputs
constexpr int64_t kQuantizedBlock = 32;  // inputs that share a scale

// A multiple of 64. An unfinished last block takes as much as a whole one.
int64_t QuantizedPanelBytes(WeightType type, int64_t inputs);

// weights: [count][inputs], for the panel's outputs from `first` on; the other outputs' bytes are left alone, so that
// threads may each set some of a panel. What is never set is zero where the panel's memory was. Throws
// Error(kModelInvalid) where a weight is beyond 32768 or no number.
void QuantizeOutputs(WeightType type, int64_t inputs, int32_t first, int32_t count, const float* weights,
                     uint8_t* panel);
// out: [inputs]
void ReadQuantizedOutput(WeightType type, const uint8_t* panel, int64_t inputs, int32_t output, float* out);

// To [inputs][32], as a panel of single precision lies.
void WidenPanel(WeightType type, const uint8_t* panel, int64_t inputs, float* out);

// y[row][p * 32 + o] of `panels` panels, one behind the other. x: rows of `inputs` floats, ldx apart. For few rows:
// weights are widened again for every group of them.
void MultiplyQuantized(WeightType type, const uint8_t* data, int64_t inputs, const float* x, int64_t ldx, int32_t rows,
                       int32_t panels, float* y, int64_t ldy);

}  // namespace kvcapsule
