// Activations that ggml computes from a half-precision table, at full precision.
#pragma once
#include "ggml.h"

namespace kvcapsule {

// gelu_pytorch_tanh of a contiguous F32 tensor. ggml's own GELU looks up 16-bit floats, which alone is off
// by more than the tests allow.
ggml_tensor* GeluTanh(ggml_context* context, ggml_tensor* input);

}  // namespace kvcapsule
