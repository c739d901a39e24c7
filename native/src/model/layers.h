// Pieces that the tower is built of.
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

}  // namespace kvcapsule
