// What is done to a row of activations beside the products, for the machine's best vectors. Plain loops that
// the compiler turns into vectors of each target.
#pragma once
#include <cstdint>

namespace kvcapsule {

// x / rms(x) * weight.
void RmsNormRow(const float* x, const float* weight, int64_t count, float epsilon, float* out);
// (x - mean(x)) / deviation(x) * weight + bias.
void LayerNormRow(const float* x, const float* weight, const float* bias, int64_t count, float epsilon,
                  float* out);
// out = a + b; out may be either.
void AddRow(const float* a, const float* b, int64_t count, float* out);
// Rotary embedding of one head's row: the halves of `dim` channels are real and imaginary parts.
void RotateRow(const float* x, const float* cosines, const float* sines, int32_t dim, float* out);
// silu(gate) * up.
void GateRow(const float* gate, const float* up, int64_t count, float* out);
// gelu_pytorch_tanh; out may be x.
void GeluRow(const float* x, int64_t count, float* out);
// out[i] = e^(scale * (x[i] - max(x))); returns 1 / their sum. out may be x.
float ExpRow(const float* x, float scale, int64_t count, float* out);

}  // namespace kvcapsule
