#include "model/activations.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

namespace kvcapsule {
namespace {

// exp by 2^n times a polynomial, within 2 ulp for -87 <= x <= 87; plain arithmetic, so that the loop around
// it becomes vector code (libm's expf would not).
inline float FastExp(float x) {
  x = std::min(std::max(x, -87.0f), 87.0f);
  const float n = std::nearbyint(x * 1.44269504088896341f);
  const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  return p * std::bit_cast<float>((static_cast<int32_t>(n) + 127) << 23);
}

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
