// Pieces that tower and decoder are built of.
#pragma once
#include "ggml.h"
#include "model/weights.h"

namespace kvcapsule {

inline ggml_tensor* Apply(ggml_context* context, const Linear& layer, ggml_tensor* input) {
  ggml_tensor* output = ggml_mul_mat(context, layer.weight, input);
  return layer.bias ? ggml_add(context, output, layer.bias) : output;
}

inline ggml_tensor* Apply(ggml_context* context, const LayerNorm& norm, float epsilon, ggml_tensor* input) {
  ggml_tensor* output = ggml_norm(context, input, epsilon);
  return ggml_add(context, ggml_mul(context, output, norm.weight), norm.bias);
}

inline ggml_tensor* ApplyRmsNorm(ggml_context* context, ggml_tensor* weight, float epsilon,
                                 ggml_tensor* input) {
  return ggml_mul(context, ggml_rms_norm(context, input, epsilon), weight);
}

}  // namespace kvcapsule
