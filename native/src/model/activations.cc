#include "model/activations.h"

#include <algorithm>
#include <cstdint>

#include "model/fast_exp.h"

namespace kvcapsule {
namespace {

// 0.5 x (1 + tanh(z)) = x / (1 + exp(-2 z)), z = sqrt(2 / pi) (x + 0.044715 x^3)
void GeluTanhOp(ggml_tensor* out, const ggml_tensor* in, int ith, int nth, void*) {
  const int64_t count = ggml_nelements(in), share = (count + nth - 1) / nth;
  const int64_t begin = std::min(count, ith * share), end = std::min(count, begin + share);
  const float* x = static_cast<const float*>(in->data);
  float* y = static_cast<float*>(out->data);
  for (int64_t i = begin; i < end; ++i) {
    const float z2 = 1.5957691216057308f * (x[i] + 0.044715f * x[i] * x[i] * x[i]);
    y[i] = x[i] / (1.0f + FastExp(-z2));
  }
}

}  // namespace

ggml_tensor* GeluTanh(ggml_context* context, ggml_tensor* input) {
  return ggml_map_custom1(context, input, GeluTanhOp, GGML_N_TASKS_MAX, nullptr);
}

}  // namespace kvcapsule
